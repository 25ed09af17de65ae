//! Machines among each other, in virtual time.

mod audit;
mod beheaded;
mod directory;
mod expiry;
mod health;
mod hostile;
mod labels;
mod neighbours;
mod orphans;
mod overlap;
mod posts;
mod schedules;
mod scouts;
mod starts;
mod values;
mod world;

use std::time::Duration;

pub(super) use self::audit::Lie;
use self::world::World;

#[test]
fn nodes_form_one_tree_within_bounds() {
    let mut world = World::new(60, 4, 1);
    world.start_all(Duration::from_millis(100));
    world.run(60);
    world.assert_one_tree();
    world.assert_sizes();
}

#[test]
fn a_lost_agent_is_replaced_by_a_deputy_under_the_next_epoch() {
    let mut world = World::new(40, 4, 2);
    world.start_all(Duration::from_millis(100));
    world.run(60);
    world.assert_one_tree();
    let root = world.root();
    let posts = world.posts();
    let (agent, view) = posts
        .values()
        .find(|(agent, view)| view.level == 1 && *agent != root)
        .unwrap();
    world.crash(agent.index());
    world.run(6);
    let (successor, after) = world.posts()[&view.cluster.next()].clone();
    assert_ne!(successor, *agent);
    assert_eq!(after.cluster, view.cluster.next());
    world.run(10);
    world.assert_one_tree();
}

#[test]
fn a_lost_root_is_replaced() {
    for seed in 0..4 {
        let mut world = World::new(60, 4, seed);
        world.start_all(Duration::from_millis(100));
        world.run(60);
        world.assert_one_tree();
        let root = world.root();
        world.crash(root.index());
        world.run(30);
        world.assert_one_tree();
    }
}

#[test]
fn a_fifth_of_all_nodes_may_die_at_once() {
    for seed in 0..4 {
        let mut world = World::new(150, 4, 10 + seed);
        world.start_all(Duration::from_millis(50));
        world.run(60);
        world.assert_one_tree();
        for index in 0..30 {
            world.crash(index * 5);
        }
        world.assert_one_tree_within(120);
    }
}

#[test]
fn a_lossy_network_forms_one_tree_and_expels_nobody() {
    for seed in 0..4 {
        let mut world = World::new(100, 4, 30 + seed);
        world.lose(0.05);
        world.start_all(Duration::from_millis(100));
        world.run(60);
        world.assert_one_tree_within(30);
    }
}

#[test]
fn a_cut_leaves_two_trees_that_become_one() {
    for seed in 0..4 {
        let mut world = World::new(80, 4, 50 + seed);
        world.start_all(Duration::from_millis(100));
        world.run(60);
        world.assert_one_tree();
        world.cut(|id| id.index() % 5 < 2);
        world.run(60);
        world.heal();
        world.run(30);
        world.assert_one_tree_within(120);
    }
}

#[test]
fn who_leaves_hands_over_and_is_missed_by_nobody() {
    let mut world = World::new(40, 4, 70);
    world.start_all(Duration::from_millis(100));
    world.run(60);
    let root = world.root();
    world.leave(root.index());
    world.run(15);
    world.assert_one_tree();
}
