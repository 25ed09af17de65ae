//! What a node knows of those near it: each member of its cluster, and each cluster beside its own
//! and beside those above.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use opus_core::{NodeId, testing::LinkFault};

use super::{
    values::{LOAD, MARK, Walk, load, set, tree},
    world::World,
};
use crate::{
    Command, Message, Scope,
    aggregate::{Answer, KeyId, Value},
    cluster::{ClusterRef, View},
};

/// The nodes below a cluster.
fn below(posts: &BTreeMap<ClusterRef, (NodeId, View)>, cluster: ClusterRef) -> Vec<NodeId> {
    let view = &posts[&cluster].1;
    let seats = view.roster.iter().map(|(_, seat)| seat);
    let nodes = seats.map(|seat| match seat.child() {
        None => vec![seat.id()],
        Some(child) => below(posts, child),
    });
    nodes.collect::<Vec<_>>().concat()
}

/// Those who sit at `slot` beside the cluster of `level` that `node` is in, or beside itself.
fn beside(world: &World, node: NodeId, (level, slot): (u8, u8)) -> Vec<NodeId> {
    let posts = world.posts();
    let machine = world.net.machine(node);
    let (leaf, _) = machine.leaf().unwrap();
    let above = machine.path().iter().map(|ancestor| ancestor.cluster);
    let clusters: Vec<_> = std::iter::once(leaf.cluster).chain(above).collect();
    let view = &posts[&clusters[usize::from(level)]].1;
    let seat = view.roster.get(slot).expect("somebody sits there");
    match seat.child() {
        None => vec![seat.id()],
        Some(child) => below(&posts, child),
    }
}

fn siblings(world: &World, node: NodeId, key: KeyId) -> BTreeMap<(u8, u8), Answer> {
    let machine = world.net.machine(node);
    machine.siblings(world.net.now(), key).into_iter().collect()
}

#[test]
fn every_node_knows_each_member_of_its_cluster_and_each_cluster_beside() {
    let mut world = tree(90, 61);
    world.lose(0.03);
    let mut walk = Walk::new(&world, opus_core::Seed::new(61).rng());
    let (mut members, mut clusters, mut oldest) = (0, 0, Duration::ZERO);
    for second in 0..130 {
        walk.step(&mut world);
        world.run(1);
        if second < 110 || second % 4 != 0 {
            continue;
        }
        for node in world.alive() {
            let (leaf, _) = world.net.machine(node).leaf().unwrap();
            let (known, all) = (siblings(&world, node, LOAD), leaf.roster.len());
            let of_members = known.keys().filter(|(level, _)| *level == 0).count();
            assert!(of_members + 1 >= all, "{of_members} of {all} at {second} s");
            members += of_members;
            clusters += known.len() - of_members;
            for (whose, answer) in known {
                let nodes = beside(&world, node, whose);
                assert_eq!(answer.count, nodes.len() as u64, "{whose:?} {answer:?}");
                walk.assert_holds(&world, &answer, &nodes);
                let scope = Scope::Sibling {
                    level: whose.0,
                    slot: whose.1,
                };
                let asked = world.net.machine(node).view(world.net.now(), LOAD, scope);
                assert_eq!(asked, Some(answer.clone()));
                if whose.0 == 0 {
                    oldest = oldest.max(answer.age);
                    assert!(answer.hi - answer.lo <= 0.05, "{answer:?}");
                } else {
                    let Value::Number(mean) = answer.value else {
                        panic!("{answer:?}");
                    };
                    let half = (answer.hi - answer.lo) / 2.0;
                    assert!(half <= mean * 0.05 + 1.0, "{answer:?}");
                }
            }
        }
    }
    // Ninety nodes in clusters of 4 to 11 have several clusters of level 1 in one, mostly.
    assert!(members > 500 && clusters > 500, "{members}, {clusters}");
    assert!(oldest < Duration::from_secs(22), "{oldest:?}");
}

