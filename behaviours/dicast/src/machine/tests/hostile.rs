//! Whatever peers say in whatever order: no panic, no growth, no spin.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{
    Contact, Input, Machine, NodeId, Rng, Seed, Time,
    pack::Few,
    testing::{contract, test_seed},
};
use rand::{RngExt, seq::IndexedRandom};

use super::world::World;
use crate::{
    Command, Config, Definition, Dicast, Echo, Message,
    aggregate::{Change, Down, Function, KeyId, KeySpec, Origin, Record, Report, Summary, Urgency},
    cluster::{ClusterRef, LEVELS_MAX, Place, Roster, SEATS_MAX, Seat, View},
    state::{Check, Why},
    wire::{
        Accuse, Beat, Claim, Entry, Fenced, Got, Grant, Hello, Join, Leave, Merge, Merged, Moved,
        Office, Places, Poles, Pulse, Push, Sides, Specs, Takeover, Twin, Twinned, Verdict,
        Welcome, Widths,
    },
};

/// Peers that talk to the machine; itself is number 0.
const PEERS: u32 = 8;

/// Draws messages from few values, those of the machine among them, so that many of them fit.
struct Liar {
    rng: Rng,
    clusters: Vec<ClusterRef>,
}

impl Liar {
    fn contact(&mut self) -> Contact {
        Contact::bare(NodeId::from_index(self.rng.random_range(0..PEERS)))
    }

    fn cluster(&mut self) -> ClusterRef {
        let known = self.clusters.choose(&mut self.rng).copied();
        let cluster = known.filter(|_| self.rng.random_bool(0.8));
        let cluster = cluster.unwrap_or(ClusterRef {
            id: self.rng.random_range(0..4),
            epoch: self.rng.random_range(0..4),
        });
        if self.rng.random_bool(0.2) {
            cluster.next()
        } else {
            cluster
        }
    }

    fn tag(&mut self) -> u16 {
        self.cluster().tag()
    }

    fn slot(&mut self) -> u8 {
        self.rng.random_range(0..6)
    }

    fn level(&mut self) -> u8 {
        self.rng.random_range(1..=LEVELS_MAX.min(3))
    }

    fn seat(&mut self) -> Seat {
        Seat {
            contact: self.contact(),
            incarnation: self.rng.random_range(0..3),
            place: Place(None),
            fit: self.rng.random_bool(0.8),
            up_s: self.rng.random_range(0..100),
            child: self.rng.random_bool(0.5).then(|| self.cluster()),
            size: self.rng.random(),
        }
    }

    fn roster(&mut self) -> Roster {
        let count = self.rng.random_range(0..SEATS_MAX);
        let slots = (0..SEATS_MAX)
            .filter(|_| self.rng.random_bool(0.3))
            .take(count);
        let slots: Vec<u8> = slots.map(|slot| u8::try_from(slot).unwrap()).collect();
        slots.into_iter().map(|slot| (slot, self.seat())).collect()
    }

    fn view(&mut self) -> View {
        View {
            cluster: self.cluster(),
            level: self.level(),
            agent: self.contact(),
            deputies: Few((0..3).map(|_| self.slot()).collect()),
            roster: self.roster(),
        }
    }

    fn welcome(&mut self) -> Welcome {
        let view = self.view();
        let path = self.rng.random_bool(0.5).then(|| self.view().ancestor());
        Welcome {
            view,
            slot: self.slot(),
            path: Few(path.into_iter().collect()),
        }
    }

