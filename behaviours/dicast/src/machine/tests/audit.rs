//! Agents that lie about their clusters are found and lose their posts; honest ones keep theirs.

use std::time::Duration;

use opus_core::{Input, Machine, NodeId, Output, Seed, Time, pack::Few, testing::Wake};

use super::{
    values::{self, LOAD, Walk},
    world::World,
};
use crate::{
    Command, Config, Event, Message,
    aggregate::{KeyId, Record, Summary},
    cluster::{ClusterRef, Standing, View, tests::seat},
    label::Marks,
    wire::{Audit, Liar},
};

/// What an agent of level 1 lies about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::machine) enum Lie {
    #[default]
    Nothing,
    /// Its parent is told of more load than the members have.
    Parent,
    /// All members are told that all have more.
    Members,
    /// All are told that one seat has more.
    Seat(u8),
    /// Each is told that all others have more.
    Others,
}

impl Lie {
    pub(in crate::machine) fn of_cluster(self, mut record: Record) -> Record {
        if let (Self::Parent, Summary::Sum(sum)) = (self, &mut record.summary) {
            *sum += 50.0 * record.count as f64;
        }
        record
    }

    pub(in crate::machine) fn of_member(self, slot: u8, x: f64) -> f64 {
        let lies = self == Self::Members || self == Self::Seat(slot);
        if lies { x + 30.0 } else { x }
    }
}

fn config(audit: Duration) -> Config {
    Config {
        size_min: 4,
        audit: Some(audit),
        ..Config::default()
    }
}

/// A tree whose nodes all have some load.
fn loaded(nodes: u32, audit: Duration, seed: u64) -> World {
    let mut world = World::with(nodes, config(audit), seed);
    world.start_all(Duration::from_millis(100));
    let spec = values::load();
    let (id, key) = (7, LOAD);
    world
        .net
        .command(World::id(3), Command::Spec { id, key, spec });
    for node in world.alive() {
        let load = 10.0 + f64::from(node.index() % 7);
        values::set(&mut world, node, LOAD, load);
    }
    world.run(100);
    world.assert_one_tree();
    world
}

/// An agent of level 1 below another node, and its cluster.
fn agent_below(world: &World) -> (NodeId, View) {
    let posts = world.posts();
    let mut below = posts.values().filter(|(agent, view)| {
        let above = world.net.machine(*agent).seat_above(1);
        view.level == 1 && above.is_some_and(|(above, _)| above.agent.id != *agent)
    });
    below.next().cloned().expect("one is below another")
}

/// Who was deposed, and when.
fn deposed(world: &World) -> Vec<(Time, NodeId)> {
    let events = world.net.events.iter();
    let mut deposed = Vec::new();
    for (at, _, event) in events {
        if let Event::Deposed(agent) = event {
            deposed.push((*at, *agent));
        }
    }
    deposed
}

#[test]
fn an_agent_that_lies_to_its_parent_members_or_each_is_found_and_deposed() {
    for (lie, audit_s, within_s) in [
        (Lie::Parent, 20, 60),
        (Lie::Members, 20, 30),
        // Strangers are asked a twenty-fourth as often.
        (Lie::Others, 1, 90),
    ] {
        let mut world = loaded(60, Duration::from_secs(audit_s), 141);
        let (liar, view) = agent_below(&world);
        world.net.machine(liar).lie.set(lie);
        let began = world.net.now();
        world.run(within_s);
        let found = deposed(&world);
        let [(at, agent)] = found[..] else {
            panic!("{lie:?}: {found:?}, not {liar:?} alone");
        };
        assert_eq!(agent, liar, "{lie:?} {:?}", at.since(began));
        world.run(10);
        let posts = world.posts();
        let after = posts
            .values()
            .filter(|(_, it)| it.cluster.id == view.cluster.id);
        let after: Vec<_> = after.collect();
        let [(successor, after)] = after[..] else {
            panic!("{lie:?}: {} agents", after.len());
        };
        assert_ne!(*successor, liar, "{lie:?}");
        assert!(after.cluster.epoch > view.cluster.epoch, "{lie:?}");
        let slot = after.roster.find(liar).expect("it stays a member");
        assert_eq!(after.rank(slot), None, "{lie:?}: it gets no post again");
        world.assert_one_tree();
    }
}

#[test]
fn who_tells_of_one_member_what_it_does_not_have_is_let_be() {
    let mut world = loaded(60, Duration::from_secs(20), 142);
    let (liar, view) = agent_below(&world);
    let other = view.roster.iter().find(|(_, seat)| seat.id() != liar);
    world.net.machine(liar).lie.set(Lie::Seat(other.unwrap().0));
    world.run(100);
    assert_eq!(deposed(&world), [], "a member could have said so itself");
}

#[test]
fn a_lone_cluster_deposes_its_agent_without_a_parent() {
    let mut world = loaded(9, Duration::from_secs(20), 143);
    let liar = world.root();
    let before = world.posts();
    world.net.machine(liar).lie.set(Lie::Members);
    world.run(30);
    let found: Vec<NodeId> = deposed(&world).iter().map(|it| it.1).collect();
    assert_eq!(found, [liar]);
    assert_ne!(world.root(), liar);
    let after = world.posts();
    assert!(after.keys().all(|cluster| !before.contains_key(cluster)));
    world.assert_one_tree();
}

