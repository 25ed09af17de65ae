//! What programs see: every frame once and in order, whatever happens to the tree.

use super::*;

fn everybody_gets_everything(nodes: u32) {
    let mut world = World::settled(nodes, 1);
    let sinks = nodes as usize - 1;
    assert_eq!(world.joined().len(), sinks);
    world.publish(500);
    world.run(5);
    let (sent, delivered) = (world.sequences(), world.delivered());
    assert_eq!(sent.len(), 500);
    assert_eq!(delivered.len(), sinks);
    for (at, got) in delivered {
        assert_eq!(got, sent, "{at:?}");
    }
}

#[test]
fn three_nodes_get_every_frame_once_and_in_order() {
    everybody_gets_everything(3);
}

#[test]
fn thirty_nodes_get_every_frame_once_and_in_order() {
    everybody_gets_everything(30);
}

#[test]
fn a_dead_inner_node_costs_the_others_no_frame() {
    let mut world = World::settled(30, 2);
    world.publish(300);
    let dead = world.inner_node();
    world.net.crash(node(dead));
    world.publish(300);
    world.run(40);
    let sent = world.sequences();
    for (at, got) in world.delivered() {
        if at != node(dead) {
            assert_eq!(got, sent, "{at:?}");
        }
    }
    assert!(!world.joined().contains(&node(dead)));
    assert_eq!(world.joined().len(), 28);
}

#[test]
fn an_inner_node_that_detaches_hands_its_children_over() {
    let mut world = World::settled(30, 3);
    world.publish(300);
    let leaver = world.inner_node();
    world.site(leaver, Command::Detach { att: 1 });
    world.publish(300);
    world.run(10);
    let sent = world.sequences();
    for (at, got) in world.delivered() {
        if at != node(leaver) {
            assert_eq!(got, sent, "{at:?}");
        }
    }
    assert_eq!(world.joined().len(), 28);
}

#[test]
fn a_late_sink_gets_every_frame_sent_since_it_joined() {
    let mut world = World::new(12, 4);
    world.start_source();
    world.run(2);
    for at in 1..11 {
        world.attach(at, Role::Sink);
    }
    world.run(10);
    world.publish(200);
    world.attach(11, Role::Sink);
    while !world.joined().contains(&node(11)) {
        world.publish(10);
    }
    let due = world.sequences().len();
    world.publish(200);
    world.run(5);
    let sent = world.sequences();
    let got = &world.delivered()[&node(11)];
    assert!(got.len() >= sent.len() - due);
    assert_eq!(got[..], sent[sent.len() - got.len()..]);
}

#[test]
fn a_source_that_restarts_finds_its_sinks_again() {
    let mut world = World::settled(12, 5);
    world.publish(100);
    world.run(5);
    world.restart(0, 10);
    world.run(2);
    world.start_source();
    world.run(15);
    assert_eq!(world.joined().len(), 11);
    world.publish(100);
    world.run(5);
    let sent = world.sequences();
    assert_eq!(sent[100] >> 40, 2);
    for (at, got) in world.delivered() {
        assert_eq!(got, sent, "{at:?}");
    }
}

#[test]
fn a_source_may_move_to_another_node_and_the_sinks_follow() {
    let mut world = World::settled(12, 6);
    world.publish(50);
    world.site(0, Command::Detach { att: 1 });
    world.run(1);
    world.site(5, Command::Detach { att: 1 });
    world.source = 5;
    world.attach(5, Role::Source);
    world.run(20);
    assert_eq!(world.joined().len(), 10);
    world.publish(50);
    world.run(5);
    let sent = world.sequences();
    for (at, got) in world.delivered() {
        let due = if at == node(5) {
            &sent[..50]
        } else {
            &sent[..]
        };
        assert_eq!(got, due, "{at:?}");
    }
}

#[test]
fn sinks_outlast_a_source_that_stays_away_for_longer_than_the_drain() {
    let mut world = World::settled(8, 9);
    world.publish(20);
    world.site(0, Command::Detach { att: 1 });
    world.run(30);
    assert_eq!(
        world
            .net
            .machine(node(3))
            .peer
            .site()
            .state(world.overlay)
            .text(),
        "waiting for a source"
    );
    world.attach(0, Role::Source);
    world.run(15);
    assert_eq!(world.joined().len(), 7);
    world.publish(20);
    world.run(5);
    let sent = world.sequences();
    assert!(
        sent.windows(2).all(|pair| pair[0] < pair[1]),
        "no sequence goes back"
    );
    for (at, got) in world.delivered() {
        assert_eq!(got, sent, "{at:?}");
    }
}

