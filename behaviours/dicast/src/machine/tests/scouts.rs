//! One node that looks for a nearer cluster; all others are played by the test.

use std::time::Duration;

use opus_core::{
    Contact, Input, Machine, NodeId, Output, Seed, Time, pack::Few, testing::contract,
};

use opus_model::Position;

use crate::{
    Command, Config, Dicast, Event, Message,
    cluster::{Ancestor, ClusterRef, Place, Roster, Seat, View, tests::seat},
    wire::{Join, Places, Welcome},
};

const AGENT: u32 = 1;
const ROOT: u32 = 2;

fn contact(index: u32) -> Contact {
    Contact::bare(NodeId::from_index(index))
}

/// A seat beside this agent, whose cluster has its number, below a root.
fn welcome(agent: u32, own: Seat) -> Welcome {
    let roster: Roster = [(0, seat(agent)), (1, own)].into_iter().collect();
    let id = u64::from(agent);
    let view = View {
        cluster: ClusterRef { id, epoch: 1 },
        level: 1,
        agent: contact(agent),
        deputies: Few(Vec::new()),
        roster,
    };
    let root = Ancestor {
        level: 2,
        cluster: ClusterRef {
            id: 1_000,
            epoch: 1,
        },
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
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut bench = Self::seeking(config, AGENT);
        let join = bench.wait_for_join(AGENT);
        bench.hear(AGENT, Message::Welcome(welcome(AGENT, join.seat)));
        assert!(bench.machine.leaf().is_some());
        bench
    }

    /// A node that knows this one and has no seat.
    fn seeking(config: Config, seed: u32) -> Self {
        let rng = Seed::new(opus_core::testing::test_seed(31)).rng();
        let mut bench = Self {
            machine: Dicast::new(config, contact(0), 1, rng),
            now: Time::ZERO,
            said: Vec::new(),
            measured: Vec::new(),
        };
        let seeds = vec![contact(seed)];
        bench.input(Input::Command(Command::Start { id: 1, seeds }));
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

    /// Goes on until it asks `whom` for a seat.
    fn wait_for_join(&mut self, whom: u32) -> Join {
        for _ in 0..100 {
            if let Some(join) = self.joins(whom).pop() {
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
        self.look_from(AGENT);
    }

    /// The same, where it asks `agent`.
    fn look_from(&mut self, agent: u32) {
        let join = self.wait_for_join(agent);
        assert!(join.moves, "{join:?}");
    }

    /// Goes on for so long; what it said in that time is left in `said`.
    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.machine.poll_timeout().filter(|next| next.at < end) {
            self.now = next.at;
            contract::timeout(&mut self.machine, self.now);
            self.drain();
        }
        self.now = end;
    }

    /// How often it told `whom` that it left, since this was asked last.
    fn leaves(&mut self, whom: u32) -> usize {
        let whom = NodeId::from_index(whom);
        let said = std::mem::take(&mut self.said);
        let left =
            |(to, message): &(NodeId, Message)| *to == whom && matches!(message, Message::Leave(_));
        said.iter().filter(|it| left(it)).count()
    }

    /// It moves to the cluster of node 12.
    fn move_away(&mut self) {
        self.look();
        self.find(50_000, &[(12, 10_000)]);
        let join = self.joins(12).pop().expect("it asks for a seat");
        self.hear(12, Message::Welcome(welcome(12, join.seat)));
    }

    /// The agent names these, who are so many microseconds away, as it is itself.
    fn find(&mut self, own_us: u32, others: &[(u32, u32)]) {
        self.find_from(AGENT, own_us, others);
    }

    fn find_from(&mut self, agent: u32, own_us: u32, others: &[(u32, u32)]) {
        let agents = others
            .iter()
            .map(|(index, _)| (contact(*index), Place::default()));
        let places = Places {
            level: 1,
            same: false,
            agents: Few(agents.collect()),
        };
        self.hear(agent, Message::Places(places));
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

#[test]
fn who_left_says_so_again_and_comes_back_in_peace() {
    let mut bench = Bench::new();
    bench.move_away();
    assert_eq!(bench.leaves(AGENT), 1);
    bench.run_for(Duration::from_secs(4));
    assert_eq!(bench.leaves(AGENT), 2);
    // Had it gone back before that, it would not have said so.
    let mut bench = Bench::new();
    bench.move_away();
    bench.look_from(ROOT);
    bench.find_from(ROOT, 50_000, &[(AGENT, 10_000)]);
    let join = bench.joins(AGENT).pop().expect("it asks for its old seat");
    bench.hear(AGENT, Message::Welcome(welcome(AGENT, join.seat)));
    bench.said.clear();
    bench.run_for(Duration::from_secs(4));
    assert_eq!(bench.leaves(AGENT), 0);
}

#[test]
fn a_seat_that_nobody_sought_is_declined_when_it_is_offered_again() {
    let mut bench = Bench::new();
    let offers = [21, 22];
    let offer = |bench: &mut Bench| {
        for agent in offers {
            bench.hear(agent, Message::Welcome(welcome(agent, seat(0))));
        }
        let said = bench.said.clone();
        offers.map(|agent| {
            bench.said.clone_from(&said);
            bench.leaves(agent)
        })
    };
    bench.said.clear();
    // It may have been merged, and hear of it later.
    assert_eq!(offer(&mut bench), [0, 0]);
    bench.run_for(Duration::from_millis(1_500));
    bench.said.clear();
    assert_eq!(offer(&mut bench), [1, 1]);
    let leaf = bench.machine.leaf().expect("it keeps its seat");
    assert_eq!(leaf.0.agent, contact(AGENT));
}

#[test]
fn who_learns_where_it_stands_asks_again_before_it_goes_down() {
    let mut bench = Bench::seeking(Config::default(), ROOT);
    let join = bench.wait_for_join(ROOT);
    assert_eq!(join.seat.place, Place::default());
    let at = Position([7_000, 0, 0], 1_000, 300);
    bench.input(Input::Command(Command::Coordinate(at)));
    bench.find_from(ROOT, 0, &[(11, 20_000), (12, 10_000)]);
    let again = bench.joins(ROOT);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].seat.place, Place::at(at));
    bench.find_from(ROOT, 0, &[(13, 5_000), (12, 10_000)]);
    assert_eq!(bench.joins(13).len(), 1);
}

#[test]
fn who_knows_of_a_nearer_cluster_without_a_seat_looks_again_soon() {
    let looks = |refused: bool| {
        let mut bench = Bench::with(Config {
            scouts_soon: 2,
            ..Config::default()
        });
        let hear_agent =
            |bench: &mut Bench| bench.hear(AGENT, Message::Welcome(welcome(AGENT, seat(0))));
        bench.look();
        hear_agent(&mut bench);
        bench.look_from(ROOT);
        if refused {
            bench.find_from(ROOT, 50_000, &[(12, 10_000)]);
            bench.hear(12, Message::Busy((1, Duration::from_secs(1))));
        }
        hear_agent(&mut bench);
        bench.said.clear();
        bench.run_for(Duration::from_secs(5));
        bench.joins(AGENT).len()
    };
    assert_eq!((looks(false), looks(true)), (0, 1));
}

/// The word of a split was lost, and the agent does not know the old name any more. To leave what
/// was called so would free the new seat.
#[test]
fn who_comes_back_to_its_agent_leaves_nothing() {
    let mut bench = Bench::new();
    let (view, _) = bench.machine.leaf().unwrap();
    let tag = view.cluster.tag();
    bench.hear(AGENT, Message::Stranger(tag));
    let mut back = None;
    for _ in 0..20 {
        let join = bench.wait_for_join(AGENT);
        if !join.moves {
            back = Some(join);
            break;
        }
    }
    let mut welcome = welcome(AGENT, back.expect("it seeks a seat").seat);
    welcome.view.cluster = ClusterRef { id: 77, epoch: 1 };
    bench.said.clear();
    bench.hear(AGENT, Message::Welcome(welcome));
    let (view, _) = bench.machine.leaf().unwrap();
    assert_eq!(view.cluster.id, 77);
    let leaves = |(_, message): &(NodeId, Message)| matches!(message, Message::Leave(_));
    assert!(!bench.said.iter().any(leaves), "{:?}", bench.said);
}
