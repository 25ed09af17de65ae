//! Programs that send rubbish to the socket or do not read from it: they are answered or cut, and
//! named, while the node and other programs go on.

use std::{fs, path::Path};

use bytes::BytesMut;
use opus_ipc::{
    Code, Method,
    client::Client,
    json as encode,
    message::{
        AppAttach, As, Attached, EventItem, Frame, FromClient, FromNode, NodeEvents, frame::Named,
    },
    wire::{FRAME_MAX, ReadError, Reader},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::bench::{Bench, Node, TCP, ends, noise};

/// What all of a test's rubbish may cost the node.
const GROWTH_MAX: u64 = 64 << 20;

const HELLO: &str = "0000001c8200a36570726f746f686f7075732d69706361768101636170706178";

const MALFORMED: &str = include_str!("../../ipc/vectors/malformed.json");

/// A vector of `malformed.json`.
#[derive(Debug, Deserialize)]
struct Malformed {
    name: String,
    after_hello: bool,
    hex: String,
    call: u32,
    code: Code,
}

/// A connection that speaks bytes.
struct Bare {
    reader: Reader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Bare {
    async fn connect(socket: &Path) -> Self {
        let (read, write) = UnixStream::connect(socket).await.unwrap().into_split();
        Self {
            reader: Reader::new(read, FRAME_MAX),
            write,
        }
    }

    /// The same, with HELLO and WELCOME behind it.
    async fn open(socket: &Path) -> Self {
        let mut bare = Self::connect(socket).await;
        bare.send(&encode::unhex(HELLO).unwrap()).await;
        assert!(matches!(bare.frame().await, Some(FromNode::Welcome(_))));
        bare
    }

    /// Bytes may not be taken by a node that closes: no error then.
    async fn send(&mut self, bytes: &[u8]) {
        drop(self.write.write_all(bytes).await);
    }

    async fn ask(&mut self, call: u32, method: Method, params: &Value) {
        let mut out = BytesMut::new();
        let (method, params) = (Named::Known(method), encode::to_raw(params).unwrap());
        FromClient::Req {
            call,
            method,
            params,
        }
        .write(&mut out);
        self.send(&out).await;
    }

    /// Attaches as a sink and opens the stream of frames.
    async fn receive(&mut self, app: &str, credit: u64) {
        self.ask(1, Method::AppAttach, &json!({"app": app, "as": "sink"}))
            .await;
        let Some(FromNode::Res { result, .. }) = self.frame().await else {
            panic!("no RES")
        };
        let att = result.get::<Attached>().unwrap().att;
        self.ask(
            2,
            Method::FramesRecv,
            &json!({"att": att, "credit": credit}),
        )
        .await;
    }

    /// The next frame; `None` when the node closed.
    async fn frame(&mut self) -> Option<FromNode> {
        match ends("a frame or the end", self.reader.next()).await {
            Ok(frame) => Some(FromNode::read(&frame).unwrap()),
            Err(ReadError::Closed | ReadError::Io(_)) => None,
            Err(error) => panic!("the node broke the protocol: {error}"),
        }
    }
}

async fn one_node(bench: &Bench) -> Node {
    bench.node("n", &format!("--listen {TCP} --no-mdns")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_are_refused_with_their_code() {
    let bench = Bench::new();
    let node = one_node(&bench).await;
    let before = node.rss();
    let table: Vec<Malformed> = serde_json::from_str(MALFORMED).unwrap();
    assert!(table.len() > 40);
    for case in table {
        // The owner of the node may do what an ordinary program may not.
        if case.name == "an admin's method" {
            continue;
        }
        let socket = &node.socket;
        let mut bare = if case.after_hello {
            Bare::open(socket).await
        } else {
            Bare::connect(socket).await
        };
        bare.send(&encode::unhex(&case.hex).unwrap()).await;
        match bare.frame().await {
            Some(FromNode::Err { call, fault }) => {
                assert_eq!((call, fault.code), (case.call, case.code), "{}", case.name);
            }
            other => panic!("{}: {other:?}", case.name),
        }
        if case.call == 0 {
            assert_eq!(bare.frame().await, None, "{}: closed after that", case.name);
        }
    }
    node.status().await;
    assert!(node.rss() < before + GROWTH_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_bombs_and_halves_cost_the_node_little() {
    let bench = Bench::new();
    let node = one_node(&bench).await;
    let before = node.rss();
    // A length of 2^31, with much behind it.
    let mut long = 0x8000_0000_u32.to_be_bytes().to_vec();
    long.resize(4 << 20, 0x41);
    // The deepest and the widest item that fit a frame.
    let item = |fill: u8| {
        let mut frame = u32::try_from(FRAME_MAX).unwrap().to_be_bytes().to_vec();
        frame.resize(4 + FRAME_MAX, fill);
        frame
    };
    for bytes in [long, item(0x81), item(0x9b), item(0xa1), noise(1 << 20)] {
        for greeted in [false, true] {
            let socket = &node.socket;
            let mut bare = if greeted {
                Bare::open(socket).await
            } else {
                Bare::connect(socket).await
            };
            bare.send(&bytes).await;
            let answer = bare.frame().await;
            assert!(
                matches!(answer, None | Some(FromNode::Err { call: 0, .. })),
                "{answer:?}"
            );
        }
    }
    // Frames that begin and never end: each may hold what it sent, no more.
    let mut halves = Vec::new();
    for _ in 0..64 {
        let mut bare = Bare::open(&node.socket).await;
        bare.send(&item(0x40)[..FRAME_MAX / 2]).await;
        halves.push(bare);
    }
    node.status().await;
    let grown = node.rss().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes more");
    drop(halves);
    node.status().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_read_is_named_and_cut_and_others_lose_nothing() {
    let bench = Bench::new();
    let node = one_node(&bench).await;
    fs::write(bench.path("file"), vec![7; 16 << 20]).unwrap();
    bench.deploy_film("n").await;
    let watcher = Client::connect(std::slice::from_ref(&node.socket), "watcher")
        .await
        .unwrap();
    let mut events = watcher.watch(&NodeEvents::default()).await.unwrap();
    let before = node.rss();
    // One does not read its socket; the other does, but gives no credit.
    let mut sloth = Bare::open(&node.socket).await;
    sloth.receive("film", 4_096).await;
    let mut miser = Bare::open(&node.socket).await;
    miser.receive("film", 1).await;
    let reader = Client::connect(std::slice::from_ref(&node.socket), "reader")
        .await
        .unwrap();
    let attachment = reader.attach(sink("film")).await.unwrap();
    let reading = async {
        let (mut frames, mut file) = (attachment.frames(None, 64), Vec::new());
        loop {
            let frame = frames.next().await.unwrap().unwrap();
            file.extend_from_slice(&frame.data);
            if frame.flags & Frame::LAST != 0 {
                return file;
            }
        }
    };
    let publishing = bench.start("--socket n/s publish film --file file --sinks 1");
    let (file, sent) = ends("the transfer", async { tokio::join!(reading, publishing) }).await;
    assert_eq!(sent.unwrap()["bytes"], file.len());
    assert!(file == fs::read(bench.path("file")).unwrap());
    while let Some(frame) = miser.frame().await {
        if let FromNode::End { end, .. } = frame {
            assert!(end.msg.unwrap().contains("slow_consumer"));
            break;
        }
    }
    while sloth.frame().await.is_some() {}
    let pid = format!("pid={}", std::process::id());
    let names = |text: &str| {
        ["slow_consumer", "stream=frames.recv", &pid]
            .iter()
            .all(|part| text.contains(part))
    };
    let mut events_told = 0;
    while events_told < 2 {
        let event = ends("events name the programs", events.next()).await;
        if let EventItem::Event(line) = event.unwrap().unwrap() {
            events_told += u32::from(names(&line.msg));
        }
    }
    let checks = node.doctor().await;
    let told = checks
        .iter()
        .filter_map(|check| check.cause.as_deref())
        .any(names);
    assert!(told, "{checks:?}");
    assert!(node.rss() < before + GROWTH_MAX);
}

fn sink(app: &str) -> AppAttach {
    AppAttach {
        app: app.to_owned(),
        role: As::Sink,
        lease: None,
        ports: None,
        resume: None,
    }
}