#[test]
fn a_timed_application_delivers_in_time_and_in_order() {
    let mut world = World::new(12, 10);
    world.reliability = 0.99;
    world.start_source();
    world.run(2);
    for at in 1..12 {
        world.attach(at, Role::Sink);
    }
    world.run(20);
    world.publish(200);
    world.run(2);
    let sent = world.sequences();
    assert_eq!(world.delivered().len(), 11);
    for (at, got) in world.delivered() {
        assert_eq!(got, sent, "{at:?}");
    }
}

#[test]
fn an_inner_node_killed_and_restarted_resumes_without_gap_or_copy() {
    let mut world = World::settled(8, 11);
    world.publish(100);
    let victim = world.inner_node();
    world.restart(victim, 1);
    world.publish(100);
    let last = *world.delivered()[&node(victim)].last().unwrap();
    world.attach_resuming(victim, Role::Sink, Some((node(0), last)));
    world.publish(300);
    world.run(10);
    let sent = world.sequences();
    for (at, got) in world.delivered() {
        assert_eq!(got, sent, "{at:?}");
    }
}

#[test]
fn whoever_lives_gets_every_frame_while_others_come_and_go() {
    let mut world = World::settled(16, 8);
    for round in 0..6 {
        let victim = 10 + round;
        world.publish(50);
        world.restart(victim, 1);
        world.publish(50);
        world.run(1);
        world.attach(victim, Role::Sink);
    }
    world.run(20);
    assert_eq!(world.joined().len(), 15);
    let sent = world.sequences();
    for (at, got) in world.delivered() {
        if at.index() < 10 {
            assert_eq!(got, sent, "{at:?}");
        }
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let trace = |seed| {
        let mut world = World::settled(8, seed);
        world.publish(20);
        world.run(2);
        (world.net.sent, format!("{:?}", world.net.events))
    };
    assert_eq!(trace(7), trace(7));
}

/// A node whose parent is the root, and which has children.
fn child_of_the_root(world: &World) -> u32 {
    let edges = |at| world.net.machine(node(at)).peer.site().edges(world.overlay);
    let (_, children) = edges(0).expect("the root is in the overlay");
    let inner = children.iter().map(NodeId::index);
    let mut inner = inner.filter(|&at| edges(at).is_some_and(|(_, below)| !below.is_empty()));
    inner.next().expect("a tree has depth")
}

#[test]
fn a_silent_node_that_its_cell_misses_is_out_of_tree_and_list_in_five_seconds() {
    let mut world = World::settled(30, 12);
    let silent = child_of_the_root(&world);
    world
        .net
        .stall(node(silent), Duration::from_secs(60), Wake::InputsFirst);
    for at in (0..30).filter(|&at| at != silent) {
        world.site(at, Command::Cell(CellNews::Gone(node(silent))));
    }
    world.run(5);
    assert!(!world.joined().contains(&node(silent)));
    for at in (0..30).filter(|&at| at != silent) {
        let site = world.net.machine(node(at)).peer.site();
        let (parent, children) = site.edges(world.overlay).unwrap();
        assert!(parent != Some(node(silent)) && !children.contains(&node(silent)));
    }
}

#[test]
fn nodes_that_only_left_the_cell_keep_their_places_and_frames() {
    let mut world = World::settled(30, 13);
    let left = child_of_the_root(&world);
    let edges = |world: &World| {
        let site = world.net.machine(node(left)).peer.site();
        let (parent, children) = site.edges(world.overlay).unwrap();
        (parent, children.to_vec())
    };
    let before = edges(&world);
    for at in (0..30).filter(|&at| at != left) {
        world.site(at, Command::Cell(CellNews::Gone(node(left))));
        world.site(left, Command::Cell(CellNews::Gone(node(at))));
    }
    world.publish(300);
    world.run(5);
    assert_eq!(edges(&world), before);
    assert_eq!(world.joined().len(), 29);
    let sent = world.sequences();
    for (at, got) in world.delivered() {
        assert_eq!(got, sent, "{at:?}");
    }
}
