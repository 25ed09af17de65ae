//! The complete class through real swarms: once, in order, all of it, whatever dies on the way.

use std::time::Duration;

use opus_core::Seed;
use opus_ipc::message::As;
use opus_lab::LabConfig;
use opus_net::{Conditions, Loss};
use opus_samples::ticker::{self, Market};

use crate::common::{Party, attach, client, joined, seed};

async fn every_survivor_is_whole(mut party: Party, kill: bool) {
    let source = party.source().await;
    let mut followers = Vec::new();
    for node in 1..party.lab.len() {
        followers.push((node, party.follow(node).await));
    }
    joined(&source, party.lab.len() - 1).await;
    let tree = party.at_rest(Duration::from_secs(120)).await;
    let market_seed = Seed::new(party.seed).derive("market", 0);
    let publishing = tokio::spawn(async move {
        let mut market = Market::new(market_seed.rng());
        ticker::publish(&source, &mut market, Duration::from_millis(20), |n| {
            n >= 999
        })
        .await
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut killed = None;
    if kill {
        let children = tree.tree.children();
        let row = (1..children.len())
            .max_by_key(|&row| children[row].len())
            .unwrap();
        assert!(!children[row].is_empty(), "the tree has an inner node");
        killed = Some(tree.members[row].node);
        party.lab.kill(tree.members[row].node).await;
    }
    let sent = publishing.await.unwrap().unwrap();
    assert_eq!(sent, 1_000);
    for (node, follower) in followers {
        if Some(node) == killed {
            continue;
        }
        let followed = tokio::time::timeout(Duration::from_secs(60), follower).await;
        let followed = followed.expect("the last tick comes").unwrap().unwrap();
        assert!(
            followed.is_whole(),
            "seed {} node {node}: {followed:?}",
            party.seed
        );
        assert_eq!(
            (followed.first, followed.ticks),
            (Some(0), sent),
            "node {node}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_receiver_gets_every_tick() {
    every_survivor_is_whole(Party::start(20, seed(21)).await, false).await;
}

#[tokio::test(start_paused = true)]
async fn every_survivor_gets_every_tick_when_an_inner_node_dies() {
    every_survivor_is_whole(Party::start(20, seed(22)).await, true).await;
}

#[tokio::test(start_paused = true)]
async fn losses_and_jitter_make_nothing_missing() {
    let seed = seed(23);
    let mut config = LabConfig::wide_area(15, Seed::new(seed)).unwrap();
    config.conditions = Conditions {
        jitter: 0.2,
        loss: Loss::Bernoulli { rate: 0.02 },
        ..Conditions::default()
    };
    let party = Party::with(config, seed).await;
    let source = party.source().await;
    let mut followers = Vec::new();
    for node in 1..party.lab.len() {
        followers.push(party.follow(node).await);
    }
    joined(&source, party.lab.len() - 1).await;
    let mut market = Market::new(Seed::new(seed).rng());
    let sent = ticker::publish(&source, &mut market, Duration::from_millis(20), |n| {
        n >= 499
    })
    .await;
    assert_eq!(sent.unwrap(), 500);
    for follower in followers {
        let followed = follower.await.unwrap().unwrap();
        assert!(
            followed.is_whole() && followed.ticks == 500,
            "seed {seed}: {followed:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_sink_gets_whatever_is_sent_from_its_joining_on() {
    let party = Party::start(10, seed(24)).await;
    let source = party.source().await;
    let early = party.follow(1).await;
    joined(&source, 1).await;
    let market_seed = Seed::new(party.seed);
    let publishing = tokio::spawn(async move {
        let mut market = Market::new(market_seed.rng());
        ticker::publish(&source, &mut market, Duration::from_millis(20), |n| {
            n >= 499
        })
        .await
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    let late = party.follow(9).await;
    publishing.await.unwrap().unwrap();
    assert_eq!(early.await.unwrap().unwrap().ticks, 500);
    let late = late.await.unwrap().unwrap();
    assert!(
        late.is_whole() && late.first > Some(0),
        "seed {}: {late:?}",
        party.seed
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_source_is_told_that_there_is_one() {
    let party = Party::start(5, seed(25)).await;
    let _source = party.source().await;
    let _follower = party.follow(2).await;
    party.at_rest_of(2, Duration::from_secs(60)).await;
    let other = client(&party.lab, 2).await;
    let refused = attach(&other, &party.app, As::Source).await.unwrap_err();
    let fault = refused.fault().expect("the node says so");
    assert_eq!(fault.code, opus_ipc::Code::Busy, "{fault}");
}
