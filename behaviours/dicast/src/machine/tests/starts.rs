//! The beginning and the end of a node in the tree, and what it learns of itself in between.

use std::time::Duration;

use opus_core::{Hint, NodeId};

use super::world::World;
use crate::{Command, Config, Dicast, Event, Scope, aggregate::KeyId, cluster::View};

#[test]
fn nodes_that_wait_for_each_other_form_one_tree() {
    for seed in 0..4 {
        let mut world = World::new(12, 4, 80 + seed);
        for index in 0..12 {
            world.start(index, &[(index + 1) % 12, (index + 5) % 12]);
        }
        world.run(20);
        world.assert_one_tree_within(60);
    }
}

/// Whether all that `machine` knows of `id` says that it may be dialled at `hint`.
fn knows_at(machine: &Dicast, id: NodeId, hint: &Hint) -> bool {
    let views = machine.posts().chain(machine.leaf().map(|(view, _)| view));
    let views: Vec<_> = views.collect();
    let seats = views.iter().flat_map(|view| view.roster.iter());
    let seats = seats.map(|(_, seat)| &seat.contact);
    let agents = views.iter().map(|view| &view.agent);
    let above = machine.path().iter().map(|ancestor| &ancestor.agent);
    let mut contacts = seats.chain(agents).chain(above);
    contacts.all(|contact| contact.id != id || contact.hint == *hint)
}

#[test]
fn a_new_address_reaches_all_who_know_the_node() {
    let mut world = World::new(40, 4, 90);
    world.start_all(Duration::from_millis(100));
    world.run(60);
    world.assert_one_tree();
    let root = world.root();
    let mut leaf = world.alive().into_iter();
    let leaf = leaf.rfind(|id| world.net.machine(*id).posts().next().is_none());
    for id in [root, leaf.unwrap()] {
        let hint = Hint([7, 7].into());
        world.net.command(id, Command::Hint(hint.clone()));
        world.run(12);
        world.assert_one_tree();
        let stale = world.alive().into_iter();
        let stale: Vec<NodeId> = stale
            .filter(|at| !knows_at(world.net.machine(*at), id, &hint))
            .collect();
        assert!(stale.is_empty(), "{stale:?} dial {id:?} at its old address");
    }
}

#[test]
fn who_is_alone_leaves_at_once() {
    let mut world = World::new(2, 4, 91);
    world.start(0, &[]);
    world.run(3);
    world.leave(0);
    let id = World::id(0);
    let left = |(_, at, event): &(_, NodeId, Event)| *at == id && *event == Event::Left;
    assert!(world.net.events.iter().any(left));
    assert!(world.net.machine(id).leaf().is_none());
}

#[test]
fn two_trees_whose_roots_do_not_fit_into_one_cluster_become_one() {
    let mut world = World::new(80, 16, 95);
    world.cut(|id| id.index() < 40);
    world.start(0, &[]);
    world.start(40, &[0]);
    world.run(8);
    for index in (1..40).chain(41..80) {
        let first = if index < 40 { 0 } else { 40 };
        world.start(index, &[first]);
        world.run_for(Duration::from_millis(100));
    }
    world.run(40);
    let roots = world.posts();
    let seats: Vec<usize> = roots.values().map(|(_, view)| view.roster.len()).collect();
    assert_eq!(seats, [40, 40]);
    world.heal();
    world.assert_one_tree_within(120);
}

/// Nodes that joined all at once before they knew where they stand: the delays to their own agents
/// and to the nearest ones, and the world.
fn flash(scouts_soon: u32) -> (World, (u64, u64)) {
    let config = Config {
        size_min: 4,
        scouts_soon,
        ..Config::default()
    };
    let mut world = World::with(80, config, 96);
    for index in 0..80 {
        world.start_lost(index, if index == 0 { &[] } else { &[0] });
    }
    world.run(10);
    for index in 0..80 {
        world.locate(index);
    }
    world.run(60);
    world.assert_one_tree_within(60);
    let nearness = world.nearness_us();
    (world, nearness)
}

#[test]
fn who_came_before_it_knew_where_it_stands_moves_to_a_nearer_cluster() {
    let (_, (still_us, _)) = flash(0);
    let (world, (own_us, nearest_us)) = flash(3);
    assert!(own_us * 10 < still_us * 9, "{own_us} of {still_us} us");
    assert!(own_us * 10 < nearest_us * 15, "{own_us}, {nearest_us} us");
    // Each is counted once, and nobody is missing who moved some time ago.
    for node in world.alive() {
        let machine = world.net.machine(node);
        let members = machine.view(world.net.now(), KeyId::MEMBERS, Scope::Root);
        let members = members.expect("it is in the tree");
        assert_eq!((members.count, members.double_max), (80, 0), "{members:?}");
    }
}

#[test]
fn a_post_goes_to_whoever_is_more_central() {
    let (world, _) = flash(3);
    let mean_us = |view: &View, id: NodeId| {
        let slot = view.roster.find(id).expect("it sits there");
        let here = view.roster.get(slot).unwrap().place;
        let seats = view.roster.iter();
        let us = seats.map(|(_, seat)| u64::from(seat.place.estimate_us(here)));
        us.sum::<u64>() / view.roster.len() as u64
    };
    let mut given = 0;
    for (agent, view) in world.posts().values().filter(|(_, view)| view.level == 1) {
        if world.net.machine(*agent).posts[&1].given {
            // It holds the post for long, wherever members go meanwhile.
            given += 1;
            continue;
        }
        let first = view
            .deputies
            .0
            .first()
            .and_then(|slot| view.roster.get(*slot));
        let first = first.expect("it has members").id();
        let (ours, theirs) = (mean_us(view, *agent), mean_us(view, first));
        assert!(
            theirs * 100 > ours * 80,
            "{agent:?} at {ours} us, {first:?} at {theirs} us"
        );
    }
    assert!((1..6).contains(&given), "{given} posts were given away");
}
