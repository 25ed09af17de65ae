//! Machines with a clock each, the messages under way, and all that a network may do to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use opus_core::{Contact, Input, Machine, NodeId, Output, Seed, Time, codec, testing::contract};
use opus_model::Position;

use super::{digest, judge, network::is_apart};
use crate::{Command, Config, Dicast, Event, Message, cluster::ClusterRef};

/// Outputs of one input, at most: ten for each peer and level of six nodes in three levels.
const OUTPUTS_MAX: usize = 192;

/// Messages under way that are delivered at once, in a row; more would be a loop.
const EAGER_MAX: usize = 4_096;

/// Groups in which nodes stand: near those of their own, far from all others.
pub(super) const GROUPS: u8 = 3;

/// What must hold and does not, in a sentence. The part before the colon names the rule.
pub(super) type Broken = String;

/// Who sent it, and as its which message.
pub(super) type Id = (u8, u32);

/// One step of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It arrives.
    Deliver(Id),
    /// It never arrives.
    Lose(Id),
    /// It arrives, and will once more.
    Double(Id),
    /// The clock of this node goes to its next deadline.
    Fire(u8),
    /// A node dies; its peers see connections close, sooner or later.
    Crash(u8),
    /// A node that died starts again, with the node `seed` to ask.
    Restart { node: u8, seed: u8 },
    /// A node is told to leave.
    Leave(u8),
    /// A node is in another group from this moment on, and learns it.
    Travel { node: u8, group: u8 },
    /// What goes between these nodes, one bit each, and the others is lost.
    Cut(u8),
    /// Nothing is lost any more.
    Heal,
}

/// Under way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) id: Id,
    pub(super) to: u8,
    pub(super) what: What,
    /// When it arrives while all is calm.
    pub(super) due: Time,
}

/// What is under way.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// As the codec makes it, and the name of its kind.
    Message(Rc<[u8]>, &'static str),
    Connected(u8),
    Disconnected(u8),
    DialFailed(u8),
}

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) machine: Dicast,
    /// Its own: no machine knows another's.
    pub(super) clock: Time,
    pub(super) digest: u64,
}

/// See the module. A clone shares all that does not change.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) config: Config,
    seed: Seed,
    pub(super) nodes: Vec<Option<Rc<Node>>>,
    incarnations: Vec<u64>,
    /// Where each node stands.
    pub(super) groups: Vec<u8>,
    pub(super) flights: Vec<Flight>,
    pub(super) links: BTreeSet<(u8, u8)>,
    /// The nodes of one side of a cut, one bit each.
    pub(super) side: u8,
    /// While all is calm: the time from which the clocks differ by constants.
    pub(super) now: Time,
    pub(super) sent: Vec<u32>,
    /// Who ever held, or was granted, which cluster under which epoch.
    pub(super) holders: Rc<BTreeMap<ClusterRef, u8>>,
    /// Nodes, and clusters, that took a nearer seat.
    pub(super) moves: (u32, u32),
    /// Nodes that asked a directory for others, one bit each.
    pub(super) wants: u8,
    /// Kinds of messages that arrive at once.
    pub(super) eager: &'static [&'static str],
}

impl Scene {
    /// `nodes` of at most eight, none of them started, in clusters of at least `size_min`.
    pub(super) fn new(nodes: u8, size_min: usize, seed: u64) -> Self {
        assert!(nodes <= 8, "sides of a cut have eight bits");
        let count = usize::from(nodes);
        Self {
            config: Config {
                size_min,
                // Each look would add its schedules to those that a walk is about.
                scouts_soon: 0,
                scout: Duration::from_secs(86_400),
                ..Config::default()
            },
            seed: Seed::new(seed),
            nodes: vec![None; count],
            incarnations: vec![0; count],
            groups: (0..nodes).map(|node| node / 3).collect(),
            flights: Vec::new(),
            links: BTreeSet::new(),
            side: 0,
            now: Time::ZERO,
            sent: vec![0; count],
            holders: Rc::default(),
            moves: (0, 0),
            wants: 0,
            eager: &[],
        }
    }

