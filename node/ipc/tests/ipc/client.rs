//! The client against the dispatcher: over pipes, over real sockets, across a node's restart.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use opus_ipc::{
    Fault, Raw,
    bind::{Audience, bind},
    client::{CallError, Client, Config, ConnectError, Local},
    json,
    message::*,
    serve::{Notice, Peer, Reply, Roles, Server},
};
use serde_json::json;
use tokio::{io::duplex, task::JoinHandle};

use crate::desk::{Bare, Desk, HELLO, server, status, unhex, until};

async fn client(server: &Server, peer: Peer) -> Client {
    let (ours, theirs) = duplex(64 << 10);
    let server = server.clone();
    tokio::spawn(async move { server.serve(theirs, peer).await });
    Client::over(ours, "test").await.unwrap()
}

fn attach(role: As) -> AppAttach {
    AppAttach {
        app: "ticker".to_owned(),
        role,
        lease: None,
        ports: None,
        resume: None,
    }
}

fn code(error: &CallError) -> Option<Code> {
    error.fault().map(|fault| fault.code)
}

#[tokio::test(start_paused = true)]
async fn calls_are_answered_and_faults_are_told() {
    let (_, server) = server();
    let client = client(&server, Peer::app()).await;
    assert_eq!(client.welcome().role, Role::App);
    assert_eq!(client.call(&NodeStatus {}).await.unwrap(), status());
    let denied = client.call(&NodeDrain { ms: None }).await.unwrap_err();
    assert_eq!(code(&denied), Some(Code::Denied));
    let raw = client
        .call_raw("node.status", json::to_raw(&json!({})).unwrap())
        .await
        .unwrap();
    assert_eq!(raw, Raw::of(&status()));
    let unknown = client
        .call_raw("no.such", json::to_raw(&json!({})).unwrap())
        .await;
    assert_eq!(code(&unknown.unwrap_err()), Some(Code::Unsupported));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_cancelled_and_one_that_is_late_ends() {
    let (desk, server) = server();
    let client = client(&server, Peer::admin()).await;
    let drain = NodeDrain { ms: None };
    let late = client
        .call_within(&drain, Duration::from_millis(5))
        .await
        .unwrap_err();
    assert_eq!(code(&late), Some(Code::Deadline));
    let dropped = tokio::time::timeout(Duration::from_secs(1), client.call(&drain)).await;
    assert!(dropped.is_err());
    until(|| desk.parked.lock().unwrap().iter().all(Reply::is_over)).await;
    assert_eq!(desk.parked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_beyond_its_first_credit_and_ends() {
    let (desk, server) = server();
    desk.frames.store(10_000, Ordering::Relaxed);
    let client = client(&server, Peer::admin()).await;
    for credit in [None, Some(1), Some(1_000)] {
        let params = FramesRecv {
            att: 1,
            flow: None,
            credit,
        };
        let mut items = client.watch(&params).await.unwrap();
        for seq in 1..=10_000 {
            assert_eq!(items.next().await.unwrap().unwrap().seq, seq);
        }
        assert!(items.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_is_cancelled_and_a_refused_one_says_why() {
    let (desk, server) = server();
    let client = client(&server, Peer::admin()).await;
    let items = client.watch(&NodeEvents::default()).await.unwrap();
    until(|| desk.events.lock().unwrap().len() == 1).await;
    drop(items);
    until(|| desk.events.lock().unwrap()[0].is_over()).await;
    let mut refused = client.watch(&MembershipWatch { att: 1 }).await.unwrap();
    let error = refused.next().await.unwrap().unwrap_err();
    assert_eq!(code(&error), Some(Code::Unsupported));
    assert!(refused.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_at_once_are_all_answered() {
    let (_, server) = server();
    let client = client(&server, Peer::admin()).await;
    let calls: Vec<JoinHandle<_>> = (0..1_000)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(&NodeStatus {}).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), status());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_fails_what_was_in_flight_and_a_pipe_is_not_dialled_again() {
    let (desk, server) = server();
    let client = client(&server, Peer::admin()).await;
    let calling = client.clone();
    let call = tokio::spawn(async move { calling.call(&NodeDrain { ms: None }).await });
    until(|| desk.parked.lock().unwrap().len() == 1).await;
    server.close();
    assert!(matches!(call.await.unwrap(), Err(CallError::Lost(None))));
    let error = client.call(&NodeStatus {}).await.unwrap_err();
    assert!(
        matches!(error, CallError::Connect(ConnectError::NoNode { .. })),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_in_the_same_process_is_dialled_again() {
    let (_, server) = server();
    let dial = Box::new(Local::new(server.clone(), Peer::admin()));
    let client = Client::with(dial, Config::new("lab")).await.unwrap();
    assert_eq!(client.call(&NodeStatus {}).await.unwrap(), status());
    server.close();
    until(|| server.connections().is_empty()).await;
    while client.call(&NodeStatus {}).await.is_err() {}
    assert_eq!(server.connections().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_connections_are_served_and_let_go() {
    let (desk, server) = server();
    let mut clients = Vec::new();
    for _ in 0..1_000 {
        let dial = Box::new(Local::new(server.clone(), Peer::admin()));
        clients.push(Client::with(dial, Config::new("many")).await.unwrap());
    }
    for client in &clients {
        assert_eq!(client.call(&NodeStatus {}).await.unwrap(), status());
    }
    assert_eq!(server.connections().len(), 1_000);
    assert_eq!(server.budget().bytes(), 0);
    clients.clear();
    until(|| desk.closed.load(Ordering::Relaxed) == 1_000).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_client_that_goes_closes_the_connection() {
    let (desk, server) = server();
    let client = client(&server, Peer::admin()).await;
    let items = client.watch(&NodeEvents::default()).await.unwrap();
    drop(client);
    until(|| desk.events.lock().unwrap().len() == 1).await;
    assert_eq!(server.connections().len(), 1);
    drop(items);
    until(|| desk.closed.load(Ordering::Relaxed) == 1).await;
}

/// A node at a real socket.
struct Node {
    desk: Arc<Desk>,
    server: Server,
    task: JoinHandle<()>,
}

impl Node {
    fn start(root: &Path) -> Self {
        let bound = bind(&root.join("data"), &socket(root), Audience::User).unwrap();
        let (desk, server) = server();
        *desk.payload.lock().unwrap() = Bytes::from(vec![0; 1 << 10]);
        let serving = server.clone();
        let task = tokio::spawn(async move {
            let listener = bound.listener().unwrap();
            serving.accept(listener, Roles::of_this_machine()).await;
        });
        Self { desk, server, task }
    }

    async fn stop(self) {
        self.task.abort();
        drop(self.task.await);
        self.server.close();
        until(|| self.server.connections().is_empty()).await;
    }
}

fn socket(root: &Path) -> PathBuf {
    root.join("run/n.sock")
}

#[tokio::test]
async fn over_a_real_socket_the_nodes_user_is_admin() {
    let root = tempfile::tempdir().unwrap();
    let paths = [root.path().join("none.sock"), socket(root.path())];
    let error = Client::connect(&paths, "test").await.unwrap_err();
    assert!(matches!(error, ConnectError::NoNode { .. }), "{error}");
    let node = Node::start(root.path());
    let client = Client::connect(&paths, "test").await.unwrap();
    assert_eq!(client.welcome().role, Role::Admin);
    assert_eq!(client.call(&NodeStatus {}).await.unwrap(), status());
    let connections = node.server.connections();
    assert_eq!(connections[0].0.app, "test");
    assert_eq!(
        connections[0].0.peer.pid,
        i32::try_from(std::process::id()).ok()
    );
    drop(client);
    node.stop().await;
}

#[tokio::test]
async fn a_sink_goes_on_where_it_was_when_its_node_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path());
    let client = Client::connect(&[socket(root.path())], "test")
        .await
        .unwrap();
    let attachment = client.attach(attach(As::Sink)).await.unwrap();
    let mut frames = attachment.frames(Some(0), 16);
    let mut last = 0;
    for _ in 0..100 {
        last += 1;
        assert_eq!(frames.next().await.unwrap().unwrap().seq, last);
    }
    node.stop().await;
    let again = Node::start(root.path());
    for _ in 0..100 {
        last += 1;
        assert_eq!(frames.next().await.unwrap().unwrap().seq, last);
    }
    let resume = again.desk.attached.lock().unwrap()[0].resume.unwrap();
    assert!((100..last).contains(&resume.seq), "{resume:?}");
    drop(frames);
    again.stop().await;
}

#[tokio::test]
async fn a_source_attaches_again_but_never_sends_twice() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path());
    let client = Client::connect(&[socket(root.path())], "test")
        .await
        .unwrap();
    let attachment = client.attach(attach(As::Source)).await.unwrap();
    let frames = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
    let sent = attachment.send(frames.clone(), false).await.unwrap();
    assert_eq!((sent.seq, sent.n), (1, 2));
    node.stop().await;
    let again = Node::start(root.path());
    // The client may learn of the loss only by this call, which is then not repeated.
    let sent = match attachment.send(frames.clone(), true).await {
        Err(CallError::Lost(_)) => attachment.send(frames, true).await.unwrap(),
        other => other.unwrap(),
    };
    assert_eq!((sent.seq, sent.n), (1, 2));
    assert_eq!(again.desk.attached.lock().unwrap().len(), 1);
    assert_eq!(again.desk.sent.load(Ordering::Relaxed), 2);
    again.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_spec_that_is_not_there_yet_is_waited_for_and_one_that_never_comes_is_not() {
    // A node of three answers: not yet, not yet, here.
    let (ours, theirs) = duplex(64 << 10);
    let node = tokio::spawn(async move {
        let mut node = Bare::around(theirs);
        node.frame_of_client().await;
        node.welcome().await;
        for _ in 0..2 {
            let fault = Fault::new(Code::NotFound, "not yet").retry_ms(500);
            node.refuse(fault).await;
        }
        node.refuse(Fault::new(Code::NotFound, "never heard of it"))
            .await;
    });
    let mut config = Config::new("test");
    config.patience = Duration::from_secs(5);
    let dial = Box::new(crate::desk::Pipe::new(ours));
    let client = Client::with(dial, config).await.unwrap();
    let start = tokio::time::Instant::now();
    let error = client.attach(attach(As::Sink)).await.unwrap_err();
    assert_eq!(error.fault().unwrap().msg, "never heard of it");
    assert_eq!(start.elapsed().as_millis(), 1_000);
    node.await.unwrap();
}

#[tokio::test]
async fn clients_that_do_not_read_do_not_slow_the_others_over_real_sockets() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path());
    let paths = [socket(root.path())];
    // How far a good stream and a good caller come while 20 others never read a byte.
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let stream = tokio::net::UnixStream::connect(&paths[0]).await.unwrap();
        let mut bytes = unhex(HELLO);
        let ask = json!({"att": 1, "credit": 4096});
        let mut out = bytes::BytesMut::new();
        crate::desk::request(1, "frames.recv", &ask).write(&mut out);
        bytes.extend_from_slice(&out);
        let mut left = &bytes[..];
        while !left.is_empty() {
            stream.writable().await.unwrap();
            if let Ok(count) = stream.try_write(left) {
                left = &left[count..];
            }
        }
        stuck.push(stream);
    }
    let client = Client::connect(&paths, "good").await.unwrap();
    let params = FramesRecv {
        att: 1,
        flow: None,
        credit: Some(256),
    };
    let mut items = client.watch(&params).await.unwrap();
    for seq in 1..=20_000 {
        assert_eq!(items.next().await.unwrap().unwrap().seq, seq);
        if seq % 100 == 0 {
            client.call(&NodeStatus {}).await.unwrap();
        }
    }
    // 20 x 4 MiB is over the account: some were closed, never the good one, and each is named.
    assert!(node.server.budget().bytes() <= 64 << 20);
    {
        let notices = node.desk.notices.lock().unwrap();
        let evicted = |notice: &Notice| matches!(notice, Notice::Evicted(slow) if slow.app == "x");
        assert!(
            !notices.is_empty() && notices.iter().all(evicted),
            "{notices:?}"
        );
    }
    drop((items, client, stuck));
    node.stop().await;
}
