//! `publish`, `subscribe` and the verbs that look at a node, against a board that keeps frames.
//!
//! The board stands in for a node: it answers opus-ipc on a real socket, and keeps what a source
//! sends for whoever receives. What real nodes do with frames is tested elsewhere.

#![cfg(test)]

use std::{
    fs,
    path::PathBuf,
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use opus_core::NodeId;
use opus_ipc::{
    Code, Fault,
    message::{
        AppAttach, As, Attached, Check, Empty, EventItem, EventLine, Frame, Lease, MemberItem,
        MemberState, Resume, Sent, Status, Verdict,
    },
    serve::{About, Conn, Request, Roles, Server, Service, Sink},
};
use serde_json::Value;
use tokio::{
    net::UnixListener,
    process::Command,
    sync::{Notify, watch},
    task::JoinHandle,
};

/// Sequences of the board's source begin here.
const FIRST: u64 = 1 << 40 | 1;

const SOURCE: NodeId = NodeId([1; 32]);

/// What the board does.
#[derive(Debug, Default)]
struct Board {
    frames: Mutex<Vec<Frame>>,
    /// How many frames there are.
    count: watch::Sender<usize>,
    /// How many receivers there are.
    joined: watch::Sender<u64>,
    resume: Mutex<Option<Resume>>,
    atts: AtomicU64,
    /// The first receiver gets so many frames, then nothing: until its connection is cut.
    stop_after: Mutex<Option<usize>>,
    stopped: Notify,
    /// Frames that no receiver gets.
    holes: Vec<u64>,
}

impl Board {
    fn attach(&self, params: &AppAttach) -> Attached {
        if params.role == As::Sink {
            *self.resume.lock().unwrap() = params.resume;
        }
        Attached {
            att: self.atts.fetch_add(1, Ordering::Relaxed) + 1,
            app: format!("{}.{}", params.app, "a".repeat(52)),
            node: "12D3KooWboard".to_owned(),
            id: SOURCE,
            lease: Lease::edge(vec![1]),
        }
    }

    fn keep(&self, data: Vec<bytes::Bytes>, is_last: bool) -> Sent {
        let mut frames = self.frames.lock().unwrap();
        let seq = FIRST + frames.len() as u64;
        let n = data.len() as u64;
        frames.extend((seq..).zip(data).map(|(seq, data)| Frame {
            src: SOURCE,
            seq,
            flags: 0,
            data,
        }));
        if let Some(last) = frames.last_mut().filter(|_| is_last) {
            last.flags = Frame::LAST;
        }
        self.count.send_replace(frames.len());
        Sent {
            seq,
            n,
            attainable: None,
        }
    }
}

#[derive(Clone, Debug)]
struct Desk(Arc<Board>);

impl Service for Desk {
    fn call(&self, _: &Arc<Conn>, request: Request) {
        match request {
            Request::NodeStatus(_, reply) => reply.ok(&degraded()),
            Request::NodeDoctor(_, reply) => reply.ok(&vec![Check {
                name: "disk".to_owned(),
                ok: false,
                cause: Some("full".to_owned()),
                fix: Some("rm junk".to_owned()),
            }]),
            Request::NodeEvents(_, sink) => drop(tokio::spawn(tell_events(sink))),
            Request::AppAttach(params, reply) => reply.ok(&self.0.attach(&params)),
            Request::AppDetach(_, reply) | Request::FramesFlush(_, reply) => reply.ok(&Empty {}),
            Request::FramesSend(params, reply) => {
                reply.ok(&self.0.keep(params.data, params.last == Some(true)));
            }
            Request::FramesRecv(_, sink) => {
                drop(tokio::spawn(hand_out(Arc::clone(&self.0), sink)));
            }
            Request::MembershipWatch(_, sink) => {
                drop(tokio::spawn(tell_members(Arc::clone(&self.0), sink)));
            }
            other @ (Request::NodePeers(..)
            | Request::NodeDrain(..)
            | Request::NodeLogSet(..)
            | Request::AppDeploy(..)
            | Request::AppUpdate(..)
            | Request::AppRetire(..)
            | Request::AppList(..)
            | Request::AppShow(..)
            | Request::DicastShow(..)
            | Request::DicastView(..)
            | Request::DicastDefine(..)
            | Request::DicastSet(..)
            | Request::DicastUnset(..)) => {
                other.refuse(Fault::new(Code::Denied, "not at this desk").help("ask another"));
            }
        }
    }
}

async fn hand_out(board: Arc<Board>, sink: Sink<Frame>) {
    let resume = *board.resume.lock().unwrap();
    let mut at = resume.map_or(0, |resume| usize::try_from(resume.seq + 1 - FIRST).unwrap());
    let stop_after = board.stop_after.lock().unwrap().take();
    board.joined.send_modify(|joined| *joined += 1);
    let mut count = board.count.subscribe();
    loop {
        if count.wait_for(|&count| count > at).await.is_err() {
            return;
        }
        let frame = board.frames.lock().unwrap()[at].clone();
        if Some(at) == stop_after {
            board.stopped.notify_one();
            return sink.over().await;
        }
        at += 1;
        if !board.holes.contains(&frame.seq) && sink.send(&frame).await.is_err() {
            return;
        }
    }
}

async fn tell_members(board: Arc<Board>, sink: Sink<MemberItem>) {
    let mut joined = board.joined.subscribe();
    for index in 1..=u8::MAX {
        if joined
            .wait_for(|&joined| joined >= u64::from(index))
            .await
            .is_err()
        {
            return;
        }
        let member = MemberItem::Member {
            node: format!("12D3KooW{index}"),
            id: NodeId([index; 32]),
            role: As::Sink,
            state: MemberState::Joined,
            age_ms: 0,
        };
        if sink.send(&member).await.is_err() {
            return;
        }
    }
}

async fn tell_events(sink: Sink<EventItem>) {
    for index in 0.. {
        let line = EventLine {
            age_ms: 0,
            level: "info".to_owned(),
            kind: "test".to_owned(),
            msg: format!("event {index}"),
        };
        if sink.send(&EventItem::Event(line)).await.is_err() {
            return;
        }
    }
}

fn degraded() -> Status {
    Status {
        peer_id: "12D3KooWboard".to_owned(),
        listen: Vec::new(),
        peers: 0,
        verdict: Verdict::Degraded,
        cause: Some("full".to_owned()),
        fix: Some("rm junk".to_owned()),
        version: "0.1.0".to_owned(),
        network: "main".to_owned(),
        profile: "isolated".to_owned(),
        socket: "s".to_owned(),
        pid: 1,
        uptime_ms: 1,
        reach: "unknown".to_owned(),
        draining: false,
        nodes: None,
    }
}

/// A directory, a board, and its socket.
struct Bench {
    dir: tempfile::TempDir,
    board: Arc<Board>,
    server: Server,
    accepting: JoinHandle<()>,
}

impl Bench {
    fn new(board: Board) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let board = Arc::new(board);
        let (server, accepting) = serve(&board, dir.path().join("s"));
        Self {
            dir,
            board,
            server,
            accepting,
        }
    }

    /// As a node that dies and comes back.
    fn restart(&mut self) {
        self.accepting.abort();
        self.server.close();
        fs::remove_file(self.path("s")).unwrap();
        (self.server, self.accepting) = serve(&self.board, self.path("s"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, line: &str) -> JoinHandle<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opus-node"));
        command
            .current_dir(self.dir.path())
            .env_clear()
            .args(["--socket", "s", "--json"])
            .args(line.split_whitespace())
            .env("HOME", self.dir.path())
            .kill_on_drop(true);
        tokio::spawn(async move { command.output().await.unwrap() })
    }

    async fn run(&self, line: &str) -> Output {
        self.start(line).await.unwrap()
    }
}

fn serve(board: &Arc<Board>, socket: PathBuf) -> (Server, JoinHandle<()>) {
    let about = About {
        node: "12D3KooWboard".to_owned(),
        id: SOURCE,
        version: "0.1.0".to_owned(),
        network: "main".to_owned(),
    };
    let listener = UnixListener::bind(socket).unwrap();
    let server = Server::new(Arc::new(Desk(Arc::clone(board))), about);
    let accepting = server.clone();
    let task = tokio::spawn(async move {
        accepting.accept(listener, Roles::of_this_machine()).await;
    });
    (server, task)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

fn content(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_arrives_as_it_was_sent() {
    let bench = Bench::new(Board::default());
    let file = content(5_000_001);
    fs::write(bench.path("in"), &file).unwrap();
    let receiving = [1, 2].map(|n| bench.start(&format!("subscribe x --out out{n}")));
    let sent = bench.run("publish x --file in --sinks 2").await;
    assert_eq!(code(&sent), 0, "{sent:?}");
    let frames = file.len().div_ceil(48 << 10);
    let sent = json(&sent);
    assert_eq!(
        (&sent["frames"], &sent["sinks"]),
        (&frames.into(), &2.into())
    );
    for (n, receiving) in (1..).zip(receiving) {
        let received = receiving.await.unwrap();
        assert_eq!(code(&received), 0, "{received:?}");
        assert!(fs::read(bench.path(&format!("out{n}"))).unwrap() == file);
        let received = json(&received);
        assert_eq!(received["frames"], sent["frames"]);
        assert_eq!(
            (&received["ended"], &received["missing"]),
            (&true.into(), &0.into())
        );
        assert_eq!(received["last_seq"], sent["last_seq"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_goes_on_after_its_node_restarted() {
    let mut bench = Bench::new(Board {
        stop_after: Mutex::new(Some(40)),
        ..Board::default()
    });
    let file = content(4_000_000);
    fs::write(bench.path("in"), &file).unwrap();
    let receiving = bench.start("subscribe x --out out");
    let sent = bench.run("publish x --file in --sinks 1").await;
    assert_eq!(code(&sent), 0, "{sent:?}");
    bench.board.stopped.notified().await;
    bench.restart();
    let received = receiving.await.unwrap();
    assert_eq!(code(&received), 0, "{received:?}");
    assert!(fs::read(bench.path("out")).unwrap() == file);
    let received = json(&received);
    assert_eq!(received["frames"], json(&sent)["frames"]);
    assert_eq!(received["gaps"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_told_and_fails_a_file() {
    let bench = Bench::new(Board {
        holes: vec![FIRST + 3, FIRST + 4, FIRST + 7],
        ..Board::default()
    });
    fs::write(bench.path("in"), content(1_000_000)).unwrap();
    let receiving = bench.start("subscribe x --out out");
    assert_eq!(code(&bench.run("publish x --file in --sinks 1").await), 0);
    let received = receiving.await.unwrap();
    assert_eq!(code(&received), 1);
    let summary = json(&received);
    assert_eq!(
        (&summary["gaps"], &summary["missing"]),
        (&2.into(), &3.into())
    );
    assert!(String::from_utf8_lossy(&received.stderr).contains("gap: 2 frames before"));
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_go_to_standard_output_until_the_count() {
    let bench = Bench::new(Board::default());
    fs::write(bench.path("in"), "one\ntwo\nthree\n").unwrap();
    assert_eq!(code(&bench.run("publish x --file in --lines").await), 0);
    let received = bench.run("subscribe x --count 2 --lines").await;
    assert_eq!(code(&received), 0, "{received:?}");
    assert_eq!(received.stdout, b"one\ntwo\n");
    assert!(String::from_utf8_lossy(&received.stderr).contains("\"frames\":2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_does_not_wait_for_sinks_for_ever() {
    let bench = Bench::new(Board::default());
    let output = bench
        .run("publish x --file /dev/null --sinks 1 --wait 0")
        .await;
    assert_eq!(code(&output), 6, "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("0 of 1 sinks joined"));
    assert_eq!(bench.board.frames.lock().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_what_the_node_says() {
    let bench = Bench::new(Board::default());
    let status = bench.run("status").await;
    assert_eq!(
        (code(&status), &json(&status)["verdict"]),
        (0, &"degraded".into())
    );
    assert_eq!(code(&bench.run("status --check").await), 5);
    assert_eq!(code(&bench.run("doctor --data-dir .").await), 5);
    let denied = bench.run("drain").await;
    assert_eq!(code(&denied), 4);
    assert!(String::from_utf8_lossy(&denied.stderr).contains("try: ask another"));
    assert_eq!(code(&bench.run("call app.fly").await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_method_can_be_called_by_name() {
    let bench = Bench::new(Board::default());
    let status = bench.run("call node.status").await;
    assert_eq!(json(&status)["peer_id"], "12D3KooWboard");
    let events = bench.run("call node.events --count 2").await;
    let lines: Vec<Value> = String::from_utf8(events.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["msg"], "event 1");
    assert_eq!(code(&bench.run("events --count 3").await), 0);
}
