//! To whom an agent of level 1 gives its post, and that posts come to rest.

use std::{collections::BTreeSet, f64::consts::TAU, time::Duration};

use opus_core::{NodeId, Rng, Seed, seed::test_seed};
use rand::RngExt;

use super::world::World;
use crate::{
    Command, Config,
    cluster::{ClusterRef, Seat},
};

/// Round a middle, at so many microseconds from it, and one in the middle.
fn ring(middle: (i32, i32), radius_us: f64, around: u32) -> impl Iterator<Item = (i32, i32)> {
    let on_it = move |at: u32| {
        let angle = TAU * f64::from(at) / f64::from(around);
        #[expect(clippy::cast_possible_truncation, reason = "less than a second")]
        let along = |share: f64| libm::round(radius_us * share) as i32;
        (
            middle.0 + along(libm::cos(angle)),
            middle.1 + along(libm::sin(angle)),
        )
    };
    std::iter::once(middle).chain((0..around).map(on_it))
}

/// Clusters of at least four, whose posts may be given on a minute after they were given.
fn config() -> Config {
    Config {
        size_min: 4,
        scout: Duration::from_secs(60),
        ..Config::default()
    }
}

fn names(world: &World) -> BTreeSet<ClusterRef> {
    world.posts().into_keys().collect()
}

/// The seconds at which a cluster was under a name or epoch that it never had: each post that
/// changes hands does that. `each`: what happens at each second.
fn changes(world: &mut World, seconds: u64, mut each: impl FnMut(&mut World, u64)) -> Vec<u64> {
    let mut known = names(world);
    let mut at = Vec::new();
    for second in 0..seconds {
        each(world, second);
        world.run(1);
        let before = known.len();
        known.extend(names(world));
        at.extend((known.len() > before).then_some(second));
    }
    world.assert_one_tree();
    at
}

/// One cluster round its agent, node 0.
fn cluster(places: Vec<(i32, i32)>) -> World {
    let mut world = World::at(places, config(), 7);
    world.start_all(Duration::from_millis(100));
    world.run(5);
    assert_eq!(world.root(), World::id(0));
    world
}

#[test]
fn coordinates_that_drift_move_no_post() {
    // Two in the middle. Where each stands is known to within half a radius.
    let places: Vec<_> = ring((40_000, 40_000), 40_000.0, 8).collect();
    let places: Vec<_> = places[..1].iter().chain(&places).copied().collect();
    let mut world = cluster(places.clone());
    let mut rng = Seed::new(test_seed(1)).rng();
    let wrong = |place: (i32, i32), rng: &mut Rng| {
        let mut err = |us: i32| us + rng.random_range(-16_000..16_000);
        (err(place.0), err(place.1))
    };
    let moved = changes(&mut world, 180, |world, second| {
        if second % 4 == 0 {
            for (index, &place) in (0..).zip(&places) {
                world.place(index, wrong(place, &mut rng));
            }
        }
    });
    assert!(moved.is_empty(), "at {moved:?} s");
}

#[test]
fn on_a_local_net_a_post_stays_where_it_is() {
    // The agent is farther off than all others by more than their heights, and by less than 1 ms.
    let others = std::iter::repeat_n((40_000, 40_000), 9);
    let mut world = cluster(std::iter::once((40_900, 40_000)).chain(others).collect());
    let moved = changes(&mut world, 60, |_, _| {});
    assert!(moved.is_empty(), "at {moved:?} s");
}

#[test]
fn a_post_that_was_given_to_a_better_one_stays_there_for_the_time_of_a_look() {
    let places: Vec<_> = ring((40_000, 40_000), 20_000.0, 8).collect();
    let mut world = cluster(places.clone());
    // Whoever holds the post is taken to be far off, and its deputies are not.
    let moved = changes(&mut world, 200, |world, _| {
        let agent = world.root();
        for (index, &place) in (0..).zip(&places) {
            let off = World::id(index) == agent;
            world.place(index, if off { (200_000, 200_000) } else { place });
        }
    });
    let pauses: Vec<u64> = moved.windows(2).map(|at| at[1] - at[0]).collect();
    assert!(pauses.len() >= 2, "given at {moved:?} s");
    let least = config().scout.as_secs();
    assert!(
        pauses.iter().all(|&pause| pause >= least),
        "given at {moved:?} s"
    );
}

/// Two clusters. Node 0, at the top, stands in the middle of one whose post it has given away.
fn two_clusters() -> (World, NodeId) {
    let one = ring((20_000, 20_000), 20_000.0, 7);
    let other = ring((200_000, 20_000), 20_000.0, 7);
    let mut world = World::at(one.chain(other).collect(), config(), 8);
    world.start_all(Duration::from_millis(100));
    world.run(40);
    world.assert_one_tree();
    assert_eq!(world.root(), World::id(0));
    let leaf = world.net.machine(World::id(0)).leaf();
    let (view, _) = leaf.expect("it is in the tree");
    assert_eq!((view.level, view.roster.len()), (1, 8));
    assert_ne!(view.agent.id, World::id(0));
    let agent = view.agent.id;
    (world, agent)
}

#[test]
fn the_agent_at_the_top_is_not_given_the_post_of_its_own_cluster() {
    let (mut world, _) = two_clusters();
    let moved = changes(&mut world, 150, |_, _| {});
    assert!(moved.is_empty(), "at {moved:?} s");
}

#[test]
fn nor_if_nobody_else_could_have_it() {
    let (mut world, agent) = two_clusters();
    for index in 1..8 {
        let id = World::id(index);
        if id != agent {
            world.net.command(id, Command::Reachable(false));
        }
    }
    world.run(3);
    let view = world.net.machine(agent).posts().next().cloned();
    let view = view.expect("it holds the post");
    let deputies = view.deputies.0.iter();
    let deputies: Vec<_> = deputies
        .filter_map(|&slot| view.roster.get(slot))
        .map(Seat::id)
        .collect();
    assert_eq!(deputies, [World::id(0)]);
    let moved = changes(&mut world, 150, |_, _| {});
    assert!(moved.is_empty(), "at {moved:?} s");
}
