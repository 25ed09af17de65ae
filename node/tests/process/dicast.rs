//! Nodes form a tree, tell of it, and miss who dies or leaves.

use opus_ipc::message::{DicastShow, DicastView, KeyName};
use rustix::process::Signal;

use super::bench::{Bench, Node, TCP, ask, code, errors, eventually};

/// Waits until `node` says that the network has so many nodes, and is sure of it.
async fn counts(node: &Node, nodes: f64) {
    let dir = node.dir.display();
    eventually(&format!("{nodes} nodes counted in {dir}"), async || {
        let said = node.status().await.nodes?;
        let sure = (said.lo, said.v, said.hi) == (nodes, nodes, nodes);
        sure.then_some(())
    })
    .await;
}

/// Waits until `node` knows of each of the three members of its cluster, itself among them, who it
/// is and that it has this value; bounds hold it, since a member's value is told roughly.
async fn parts_are_the_members(node: &Node, of: &DicastView, value: f64) {
    let ask_parts = DicastView {
        parts: Some(true),
        ..of.clone()
    };
    let view = eventually("what each member has", async || {
        let view = ask(&node.socket, &ask_parts).await.ok()?;
        (view.parts.as_ref()?.len() == 3).then_some(view)
    })
    .await;
    let tree = ask(&node.socket, &DicastShow {}).await.unwrap();
    for part in view.parts.unwrap() {
        let seat = tree
            .members
            .iter()
            .find(|it| u64::from(it.slot) == part.seat);
        assert_eq!(part.level, 0);
        assert_eq!(part.peer.as_deref(), seat.map(|seat| seat.peer.as_str()));
        assert_eq!(part.answer.count, 1);
        let (lo, hi) = (part.answer.lo, part.answer.hi);
        assert!(
            (lo..=hi).contains(&value),
            "{value} is not within {lo} and {hi}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_count_each_other_and_miss_who_dies_and_who_leaves() {
    let bench = Bench::new();
    let first = bench.node("a", &format!("--listen {TCP} --no-mdns")).await;
    let address = first.address("tcp").await;
    let flags = format!("--listen {TCP} --no-mdns --bootstrap {address}");
    let mut second = bench.node("b", &flags).await;
    let mut third = bench.node("c", &flags).await;
    for node in [&first, &second, &third] {
        counts(node, 3.0).await;
    }
    let tree = ask(&third.socket, &DicastShow {}).await.unwrap();
    assert_eq!(tree.members.len(), 3);
    let agents = tree.members.iter().filter(|seat| seat.role == "agent");
    assert_eq!(agents.count(), 1);
    let slots = DicastView {
        key: Some(KeyName::Name("slots.offered".to_owned())),
        ..DicastView::default()
    };
    let view = eventually("what three sites offer", async || {
        let view = ask(&third.socket, &slots).await.ok()?;
        (view.answer.count == 3).then_some(view)
    })
    .await;
    let own = DicastView {
        scope: Some(opus_ipc::message::Scope::Own),
        ..slots.clone()
    };
    let own = ask(&third.socket, &own).await.unwrap().answer;
    assert_eq!(view.answer.v.to_bits(), (own.v * 3.0).to_bits());
    parts_are_the_members(&third, &slots, own.v).await;
    third.kill().await;
    for node in [&first, &second] {
        counts(node, 2.0).await;
    }
    second.signal(Signal::TERM);
    assert_eq!(second.ended().await.code(), Some(0));
    counts(&first, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verb_shows_the_tree_and_says_what_is_not_there() {
    let bench = Bench::new();
    let node = bench.node("n", &format!("--listen {TCP} --no-mdns")).await;
    counts(&node, 1.0).await;
    let shown = bench.json("--socket n/s dicast").await;
    let peer = node.status().await.peer_id;
    assert_eq!(shown["members"][0]["peer"], peer);
    assert_eq!(shown["members"][0]["role"], "agent");
    assert_eq!(shown["keys"][0]["name"], "nodes");
    assert_eq!(shown["keys"][0]["root"]["count"], 1);
    let text = bench.run("--socket n/s dicast").await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("nodes    1, as of "), "{text}");
    let one = bench.run("--socket n/s dicast nodes --scope cluster").await;
    let one = String::from_utf8(one.stdout).unwrap();
    assert!(one.starts_with("nodes of its cluster: 1\n"), "{one}");
    let parts = bench.run("--socket n/s dicast nodes --parts").await;
    let parts = String::from_utf8(parts.stdout).unwrap();
    let row = parts.lines().last().unwrap();
    assert!(parts.starts_with("nodes of the whole: 1\n"), "{parts}");
    assert!(
        row.starts_with("0      0     1 ") && row.ends_with(&peer),
        "{parts}"
    );
    let status = bench.run("--socket n/s status").await;
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("  nodes    1, as of "), "{status}");
    for (line, said) in [
        ("dicast weather", "those of every node are nodes, "),
        ("dicast 62", "no key 62 in this tree"),
        (
            "dicast --level 5",
            "no cluster of level 5: the tree has 1 levels",
        ),
        ("call dicast.view {\"scope\":\"sideways\"}", "sideways"),
        (
            "call dicast.view {\"level\":2}",
            "a level goes with scope above only",
        ),
    ] {
        let refused = bench.run(&format!("--socket n/s {line}")).await;
        assert_eq!(code(&refused), 1, "{line}: {}", errors(&refused));
        assert!(
            errors(&refused).contains(said),
            "{line}: {}",
            errors(&refused)
        );
    }
}