    fn message(&mut self) -> Message {
        match self.rng.random_range(0..30) {
            0 => Message::Beat(Beat {
                tag: self.tag(),
                slot: self.slot(),
                seq: self.rng.random(),
                size: self.rng.random(),
                fit: self.rng.random(),
                place: Place(None),
                child: self.rng.random_bool(0.5).then(|| self.cluster()),
                keys: self.rng.random_range(0..2),
                echo: self.echo(),
                pushed: self.small(),
                urgent: self.rng.random(),
                report: self.rng.random_bool(0.7).then(|| self.report()),
            }),
            1 => Message::Pulse(Pulse {
                tag: self.tag(),
                view: self.rng.random(),
                path: self.rng.random(),
                number: self.small(),
                echo: self.echo(),
                pushed: self.small(),
                own_age: self.span(),
                above_age: self.span(),
            }),
            2 => Message::Check(self.rng.random()),
            3 => Message::Alive(self.rng.random()),
            4 => Message::Accuse(Accuse {
                nonce: self.rng.random(),
                about: self.contact(),
            }),
            5 => Message::Verdict(Verdict {
                nonce: self.rng.random(),
                alive: self.rng.random(),
            }),
            6 => Message::Join(Join {
                target: self.level(),
                at: self.rng.random_range(0..4),
                moves: self.rng.random(),
                counted: self.rng.random(),
                seat: self.seat(),
            }),
            7 => Message::Places(Places {
                level: self.level(),
                same: self.rng.random(),
                agents: Few((0..3).map(|_| (self.contact(), Place(None))).collect()),
            }),
            8 => Message::Welcome(self.welcome()),
            9 => Message::Busy((
                self.level(),
                Duration::from_millis(self.rng.random_range(0..9)),
            )),
            10 => Message::Ask(self.tag()),
            11 => Message::Stranger(self.tag()),
            12 => Message::Leave(Leave {
                tag: self.tag(),
                slot: self.slot(),
                known: self.rng.random(),
            }),
            13 => Message::AskPath(self.tag()),
            14 => Message::Path((self.tag(), Few(vec![self.view().ancestor()]))),
            15..18 => self.values(),
            _ => self.change(),
        }
    }

    fn small(&mut self) -> u32 {
        if self.rng.random_bool(0.1) {
            self.rng.random()
        } else {
            self.rng.random_range(0..12)
        }
    }

    fn span(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(0..20_000))
    }

    fn echo(&mut self) -> Echo {
        Echo {
            number: self.small(),
            dwell: self.span(),
        }
    }

    fn report(&mut self) -> Report {
        let full = self.rng.random();
        let sets = if full { 1 } else { self.rng.random_range(0..3) };
        let mut sent = Vec::new();
        for _ in 0..sets {
            let key = KeyId(self.rng.random_range(0..3));
            let value = Change::Value(key, self.rng.random());
            sent.push(Few(vec![value, Change::Withdrawn(key)]));
        }
        Report {
            beat: 1 + self.small(),
            sets: Few(sent),
            seq: 3 + self.small(),
            round: self.small(),
            age: self.span(),
            full,
            partial: self.rng.random(),
        }
    }

    fn values(&mut self) -> Message {
        let spec = KeySpec {
            function: Function::Sum,
            urgency: Urgency::Eager,
            ..KeySpec::MEMBERS
        };
        match self.rng.random_range(0..5) {
            0 => {
                let origin = Origin {
                    level: self.level(),
                    slot: self.slot(),
                };
                let record = Record::of_one(Summary::Sum(self.rng.random()));
                let key = KeyId(self.rng.random_range(0..3));
                let down = Down::of(key, origin, &record, &spec);
                Message::Push(Push {
                    tag: self.tag(),
                    number: self.small(),
                    echo: self.echo(),
                    urgent: self.rng.random(),
                    base: self.small(),
                    last: self.small(),
                    records: Few(down.into_iter().collect()),
                })
            }
            1 => Message::Got(Got {
                tag: self.tag(),
                slot: self.slot(),
                pushed: self.small(),
            }),
            2 => Message::Widths(Widths {
                tag: self.tag(),
                round: self.small(),
                widths: Few(vec![(
                    KeyId(self.rng.random_range(0..3)),
                    self.rng.random(),
                )]),
            }),
            3 => Message::Full(self.tag()),
            _ => {
                let definition = Definition {
                    spec,
                    version: self.small(),
                    owner: self.contact().id,
                };
                let key = KeyId(self.rng.random_range(0..100));
                let table = Few(vec![(key, definition)]);
                Message::Specs(Specs { table })
            }
        }
    }

    fn change(&mut self) -> Message {
        if self.rng.random() {
            self.change_of_shape()
        } else {
            self.change_of_hands()
        }
    }

    /// Of who sits where, and who holds which post.
    fn change_of_hands(&mut self) -> Message {
        match self.rng.random_range(0..6) {
            0 => Message::Moved(Moved {
                tag: self.tag(),
                slot: self.slot(),
                seat: self.rng.random_bool(0.6).then(|| self.seat()),
                deputies: Few(vec![self.slot()]),
            }),
            1 => Message::Claim(Claim {
                cluster: self.cluster(),
                seat: self.seat(),
                yields: self.rng.random(),
            }),
            2 => Message::Grant(Grant {
                old: self.cluster(),
                cluster: self.cluster(),
                up: self.welcome(),
            }),
            3 => Message::Fenced(Fenced {
                old: self.cluster(),
                cluster: self.cluster(),
                agent: self.contact(),
            }),
            4 => Message::Takeover(Takeover {
                old: self.cluster(),
                cluster: self.cluster(),
                agent: self.contact(),
                slot: self.slot(),
            }),
            _ => Message::Office(Office {
                old: self.cluster(),
                view: self.view(),
                up: self.rng.random_bool(0.5).then(|| self.welcome()),
                far: Few(vec![self.contact()]),
                books: Few(vec![Entry {
                    slot: self.slot(),
                    double: self.rng.random(),
                    left: self.span(),
                }]),
                missing: self.rng.random(),
                double: self.rng.random(),
            }),
        }
    }

    /// Of which clusters there are.
    fn change_of_shape(&mut self) -> Message {
        match self.rng.random_range(0..8) {
            0 => Message::Twin(Twin {
                cluster: self.cluster(),
                add: self.rng.random_bool(0.5).then(|| self.seat()),
                absorb: self.rng.random_bool(0.5).then(|| self.cluster()),
            }),
            1 => Message::Twinned(Twinned {
                old: self.cluster(),
                cluster: self.cluster(),
                slot: self.rng.random_bool(0.5).then(|| self.slot()),
            }),
            2 => Message::Poles(Poles {
                tag: self.tag(),
                one: self.contact(),
                other: self.contact(),
            }),
            3 => Message::Sides(Sides {
                tag: self.tag(),
                slot: self.slot(),
                one_us: self.rng.random(),
                other_us: self.rng.random(),
            }),
            4 => Message::Merge(Merge {
                view: self.view(),
                missing: self.rng.random(),
            }),
            5 => Message::Merged(Merged {
                old: self.cluster(),
                cluster: self.cluster(),
                seats: Few(vec![(self.slot(), self.slot())]),
            }),
            6 => Message::Crown(self.cluster()),
            _ => Message::Hello(Hello {
                root: self.cluster(),
                height: self.level(),
                size: self.rng.random_range(0..9),
                posts: Few(vec![self.contact()]),
                relayed: self.rng.random(),
            }),
        }
    }
}