#[test]
fn nobody_honest_is_deposed_though_values_leap_words_are_lost_and_nodes_stall_and_die() {
    let mut world = loaded(60, Duration::from_secs(1), 144);
    world.lose(0.05);
    let mut walk = Walk::new(&world, Seed::new(144).rng());
    for second in 0..240_u32 {
        walk.step(&mut world);
        for index in 0..8 {
            // From end to end of the range, and back.
            let node = World::id((second * 5 + index * 7) % 60);
            if world.alive().contains(&node) {
                let load = f64::from(second % 2) * 100.0;
                values::set(&mut world, node, LOAD, load);
            }
        }
        let stalled = World::id(second * 11 % 60);
        if second % 4 == 0 && world.alive().contains(&stalled) {
            let lasts = Duration::from_secs(5);
            world.net.stall(stalled, lasts, Wake::TimersFirst);
        }
        if second % 40 == 39 {
            world.crash(second % 60);
        }
        world.run(1);
    }
    assert_eq!(deposed(&world), []);
    let audits = world.alive().into_iter();
    let turns = audits.map(|node| world.net.machine(node).audits.turns());
    assert!(turns.sum::<u32>() > 200, "they did ask");
}

/// The parent's side alone: a cluster below it, who sits there, and how often it granted it anew.
struct Court {
    world: World,
    parent: NodeId,
    cluster: ClusterRef,
    agent: NodeId,
    members: Vec<NodeId>,
}

impl Court {
    fn new() -> Self {
        let world = loaded(60, Duration::from_secs(20), 145);
        let (agent, view) = agent_below(&world);
        let above = world.net.machine(agent).seat_above(1);
        let parent = above.map(|(view, _)| view.agent.id).unwrap();
        let seats = view.roster.iter().map(|(_, seat)| seat.id());
        let members = seats.filter(|id| *id != agent && *id != parent);
        Self {
            members: members.collect(),
            cluster: view.cluster,
            world,
            parent,
            agent,
        }
    }

    fn accuse(&mut self, from: NodeId, own: bool, rank: u8, fit: bool) -> usize {
        let mut seat = seat(from.index());
        seat.standing = Standing::of(Marks::of(fit), Some(self.cluster));
        let message = Message::Liar(Liar {
            cluster: self.cluster,
            agent: self.agent,
            rank,
            own,
            others: false,
            sure: true,
            seat,
        });
        self.world
            .net
            .input(self.parent, Input::Received { from, message });
        deposed(&self.world).len()
    }
}

#[test]
fn two_who_compared_depose_an_agent_and_the_first_fit_deputy_follows() {
    let mut court = Court::new();
    let members = court.members.clone();
    assert_eq!(court.accuse(members[0], false, 2, true), 0);
    assert_eq!(court.accuse(members[0], false, 2, true), 0, "it is one");
    assert_eq!(court.accuse(court.agent, false, 0, true), 0, "of itself");
    let sibling = agents_beside(&court);
    assert_eq!(court.accuse(sibling, false, 0, true), 0, "it is no member");
    assert_eq!(court.accuse(members[1], false, 0, false), 1);
    let view = court
        .world
        .net
        .machine(court.parent)
        .posts()
        .last()
        .cloned();
    let view = view.unwrap();
    let next = view.roster.find_child(court.cluster.next()).unwrap();
    let follows = view.roster.get(next).unwrap().id();
    assert_eq!(follows, members[0], "the other is not fit");
}

fn agents_beside(court: &Court) -> NodeId {
    let post = court.world.net.machine(court.parent).posts().last();
    let seats = post.unwrap().roster.iter().map(|(_, seat)| seat.id());
    let mut others = seats.filter(|id| *id != court.agent && *id != court.parent);
    others.next().unwrap()
}

#[test]
fn those_who_know_but_of_their_own_value_have_to_be_a_quarter_and_three() {
    let mut court = Court::new();
    let members = court.members.clone();
    assert_eq!(court.accuse(members[0], true, 255, true), 0);
    assert_eq!(court.accuse(members[1], true, 255, true), 0);
    assert_eq!(court.accuse(members[2], true, 255, true), 1);
}

#[test]
fn accusations_are_forgotten_after_a_minute() {
    let mut court = Court::new();
    let members = court.members.clone();
    assert_eq!(court.accuse(members[0], false, 0, true), 0);
    court.world.run(62);
    assert_eq!(court.accuse(members[1], false, 1, true), 0);
}

#[test]
fn questions_are_answered_to_those_who_know_the_name_and_not_without_end() {
    let mut court = Court::new();
    let ask = |court: &mut Court, cluster: ClusterRef| {
        let keys = Few(vec![KeyId::MEMBERS, LOAD]);
        let message = Message::Audit(Audit {
            cluster,
            member: false,
            keys,
        });
        let from = court.members[0];
        let mut machine = court.world.net.machine(court.parent).clone();
        let now = court.world.net.now();
        let mut answers = 0;
        for _ in 0..200 {
            let message = message.clone();
            machine.handle(now, Input::Received { from, message });
            while let Some(output) = machine.poll_output() {
                if let Output::Send {
                    message: Message::Audited(audited),
                    ..
                } = output
                {
                    assert_eq!(audited.rows.0.len(), 2, "{audited:?}");
                    answers += 1;
                }
            }
        }
        answers
    };
    let known = court.cluster;
    assert_eq!(ask(&mut court, known.next()), 0);
    let answers = ask(&mut court, known);
    assert!((1..=64).contains(&answers), "{answers}");
}
