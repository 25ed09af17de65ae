//! What the hierarchy knows of a node's cell reaches its overlays. So few nodes are one cell.

use std::{collections::BTreeSet, time::Duration};

use opus_net::Effect;
use tokio::time::{Instant, sleep};

use crate::common::{Party, joined, seed};

const NODES: usize = 12;

#[tokio::test(start_paused = true)]
async fn members_of_an_overlay_meet_through_the_directory_of_their_cell() {
    let party = Party::start(NODES, seed(51)).await;
    let handles = (0..NODES).map(|node| party.lab.handle(node).unwrap());
    let mut heard: Vec<_> = handles.map(|handle| handle.tellers().listen()).collect();
    // All are seated, and it is clear who is the agent.
    sleep(Duration::from_secs(30)).await;
    let source = party.source().await;
    let mut followers = Vec::new();
    for node in 1..NODES {
        followers.push(party.follow(node).await);
    }
    joined(&source, NODES - 1).await;
    sleep(Duration::from_secs(5)).await;
    let mut met = BTreeSet::new();
    for (node, heard) in heard.iter_mut().enumerate() {
        while let Ok(told) = heard.try_recv() {
            if told.msg.contains("members of its cell") {
                met.insert(node);
            }
        }
    }
    // Who carries the overlay first finds nobody there.
    assert!(met.len() >= NODES - 1, "seed {}: {met:?}", party.seed);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_falls_silent_is_listed_no_more_long_before_the_hold_ends() {
    let party = Party::start(NODES, seed(52)).await;
    let source = party.source().await;
    let mut followers = Vec::new();
    for node in 1..NODES {
        followers.push(party.follow(node).await);
    }
    joined(&source, NODES - 1).await;
    party.at_rest(Duration::from_secs(120)).await;
    sleep(Duration::from_secs(30)).await;
    let root = party.lab.handle(0).unwrap().clone();
    let tree = root.ask(|core| core.dicast().root()).await.unwrap();
    let agent = tree.and_then(|top| party.lab.index_of(top.agent.id));
    let mut others = (1..NODES).filter(|&node| Some(node) != agent);
    let (victim, overlay) = (others.next().unwrap(), party.overlay);
    let id = party.lab.id(victim);
    // Its connections stay open and say nothing, as those of a host that lost its power.
    let wires = party.lab.wires();
    wires.network().partition(&[victim], Effect::Drop).unwrap();
    let began = Instant::now();
    loop {
        let members = root.ask(move |core| core.site().members(overlay));
        let members = members.await.unwrap();
        if members.iter().all(|member| member.contact.id != id) {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(20),
        "seed {}: {took:?}",
        party.seed
    );
}
