//! How nodes find each other, and that a node on loopback bothers nobody else.

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use tokio::process::{Child, Command};

use super::bench::{Bench, Node, QUIC, TCP, eventually};

/// Two network namespaces with a cable between them, a node in each. Ends, with both nodes, when
/// its standard input does; killed, it takes them with it, as all share a namespace of processes.
/// `$0` is the program; the addresses are of the block for such tests.
const TWO_HOSTS: &str = r#"
set -e
mkfifo made go
unshare -n sh -c '
  echo >made; read -r _ <go
  ip link set lo up; ip addr add 198.18.7.2/24 dev right; ip link set right up
  exec "$0" run --data-dir right/d --socket right/s --listen /ip4/198.18.7.2/tcp/0 --no-upnp \
    >right/log 2>&1 </dev/null' "$0" &
right=$!
read -r _ <made
ip link add left type veth peer name right netns $right
ip link set lo up; ip addr add 198.18.7.1/24 dev left; ip link set left up
echo >go
"$0" run --data-dir left/d --socket left/s --listen /ip4/198.18.7.1/tcp/0 --no-upnp \
  >left/log 2>&1 </dev/null &
left=$!
cat >/dev/null
kill $left $right
wait
"#;

/// What [`TWO_HOSTS`] needs and a container may forbid.
const MAY_NAMESPACES: &str =
    "unshare -n true && ip link add left type veth peer name right && ip link set left up";

fn isolated(bench: &Bench, script: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            // Whoever ends the outermost process, and however, ends all in it.
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
        ])
        .arg(env!("CARGO_BIN_EXE_opus-node"))
        .current_dir(bench.path(""))
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", bench.path(""))
        .kill_on_drop(true);
    command
}

/// Why namespaces are not to be had, if so.
async fn forbidden(bench: &Bench) -> Option<String> {
    match isolated(bench, MAY_NAMESPACES).output().await {
        Ok(Output { status, .. }) if status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// The two nodes of [`TWO_HOSTS`].
struct Hosts {
    #[expect(dead_code, reason = "its end is the end of the nodes")]
    holder: Child,
    nodes: [Node; 2],
    bench: Bench,
}

impl Hosts {
    /// `None`, and the reason is printed, where the system does not permit namespaces.
    async fn start() -> Option<Self> {
        let bench = Bench::new();
        if let Some(why) = forbidden(&bench).await {
            let required = std::env::var_os("OPUS_REQUIRE_NETNS").is_some();
            assert!(!required, "OPUS_REQUIRE_NETNS is set, but: {why}");
            println!("SKIP: no network namespaces here: {why}");
            return None;
        }
        let nodes = ["left", "right"].map(|name| bench.unstarted(name, ""));
        let holder = isolated(&bench, TWO_HOSTS)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Some(Self {
            holder,
            nodes,
            bench,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_find_each_other_by_mdns_alone() {
    let Some(hosts) = Hosts::start().await else {
        return;
    };
    let [left, right] = &hosts.nodes;
    let id = right.answers_elsewhere().await.peer_id;
    left.answers_elsewhere().await;
    left.knows(&id).await;
    let started = processes_in(&hosts.bench.path(""));
    assert!(
        started.len() >= 2,
        "both nodes run in the bench: {started:?}"
    );
    drop(hosts);
    eventually("all that the test started has ended", async || {
        let mut pids = started.iter();
        pids.all(|pid| !is_running(*pid)).then_some(())
    })
    .await;
}

/// Processes whose working directory is `directory`.
fn processes_in(directory: &Path) -> Vec<u32> {
    let directory = fs::canonicalize(directory).unwrap();
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let cwd = |pid: u32| fs::read_link(format!("/proc/{pid}/cwd")).ok();
    pids.filter(|&pid| cwd(pid).as_deref() == Some(&*directory))
        .collect()
}

/// Whether the process exists and is no zombie that waits for its parent.
fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find(|line| line.starts_with("State:"));
    state.is_some_and(|state| !state.contains('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_address_is_enough_to_find_the_others() {
    let bench = Bench::new();
    let flags = format!("--listen {TCP} --no-mdns --set kademlia=server");
    let hub = bench.node("hub", &flags).await;
    let address = hub.address("/tcp/").await;
    let (nameless, _) = address.split_once("/p2p/").unwrap();
    let a = bench
        .node("a", &format!("{flags} --bootstrap {nameless}"))
        .await;
    let b = bench
        .node("b", &format!("{flags} --bootstrap {address}"))
        .await;
    a.knows(&hub.status().await.peer_id).await;
    b.knows(&hub.status().await.peer_id).await;
    a.knows(&b.status().await.peer_id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_listens_on_loopback_has_no_socket_elsewhere() {
    let bench = Bench::new();
    // The defaults of a home: mDNS and UPnP are on.
    let node = bench
        .node("n", &format!("--listen {TCP} --listen {QUIC}"))
        .await;
    node.address("/quic-v1").await;
    let other = format!("--listen {TCP} --bootstrap {}", node.address("/tcp/").await);
    let other = bench.node("o", &other).await;
    node.knows(&other.status().await.peer_id).await;
    for node in [&node, &other] {
        let sockets = internet_sockets(node.pid());
        assert!(!sockets.is_empty());
        for socket in sockets {
            assert!(
                socket.starts_with("0100007F:"),
                "not of 127.0.0.1: {socket}"
            );
        }
    }
}

/// Local addresses of the process's TCP and UDP sockets, as the kernel writes them.
fn internet_sockets(pid: u32) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let inodes: Vec<String> = links
        .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
        .filter_map(|target| {
            let name = target.to_str()?.strip_prefix("socket:[")?;
            Some(name.strip_suffix(']')?.to_owned())
        })
        .collect();
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if inodes.iter().any(|inode| inode == columns[9]) {
                sockets.push(columns[1].to_owned());
            }
        }
    }
    sockets
}
