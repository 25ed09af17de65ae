//! Values up and down the tree: everyone's answers hold, whatever is lost and whoever dies.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use opus_core::{NodeId, Rng, Time, testing::LinkFault};
use rand::RngExt;

use super::world::World;
use crate::{
    Command, Event, Message, Refusal, Scope,
    aggregate::{Answer, Function, KeyError, KeyId, KeySpec, Sample, Value},
};

pub(super) const LOAD: KeyId = KeyId(1);
pub(super) const MARK: KeyId = KeyId(2);
const EXACT: KeyId = KeyId(3);

pub(super) fn load() -> KeySpec {
    KeySpec::new(Function::Mean, (0.0, 100.0), 0.5)
}

pub(super) fn mark() -> KeySpec {
    KeySpec::new(Function::Sum, (0.0, 100.0), 0.0).eager()
}

pub(super) fn set(world: &mut World, node: NodeId, key: KeyId, value: f64) {
    let sample = Sample::Number(value);
    world.net.command(node, Command::Set { id: 9, key, sample });
}

/// Values that walk, and all that they ever were.
pub(super) struct Walk {
    rng: Rng,
    values: BTreeMap<NodeId, f64>,
    /// Since when each node has which value.
    past: BTreeMap<NodeId, Vec<(Time, f64)>>,
}

impl Walk {
    pub(super) fn new(world: &World, rng: Rng) -> Self {
        let nodes = world.alive().into_iter();
        Self {
            rng,
            values: nodes.map(|node| (node, 50.0)).collect(),
            past: BTreeMap::new(),
        }
    }

    pub(super) fn step(&mut self, world: &mut World) {
        let now = world.net.now();
        for node in world.alive() {
            let value = self.values.get_mut(&node).unwrap();
            *value = (*value + self.rng.random_range(-1.0..1.0)).clamp(0.0, 100.0);
            // As all nodes see it.
            let seen = load().admit(*value).map(f64::from).unwrap();
            self.past.entry(node).or_default().push((now, seen));
            set(world, node, LOAD, *value);
        }
    }

    /// The least and the greatest value of a node since then.
    fn between(&self, node: NodeId, from: Time) -> (f64, f64) {
        let past = &self.past[&node];
        let before = past.partition_point(|(at, _)| *at <= from);
        let since = &past[before.saturating_sub(1)..];
        let fold = |(lo, hi): (f64, f64), (_, x): &(Time, f64)| (lo.min(*x), hi.max(*x));
        since.iter().fold((f64::MAX, f64::MIN), fold)
    }

    /// Whether the mean that is told holds for those `of` which it is.
    pub(super) fn assert_holds(&self, world: &World, answer: &Answer, of: &[NodeId]) {
        let start = world.net.now().since(Time::ZERO);
        let from = Time::ZERO + start.saturating_sub(answer.age);
        let n = of.len() as f64;
        let sums = of.iter().fold((0.0, 0.0), |(lo, hi), node| {
            let (least, most) = self.between(*node, from);
            (lo + least, hi + most)
        });
        assert!(
            answer.lo <= sums.1 / n && answer.hi >= sums.0 / n,
            "{answer:?} is not within {} and {}",
            sums.0 / n,
            sums.1 / n
        );
    }
}

pub(super) fn tree(nodes: u32, seed: u64) -> World {
    let mut world = World::new(nodes, 4, seed);
    world.start_all(Duration::from_millis(100));
    let (first, id) = (World::id(3), 7);
    for (key, spec) in [(LOAD, load()), (MARK, mark())] {
        world.net.command(first, Command::Spec { id, key, spec });
    }
    world
}