    /// The same, in which all look for nearer clusters all the time.
    pub(super) fn restless(nodes: u8, size_min: usize, seed: u64) -> Self {
        let mut scene = Self::new(nodes, size_min, seed);
        scene.config.scout_soon = Duration::from_secs(1);
        scene.config.scouts_soon = 80;
        scene
    }

    /// Room for one more node.
    pub(super) fn grow(&mut self) {
        self.groups.push(self.count() / 3);
        self.nodes.push(None);
        self.incarnations.push(0);
        self.sent.push(0);
    }

    pub(super) fn count(&self) -> u8 {
        u8::try_from(self.nodes.len()).expect("at most eight")
    }

    /// Starts a node, with another to ask.
    pub(super) fn start(&mut self, node: u8, seed: Option<u8>) -> Result<(), Broken> {
        let at = usize::from(node);
        self.incarnations[at] += 1;
        let incarnation = self.incarnations[at];
        let purpose = u64::from(node) << 32 | incarnation;
        let rng = self.seed.derive("machine", purpose).rng();
        let contact = Contact::bare(id_of(node));
        let machine = Dicast::new(self.config.clone(), contact, incarnation, rng);
        let clock = self.now;
        let digest = 0;
        self.nodes[at] = Some(Rc::new(Node {
            machine,
            clock,
            digest,
        }));
        self.locate(node)?;
        let seeds = seed.map(|seed| Contact::bare(id_of(seed)));
        let seeds = seeds.into_iter().collect();
        let command = Command::Start { id: 1, seeds };
        self.touch(node, Some(Input::Command(command)))
    }

    /// Tells a node where it stands: groups lie on a line, at first 0, 1, 2 and 3, 4, 5.
    fn locate(&mut self, node: u8) -> Result<(), Broken> {
        let group = self.groups[usize::from(node)];
        let x = i32::from(node) * 1_000 + i32::from(group) * 40_000;
        let position = Position([x, 0, 0], 1_000, 10);
        let command = Command::Coordinate(position);
        self.touch(node, Some(Input::Command(command)))
    }

    /// Takes a step. False if it is none here: nothing has changed then.
    pub(super) fn apply(&mut self, act: Act) -> Result<bool, Broken> {
        let done = match act {
            Act::Deliver(id) => match self.position(id).filter(|&at| self.is_next(at)) {
                Some(at) => {
                    let flight = self.flights.remove(at);
                    self.arrive(&flight)?;
                    true
                }
                None => false,
            },
            Act::Double(id) => match self.message_at(id) {
                Some(at) => {
                    let flight = self.flights[at].clone();
                    self.arrive(&flight)?;
                    true
                }
                None => false,
            },
            Act::Lose(id) => match self.message_at(id) {
                Some(at) => {
                    self.flights.remove(at);
                    true
                }
                None => false,
            },
            Act::Fire(node) => self.fire(node)?,
            Act::Crash(node) => self.crash(node),
            Act::Restart { node, seed } => {
                let dead = self.node(node).is_none();
                if dead {
                    self.start(node, Some(seed))?;
                }
                dead
            }
            Act::Leave(node) => {
                let alive = self.node(node).is_some();
                if alive {
                    let leave = Input::Command(Command::Leave);
                    self.touch(node, Some(leave))?;
                }
                alive
            }
            Act::Travel { node, group } => {
                let elsewhere = self.groups[usize::from(node)] != group;
                if elsewhere {
                    self.groups[usize::from(node)] = group;
                    self.locate(node)?;
                }
                elsewhere
            }
            Act::Cut(side) => {
                self.side = side;
                let apart = |flight: &Flight| is_apart(side, flight.id.0, flight.to);
                self.flights
                    .retain(|flight| !flight.is_message() || !apart(flight));
                true
            }
            Act::Heal => std::mem::take(&mut self.side) != 0,
        };
        if done {
            self.absorb()?;
        }
        Ok(done)
    }

    fn position(&self, id: Id) -> Option<usize> {
        self.flights.iter().position(|flight| flight.id == id)
    }

