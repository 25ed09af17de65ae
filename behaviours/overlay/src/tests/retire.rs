//! Nodes that our node suspects, or knows to be dead.

use std::time::Duration;

use opus_core::testing::{LinkFault, test_seed};

use super::{OVERLAY, World, id};
use crate::Command;

/// A tree at rest in which everybody has heard of everybody.
fn settled(seed: u64, nodes: usize) -> World {
    let mut world = World::new(test_seed(seed), nodes);
    world.cap = 4;
    world.join_all(Duration::from_secs(1));
    world.run_secs(60);
    world
}

/// A node that is not the root and has children, and one of these.
fn edge(world: &World) -> (usize, usize) {
    let parents = world.parents();
    let below = |(&child, parent): (&usize, &Option<usize>)| Some(((*parent)?, child));
    let mut edges = parents.iter().filter_map(below);
    edges
        .find(|&(parent, _)| parent != 0)
        .expect("a tree of depth two")
}

/// Two nodes without an edge, neither of them the root, the first of which knows the second.
fn strangers(world: &World) -> (usize, usize) {
    let parents = world.parents();
    let pairs = parents
        .keys()
        .flat_map(|&a| parents.keys().map(move |&b| (a, b)));
    let mut apart = pairs.filter(|&(a, b)| {
        let edge = parents[&a] == Some(b) || parents[&b] == Some(a);
        let knows = world.net.machine(id(a)).knows(OVERLAY, id(b));
        a != b && a != 0 && b != 0 && !edge && knows
    });
    apart.next().expect("views are wider than edges")
}

/// From here on nothing that `from` says reaches `to`; everybody if there is no `to`.
fn mute(world: &mut World, from: usize, to: Option<usize>) {
    world.net.set_fault(move |_, sender, receiver, _| {
        if sender == id(from) && to.is_none_or(|to| receiver == id(to)) {
            LinkFault::Lose
        } else {
            LinkFault::Deliver
        }
    });
}

#[test]
fn a_retired_parent_is_left_at_once_and_another_is_found_within_two_seconds() {
    let mut world = settled(21, 30);
    let (parent, child) = edge(&world);
    mute(&mut world, parent, None);
    world.net.command(id(child), Command::Retire(id(parent)));
    assert_eq!(world.status(child).unwrap().parent, None);
    assert!(!world.net.machine(id(child)).knows(OVERLAY, id(parent)));
    world.run_secs(2);
    let found = world.status(child).unwrap().parent;
    assert!(found.is_some_and(|found| found != id(parent)), "{found:?}");
}

#[test]
fn a_retired_child_frees_its_slot_at_once() {
    let mut world = settled(22, 30);
    let (parent, child) = edge(&world);
    let retire = Command::Retire(id(child));
    world.net.command(id(parent), retire);
    let children = world.status(parent).unwrap().children;
    assert!(children.iter().all(|&(node, _)| node != id(child)));
}

#[test]
fn a_retired_node_that_lives_finds_its_place_again() {
    let mut world = settled(23, 30);
    let (parent, child) = edge(&world);
    world.net.command(id(parent), Command::Retire(id(child)));
    world.net.command(id(child), Command::Retire(id(parent)));
    world.run_secs(10);
    assert_eq!(world.attached(), 29);
}

#[test]
fn a_suspect_that_the_tree_hangs_on_keeps_its_edge() {
    let mut world = settled(24, 30);
    let (parent, child) = edge(&world);
    for (at, suspect) in [(child, parent), (parent, child), (child, 0)] {
        world.net.command(id(at), Command::Suspect(id(suspect)));
    }
    assert_eq!(world.status(child).unwrap().parent, Some(id(parent)));
    let children = world.status(parent).unwrap().children;
    assert!(children.iter().any(|&(node, _)| node == id(child)));
}

#[test]
fn a_suspected_stranger_leaves_the_views_until_it_speaks_itself() {
    let mut world = settled(25, 12);
    let (observer, suspect) = strangers(&world);
    let knows = |world: &World| {
        let machine = world.net.machine(id(observer));
        machine.knows(OVERLAY, id(suspect))
    };
    mute(&mut world, suspect, Some(observer));
    let command = Command::Suspect(id(suspect));
    world.net.command(id(observer), command);
    assert!(!knows(&world));
    for _ in 0..40 {
        world.run_secs(1);
        assert!(!knows(&world), "others still name it, in vain");
    }
    world.net.set_fault(|_, _, _, _| LinkFault::Deliver);
    let mut waited = 0;
    while !knows(&world) {
        world.run_secs(1);
        waited += 1;
        assert!(waited < 60, "it gossips with everybody in turn");
    }
}