#[test]
fn every_node_knows_the_mean_within_its_bounds_though_words_are_lost() {
    let mut world = tree(60, 51);
    world.lose(0.03);
    let mut walk = Walk::new(&world, opus_core::Seed::new(51).rng());
    let mut widest = 0.0_f64;
    for second in 0..120 {
        walk.step(&mut world);
        world.run(1);
        if second < 80 {
            continue;
        }
        let everyone = world.alive();
        for &node in &everyone {
            let machine = world.net.machine(node);
            let members = machine.view(world.net.now(), KeyId::MEMBERS, Scope::Root);
            let members = members.expect("the count comes down");
            assert_eq!((members.lo, members.hi), (60.0, 60.0), "{members:?}");
            let answer = machine.view(world.net.now(), LOAD, Scope::Root);
            let answer = answer.expect("the mean comes down");
            assert_eq!((answer.count, answer.double_max), (60, 0), "{answer:?}");
            walk.assert_holds(&world, &answer, &everyone);
            widest = widest.max((answer.hi - answer.lo) / 2.0);
        }
    }
    assert!(widest <= 0.5 * 1.01, "half width {widest} of .5");
    assert!(widest > 0.1, "filters are in use: {widest}");
}

#[test]
fn a_cluster_tells_what_is_approximate_with_its_beats_and_what_is_exact_before() {
    for (key, before) in [(LOAD, false), (EXACT, true)] {
        let mut world = tree(60, 53);
        world.run(60);
        let spec = KeySpec::new(Function::Sum, (0.0, 1e6), 0.0);
        let (one, id) = (World::id(3), 7);
        world.net.command(
            one,
            Command::Spec {
                id,
                key: EXACT,
                spec,
            },
        );
        world.run(5);
        let beats = Rc::new(Cell::new(0));
        let noted = Rc::clone(&beats);
        world.net.set_fault(move |_, _, _, message: &Message| {
            let of_cluster = matches!(message, Message::Beat(beat) if beat.child.is_some());
            noted.set(noted.get() + u32::from(of_cluster));
            LinkFault::Deliver
        });
        let clusters = world
            .posts()
            .values()
            .filter(|(_, view)| view.level == 1)
            .count();
        for second in 0..20_u32 {
            for node in world.alive() {
                set(&mut world, node, key, f64::from(second * 5));
            }
            world.run(1);
        }
        let each = f64::from(beats.get()) / 20.0 / (clusters as f64 - 1.0);
        assert_eq!(
            each > 1.2,
            before,
            "{key:?}: {each} beats a second and cluster"
        );
    }
}

#[test]
fn an_eager_value_is_seen_by_all_at_once_and_its_withdrawal_too() {
    let mut world = tree(60, 52);
    world.run(60);
    let of = |world: &World, node: NodeId| {
        let answer = world
            .net
            .machine(node)
            .view(world.net.now(), MARK, Scope::Root);
        answer.map(|answer| answer.value)
    };
    for node in world.alive() {
        set(&mut world, node, MARK, 0.0);
    }
    world.run(3);
    let one = World::id(17);
    set(&mut world, one, MARK, 2.0);
    world.run_for(Duration::from_millis(700));
    for node in world.alive() {
        assert_eq!(of(&world, node), Some(Value::Number(2.0)), "{node:?}");
    }
    world.net.command(one, Command::Unset { id: 1, key: MARK });
    world.run_for(Duration::from_millis(700));
    for node in world.alive() {
        assert_eq!(of(&world, node), Some(Value::Number(0.0)), "{node:?}");
        let answer = world
            .net
            .machine(node)
            .view(world.net.now(), MARK, Scope::Root);
        assert_eq!(answer.unwrap().count, 59);
    }
}

