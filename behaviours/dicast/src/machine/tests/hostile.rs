//! Whatever peers say in whatever order: no panic, no growth, no spin.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use opus_core::{
    Contact, Input, Machine, NodeId, Offence, Output, Seed, Time,
    codec::{decode_wire, encode},
    testing::{Draw, contract, test_seed},
};
use rand::RngExt;

use super::world::World;
use crate::{
    Command, Config, Dicast, Message,
    cluster::{ClusterRef, LEVELS_MAX, SEATS_MAX, Seat, Standing, View, tests::seat},
    label::Marks,
    state::{Check, Why},
    testing,
    wire::{Accuse, Claim, Fenced, Join, Merge, Takeover},
};

/// Bytes of which a message is drawn. Longer ones end in zeros.
const BYTES: usize = 600;

/// Drains the machine; tells how much it said.
fn drain(machine: &mut Dicast) -> usize {
    std::iter::from_fn(|| machine.poll_output()).count()
}

#[test]
fn liars_neither_stop_nor_bloat_a_machine() {
    let seed = Seed::new(test_seed(5));
    let mut heard = Heard::default();
    for run in 0..20 {
        let config = Config {
            size_min: 2,
            ..Config::default()
        };
        let me = Contact::bare(NodeId::from_index(0));
        let mut machine = Dicast::new(config, me, 1, seed.derive("machine", run).rng());
        let mut rng = seed.derive("liar", run).rng();
        let mut now = Time::ZERO;
        let start = Command::Start {
            id: 1,
            seeds: Vec::new(),
        };
        machine.handle(now, Input::Command(start));
        drain(&mut machine);
        let mut bytes = [0; BYTES];
        for _ in 0..5_000 {
            now = now + Duration::from_millis(rng.random_range(0..200));
            while machine.poll_timeout().is_some_and(|next| next.at <= now) {
                contract::timeout(&mut machine, now);
                drain(&mut machine);
            }
            rng.fill(&mut bytes);
            let Some(input) = lie(&mut Draw::new(&bytes), &machine) else {
                continue;
            };
            if let Input::Received { message, .. } = &input {
                heard.note(message);
            }
            machine.handle(now, input);
            let said = drain(&mut machine);
            let most = testing::OUTPUTS_MAX;
            assert!(said < most, "seed {seed:?} run {run}: {said} outputs");
        }
    }
    heard.assert_wide();
}

#[test]
fn who_says_too_much_is_not_read_and_penalised_and_heard_again_later() {
    let config = Config {
        messages_per_s: 10,
        messages_burst: 30,
        ..Config::default()
    };
    let me = Contact::bare(NodeId::from_index(0));
    let mut machine = Dicast::new(config, me, 1, Seed::new(test_seed(6)).rng());
    let seeds = Vec::new();
    let start = Command::Start { id: 1, seeds };
    machine.handle(Time::ZERO, Input::Command(start));
    let (flood, calm) = (NodeId::from_index(1), NodeId::from_index(2));
    for peer in [flood, calm] {
        machine.handle(Time::ZERO, Input::Connected(peer));
    }
    drain(&mut machine);
    let mut ask = |now, from| {
        let message = Message::Check(7);
        machine.handle(now, Input::Received { from, message });
        let said: Vec<_> = std::iter::from_fn(|| machine.poll_output()).collect();
        match &said[..] {
            [
                Output::Send {
                    to,
                    message: Message::Alive(7),
                    ..
                },
            ] if *to == from => true,
            [Output::Penalise(whom, Offence::Flood)] if *whom == from => false,
            other => panic!("{other:?}"),
        }
    };
    let now = Time::from_millis(1);
    let answered = (0..100).filter(|_| ask(now, flood)).count();
    assert_eq!(answered, 30);
    assert!(ask(now, calm), "one peer's flood is not another's");
    let later = now + Duration::from_secs(1);
    let answered = (0..100).filter(|_| ask(later, flood)).count();
    assert_eq!(answered, 10);
}

/// What a peer does. A message as it arrives, if it is not refused.
fn lie(draw: &mut Draw<'_>, machine: &Dicast) -> Option<Input<Command, Message>> {
    let from = draw.peer();
    Some(match draw.below(20) {
        0 => Input::Connected(from),
        1 => Input::Disconnected(from),
        2 => Input::DialFailed(from),
        _ => {
            let lie = testing::message(draw, &testing::known(machine));
            let message = decode_wire(&encode(&lie)).ok()?;
            Input::Received { from, message }
        }
    })
}

/// Of what the machine heard: a generator of a few seats at a few levels would prove little.
#[derive(Default)]
struct Heard {
    count: usize,
    slots: BTreeSet<u8>,
    levels: BTreeSet<u8>,
}

