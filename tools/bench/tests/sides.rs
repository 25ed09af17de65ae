//! Each side with 30 nodes through both workloads: what has to be known is known, the figures are
//! those of the same run, and the comparison points where it has to.

use opus_bench::{
    dicast::Dicast,
    drive::{Plan, Telling, mean, members},
    figures::{Mean, Members},
    gossip::Gossip,
    swim::{Numbers, Settings, Swim},
    world::World,
};

const NODES: usize = 30;

const PLAN: Plan = Plan {
    settle_s: 35,
    steady_s: 10,
    drift_s: 5,
    crash_s: 90,
};

fn world(seed: u64) -> World {
    World::new(NODES, seed).expect("30 are lawful")
}

fn dicast(world: &World) -> (Mean, Members) {
    (
        mean(&mut Dicast::new(world, true), world, PLAN, Telling::EACH),
        members(&mut Dicast::new(world, false), world, PLAN),
    )
}

fn foca(world: &World) -> (Mean, Members) {
    let fresh = || Swim::new(world, Settings::Lan, Numbers::Along);
    (
        mean(&mut fresh(), world, PLAN, Telling::REPEATED),
        members(&mut fresh(), world, PLAN),
    )
}

fn knows(side: &str, (mean, members): &(Mean, Members)) {
    assert!(mean.walk.within > 0.95, "{side}: {mean:?}");
    assert!(mean.lists > 0.9, "{side}: {mean:?}");
    assert!(mean.bytes.mean > 10.0, "{side}: {mean:?}");
    assert!(mean.bytes.worst >= mean.bytes.mean, "{side}: {mean:?}");
    assert!(members.known_all_s.is_some(), "{side}: {members:?}");
    assert!(members.known_99_s <= members.known_all_s, "{side}");
    assert_eq!(members.wronged, 0, "{side}: {members:?}");
}

#[test]
fn dicast_holds_the_mean_and_learns_of_a_crash() {
    knows("dicast", &dicast(&world(1)));
}

#[test]
fn foca_holds_the_mean_and_learns_of_a_crash_at_many_times_the_bytes_for_the_mean() {
    let (ours, theirs) = (dicast(&world(1)), foca(&world(1)));
    knows("foca", &theirs);
    let ratio = theirs.0.bytes.mean / ours.0.bytes.mean;
    assert!(ratio > 5.0, "W1: {ratio}");
    let ratio = theirs.1.bytes.mean / ours.1.bytes.mean;
    assert!((0.2..20.0).contains(&ratio), "W2, its home ground: {ratio}");
}

#[test]
fn foca_that_sends_all_values_holds_each_of_them() {
    let world = world(2);
    let mut side = Swim::new(&world, Settings::Lan, Numbers::All);
    let exact = mean(&mut side, &world, PLAN, Telling::EACH);
    assert!(exact.lag_s_p99.is_some_and(|lag| lag <= 3), "{exact:?}");
    assert!(exact.walk.within > 0.99, "{exact:?}");
}

#[test]
fn chitchat_holds_the_mean_and_every_value_and_learns_of_a_crash() {
    // Fewer: unoptimised, the compression of each message takes most of the time of all tests.
    let world = World::new(12, 1).expect("12 are lawful");
    let fresh = || Gossip::new(&world).expect("a runtime without sockets");
    let figures = (
        mean(&mut fresh(), &world, PLAN, Telling::EACH),
        members(&mut fresh(), &world, PLAN),
    );
    knows("chitchat", &figures);
    assert!(figures.0.lag_s_p99.is_some_and(|lag| lag <= 5));
}

#[test]
fn equal_seeds_give_equal_figures_of_dicast_and_foca_and_others_do_not() {
    let text = |seed| {
        let world = world(seed);
        format!("{:?} {:?}", dicast(&world), foca(&world))
    };
    assert_eq!(text(3), text(3));
    assert_ne!(text(3), text(4));
}