    fn message_at(&self, id: Id) -> Option<usize> {
        let at = self.position(id)?;
        self.flights[at].is_message().then_some(at)
    }

    /// Messages overtake each other; what a node's own network says of one peer comes in order.
    pub(super) fn is_next(&self, at: usize) -> bool {
        let flight = &self.flights[at];
        let peer = flight.what.peer();
        let before = |it: &Flight| it.to == flight.to && it.what.peer() == peer;
        peer.is_none() || !self.flights[..at].iter().any(before)
    }

    pub(super) fn node(&self, node: u8) -> Option<&Node> {
        self.nodes.get(usize::from(node))?.as_deref()
    }

    /// Those that have started and did not die or leave.
    pub(super) fn alive(&self) -> impl Iterator<Item = (u8, &Node)> {
        let numbered = (0..).zip(&self.nodes);
        let nodes = numbered.filter_map(|(at, node)| Some((at, &**node.as_ref()?)));
        nodes.filter(|(_, node)| node.machine.running)
    }

    /// Delivers at once what the scene says arrives at once.
    fn absorb(&mut self) -> Result<(), Broken> {
        for _ in 0..EAGER_MAX {
            let eager = |&at: &usize| {
                let kind = self.flights[at].kind();
                self.eager.contains(&kind) && self.is_next(at)
            };
            let Some(at) = (0..self.flights.len()).find(eager) else {
                return Ok(());
            };
            let flight = self.flights.remove(at);
            self.arrive(&flight)?;
        }
        Err(format!("no rest: {EAGER_MAX} messages in a row"))
    }

    fn fire(&mut self, node: u8) -> Result<bool, Broken> {
        let Some(at) = self.node(node).and_then(|it| it.machine.poll_timeout()) else {
            return Ok(false);
        };
        self.fire_at(node, at.at)?;
        Ok(true)
    }

    /// Fires what is due at this time of the node's clock.
    pub(super) fn fire_at(&mut self, node: u8, at: Time) -> Result<(), Broken> {
        self.set_clock(node, at);
        self.touch(node, None)
    }

    /// Clocks do not go back.
    pub(super) fn set_clock(&mut self, node: u8, at: Time) {
        if let Some(node) = &mut self.nodes[usize::from(node)]
            && node.clock < at
        {
            Rc::make_mut(node).clock = at;
        }
    }

    fn crash(&mut self, node: u8) -> bool {
        if self.nodes[usize::from(node)].take().is_none() {
            return false;
        }
        self.flights.retain(|flight| flight.to != node);
        let linked = |&(a, b): &(u8, u8)| a == node || b == node;
        let gone: Vec<_> = self.links.iter().copied().filter(linked).collect();
        for (a, b) in gone {
            self.links.remove(&(a, b));
            let peer = if a == node { b } else { a };
            self.post(node, peer, What::Disconnected(node));
        }
        true
    }

    pub(super) fn arrive(&mut self, flight: &Flight) -> Result<(), Broken> {
        let to = flight.to;
        if self.node(to).is_none() {
            return Ok(());
        }
        let input = match &flight.what {
            What::Message(bytes, kind) => {
                let from = id_of(flight.id.0);
                let message = codec::decode_wire::<Message>(bytes)
                    .map_err(|e| format!("refused: {kind} of {from:?}: {e}"))?;
                Input::Received { from, message }
            }
            What::Connected(peer) => Input::Connected(id_of(*peer)),
            What::Disconnected(peer) => Input::Disconnected(id_of(*peer)),
            What::DialFailed(peer) => Input::DialFailed(id_of(*peer)),
        };
        self.touch(to, Some(input))
    }