impl Heard {
    fn note(&mut self, message: &Message) {
        self.count += 1;
        if let Message::Beat(beat) = message {
            self.slots.insert(beat.slot);
        } else if let Message::Join(join) = message {
            self.levels.insert(join.target);
        }
    }

    fn assert_wide(&self) {
        assert!(self.count > 50_000, "{} were not refused", self.count);
        let seats = u8::try_from(SEATS_MAX).unwrap();
        assert!((0..seats).all(|slot| self.slots.contains(&slot)));
        assert!(
            self.levels.iter().copied().eq(1..=LEVELS_MAX),
            "{:?}",
            self.levels
        );
    }
}

/// A tree at rest, its posts, and one who sits nowhere in it but knows all names.
fn tree_and_stranger() -> (World, BTreeMap<ClusterRef, (NodeId, View)>, NodeId) {
    let mut world = World::new(41, 4, 90);
    for index in 0..40 {
        world.start(index, if index == 0 { &[] } else { &[0] });
        world.run_for(Duration::from_millis(100));
    }
    world.run(60);
    world.assert_one_tree_but(&[World::id(40)]);
    let posts = world.posts();
    (world, posts, World::id(40))
}

#[test]
fn a_stranger_can_neither_take_a_cluster_over_nor_claim_a_living_one() {
    let (mut world, posts, stranger) = tree_and_stranger();
    let contact = Contact::bare(stranger);
    for (agent, view) in posts.values() {
        let (cluster, agent) = (view.cluster, *agent);
        let takeover = Takeover {
            old: cluster,
            cluster: cluster.next(),
            agent: contact.clone(),
            slot: 0,
        };
        let fenced = Fenced {
            old: cluster,
            cluster: cluster.next(),
            agent: contact.clone(),
        };
        let merge = Merge {
            view: View {
                cluster: ClusterRef { id: 7, epoch: 7 },
                agent: contact.clone(),
                ..view.clone()
            },
            missing: 0,
            books: opus_core::pack::Few(Vec::new()),
        };
        let seat = Seat {
            contact: contact.clone(),
            standing: Standing::of(Marks::of(true), Some(cluster)),
            ..view.roster.iter().next().unwrap().1.clone()
        };
        let mut lies = vec![
            Message::Takeover(takeover),
            Message::Fenced(fenced),
            Message::Crown(cluster),
        ];
        for yields in [false, true] {
            lies.push(Message::Claim(Claim {
                cluster,
                seat: seat.clone(),
                yields,
            }));
        }
        if world.net.machine(agent).seat_above(view.level).is_some() {
            lies.push(Message::Merge(merge));
        }
        for to in world.alive() {
            for lie in &lies {
                let (from, message) = (stranger, lie.clone());
                world.net.input(to, Input::Received { from, message });
            }
        }
    }
    world.run(10);
    world.assert_one_tree_but(&[stranger]);
    let after = world.posts();
    let holders = |posts: &BTreeMap<ClusterRef, (NodeId, View)>| {
        let rows = posts
            .iter()
            .map(|(cluster, (agent, view))| (*cluster, *agent, view.roster.len()));
        rows.collect::<Vec<_>>()
    };
    assert_eq!(holders(&after), holders(&posts));
}

#[test]
fn questions_of_others_leave_room_for_ones_own() {
    let seed = Seed::new(test_seed(42));
    let me = Contact::bare(NodeId::from_index(0));
    let mut machine = Dicast::new(Config::default(), me, 1, seed.rng());
    let (id, seeds) = (1, Vec::new());
    machine.handle(Time::ZERO, Input::Command(Command::Start { id, seeds }));
    let asker = seat(1);
    let (from, at) = (asker.id(), 0);
    let join = Join {
        target: 1,
        at,
        moves: false,
        counted: true,
        seat: asker,
    };
    let message = Message::Join(join);
    machine.handle(Time::ZERO, Input::Received { from, message });
    drain(&mut machine);
    for nonce in 0..500_u32 {
        let message = Message::Accuse(Accuse {
            nonce: u64::from(nonce),
            about: Contact::bare(NodeId::from_index(100 + nonce)),
        });
        // Strangers are not listened to.
        let from = NodeId::from_index(1 + nonce % 2);
        machine.handle(Time::ZERO, Input::Received { from, message });
        drain(&mut machine);
        assert!(machine.checks.len() <= usize::try_from(nonce / 2 + 1).unwrap());
    }
    let others = machine.checks.len();
    let ones_own = Check {
        of: Contact::bare(NodeId::from_index(2)),
        why: Why::Agent(1),
        tries: 1,
    };
    for _ in 0..=LEVELS_MAX {
        let (of, why) = (ones_own.of.clone(), ones_own.why.clone());
        machine.check(Time::ZERO, of, why);
    }
    assert!(others > 0, "somebody asked is of help");
    assert_eq!(machine.checks.len(), others + 1 + usize::from(LEVELS_MAX));
}
