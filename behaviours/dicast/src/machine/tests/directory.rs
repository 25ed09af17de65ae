//! The directory: when it is asked and told, and what becomes of what it says.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{Contact, Hint, Input, Machine, NodeId, Output, Seed, Time, testing::contract};

use super::world::World;
use crate::{Command, Config, Dicast, Event, Message, Name};

/// A directory that answers at once, and of which all is known that was asked and told.
#[derive(Default)]
pub(super) struct Directory {
    records: BTreeMap<Name, Vec<Contact>>,
    seen: usize,
    /// Who asked when.
    wanted: Vec<(Time, NodeId)>,
    /// Who published when.
    published: Vec<(Time, NodeId)>,
}

impl Directory {
    /// Runs the world for so long.
    pub(super) fn run(&mut self, world: &mut World, seconds: u64) {
        for _ in 0..seconds * 2 {
            world.run_for(Duration::from_millis(500));
            while let Some((at, node, event)) = world.net.events.get(self.seen).cloned() {
                self.seen += 1;
                if let Event::Publish { name, contacts } = event {
                    assert!((1..=4).contains(&contacts.len()));
                    self.published.push((at, node));
                    self.records.insert(name, contacts);
                } else if let Event::Want(name) = event {
                    self.wanted.push((at, node));
                    let contacts = self.records.get(&name).cloned().unwrap_or_default();
                    world.net.command(node, found(Some(name), contacts));
                }
            }
        }
    }
}

fn found(name: Option<Name>, contacts: Vec<Contact>) -> Command {
    Command::Found {
        id: 3,
        name,
        contacts,
    }
}

/// The times between events of one node, the least.
fn least_apart(events: &[(Time, NodeId)]) -> Option<Duration> {
    let mut last = BTreeMap::new();
    let pauses = events.iter().filter_map(|&(at, node)| {
        let before = last.insert(node, at)?;
        Some(at.since(before))
    });
    pauses.min()
}

#[test]
fn who_finds_nobody_asks_the_directory_but_not_all_the_time() {
    let mut world = World::new(3, 4, 400);
    // The others never start.
    world.start(0, &[1, 2]);
    let mut directory = Directory::default();
    directory.run(&mut world, 120);
    let first = directory.wanted.first().expect("it asks").0;
    let joined = |it: &&(Time, NodeId, Event)| matches!(it.2, Event::Joined(_));
    let founded = world.net.events.iter().find(joined).expect("it goes on").0;
    assert!(first < founded, "asked at {first:?}, alone at {founded:?}");
    let apart = least_apart(&directory.wanted).expect("it asks again");
    assert!(apart >= world.config.want_apart, "{apart:?}");
}

#[test]
fn the_root_alone_publishes_soon_and_then_each_five_minutes() {
    let mut world = World::new(20, 4, 401);
    world.start_all(Duration::from_millis(100));
    let mut directory = Directory::default();
    directory.run(&mut world, 60);
    world.assert_one_tree();
    let (root, formed) = (world.root(), world.net.now());
    assert!(!directory.published.is_empty(), "soon");
    directory.run(&mut world, 1_500);
    assert_eq!(world.root(), root);
    let late = directory.published.iter().filter(|(at, _)| *at > formed);
    let late: Vec<_> = late.copied().collect();
    assert!(late.iter().all(|(_, node)| *node == root), "{late:?}");
    // At pauses of 20, 40, 80, 160 and then 300 s, give or take a quarter.
    assert!((4..=12).contains(&late.len()), "{late:?}");
    let apart = least_apart(&late[4..]).expect("it goes on");
    assert!(apart >= world.config.publish.mul_f64(0.7), "{late:?}");
    // It publishes who sits in its cluster, itself first.
    let posts = &directory.records[&Name::Root];
    assert_eq!(posts[0].id, root);
}

#[test]
fn trees_that_know_nobody_of_each_other_become_one_through_the_directory() {
    let mut world = World::new(60, 4, 402);
    for first in [0, 20, 40] {
        world.start(first, &[]);
    }
    for index in (1..20).chain(21..40).chain(41..60) {
        world.run_for(Duration::from_millis(100));
        world.start(index, &[index / 20 * 20]);
    }
    world.run(4);
    let mut directory = Directory::default();
    directory.run(&mut world, 90);
    world.assert_one_tree_within(30);
}

#[test]
fn nodes_without_any_seed_that_lives_form_one_tree_through_the_directory() {
    for seed in 0..3 {
        // The last never starts, and is the seed of all others.
        let mut world = World::new(41, 4, 410 + seed);
        let mut directory = Directory::default();
        for index in 0..40 {
            world.start(index, &[40]);
            directory.run(&mut world, 1);
        }
        world.crashed.push(World::id(40));
        directory.run(&mut world, 120);
        world.assert_one_tree();
    }
}

#[test]
fn who_knows_only_the_silent_is_a_tree_of_its_own_at_last() {
    let mut world = World::new(10, 4, 430);
    // A round of asking them takes longer than the pause between two questions to the directory.
    world.start(0, &[1, 2, 3, 4, 5, 6, 7, 8]);
    world.run(60);
    assert_eq!(world.root(), World::id(0));
}

#[test]
fn what_the_directory_names_is_asked_before_what_was_known() {
    let mut world = World::new(3, 4, 420);
    world.start(2, &[]);
    world.start(0, &[1]);
    world.run(3);
    let contact = Contact::bare(World::id(2));
    let wanted = |it: &(Time, NodeId, Event)| it.2 == Event::Want(Name::Root);
    assert!(world.net.events.iter().any(wanted));
    world
        .net
        .command(World::id(0), found(Some(Name::Root), vec![contact]));
    world.run(2);
    world.crashed.push(World::id(1));
    world.assert_one_tree();
}

fn alone(seeds: Vec<Contact>) -> (Dicast, Time) {
    let me = Contact::bare(NodeId::from_index(0));
    let mut machine = Dicast::new(Config::default(), me, 1, Seed::new(5).rng());
    let now = Time::from_secs(1);
    let start = Command::Start { id: 1, seeds };
    machine.handle(now, Input::Command(start));
    while machine.poll_output().is_some() {}
    (machine, now)
}

/// As many contacts as a program may name, some of them nonsense.
fn many() -> Vec<Contact> {
    let contact = |index: u32| Contact {
        id: NodeId::from_index(index % 1_000),
        hint: Hint(vec![7; if index.is_multiple_of(3) { 5_000 } else { 8 }].into()),
    };
    (0..5_000).map(contact).collect()
}

#[test]
fn an_answer_without_end_is_cut_and_what_is_too_long_in_it_is_left_out() {
    for name in [None, Some(Name::Root)] {
        for seeds in [Vec::new(), vec![Contact::bare(NodeId::from_index(9))]] {
            let (mut machine, mut now) = alone(seeds);
            for _ in 0..50 {
                machine.handle(now, Input::Command(found(name, many())));
                let outputs: Vec<_> = std::iter::from_fn(|| machine.poll_output()).collect();
                assert!(outputs.len() <= 20, "{} outputs", outputs.len());
                let to_us: Output<Message, Event> = Output::Dial(machine.id());
                assert!(!outputs.contains(&to_us));
                assert!(machine.seeds.len() <= machine.config.seeds_max);
                let kept = machine.seeds.iter();
                let long = kept.filter(|it| it.check().is_err()).count();
                assert_eq!(long, 0);
                now = now + Duration::from_secs(1);
                contract::timeout(&mut machine, now);
            }
        }
    }
}
