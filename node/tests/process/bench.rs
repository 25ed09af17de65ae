//! A directory, and node processes in it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use opus_ipc::{
    client::{CallError, Client},
    message::{Check, NodeDoctor, NodePeers, NodeStatus, PeerLine, Status},
    method::Call,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
};

/// Listens on loopback, TCP and QUIC.
pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// Pause between two looks at something that tells no event of itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Lines of a node's log that a failed test shows.
const LOG_LINES: usize = 50;

/// How long anything is waited for: only a hang takes so long.
pub(crate) fn patience() -> Duration {
    let factor = std::env::var("OPUS_TIME_FACTOR")
        .ok()
        .and_then(|factor| factor.parse().ok());
    Duration::from_secs(30) * factor.unwrap_or(1)
}

/// Looks until there is something to see. Panics, naming `what`, when there never is.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    let seen = tokio::time::timeout(patience(), looking).await;
    seen.unwrap_or_else(|_| panic!("it never came to this: {what}"))
}

/// Waits for something that ends by itself, unless it hangs.
pub(crate) async fn ends<T>(what: &str, task: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(patience() * 4, task).await;
    ended.unwrap_or_else(|_| panic!("no end: {what}"))
}

/// Bytes without a pattern that any code here looks for.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let word = |n: u32| n.wrapping_mul(2_654_435_761).rotate_left(9).to_le_bytes();
    (1..).flat_map(word).take(bytes).collect()
}

/// A directory of its own, and the program in it with a clean environment.
#[derive(Debug)]
pub(crate) struct Bench(tempfile::TempDir);

impl Bench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `opus-node` with the words of `line`.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_opus-node"));
        command
            .current_dir(self.0.path())
            .env_clear()
            .env("HOME", self.0.path())
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a verb to its end.
    pub(crate) async fn run(&self, line: &str) -> Output {
        ends(line, self.command(line).output()).await.unwrap()
    }

    /// The same, for a verb that must succeed with a JSON document.
    pub(crate) async fn json(&self, line: &str) -> Value {
        json(line, &self.run(&format!("{line} --json")).await)
    }

    /// Makes the complete application `film`, deployed on the node in the directory `name`.
    pub(crate) async fn deploy_film(&self, name: &str) {
        let spec = "name = \"film\"\nkind = \"multicast\"\nversion = 1\n[sla]\nreliability = 1.0\n";
        fs::write(self.path("film.toml"), spec).unwrap();
        self.json("id new --out owner.key").await;
        self.json("app sign film.toml --key owner.key --out film.app")
            .await;
        self.json(&format!("--socket {name}/s app deploy film.app"))
            .await;
    }

    /// Starts a verb whose JSON document is awaited later.
    pub(crate) fn start(&self, line: &str) -> JoinHandle<Value> {
        let mut command = self.command(&format!("{line} --json"));
        let line = line.to_owned();
        tokio::spawn(async move { json(&line, &command.output().await.unwrap()) })
    }

    /// A node in the directory `name`, started with its own state, socket and `flags`.
    pub(crate) async fn node(&self, name: &str, flags: &str) -> Node {
        let mut node = self.unstarted(name, flags);
        node.start().await;
        node
    }

    /// A node that is yet to be started.
    pub(crate) fn unstarted(&self, name: &str, flags: &str) -> Node {
        let dir = self.path(name);
        fs::create_dir_all(&dir).unwrap();
        let line = format!("run --data-dir {name}/d --socket {name}/s {flags}");
        Node {
            command: self.command(&line),
            socket: dir.join("s"),
            dir,
            process: None,
        }
    }
}

fn json(line: &str, output: &Output) -> Value {
    let errors = errors(output);
    assert_eq!(code(output), 0, "{line}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{line}: {e}: {errors}"))
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A node process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    command: Command,
    pub(crate) dir: PathBuf,
    pub(crate) socket: PathBuf,
    process: Option<Child>,
}

impl Node {
    /// Starts the process and waits until its socket answers.
    pub(crate) async fn start(&mut self) -> Status {
        self.spawn();
        self.answers().await
    }

    /// Starts the process, with the same arguments each time.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "one process at a time");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        self.process = Some(self.command.stderr(log).spawn().unwrap());
    }

    /// Waits until the socket answers.
    pub(crate) async fn answers(&mut self) -> Status {
        let (socket, process) = (&self.socket, self.process.as_mut().unwrap());
        eventually("the socket answers", async || {
            let status = ask(socket, &NodeStatus {}).await.ok();
            let ended = process.try_wait().unwrap();
            assert!(
                ended.is_none() || status.is_some(),
                "the node ended: {ended:?}"
            );
            status
        })
        .await
    }

    /// The same, of a node that somebody else starts.
    pub(crate) async fn answers_elsewhere(&self) -> Status {
        eventually("the socket answers", async || {
            ask(&self.socket, &NodeStatus {}).await.ok()
        })
        .await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().and_then(Child::id).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// `kill -9`, and its end.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert!(!self.ended().await.success());
    }

    /// How the process ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        ends("the process", process.wait()).await.unwrap()
    }

    pub(crate) async fn status(&self) -> Status {
        self.ask(&NodeStatus {}).await
    }

    pub(crate) async fn peers(&self) -> Vec<PeerLine> {
        self.ask(&NodePeers {}).await
    }

    pub(crate) async fn doctor(&self) -> Vec<Check> {
        self.ask(&NodeDoctor {}).await
    }

    async fn ask<M: Call>(&self, params: &M) -> M::Answer {
        ask(&self.socket, params)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until the node is connected to the peer `id`.
    pub(crate) async fn knows(&self, id: &str) {
        eventually(&format!("a connection to {id}"), async || {
            self.peers()
                .await
                .iter()
                .any(|line| line.peer == id)
                .then_some(())
        })
        .await;
    }

    /// The address on which it listens by this protocol, as another node may be told to dial it.
    pub(crate) async fn address(&self, protocol: &str) -> String {
        eventually(&format!("an address with {protocol}"), async || {
            let listen = self.status().await.listen;
            listen
                .into_iter()
                .find(|address| address.contains(protocol))
        })
        .await
    }

    /// Bytes of memory in use, as the system sees it.
    pub(crate) fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// What it wrote to its standard error over all its lives.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
            eprintln!("-- {}:\n{}", self.dir.display(), last.join("\n"));
        }
    }
}

pub(crate) async fn ask<M: Call>(socket: &Path, params: &M) -> Result<M::Answer, CallError> {
    Client::connect(&[socket.to_owned()], "test")
        .await?
        .call(params)
        .await
}
