//! Partitions, holds and crashes, and that links do not disturb each other.

use opus_model::Matrix;

use super::*;
use crate::{conditions::Loss, fault::CUTS_MAX, shape::SHAPES_MAX};

fn network(nodes: usize, conditions: Conditions) -> Network {
    let matrix = Matrix::from_fn(nodes, |u, v| (10 * (u + v)) as f64).unwrap();
    Network::new(Topology::from(matrix), conditions, Seed::new(4)).unwrap()
}

fn open(network: &mut Network, from: usize, to: usize) -> bool {
    let open = network.is_open(from, to);
    let delivered = matches!(network.send(Time::ZERO, from, to, 1), Fate::Deliver(_));
    assert_eq!(open, delivered);
    open
}

#[test]
fn a_frame_takes_half_the_round_trip() {
    let mut network = network(4, Conditions::default());
    let arrives = Time::from_secs(1) + Duration::from_millis(20);
    assert_eq!(
        network.send(Time::from_secs(1), 1, 3, 500),
        Fate::Deliver(arrives)
    );
    assert_eq!(
        network.counts(),
        Counts {
            sent: 1,
            bytes: 500,
            ..Counts::default()
        }
    );
}

#[test]
fn a_partition_cuts_both_ways_and_only_across() {
    let mut network = network(4, Conditions::default());
    let cut = network.partition(&[0, 1], Effect::Drop).unwrap();
    for (from, to, expected) in [(0, 1, true), (2, 3, true), (0, 2, false), (3, 1, false)] {
        assert_eq!(open(&mut network, from, to), expected, "{from} to {to}");
    }
    assert_eq!(network.counts().cut, 2);
    assert!(network.repair(cut));
    assert!(!network.repair(cut));
    assert!(open(&mut network, 0, 2));
}

#[test]
fn a_one_way_cut_leaves_the_way_back_open() {
    let mut network = network(4, Conditions::default());
    network.cut_one_way(&[0, 1], &[2], Effect::Drop).unwrap();
    assert!(!open(&mut network, 0, 2));
    assert!(open(&mut network, 2, 0));
    assert!(open(&mut network, 1, 3));
    network.repair_all();
    assert!(open(&mut network, 0, 2));
}

#[test]
fn a_cut_between_two_sets_leaves_third_nodes_alone() {
    let mut network = network(4, Conditions::default());
    network.cut(&[0], &[1], Effect::Drop).unwrap();
    assert!(!open(&mut network, 0, 1) && !open(&mut network, 1, 0));
    assert!(open(&mut network, 0, 2) && open(&mut network, 3, 1));
}

#[test]
fn a_held_frame_is_sent_again_after_the_release() {
    let mut network = network(3, Conditions::default());
    let hold = network.partition(&[2], Effect::Hold).unwrap();
    assert_eq!(network.send(Time::ZERO, 0, 2, 1), Fate::Held);
    assert_eq!(network.send_in_order(Time::ZERO, 2, 1, 1), Fate::Held);
    assert_eq!(network.counts().sent, 0);
    // A partition on top: the frame is lost, not held.
    let drop = network.partition(&[2], Effect::Drop).unwrap();
    assert_eq!(network.send(Time::ZERO, 0, 2, 1), Fate::Lost);
    network.repair(drop);
    network.repair(hold);
    assert!(matches!(
        network.send(Time::from_secs(9), 0, 2, 1),
        Fate::Deliver(_)
    ));
}

#[test]
fn a_stream_waits_for_the_end_of_a_partition_but_breaks_with_its_node() {
    let mut network = network(3, Conditions::default());
    let cut = network.partition(&[2], Effect::Drop).unwrap();
    assert_eq!(network.send_in_order(Time::ZERO, 0, 2, 1), Fate::Held);
    network.repair(cut);
    assert!(matches!(
        network.send_in_order(Time::ZERO, 0, 2, 1),
        Fate::Deliver(_)
    ));
    network.crash(0);
    assert_eq!(network.send_in_order(Time::ZERO, 0, 2, 1), Fate::Lost);
}

