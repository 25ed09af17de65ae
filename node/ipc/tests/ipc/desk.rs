//! A node for tests: answers what it can, keeps what a test wants to answer itself.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use opus_core::NodeId;
use opus_ipc::{
    Fault,
    client::{Dial, Dialling, Io},
    message::*,
    serve::{About, Budget, Config, Conn, Notice, Peer, Reply, Request, Server, Service, Sink},
    wire::{FRAME_MAX, ReadError, Reader},
};
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

/// HELLO as the page gives it.
pub(crate) const HELLO: &str = "0000001c8200a36570726f746f686f7075732d69706361768101636170706178";

/// `node.status` on call 1, as the page gives it.
pub(crate) const STATUS: &str = "000000108401016b6e6f64652e737461747573a0";

#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// `node.drain`: kept unanswered.
    pub(crate) parked: Mutex<VecDeque<Reply<Empty>>>,
    /// `node.events`: kept open.
    pub(crate) events: Mutex<Vec<Sink<EventItem>>>,
    pub(crate) attached: Mutex<Vec<AppAttach>>,
    pub(crate) notices: Mutex<Vec<Notice>>,
    pub(crate) sent: AtomicU64,
    pub(crate) closed: AtomicU64,
    /// Payload of `frames.recv`.
    pub(crate) payload: Mutex<Bytes>,
    /// A `frames.recv` stream ends after so many frames; 0: never.
    pub(crate) frames: AtomicU64,
}

pub(crate) fn status() -> Status {
    Status {
        peer_id: "12D3KooWtest".to_owned(),
        listen: vec!["/ip4/127.0.0.1/tcp/4801/p2p/12D3KooWtest".to_owned()],
        peers: 3,
        verdict: Verdict::Ok,
        cause: None,
        fix: None,
        version: "0.1.0".to_owned(),
        network: "main".to_owned(),
        profile: "isolated".to_owned(),
        socket: "/run/n.sock".to_owned(),
        pid: 7,
        uptime_ms: 1_000,
        reach: "unknown".to_owned(),
        draining: false,
        nodes: None,
    }
}

impl Service for Desk {
    fn call(&self, _: &Arc<Conn>, request: Request) {
        match request {
            Request::NodeStatus(_, reply) => reply.ok(&status()),
            Request::NodeDrain(_, reply) => self.parked.lock().unwrap().push_back(reply),
            Request::NodeEvents(_, sink) => self.events.lock().unwrap().push(sink),
            Request::AppAttach(params, reply) => {
                let attached = Attached {
                    att: 1,
                    app: params.app.clone(),
                    node: "12D3KooWtest".to_owned(),
                    id: NodeId([1; 32]),
                    lease: Lease::edge(vec![1]),
                };
                self.attached.lock().unwrap().push(params);
                reply.ok(&attached);
            }
            Request::FramesSend(params, reply) => {
                let n = params.data.len() as u64;
                let seq = self.sent.fetch_add(n, Ordering::Relaxed) + 1;
                reply.ok(&Sent {
                    seq,
                    n,
                    attainable: None,
                });
            }
            Request::FramesRecv(_, sink) => {
                let data = self.payload.lock().unwrap().clone();
                let resume = self
                    .attached
                    .lock()
                    .unwrap()
                    .last()
                    .and_then(|at| at.resume);
                let most = self.frames.load(Ordering::Relaxed);
                tokio::spawn(source(
                    sink,
                    data,
                    resume.map_or(0, |resume| resume.seq),
                    most,
                ));
            }
            other => other.refuse(Fault::new(Code::Unsupported, "not at this desk")),
        }
    }

    fn closed(&self, _: &Arc<Conn>) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    fn notice(&self, notice: Notice) {
        self.notices.lock().unwrap().push(notice);
    }
}

/// Sends frames as long as somebody takes them.
async fn source(sink: Sink<Frame>, data: Bytes, after: u64, most: u64) {
    let mut seq = after;
    loop {
        seq += 1;
        let frame = Frame {
            src: NodeId([9; 32]),
            seq,
            flags: 0,
            data: data.clone(),
        };
        if sink.send(&frame).await.is_err() {
            return;
        }
        if seq - after == most {
            return sink.finish();
        }
    }
}

pub(crate) fn about() -> About {
    About {
        node: "12D3KooWtest".to_owned(),
        id: NodeId([1; 32]),
        version: "0.1.0".to_owned(),
        network: "main".to_owned(),
    }
}

pub(crate) fn server() -> (Arc<Desk>, Server) {
    server_with(Config::default(), Budget::default())
}

