//! A real file over three nodes, TCP and QUIC: what was sent arrives, once and in order, also when
//! the node in the middle is killed on the way.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bench::{Bench, Node, QUIC, TCP, ends};

/// The program itself is the file; a build with debug information is cut here.
const FILE_BYTES_MAX: u64 = 40 << 20;

/// What the middle node's subscriber has got when its node is killed.
const BEFORE_KILL_BYTES: usize = 8 << 20;

/// Three nodes in a row, an application on the first, and the file.
struct Row {
    nodes: [Node; 3],
    file: PathBuf,
    /// Last, as its directory must outlive the nodes.
    bench: Bench,
}

impl Row {
    async fn new() -> Self {
        let bench = Bench::new();
        let a = bench.node("a", &format!("--listen {TCP} --no-mdns")).await;
        let bootstrap = a.address("/tcp/").await;
        let listen = format!("--listen {TCP} --listen {QUIC} --no-mdns");
        let b = bench
            .node("b", &format!("{listen} --bootstrap {bootstrap}"))
            .await;
        let bootstrap = b.address("/quic-v1").await;
        let listen = format!("--listen {QUIC} --no-mdns");
        let c = bench
            .node("c", &format!("{listen} --bootstrap {bootstrap}"))
            .await;
        let id = b.status().await.peer_id;
        a.knows(&id).await;
        c.knows(&id).await;
        let file = bench.path("file");
        let program = File::open(env!("CARGO_BIN_EXE_opus-node")).unwrap();
        std::io::copy(
            &mut program.take(FILE_BYTES_MAX),
            &mut File::create(&file).unwrap(),
        )
        .unwrap();
        bench.deploy_film("a").await;
        Self {
            nodes: [a, b, c],
            file,
            bench,
        }
    }

    fn publish(&self) -> tokio::task::JoinHandle<Value> {
        self.bench
            .start("--socket a/s publish film --file file --sinks 2")
    }

    fn subscribe(&self, node: &str, out: &str) -> tokio::task::JoinHandle<Value> {
        self.bench
            .start(&format!("--socket {node}/s subscribe film --out {out}"))
    }
}

/// Where B's subscriber writes: as long as its reader has not taken everything, the transfer is
/// not over.
fn pipe(bench: &Bench) -> PathBuf {
    let pipe = bench.path("pipe-b");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    pipe
}

fn digest(path: &Path) -> [u8; 32] {
    Sha256::digest(fs::read(path).unwrap()).into()
}

/// Every frame once: a repeated or missing one would change the count or the content.
fn assert_whole(received: &Value, sent: &Value) {
    assert_eq!(received["ended"], true, "{received}");
    assert_eq!(
        (&received["gaps"], &received["missing"]),
        (&0.into(), &0.into()),
        "{received}"
    );
    for key in ["frames", "bytes", "seq", "last_seq"] {
        assert_eq!(received[key], sent[key], "{key}: {received} {sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_reaches_two_nodes_over_tcp_and_quic() {
    let row = Row::new().await;
    let receiving = [row.subscribe("b", "out-b"), row.subscribe("c", "out-c")];
    let sent = ends("publish", row.publish()).await.unwrap();
    assert_eq!(sent["bytes"], fs::metadata(&row.file).unwrap().len());
    for (receiving, out) in receiving.into_iter().zip(["out-b", "out-c"]) {
        assert_whole(&ends("subscribe", receiving).await.unwrap(), &sent);
        assert_eq!(digest(&row.bench.path(out)), digest(&row.file), "{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_in_order_holds_nobody_up() {
    let mut row = Row::new().await;
    let pipe = pipe(&row.bench);
    let leaving = row.subscribe("b", "pipe-b");
    let receiving = row.subscribe("c", "out-c");
    let publishing = row.publish();
    let mut first = tokio::task::spawn_blocking(move || {
        let mut from = File::open(pipe).unwrap();
        from.read_exact(&mut vec![0; BEFORE_KILL_BYTES]).unwrap();
        from
    });
    let _from = ends("the first bytes", &mut first).await.unwrap();
    row.nodes[1].signal(Signal::TERM);
    assert!(row.nodes[1].ended().await.success());
    let sent = ends("publish", publishing).await.unwrap();
    assert_whole(&ends("subscribe", receiving).await.unwrap(), &sent);
    assert_eq!(digest(&row.bench.path("out-c")), digest(&row.file));
    let said = row.nodes[0].said();
    assert!(
        !said.contains("no longer waits"),
        "it was told of the leave: {said}"
    );
    leaving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_arrives_though_the_middle_node_is_killed_and_restarted() {
    let mut row = Row::new().await;
    let pipe = pipe(&row.bench);
    let receiving = [row.subscribe("b", "pipe-b"), row.subscribe("c", "out-c")];
    let publishing = row.publish();
    let copy = row.bench.path("out-b");
    let mut ends_of_pipe = tokio::task::spawn_blocking(move || {
        let (mut from, mut to) = (File::open(pipe).unwrap(), File::create(copy).unwrap());
        let mut first = vec![0; BEFORE_KILL_BYTES];
        from.read_exact(&mut first).unwrap();
        to.write_all(&first).unwrap();
        (from, to)
    });
    let (mut from, mut to) = ends("the first bytes", &mut ends_of_pipe).await.unwrap();
    assert!(!publishing.is_finished(), "the kill comes in the middle");
    row.nodes[1].kill().await;
    row.nodes[1].start().await;
    let rest = tokio::task::spawn_blocking(move || std::io::copy(&mut from, &mut to).unwrap());
    let sent = ends("publish", publishing).await.unwrap();
    for receiving in receiving {
        assert_whole(&ends("subscribe", receiving).await.unwrap(), &sent);
    }
    ends("the rest", rest).await.unwrap();
    for out in ["out-b", "out-c"] {
        assert_eq!(digest(&row.bench.path(out)), digest(&row.file), "{out}");
    }
}
