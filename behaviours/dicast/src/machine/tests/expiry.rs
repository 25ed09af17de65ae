//! Keys that nobody uses are gone after a while, at every node, and can come back.

use std::time::Duration;

use super::{
    values::{mark, set},
    world::World,
};
use crate::{
    Command, Config, Scope,
    aggregate::{KeyId, Value},
};

const KEY: KeyId = KeyId(70);
/// Well known: it stays.
const KNOWN: KeyId = KeyId(5);

fn define(world: &mut World, index: u32, key: KeyId) {
    let (id, spec) = (1, mark());
    world
        .net
        .command(World::id(index), Command::Spec { id, key, spec });
}

/// How many nodes know the key.
fn knowing(world: &World, key: KeyId) -> usize {
    let nodes = world.alive().into_iter();
    let knows = nodes.filter(|node| world.net.machine(*node).spec(key).is_some());
    knows.count()
}

#[test]
fn a_key_that_nobody_has_a_value_of_expires_everywhere_and_comes_back_when_it_is_defined() {
    let config = Config {
        size_min: 4,
        key_unused: Duration::from_secs(30),
        ..Config::default()
    };
    let mut world = World::with(40, config, 71);
    world.start_all(Duration::from_millis(100));
    world.run(40);
    define(&mut world, 3, KEY);
    define(&mut world, 3, KNOWN);
    let one = World::id(9);
    set(&mut world, one, KEY, 2.0);
    world.run(45);
    assert_eq!((knowing(&world, KEY), knowing(&world, KNOWN)), (40, 40));
    // The last value goes, and it is not forgotten at once.
    world.net.command(one, Command::Unset { id: 2, key: KEY });
    world.run(20);
    assert_eq!(knowing(&world, KEY), 40);
    world.run(20);
    assert_eq!((knowing(&world, KEY), knowing(&world, KNOWN)), (0, 40));
    // Another may define it now.
    define(&mut world, 12, KEY);
    set(&mut world, one, KEY, 3.0);
    world.run(10);
    assert_eq!(knowing(&world, KEY), 40);
    for node in world.alive() {
        let machine = world.net.machine(node);
        let answer = machine.view(world.net.now(), KEY, Scope::Root);
        let told = answer.map(|answer| (answer.count, answer.value));
        assert_eq!(told, Some((1, Value::Number(3.0))));
    }
}
