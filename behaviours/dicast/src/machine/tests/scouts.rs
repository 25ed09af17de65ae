//! One node that looks for a nearer cluster; all others are played by the test.

use std::time::Duration;

use opus_core::{
    Contact, Input, Machine, NodeId, Output, Seed, Time, pack::Few, testing::contract,
};

use crate::{
    Command, Config, Dicast, Event, Message,
    cluster::{Ancestor, ClusterRef, Place, Roster, Seat, View},
    label::Marks,
    wire::{Join, Places, Welcome},
};

const AGENT: u32 = 1;
const ROOT: u32 = 2;

fn contact(index: u32) -> Contact {
    Contact::bare(NodeId::from_index(index))
}

fn seat(index: u32) -> Seat {
    Seat {
        contact: contact(index),
        incarnation: 1,
        place: Place(None),
        marks: Marks::of(true),
        up_s: 0,
        child: None,
        size: 1,
    }
}

/// A seat beside the agent, below a root.
fn welcome(own: Seat) -> Welcome {
    let roster: Roster = [(0, seat(AGENT)), (1, own)].into_iter().collect();
    let view = View {
        cluster: ClusterRef { id: 1, epoch: 1 },
        level: 1,
        agent: contact(AGENT),
        deputies: Few(Vec::new()),
        roster,
    };
    let root = Ancestor {
        level: 2,
        cluster: ClusterRef { id: 2, epoch: 1 },
        agent: contact(ROOT),
        deputies: Few(Vec::new()),
    };
    Welcome {
        view,
        slot: 1,
        path: Few(vec![root]),
    }
}

struct Bench {
    machine: Dicast,
    now: Time,
    said: Vec<(NodeId, Message)>,
    measured: Vec<(u64, Vec<Contact>)>,
}

impl Bench {
    /// A node that sits beside the agent.
    fn new() -> Self {
        let rng = Seed::new(opus_core::testing::test_seed(31)).rng();
        let mut bench = Self {
            machine: Dicast::new(Config::default(), contact(0), 1, rng),
            now: Time::ZERO,
            said: Vec::new(),
            measured: Vec::new(),
        };
        let seeds = vec![contact(AGENT)];
        bench.input(Input::Command(Command::Start { id: 1, seeds }));
        let join = bench.wait_for_join();
        bench.hear(AGENT, Message::Welcome(welcome(join.seat)));
        assert!(bench.machine.leaf().is_some());
        bench
    }

    fn input(&mut self, input: Input<Command, Message>) {
        self.machine.handle(self.now, input);
        self.drain();
    }

    fn hear(&mut self, from: u32, message: Message) {
        let from = NodeId::from_index(from);
        self.input(Input::Received { from, message });
    }

    /// Every dial succeeds.
    fn drain(&mut self) {
        let mut dialled = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { to, message, .. } => self.said.push((to, message)),
                Output::Event(Event::Measure { id, targets }) => self.measured.push((id, targets)),
                Output::Dial(peer) => dialled.push(peer),
                Output::Event(_) | Output::Release(_) | Output::Penalise(..) => {}
            }
        }
        for peer in dialled {
            self.input(Input::Connected(peer));
        }
    }

    /// What it asked `whom` for, since this was asked last.
    fn joins(&mut self, whom: u32) -> Vec<Join> {
        let whom = NodeId::from_index(whom);
        let said = std::mem::take(&mut self.said);
        let asked = said.into_iter().filter(|(to, _)| *to == whom);
        let joins = asked.filter_map(|(_, message)| {
            if let Message::Join(join) = message {
                Some(join)
            } else {
                None
            }
        });
        joins.collect()
    }

    /// Goes on until it asks its agent for a seat.
    fn wait_for_join(&mut self) -> Join {
        for _ in 0..100 {
            if let Some(join) = self.joins(AGENT).pop() {
                return join;
            }
            let next = self.machine.poll_timeout().expect("it beats");
            self.now = next.at;
            contract::timeout(&mut self.machine, self.now);
            self.drain();
        }
        panic!("it never asks its agent");
    }

    /// Goes on until it looks for other clusters.
    fn look(&mut self) {
        let join = self.wait_for_join();
        assert!(join.moves, "{join:?}");
    }

    /// The agent names these, who are so many microseconds away, as it is itself.
    fn find(&mut self, own_us: u32, others: &[(u32, u32)]) {
        let agents = others
            .iter()
            .map(|(index, _)| (contact(*index), Place(None)));
        let places = Places {
            level: 1,
            same: false,
            agents: Few(agents.collect()),
        };
        self.hear(AGENT, Message::Places(places));
        let (id, targets) = self.measured.pop().expect("it measures them");
        for target in targets {
            let other = others.iter().find(|it| contact(it.0) == target);
            let rtt_us = Some(other.map_or(own_us, |it| it.1));
            let peer = target.id;
            self.input(Input::Command(Command::Measured { id, peer, rtt_us }));
        }
    }
}

#[test]
fn who_is_refused_asks_the_next_nearest_and_nobody_who_is_farther_than_its_own_agent() {
    let mut bench = Bench::new();
    bench.look();
    bench.find(50_000, &[(11, 20_000), (12, 10_000), (13, 60_000)]);
    assert_eq!(bench.joins(12).len(), 1);
    bench.hear(12, Message::Busy((1, Duration::from_secs(1))));
    assert_eq!(bench.joins(11).len(), 1);
    bench.hear(11, Message::Busy((1, Duration::from_secs(1))));
    assert_eq!(bench.said, []);
}

#[test]
fn an_answer_that_nobody_waits_for_moves_nobody() {
    let mut bench = Bench::new();
    bench.look();
    bench.find(50_000, &[(11, 20_000), (12, 10_000)]);
    assert_eq!(bench.joins(12).len(), 1);
    // It was not asked for a seat.
    bench.hear(13, Message::Busy((1, Duration::from_secs(1))));
    assert_eq!(bench.said, []);
}
