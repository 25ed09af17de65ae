//! Damaged state files: the node starts, says so, and puts the file aside. Each offset and length
//! is tried beside the code; here are samples with a real start.

use std::{fs, path::PathBuf};

use rustix::process::Signal;

use super::bench::{Bench, Node, TCP};

/// A node with state of a former life: `boots`, and `anchors` of a peer that it dialled.
async fn with_a_past(bench: &Bench) -> Node {
    let flags = format!("--listen {TCP} --no-mdns");
    let peer = bench.node("peer", &flags).await;
    let id = peer.status().await.peer_id;
    let bootstrap = peer.address("/tcp/").await;
    let mut node = bench
        .node("n", &format!("{flags} --bootstrap {bootstrap}"))
        .await;
    node.knows(&id).await;
    // A drain saves the anchors.
    node.signal(Signal::TERM);
    assert!(node.ended().await.success());
    assert!(node.dir.join("d/anchors").exists());
    node
}

/// Kinds of damage to a file of this length: bits flipped, cuts, emptiness, excess.
fn damages(whole: &[u8]) -> Vec<Vec<u8>> {
    let last = whole.len() - 1;
    let mut damages = vec![Vec::new(), [whole, b"x"].concat(), vec![0; whole.len()]];
    for at in [0, 4, 8, last / 2, last] {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x10;
        damages.push(flipped);
        damages.push(whole[..at].to_vec());
    }
    damages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_damaged_state_starts_and_tells() {
    let bench = Bench::new();
    let mut node = with_a_past(&bench).await;
    let identity = fs::read(node.dir.join("d/identity.key")).unwrap();
    for name in ["boots", "anchors"] {
        let path = node.dir.join("d").join(name);
        let whole = fs::read(&path).unwrap();
        for damaged in damages(&whole) {
            fs::write(&path, &damaged).unwrap();
            node.start().await;
            let told = node.doctor().await.into_iter().any(|check| {
                !check.ok && check.name == "state" && check.cause.unwrap().contains(name_of(name))
            });
            assert!(told, "{name}, {damaged:x?}: {:?}", node.doctor().await);
            node.kill().await;
            fs::write(&path, &whole).unwrap();
        }
    }
    assert_eq!(fs::read(node.dir.join("d/identity.key")).unwrap(), identity);
    assert!(corrupt(&node).iter().any(|path| path.ends_with("boots.1")));
}

/// The word for the file in what is told.
fn name_of(file: &str) -> &str {
    if file == "boots" {
        "boot count"
    } else {
        "anchors"
    }
}

fn corrupt(node: &Node) -> Vec<PathBuf> {
    let files = fs::read_dir(node.dir.join("d/corrupt")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}
