//! A cluster whose agent and deputies all die at once, and silently: who is left claims the post.

use std::time::Duration;

use opus_core::{Contact, Input};

use super::{
    values::{MARK, mark, set},
    world::World,
};
use crate::{
    Command, Config, Message, Scope,
    aggregate::KeyId,
    cluster::{ClusterRef, View},
    wire::Takeover,
};

/// A tree whose members hear their agents each second, and one of its clusters of level 1, not the
/// root's own, whose agent and deputies have just died.
fn behead(config: Config, seed: u64) -> (World, View) {
    let mut world = World::with(90, config, seed);
    world.start_all(Duration::from_millis(100));
    world.run(60);
    world.assert_one_tree();
    let (key, spec) = (MARK, mark());
    let spec = Command::Spec { id: 7, key, spec };
    world.net.command(World::id(3), spec);
    for second in 0..10 {
        for node in world.alive() {
            set(&mut world, node, MARK, f64::from(second));
        }
        world.run(1);
    }
    let root = world.root();
    let posts = world.posts();
    let apart = |agent, view: &View| agent != root && view.roster.find(root).is_none();
    let (agent, view) = posts
        .values()
        .find(|(agent, view)| view.level == 1 && apart(*agent, view))
        .unwrap();
    let deputies = view.deputies.0.iter();
    let deputies = deputies.map(|slot| view.roster.get(*slot).unwrap().id());
    let dead: Vec<_> = deputies.chain([*agent]).collect();
    world.mute(&dead);
    (world, view.clone())
}

fn config() -> Config {
    Config {
        size_min: 8,
        ..Config::default()
    }
}

#[test]
fn it_keeps_its_name_for_its_parent_waits() {
    for seed in 0..4 {
        let (mut world, view) = behead(config(), 80 + seed);
        world.run(8);
        assert!(world.posts().contains_key(&view.cluster.next()), "{seed}");
        world.assert_one_tree_within(20);
    }
}

#[test]
fn it_is_in_the_tree_again_soon_if_its_parent_gave_it_up() {
    for seed in 0..4 {
        let config = Config {
            cluster_silence: Duration::from_secs(4),
            ..config()
        };
        let (mut world, view) = behead(config, 80 + seed);
        world.run(5);
        let seats = |parent: &View| parent.roster.find_child(view.cluster).is_some();
        assert!(!world.posts().values().any(|(_, parent)| seats(parent)));
        world.run(4);
        // The dead keep their seats for longer, under whomever.
        let mut faults = world.faults();
        faults.retain(|fault| !fault.contains("is empty"));
        assert_eq!(faults, Vec::<String>::new(), "{seed}");
    }
}

#[test]
fn an_heir_who_loses_its_parent_at_once_knows_how_large_the_whole_was() {
    for seed in 0..4 {
        let mut world = World::with(90, config(), 90 + seed);
        world.start_all(Duration::from_millis(100));
        world.run(60);
        world.assert_one_tree();
        let root = world.root();
        let posts = world.posts();
        let below = |agent, view: &View| view.level == 1 && agent != root;
        let (agent, view) = posts
            .values()
            .find(|(agent, view)| below(*agent, view))
            .unwrap();
        let (parent, _) = world.net.machine(*agent).seat_above(1).unwrap();
        let (tag, above) = (parent.cluster.tag(), parent.agent.id);
        world.mute(&[*agent]);
        let heir = loop {
            world.run_for(Duration::from_millis(5));
            if let Some((heir, _)) = world.posts().get(&view.cluster.next()) {
                break *heir;
            }
        };
        let whole = |world: &World| {
            let machine = world.net.machine(heir);
            let told = machine.view(world.net.now(), KeyId::MEMBERS, Scope::Root);
            told.map(|told| told.count + told.missing_max)
        };
        let before = whole(&world).unwrap();
        // Its members, itself among them, hear of their cluster alone.
        world.mute(&[above]);
        world.run(1);
        let message = Message::Stranger(tag);
        let from = above;
        world.net.input(heir, Input::Received { from, message });
        let members = view.roster.iter().map(|(_, seat)| seat.id());
        let members: Vec<_> = members.filter(|id| *id != *agent).collect();
        world.cut(move |id| members.contains(&id));
        let told = (0..120).find_map(|_| {
            world.run(1);
            whole(&world)
        });
        let told = told.unwrap();
        // As many as it knew of, and perhaps some twice.
        assert!(
            (90..before + 10).contains(&told),
            "{seed}: {told}, {before} before"
        );
    }
}

#[test]
fn whose_cluster_was_merged_is_no_deputy_by_the_roster_of_the_old_one() {
    let mut world = World::new(40, 4, 97);
    world.start_all(Duration::from_millis(100));
    world.run(60);
    world.assert_one_tree();
    let posts = world.posts();
    let below = |view: &View| view.level == 1 && !view.deputies.0.is_empty();
    let mut merged = posts.values().filter(|(_, view)| below(view));
    let ((from, view), (into, _)) = (merged.next().unwrap(), merged.next().unwrap());
    let seat = view.roster.get(view.deputies.0[0]).unwrap();
    let takeover = Takeover {
        old: view.cluster,
        cluster: ClusterRef { id: 7, epoch: 7 },
        agent: Contact::bare(*into),
        slot: 30,
    };
    let (from, message) = (*from, Message::Takeover(takeover));
    world
        .net
        .input(seat.id(), Input::Received { from, message });
    let (leaf, _) = world.net.machine(seat.id()).leaf().unwrap();
    assert_eq!(leaf.agent.id, *into);
    assert!(leaf.deputies.0.is_empty(), "its copy ranks the old members");
}