/// Drains the machine; tells how much it said.
fn drain(machine: &mut Dicast) -> usize {
    std::iter::from_fn(|| machine.poll_output()).count()
}

#[test]
fn liars_neither_stop_nor_bloat_a_machine() {
    let seed = Seed::new(test_seed(5));
    for run in 0..20 {
        let config = Config {
            size_min: 2,
            ..Config::default()
        };
        let me = Contact::bare(NodeId::from_index(0));
        let mut machine = Dicast::new(config, me, 1, seed.derive("machine", run).rng());
        let mut liar = Liar {
            rng: seed.derive("liar", run).rng(),
            clusters: Vec::new(),
        };
        let mut now = Time::ZERO;
        let start = Command::Start {
            id: 1,
            seeds: Vec::new(),
        };
        machine.handle(now, Input::Command(start));
        drain(&mut machine);
        for _ in 0..5_000 {
            now = now + Duration::from_millis(liar.rng.random_range(0..200));
            while machine.poll_timeout().is_some_and(|next| next.at <= now) {
                contract::timeout(&mut machine, now);
                drain(&mut machine);
            }
            liar.clusters = machine.posts().map(|view| view.cluster).collect();
            liar.clusters
                .extend(machine.leaf().map(|(view, _)| view.cluster));
            liar.clusters
                .extend(machine.seat_above(1).map(|(view, _)| view.cluster));
            let from = liar.contact().id;
            let input = match liar.rng.random_range(0..20) {
                0 => Input::Connected(from),
                1 => Input::Disconnected(from),
                2 => Input::DialFailed(from),
                _ => Input::Received {
                    from,
                    message: liar.message(),
                },
            };
            machine.handle(now, input);
            // Sixty-four seats of several posts, a few messages each.
            let said = drain(&mut machine);
            assert!(said < 2_000, "seed {seed:?} run {run}: {said} outputs");
        }
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
        };
        let seat = Seat {
            contact: contact.clone(),
            child: Some(cluster),
            fit: true,
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
    let asker = Seat {
        contact: Contact::bare(NodeId::from_index(1)),
        incarnation: 1,
        place: Place(None),
        fit: true,
        up_s: 0,
        child: None,
        size: 1,
    };
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
