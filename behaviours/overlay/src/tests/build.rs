//! Trees that members build by themselves.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{NodeId, testing::test_seed};

use super::{OVERLAY, World, id};
use crate::{Command, Event};

#[test]
fn a_newcomer_is_attached_within_five_round_trips() {
    let mut world = World::new(test_seed(1), 2);
    world.join(0);
    world.join(1);
    let rtt = Duration::from_micros(world.rtt_us(id(0), id(1)).into());
    world.run_for(rtt * 5 + Duration::from_millis(10));
    let child = world.status(1).unwrap();
    assert_eq!(child.parent, Some(id(0)));
    assert_eq!(child.delay_us, world.rtt_us(id(0), id(1)));
    assert_eq!(world.status(0).unwrap().children[0].0, id(1));
}

#[test]
fn three_members_know_each_other_as_parent_child_and_path() {
    let mut world = World::new(test_seed(1), 3);
    world.cap = 1;
    world.join_all(Duration::from_millis(900));
    world.run_secs(10);
    let (middle, last) = if world.status(1).unwrap().path.len() == 1 {
        (1, 2)
    } else {
        (2, 1)
    };
    assert_eq!(world.status(last).unwrap().path, [id(middle), id(0)]);
    assert_eq!(world.status(middle).unwrap().children[0].0, id(last));
    assert_eq!(world.status(0).unwrap().sums.covered, 3);
}

#[test]
fn a_full_member_names_its_children_and_nobody_is_over_its_cap() {
    let mut world = World::new(test_seed(2), 30);
    world.cap = 2;
    world.join_all(Duration::from_secs(3));
    for _ in 0..60 {
        world.run_secs(1);
        let fullest = (0..30)
            .map(|i| world.status(i).unwrap().children.len())
            .max();
        assert!(fullest <= Some(2), "{fullest:?} children");
    }
    assert_eq!(world.attached(), 29);
}

#[test]
fn two_hundred_members_build_a_light_tree_within_the_bound() {
    let mut world = World::new(test_seed(1), 200);
    world.join_all(Duration::from_secs(2));
    for _ in 0..5 {
        world.run_secs(60);
        world.report("n=200");
    }
    assert_eq!(world.violators(), 0);
    let ratio = world.cost_to_last();
    assert!(ratio < 1.0, "cost is {ratio} of the central LAST");
    let sent = world.net.sent;
    world.run_secs(100);
    let per_tick = (world.net.sent - sent) as f64 / 200.0 / 20.0;
    println!("{per_tick:.1} messages per node and tick at rest");
    assert!(per_tick <= 12.0);
}

#[test]
fn three_hundred_members_are_within_the_bound_after_a_minute() {
    let mut world = World::new(test_seed(1), 300);
    world.join_all(Duration::from_secs(2));
    world.run_secs(8);
    assert_eq!(world.attached(), 299, "after ten seconds");
    world.report("n=300");
    world.run_secs(50);
    world.report("n=300");
    assert_eq!(world.violators(), 0);
}

#[test]
fn what_members_claim_is_what_the_matrix_says() {
    let mut world = World::new(test_seed(3), 60);
    world.join_all(Duration::from_secs(1));
    world.run_secs(200);
    let (matrix, tree) = world.tree();
    let delays = tree.delays_ms(&matrix);
    for (index, delay_ms) in delays.iter().enumerate().skip(1) {
        let claimed_ms = f64::from(world.status(index).unwrap().delay_us) / 1e3;
        assert!(
            (claimed_ms - delay_ms).abs() <= 0.011 * delay_ms,
            "{claimed_ms} {delay_ms}"
        );
    }
    let sums = world.status(0).unwrap().sums;
    assert_eq!((sums.covered, sums.attached, sums.violators), (60, 59, 0));
    let cost_ms = tree.cost(&matrix);
    assert!((sums.cost_us as f64 / 1e3 - cost_ms).abs() < 0.01 * cost_ms);
    assert!(f64::from(sums.rdp_max_milli) / 1e3 <= tree.rdp(&matrix).max + 0.02);
    assert!(sums.age_ms < 30_000, "{} ms old", sums.age_ms);
}

#[test]
fn the_last_edges_event_is_the_status() {
    let mut world = World::new(test_seed(4), 40);
    world.cap = 4;
    world.join_all(Duration::from_secs(1));
    world.run_secs(60);
    let mut told: BTreeMap<NodeId, _> = BTreeMap::new();
    for (_, node, event) in &world.net.events {
        if let Event::Edges {
            parent,
            children,
            path,
            ..
        } = event
        {
            told.insert(*node, (*parent, children.clone(), path.clone()));
        }
    }
    for index in 0..40 {
        let status = world.status(index).unwrap();
        let children = status.children.iter().map(|&(child, _)| child).collect();
        assert_eq!(told[&id(index)], (status.parent, children, status.path));
    }
}

#[test]
fn two_overlays_measure_a_pair_once() {
    let mut world = World::new(test_seed(5), 12);
    world.join_all(Duration::from_secs(1));
    world.run_secs(120);
    let one: u32 = world.probes.values().sum();
    for index in 0..12 {
        let join = Command::Join {
            id: 3,
            overlay: opus_core::OverlayId(OVERLAY.0 + 1),
            root: super::contact(0),
            alpha_milli: 1_500,
            cap: 12,
        };
        world.net.command(id(index), join);
    }
    world.run_secs(120);
    let both: u32 = world.probes.values().sum();
    let second = world.net.machine(id(5));
    assert_eq!(second.overlays().count(), 2);
    assert!(
        f64::from(both) <= 1.2 * f64::from(one),
        "{both} for two, {one} for one"
    );
}