#[test]
fn a_crashed_node_neither_sends_nor_receives_until_its_next_incarnation() {
    let mut network = network(3, Conditions::default());
    assert!(network.crash(1) && !network.crash(1));
    assert!(!open(&mut network, 1, 0) && !open(&mut network, 0, 1));
    assert!(open(&mut network, 0, 2));
    assert_eq!(network.incarnation(1), 0);
    assert!(network.restart(1) && !network.restart(1));
    assert_eq!(network.incarnation(1), 1);
    assert!(open(&mut network, 1, 0));
}

#[test]
fn a_crashed_node_is_not_held() {
    let mut network = network(3, Conditions::default());
    network.partition(&[1], Effect::Hold).unwrap();
    network.crash(1);
    assert_eq!(network.send(Time::ZERO, 0, 1, 1), Fate::Lost);
}

#[test]
fn bad_faults_are_refused() {
    let mut network = network(3, Conditions::default());
    let unknown = FaultError::NoSuchNode { node: 3, nodes: 3 };
    assert_eq!(network.partition(&[0, 3], Effect::Drop), Err(unknown));
    for _ in 0..CUTS_MAX {
        network.partition(&[0], Effect::Drop).unwrap();
    }
    assert_eq!(
        network.partition(&[0], Effect::Drop),
        Err(FaultError::TooManyCuts)
    );
}

const ROUGH: Conditions = Conditions {
    jitter: 0.5,
    loss: Loss::Bernoulli { rate: 0.3 },
    duplicate: 0.1,
    reorder: 0.0,
    bytes_per_s: Some(1_000_000),
    queue_bytes: 10_000,
};

#[test]
fn a_frame_more_on_one_link_changes_nothing_on_another() {
    let of = |others: usize| {
        let mut network = network(4, ROUGH);
        let mut fates = Vec::new();
        for frame in 0..200 {
            let now = Time::from_millis(frame);
            for _ in 0..others {
                network.send(now, 1, 0, 100);
                network.send(now, 2, 3, 100);
            }
            fates.push(network.send(now, 0, 1, 100));
        }
        fates
    };
    assert_eq!(of(0), of(3));
}

#[test]
fn forgetting_quiet_links_bounds_the_memory_and_repeats_no_draw() {
    let mut network = network(40, ROUGH);
    network.links_max = 100;
    let mut first = Vec::new();
    for to in 1..40 {
        first.push(network.send(Time::ZERO, 0, to, 1));
    }
    let later = Time::from_secs(1);
    for to in (0..40).filter(|&to| to != 1) {
        network.send(later, 1, to, 1);
    }
    network.links_max = 78;
    // All 78 links have been idle for an hour: one more makes room.
    let end = Time::from_secs(3_600);
    network.send(end, 2, 3, 1);
    assert_eq!(network.links.len(), 1);
    let lost = |fates: &[Fate]| {
        fates
            .iter()
            .map(|fate| *fate == Fate::Lost)
            .collect::<Vec<_>>()
    };
    let again: Vec<Fate> = (1..40).map(|to| network.send(end, 0, to, 1)).collect();
    assert_ne!(lost(&first), lost(&again));
}

#[test]
fn counts_add_up() {
    let mut network = network(4, ROUGH);
    let mut arrived = 0;
    for frame in 0..1_000 {
        match network.send(Time::from_millis(frame), 0, 1, 100) {
            Fate::Deliver(_) => arrived += 1,
            Fate::Twice(..) => arrived += 2,
            Fate::Lost | Fate::Held => {}
        }
    }
    let counts = network.counts();
    assert_eq!(counts.sent - counts.lost + counts.doubled, arrived);
    assert!(counts.lost > 200 && counts.doubled > 30, "{counts:?}");
}

