//! Measured tree = claimed tree.

use std::time::Duration;

use crate::common::{Party, SLACK_MS, seed};

#[tokio::test(start_paused = true)]
async fn the_claimed_tree_is_the_measured_tree_and_every_member_is_within_alpha() {
    let party = Party::start(50, seed(11)).await;
    let _source = party.source().await;
    let mut followers = Vec::new();
    for node in 1..party.lab.len() {
        followers.push(party.follow(node).await);
    }
    let tree = party.at_rest(Duration::from_secs(120)).await;
    let rdp = tree.tree.rdp(&tree.matrix);
    let hops = tree.members.len() as f64;
    assert!(
        tree.error_ms_max() <= SLACK_MS * hops.log2(),
        "seed {}: {tree:?}",
        party.seed
    );
    assert!(rdp.max >= 1.0 && rdp.mean <= rdp.max, "seed {}", party.seed);
    assert!(
        tree.cost_ms() >= tree.mst_ms - 1e-6,
        "no tree is cheaper than the minimum"
    );
}

#[tokio::test(start_paused = true)]
async fn the_tree_heals_when_an_inner_node_dies_and_takes_a_restarted_one_back() {
    let mut party = Party::start(30, seed(12)).await;
    let _source = party.source().await;
    let mut followers = Vec::new();
    for node in 1..party.lab.len() {
        followers.push(party.follow(node).await);
    }
    let tree = party.at_rest(Duration::from_secs(120)).await;
    let children = tree.tree.children();
    let row = (1..children.len())
        .max_by_key(|&row| children[row].len())
        .unwrap();
    let victim = tree.members[row].node;
    party.lab.kill(victim).await;
    let healed = party.at_rest(Duration::from_secs(60)).await;
    assert!(healed.members.iter().all(|member| member.node != victim));
    party.lab.restart(victim).unwrap();
    followers.push(party.follow(victim).await);
    let whole = party.at_rest(Duration::from_secs(60)).await;
    assert_eq!(whole.members.len(), 30);
}