pub(crate) fn server_with(config: Config, budget: Budget) -> (Arc<Desk>, Server) {
    let desk = Arc::new(Desk::default());
    let service: Arc<dyn Service> = Arc::clone(&desk) as Arc<dyn Service>;
    (desk, Server::with(service, about(), config, budget))
}

/// A connection that speaks bytes.
pub(crate) struct Bare {
    reader: Reader<ReadHalf<DuplexStream>>,
    write: WriteHalf<DuplexStream>,
}

impl Bare {
    /// Connects to `server` through a pipe of `pipe` bytes.
    pub(crate) fn connect(server: &Server, peer: Peer, pipe: usize) -> Self {
        let (ours, theirs) = duplex(pipe);
        let server = server.clone();
        tokio::spawn(async move { server.serve(theirs, peer).await });
        let (read, write) = split(ours);
        Self {
            reader: Reader::new(read, FRAME_MAX),
            write,
        }
    }

    /// The same, with HELLO and WELCOME behind it.
    pub(crate) async fn open(server: &Server, peer: Peer) -> Self {
        let mut bare = Self::connect(server, peer, 64 << 10);
        bare.bytes(&unhex(HELLO)).await;
        let frame = bare.frame().await.unwrap();
        assert!(matches!(frame, FromNode::Welcome(_)), "{frame:?}");
        bare
    }

    /// Bytes may not be taken by a node that closes: no error then.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        drop(self.write.write_all(bytes).await);
    }

    pub(crate) async fn say(&mut self, frame: FromClient) {
        let mut out = BytesMut::new();
        frame.write(&mut out);
        self.bytes(&out).await;
    }

    /// Calls `method` with JSON params.
    pub(crate) async fn call(&mut self, call: u32, method: &str, params: serde_json::Value) {
        self.say(request(call, method, &params)).await;
    }

    /// The next frame; `None` when the node closed.
    pub(crate) async fn frame(&mut self) -> Option<FromNode> {
        match self.reader.next().await {
            Ok(frame) => Some(FromNode::read(&frame).unwrap()),
            Err(ReadError::Closed) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next frame is ERR; its call and code.
    pub(crate) async fn err(&mut self) -> (u32, Code) {
        match self.frame().await {
            Some(FromNode::Err { call, fault }) => (call, fault.code),
            other => panic!("{other:?} instead of ERR"),
        }
    }
}

/// The node's side, by hand.
impl Bare {
    pub(crate) fn around(io: DuplexStream) -> Self {
        let (read, write) = split(io);
        Self {
            reader: Reader::new(read, FRAME_MAX),
            write,
        }
    }

    pub(crate) async fn frame_of_client(&mut self) -> FromClient {
        FromClient::read(&self.reader.next().await.unwrap()).unwrap()
    }

    pub(crate) async fn answer(&mut self, frame: &FromNode) {
        let mut out = BytesMut::new();
        frame.write(&mut out);
        self.bytes(&out).await;
    }

    pub(crate) async fn welcome(&mut self) {
        let text = include_str!("../../vectors/frames.json");
        let vectors: Vec<opus_ipc::vectors::Vector> = serde_json::from_str(text).unwrap();
        let welcome = vectors
            .iter()
            .find(|vector| vector.name == "WELCOME")
            .unwrap();
        self.bytes(&unhex(&welcome.hex)).await;
    }

    /// Waits for a call and answers it with `fault`.
    pub(crate) async fn refuse(&mut self, fault: Fault) {
        let FromClient::Req { call, .. } = self.frame_of_client().await else {
            panic!("no REQ");
        };
        self.answer(&FromNode::Err { call, fault }).await;
    }
}

/// Dials one pipe, once.
#[derive(Debug)]
pub(crate) struct Pipe(Mutex<Option<DuplexStream>>);

impl Pipe {
    pub(crate) fn new(io: DuplexStream) -> Self {
        Self(Mutex::new(Some(io)))
    }
}

impl Dial for Pipe {
    fn dial(&self) -> Dialling<'_> {
        let io = self.0.lock().unwrap().take();
        Box::pin(async move {
            let io = io.ok_or(std::io::ErrorKind::NotConnected)?;
            Ok(Box::new(io) as Box<dyn Io>)
        })
    }

    fn name(&self) -> String {
        "pipe".to_owned()
    }
}

pub(crate) fn request(call: u32, method: &str, params: &serde_json::Value) -> FromClient {
    let named = opus_ipc::Method::parse(method);
    FromClient::Req {
        call,
        method: named.map_or_else(
            || frame::Named::Unknown(method.to_owned()),
            frame::Named::Known,
        ),
        params: opus_ipc::json::to_raw(params).unwrap(),
    }
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    opus_ipc::json::unhex(text).unwrap()
}

/// Lets the other tasks run until `done`.
pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never happened");
}