    /// Lets a machine handle an input, or what is due if there is none; does what it says, and
    /// looks at what must hold.
    fn touch(&mut self, node: u8, input: Option<Input<Command, Message>>) -> Result<(), Broken> {
        let Some(touched) = &mut self.nodes[usize::from(node)] else {
            return Ok(());
        };
        let it = Rc::make_mut(touched);
        let clock = it.clock;
        let wanted = it.machine.scout.wanted.filter(|wanted| match &input {
            Some(Input::Received { from, message }) => {
                from == wanted && matches!(message, Message::Welcome(_))
            }
            Some(_) | None => false,
        });
        let before = levels_under(&it.machine, wanted);
        let free = judge::movable(&it.machine);
        let handle = || match input {
            Some(input) => it.machine.handle(clock, input),
            None => contract::timeout(&mut it.machine, clock),
        };
        catch_unwind(AssertUnwindSafe(handle))
            .map_err(|_| format!("panic: of node {node} at {clock:?}"))?;
        let outputs: Vec<_> = std::iter::from_fn(|| it.machine.poll_output())
            .take(OUTPUTS_MAX + 1)
            .collect();
        it.digest = digest::of(&it.machine, it.clock);
        let after = levels_under(&it.machine, wanted).into_iter();
        for level in after.filter(|level| !before.contains(level)) {
            if !free.contains(&level) {
                return Err(format!(
                    "moves: node {node} takes a nearer seat at level {level}"
                ));
            }
            self.moves.0 += u32::from(level == 1);
            self.moves.1 += u32::from(level > 1);
        }
        if outputs.len() > OUTPUTS_MAX {
            return Err(format!(
                "bounds: node {node} made {} outputs",
                outputs.len()
            ));
        }
        judge::node(&it.machine)?;
        self.note_posts(node)?;
        let mut measures = Vec::new();
        for output in outputs {
            match output {
                Output::Send { to, message, .. } => self.send(node, to, &message)?,
                Output::Dial(peer) => self.dial(node, index_of(peer)),
                Output::Penalise(peer, why) => {
                    return Err(format!("penalty: node {node} against {peer:?}: {why:?}"));
                }
                Output::Event(Event::Measure { id, targets }) => measures.push((id, targets)),
                Output::Event(Event::WantSeeds) => self.wants |= 1 << node,
                Output::Release(_) | Output::Event(_) => {}
            }
        }
        for (id, targets) in measures {
            for target in targets {
                let rtt_us = self.rtt_us(node, index_of(target.id));
                let peer = target.id;
                let answer = Input::Command(Command::Measured { id, peer, rtt_us });
                self.touch(node, Some(answer))?;
            }
        }
        Ok(())
    }

    /// The directory answers a node with these.
    pub(super) fn found(&mut self, node: u8, others: &[u8]) -> Result<(), Broken> {
        let contacts = others.iter().map(|&other| Contact::bare(id_of(other)));
        let contacts = contacts.collect();
        let found = Input::Command(Command::Found {
            id: 2,
            name: None,
            contacts,
        });
        self.touch(node, Some(found))
    }
}

impl What {
    /// Of whose connection it tells.
    fn peer(&self) -> Option<u8> {
        match self {
            Self::Message(..) => None,
            Self::Connected(peer) | Self::Disconnected(peer) | Self::DialFailed(peer) => {
                Some(*peer)
            }
        }
    }
}

impl Flight {
    pub(super) fn is_message(&self) -> bool {
        matches!(self.what, What::Message(..))
    }

    pub(super) fn kind(&self) -> &'static str {
        match &self.what {
            What::Message(_, kind) => kind,
            What::Connected(_) => "Connected",
            What::Disconnected(_) => "Disconnected",
            What::DialFailed(_) => "DialFailed",
        }
    }
}

/// The levels at which a machine sits under this agent.
fn levels_under(machine: &Dicast, agent: Option<NodeId>) -> Vec<u8> {
    let mut levels = machine.membership_levels();
    levels.retain(|&level| {
        let membership = machine.membership(level);
        membership.is_some_and(|it| Some(it.view.agent.id) == agent)
    });
    levels
}

pub(super) fn id_of(node: u8) -> NodeId {
    NodeId::from_index(u32::from(node))
}

pub(super) fn index_of(id: NodeId) -> u8 {
    u8::try_from(id.index()).expect("there are at most eight nodes")
}
