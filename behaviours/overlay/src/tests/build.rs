//! Trees that members build by themselves.

use std::time::Duration;

use opus_core::testing::test_seed;

use super::{World, id};

#[test]
fn two_members_are_attached_within_a_few_round_trips() {
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
fn two_hundred_members_build_a_light_tree_within_the_bound() {
    let mut world = World::new(test_seed(1), 200);
    world.join_all(Duration::from_secs(2));
    for step in 0..40 {
        world.run_secs(10);
        if step < 10 {
            world.report("n=200");
        }
    }
    world.report("n=200");
    assert_eq!(world.violators(), 0);
    assert!(world.cost_to_last() < 1.15);
    assert!(world.looped().is_none());
}

#[test]
fn three_hundred_members_are_within_the_bound_after_a_minute() {
    let mut world = World::new(test_seed(1), 300);
    world.join_all(Duration::from_secs(2));
    for _ in 0..12 {
        world.run_secs(5);
        world.report("n=300");
    }
    assert_eq!(world.violators(), 0);
}
