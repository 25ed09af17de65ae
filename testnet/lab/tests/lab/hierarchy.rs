//! Real nodes form one tree, count each other, and miss who dies.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{NodeId, Seed};
use opus_dicast::{
    Scope,
    aggregate::{Answer, KeyId},
};
use opus_lab::{Lab, LabConfig};

use crate::common::seed;

/// What one node says of the tree.
#[derive(Debug)]
struct Said {
    node: usize,
    count: Option<Answer>,
    /// The cluster at the top.
    root: Option<u64>,
    /// Whom it has in the rosters of its posts and of its own cluster.
    rosters: BTreeSet<NodeId>,
}

async fn ask(lab: &Lab, node: usize) -> Option<Said> {
    let clock = lab.handle(node)?.clock();
    let question = lab.handle(node)?.ask(move |core| {
        let dicast = core.dicast();
        let views = dicast.posts().chain(dicast.leaf().map(|(view, _)| view));
        let seats = views.flat_map(|view| view.roster.iter().map(|(_, seat)| seat.id()));
        Said {
            node,
            count: dicast.view(clock.now(), KeyId::MEMBERS, Scope::Root),
            root: dicast.root().map(|root| root.cluster.id),
            rosters: seats.collect(),
        }
    });
    question.await.ok()
}

async fn ask_all(lab: &Lab) -> Vec<Said> {
    let mut said = Vec::new();
    for node in 0..lab.len() {
        said.extend(ask(lab, node).await);
    }
    said
}

/// What keeps `said` from being one tree of `nodes` that all know to be as many; no dead in it.
fn faults(lab: &Lab, said: &[Said]) -> Vec<String> {
    let nodes = said.len() as u64;
    let roots: BTreeSet<_> = said.iter().map(|it| it.root).collect();
    let mut faults = Vec::new();
    if roots.len() != 1 {
        faults.push(format!("{} roots", roots.len()));
    }
    for it in said {
        match &it.count {
            Some(count) if count.count == nodes && count.double_max == 0 => {}
            other => faults.push(format!("node {} counts {other:?}", it.node)),
        }
        let is_dead = |id: &&NodeId| !lab.index_of(**id).is_some_and(|node| lab.is_running(node));
        if let Some(dead) = it.rosters.iter().find(is_dead) {
            let dead = lab.index_of(*dead);
            faults.push(format!(
                "node {} has the dead {dead:?} in a roster",
                it.node
            ));
        }
    }
    faults
}

/// Waits until all running nodes are one tree and count each other; at most `limit` of virtual
/// time. Returns how long that took.
async fn one_tree(lab: &Lab, seed: u64, limit: Duration) -> Duration {
    let begin = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let faults = faults(lab, &ask_all(lab).await);
        if faults.is_empty() {
            return begin.elapsed();
        }
        assert!(
            begin.elapsed() < limit,
            "seed {seed}: after {limit:?} there is no tree of all: {faults:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn real_nodes_form_one_tree_count_each_other_and_miss_the_dead() {
    let seed = seed(41);
    let config = LabConfig::wide_area(40, Seed::new(seed)).unwrap();
    let mut lab = Lab::start(config).unwrap();
    let formed = one_tree(&lab, seed, Duration::from_secs(120)).await;
    eprintln!("formed after {formed:?}");
    for node in 0..8 {
        lab.kill(node * 5).await;
    }
    let missed = one_tree(&lab, seed, Duration::from_secs(60)).await;
    eprintln!("missed after {missed:?}");
}
