//! Parts of a tree that come off and come back: nobody is counted twice, and nobody is missed for
//! long who is there.

use std::time::Duration;

use opus_core::{NodeId, Seed, seed::test_seed, testing::Wake};
use rand::seq::IndexedRandom;

use super::world::World;
use crate::{Scope, aggregate::KeyId};

const NODES: u32 = 60;

fn tree(seed: u64) -> World {
    let mut world = World::new(NODES, 4, seed);
    world.start_all(Duration::from_millis(100));
    world.run(40);
    world
}

/// The greatest count that anybody is told as certain, and the most that anybody is told to miss.
fn told(world: &World) -> (f64, u64) {
    let now = world.net.now();
    let machines = world.alive().into_iter().map(|id| world.net.machine(id));
    let answers = machines.filter_map(|it| it.view(now, KeyId::MEMBERS, Scope::Root));
    answers.fold((0.0, 0), |(count, missing), answer| {
        (count.max(answer.lo), missing.max(answer.missing_max))
    })
}

fn agents(world: &World) -> Vec<NodeId> {
    let posts = world.posts();
    posts.values().map(|(agent, _)| *agent).collect()
}

#[test]
fn trees_that_came_apart_while_agents_stalled_count_nobody_twice() {
    for seed in 0..6 {
        let mut world = tree(80 + seed);
        let mut rng = Seed::new(test_seed(seed)).rng();
        for round in 0..8 {
            let mut stalled = vec![world.root()];
            let others = agents(&world);
            stalled.extend(others.sample(&mut rng, others.len() / 3));
            for node in stalled {
                world
                    .net
                    .stall(node, Duration::from_secs(5), Wake::TimersFirst);
            }
            for _ in 0..60 {
                world.run_for(Duration::from_millis(250));
                let (count, _) = told(&world);
                assert!(count <= f64::from(NODES), "{seed}, {round}: {count}");
            }
        }
        world.assert_one_tree_within(60);
    }
}

#[test]
fn a_tree_that_has_formed_misses_nobody() {
    for seed in 0..6 {
        let mut world = tree(90 + seed);
        world.run(30);
        world.assert_one_tree();
        let (count, missing) = told(&world);
        assert!(count >= f64::from(NODES), "{seed}: {count}");
        assert_eq!(missing, 0, "{seed}");
    }
}

#[test]
fn a_part_that_was_cut_off_and_grows_by_a_level_remembers_the_whole() {
    let (old, few) = (40, 6);
    let mut world = World::new(NODES, 4, 100);
    for index in 0..old {
        world.start(index, if index == 0 { &[] } else { &[0] });
        world.run_for(Duration::from_millis(100));
    }
    world.run(40);
    world.cut(move |id| id.index() < few || id.index() >= old);
    world.run(30);
    for index in old..NODES {
        world.start(index, &[0]);
        world.run(1);
        let now = world.net.now();
        for id in (0..few).map(World::id) {
            let machine = world.net.machine(id);
            let Some(answer) = machine.view(now, KeyId::MEMBERS, Scope::Root) else {
                continue;
            };
            let whole = answer.count + answer.missing_max;
            assert!(whole >= u64::from(old), "{index}: {answer:?}");
        }
    }
}
