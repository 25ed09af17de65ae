//! Real nodes form one tree, count each other, and miss who dies.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{NodeId, Seed};
use opus_dicast::{
    Scope,
    aggregate::{Answer, KeyId},
};
use opus_ipc::message::{DicastView, KeyName, Scope as Part};
use opus_lab::{Lab, LabConfig};
use opus_node::runtime::Core;

use crate::common::{client, seed};

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
    one_tree(&lab, seed, Duration::from_secs(120)).await;
    for node in 0..8 {
        lab.kill(node * 5).await;
    }
    one_tree(&lab, seed, Duration::from_secs(60)).await;
    // Of those that are left, the agent of the whole tree: its posts go to others.
    let agent = agent_at_the_top(&lab).await;
    let handle = lab.handle(agent).unwrap().clone();
    handle.ask(Core::drain).await.unwrap();
    while !handle.ask(|core| core.has_left()).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    lab.kill(agent).await;
    one_tree(&lab, seed, Duration::from_secs(60)).await;
}

async fn agent_at_the_top(lab: &Lab) -> usize {
    for node in 0..lab.len() {
        let Some(handle) = lab.handle(node) else {
            continue;
        };
        let root = handle.ask(|core| core.dicast().root()).await.unwrap();
        if let Some(node) = root.and_then(|root| lab.index_of(root.agent.id)) {
            return node;
        }
    }
    panic!("no node knows a tree");
}

#[tokio::test(start_paused = true)]
async fn what_sites_tell_of_themselves_comes_together_at_every_node() {
    let seed = seed(42);
    let config = LabConfig::wide_area(20, Seed::new(seed)).unwrap();
    let lab = Lab::start(config).unwrap();
    one_tree(&lab, seed, Duration::from_secs(120)).await;
    for node in [0, 7, 19] {
        let client = client(&lab, node).await;
        let slots = |scope| DicastView {
            key: Some(KeyName::Name("slots.offered".to_owned())),
            scope: Some(scope),
            ..DicastView::default()
        };
        let own = loop {
            let own = client.call(&slots(Part::Own)).await;
            match own {
                Ok(own) => break own.answer.v,
                Err(error) if error.fault().is_some_and(|fault| fault.retry_ms.is_some()) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let mut patience = 60;
        let whole = loop {
            let whole = client.call(&slots(Part::Root)).await;
            if let Ok(whole) = whole
                && whole.answer.count == 20
            {
                break whole.answer;
            }
            assert!(
                patience > 0,
                "seed {seed}: the sites are not all in the sum"
            );
            patience -= 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        assert!(own > 0.0 && whole.hard, "seed {seed}: {whole:?}");
        let truth = own * 20.0;
        assert!(
            (whole.lo..=whole.hi).contains(&truth) && whole.hi - whole.lo < 1.0,
            "seed {seed}: {truth} is not in {whole:?}"
        );
    }
}