#[test]
fn the_dead_are_missed_and_the_living_counted_whoever_dies() {
    let mut world = tree(60, 53);
    let mut walk = Walk::new(&world, opus_core::Seed::new(53).rng());
    // Long enough that no cluster has moved lately: what it counts for a while as missing, a new
    // root would inherit.
    for _ in 0..100 {
        walk.step(&mut world);
        world.run(1);
    }
    let root = world.root();
    let agents: Vec<NodeId> = world.posts().values().map(|(agent, _)| *agent).collect();
    let victim = *agents.iter().find(|agent| **agent != root).unwrap();
    let before = world.alive();
    world.crash(victim.index());
    world.crash(root.index());
    for second in 0..40 {
        walk.step(&mut world);
        world.run(1);
        let now = world.net.now();
        for node in world.alive() {
            let machine = world.net.machine(node);
            let Some(members) = machine.view(now, KeyId::MEMBERS, Scope::Root) else {
                continue;
            };
            // Whoever was alive throughout is counted, or named as missing.
            let counted = members.hi + members.missing_max as f64;
            assert!(counted >= 58.0, "after {second} s {node:?}: {members:?}");
            assert!(members.lo <= before.len() as f64, "{members:?}");
        }
    }
    world.assert_one_tree();
    for node in world.alive() {
        let machine = world.net.machine(node);
        let members = machine
            .view(world.net.now(), KeyId::MEMBERS, Scope::Root)
            .unwrap();
        assert_eq!((members.lo, members.hi), (58.0, 58.0), "{members:?}");
        // An agent that dies takes along what it remembered of others.
        assert!(members.missing_max <= 4, "{members:?}");
        let answer = machine.view(world.net.now(), LOAD, Scope::Root).unwrap();
        assert_eq!(answer.count, 58);
        walk.assert_holds(&world, &answer, &world.alive());
        let own = machine.view(world.net.now(), LOAD, Scope::Own).unwrap();
        assert!(own.hi - own.lo < 1e-6, "{own:?}");
        assert!(
            machine
                .view(world.net.now(), LOAD, Scope::Cluster)
                .is_some()
        );
    }
}

#[test]
fn each_side_of_a_cut_says_how_many_it_misses() {
    let mut world = tree(60, 55);
    world.run(60);
    world.cut(|id| id.index() % 5 < 2);
    for second in 0..60 {
        world.run(1);
        for node in world.alive() {
            let machine = world.net.machine(node);
            let members = machine.view(world.net.now(), KeyId::MEMBERS, Scope::Root);
            let Some(members) = members else {
                continue;
            };
            let known = members.count + members.missing_max;
            assert!(known >= 60, "after {second} s {node:?}: {members:?}");
        }
    }
    let of = |world: &World, index| {
        let machine = world.net.machine(World::id(index));
        let members = machine.view(world.net.now(), KeyId::MEMBERS, Scope::Root);
        members.map(|members| members.count)
    };
    for _ in 0..120 {
        if (of(&world, 0), of(&world, 4)) == (Some(24), Some(36)) {
            return;
        }
        world.run(1);
    }
    panic!("{:?} and {:?} of 24 and 36", of(&world, 0), of(&world, 4));
}

#[test]
fn commands_that_cannot_be_carried_out_are_refused_with_a_reason() {
    let mut world = tree(12, 54);
    world.run(30);
    let (mine, other) = (World::id(3), World::id(5));
    let narrow = KeySpec {
        range: (1.0, 1.0),
        ..load()
    };
    let spec = |key, spec| Command::Spec { id: 1, key, spec };
    let commands = [
        (
            mine,
            spec(LOAD, narrow),
            Refusal::Spec(KeyError::RangeNarrow),
        ),
        (mine, spec(KeyId::MEMBERS, load()), Refusal::BuiltIn),
        (other, spec(LOAD, load()), Refusal::Owned(mine)),
        (other, Command::Unset { id: 1, key: LOAD }, Refusal::NoValue),
        (
            other,
            Command::Set {
                id: 1,
                key: LOAD,
                sample: Sample::Number(f64::NAN),
            },
            Refusal::Sample,
        ),
    ];
    for (node, command, reason) in commands {
        let told = world.net.events.len();
        world.net.command(node, command.clone());
        let refused = Event::Refused { id: 1, reason };
        let events = &world.net.events[told..];
        assert!(
            events
                .iter()
                .any(|(_, at, event)| *at == node && *event == refused),
            "{command:?}: {events:?}"
        );
    }
    // Its owner may change it, and all hear of it.
    let wider = KeySpec {
        range: (0.0, 1_000.0),
        ..load()
    };
    world.net.command(mine, spec(LOAD, wider));
    world.run(2);
    for node in world.alive() {
        assert_eq!(world.net.machine(node).spec(LOAD), Some(&wider), "{node:?}");
    }
}