#[test]
fn a_stream_keeps_its_order_when_conditions_change() {
    let slow = Conditions {
        bytes_per_s: Some(1_000),
        ..Conditions::default()
    };
    let mut network = network(3, slow);
    let Fate::Deliver(first) = network.send_in_order(Time::ZERO, 0, 1, 5_000) else {
        panic!("nothing is cut");
    };
    assert_eq!(network.backlog_bytes(Time::from_secs(1), 0, 1), 4_000);
    network.set_conditions(Conditions::default()).unwrap();
    assert_eq!(
        network.send_in_order(Time::from_secs(1), 0, 1, 1),
        Fate::Deliver(first)
    );
}

#[test]
fn a_shaped_link_has_its_own_conditions_and_delay_and_others_do_not() {
    let mut network = network(4, Conditions::default());
    let all_lost = Conditions {
        loss: Loss::Bernoulli { rate: 1.0 },
        ..Conditions::default()
    };
    let shape = Shape {
        conditions: all_lost,
        ..Shape::default()
    };
    let lossy = network.shape(&[0], &[1, 2], shape).unwrap();
    assert_eq!(network.send(Time::ZERO, 0, 1, 1), Fate::Lost);
    for (from, to) in [(1, 0), (0, 3), (2, 1)] {
        assert!(open(&mut network, from, to), "{from} to {to}");
    }
    // A newer one covers it; it goes both ways.
    let far = Shape {
        delay: Duration::from_millis(100),
        both_ways: true,
        ..Shape::default()
    };
    let far = network.shape(&[0], &[1], far).unwrap();
    for (from, to) in [(0, 1), (1, 0)] {
        let arrives = Time::from_millis(105);
        assert_eq!(
            network.send(Time::ZERO, from, to, 1),
            Fate::Deliver(arrives)
        );
    }
    assert!(network.unshape(far) && !network.unshape(far));
    assert_eq!(network.send(Time::ZERO, 0, 1, 1), Fate::Lost);
    assert!(network.unshape(lossy));
    assert!(open(&mut network, 0, 1));
}

#[test]
fn one_narrow_link_queues_alone() {
    let mut network = network(3, Conditions::default());
    let shape = Shape {
        conditions: Conditions {
            bytes_per_s: Some(1_000),
            queue_bytes: 1_500,
            ..Conditions::default()
        },
        ..Shape::default()
    };
    network.shape(&[0], &[1], shape).unwrap();
    let fates = [1_000; 3].map(|bytes| network.send(Time::ZERO, 0, 1, bytes));
    // 5 ms of way after one second of sending; the second would wait behind 1,000 bytes.
    assert_eq!(fates[0], Fate::Deliver(Time::from_millis(1_005)));
    assert_eq!(fates[1..], [Fate::Lost, Fate::Lost]);
    assert_eq!(network.backlog_bytes(Time::ZERO, 0, 1), 1_000);
    assert_eq!(network.backlog_bytes(Time::ZERO, 1, 0), 0);
    let arrives = Time::from_millis(10);
    assert_eq!(
        network.send(Time::ZERO, 0, 2, 1_000),
        Fate::Deliver(arrives)
    );
}

#[test]
fn bad_shapes_are_refused() {
    let mut network = network(3, Conditions::default());
    let unknown = FaultError::NoSuchNode { node: 3, nodes: 3 };
    let refused = network.shape(&[0], &[3], Shape::default());
    assert_eq!(refused, Err(ShapeError::Nodes(unknown)));
    let shape = Shape {
        conditions: Conditions {
            jitter: -1.0,
            ..Conditions::default()
        },
        ..Shape::default()
    };
    let refused = network.shape(&[0], &[1], shape);
    assert!(matches!(refused, Err(ShapeError::Conditions(_))));
    for _ in 0..SHAPES_MAX {
        network.shape(&[0], &[1], Shape::default()).unwrap();
    }
    let refused = network.shape(&[0], &[1], Shape::default());
    assert_eq!(refused, Err(ShapeError::TooMany));
}