#[test]
fn a_cluster_that_died_is_no_longer_told_of_and_who_left_has_no_value() {
    let mut world = tree(90, 62);
    for node in world.alive() {
        set(&mut world, node, MARK, 1.0);
    }
    world.run(80);
    let posts = world.posts();
    let agents = posts.values().filter(|(_, view)| view.level == 1);
    let victim = agents.map(|(_, view)| view.cluster).next().unwrap();
    let dead = below(&posts, victim);
    let others: Vec<NodeId> = world.alive();
    let others = others.into_iter().filter(|node| !dead.contains(node));
    let others: Vec<NodeId> = others.collect();
    let counted = |world: &World| {
        let known = others.iter().map(|node| siblings(world, *node, MARK));
        let known = known.map(|it| it.into_iter().filter(|((level, _), _)| *level == 1));
        known.map(Iterator::count).sum::<usize>()
    };
    let before = counted(&world);
    assert!(before > 0);
    for node in &dead {
        let index = (0..90).find(|index| World::id(*index) == *node).unwrap();
        world.crash(index);
    }
    world.run(60);
    assert!(counted(&world) > 0, "the others are still told of");
    for node in &others {
        for (whose, answer) in siblings(&world, *node, MARK) {
            let nodes = beside(&world, *node, whose);
            assert_eq!(answer.count, nodes.len() as u64, "{whose:?} {answer:?}");
            assert!(nodes.iter().all(|node| !dead.contains(node)), "{whose:?}");
        }
    }
}

/// While a key changes, and with it what each node has, nobody believes of a member what it never
/// had.
#[test]
fn a_key_that_changes_again_and_again_mixes_up_no_values() {
    let mut world = tree(24, 63);
    let owner = World::id(3);
    let everyone = world.alive();
    let value = |node: NodeId, series: u64| {
        let index = everyone.iter().position(|it| *it == node).unwrap();
        // Steps that differ by the node and from one series to the next.
        let step = (index % 5 + 1) as f64 * 1.375;
        (index as f64).mul_add(3.0, (series * series) as f64 * step)
    };
    world.run(50);
    world.lose(0.1);
    let mut told = 0;
    let mut last = 0;
    for second in 0..80_u64 {
        // Twice within a roll, then a while of calm.
        let series = 2 * (second / 12) + u64::from(second % 12 >= 2);
        if series != last {
            let mut spec = load();
            spec.range.1 = 2_000.0 + series as f64;
            world.net.command(
                owner,
                Command::Spec {
                    id: 7,
                    key: LOAD,
                    spec,
                },
            );
            last = series;
        }
        for &node in &everyone {
            set(&mut world, node, LOAD, value(node, series));
        }
        world.run(1);
        for &node in &everyone {
            let known = siblings(&world, node, LOAD);
            for (whose, answer) in known.into_iter().filter(|((level, _), _)| *level == 0) {
                let whom = beside(&world, node, whose)[0];
                let had = (0..=series).any(|it| {
                    let x = value(whom, it);
                    answer.lo <= x && x <= answer.hi
                });
                assert!(
                    had,
                    "at {second} s {node:?} believes of {whom:?} {answer:?}"
                );
                told += 1;
            }
        }
    }
    assert!(told > 2_000, "{told}");
}

/// However often somebody changes a key, the table is told once a heartbeat.
#[test]
fn a_storm_of_versions_is_told_on_once_a_heartbeat() {
    let mut world = tree(12, 64);
    world.run(40);
    let (owner, tables) = (World::id(3), Rc::new(Cell::new(0_u32)));
    let counted = Rc::clone(&tables);
    world.net.set_fault(move |_, _, _, message: &Message| {
        counted.set(counted.get() + u32::from(matches!(message, Message::Specs(_))));
        LinkFault::Deliver
    });
    for step in 0..200_u32 {
        let mut spec = load();
        spec.range.1 = 100.0 + f64::from(step);
        world.net.command(
            owner,
            Command::Spec {
                id: 7,
                key: LOAD,
                spec,
            },
        );
        world.run_for(Duration::from_millis(20));
    }
    world.run(5);
    let pairs = 12 * 3;
    assert!(tables.get() < 6 * pairs, "{}", tables.get());
    let known = |node| world.net.machine(node).spec(LOAD).map(|spec| spec.range.1);
    assert!(
        world
            .alive()
            .into_iter()
            .all(|node| known(node) == Some(299.0))
    );
}
