//! The discrete-event driver: hosts, their connections and the network, in virtual time.
//!
//! A queue of happenings by time. One happening is one input of one host; all that the host answers
//! is drained before the next. Equal times go in the order in which they were scheduled, so equal
//! seeds give equal runs. Programs live outside: they call [`Driver::command`], and take
//! [`Driver::poll_event`] after each [`Driver::step`], both in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
};

use opus_core::{NodeId, Rng, Time};
use opus_net::Network;

pub mod account;
mod clock;
mod connections;
mod drain;
mod faults;
mod happening;
mod links;
mod parcels;
mod settings;
mod stall;
mod strange;
mod traffic;

pub use self::{
    account::{Snapshot, Traffic, Usage},
    clock::SKEW_PPM_MAX,
    settings::{Counts, Defect, Options, Tallies, Transport},
    stall::{STALLED_MAX, Wake},
    strange::Tamper,
};
use self::{
    happening::{Happening, Node},
    parcels::Parcels,
    stall::Stalls,
    traffic::Held,
};
use crate::{
    host::Host,
    queue::Queue,
    trace::{Kind, Trace},
};

/// Defects kept. Overflow: the first ones stay.
const DEFECTS_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Driver<H: Host> {
    options: Options,
    now: Time,
    queue: Queue<Happening>,
    network: Network,
    nodes: Vec<Node<H>>,
    parcels: Parcels<H::Message>,
    /// (dialler, dialled) of dials under way.
    dialling: BTreeSet<(usize, usize)>,
    /// What waits for the end of a cut, by (from, to), in order.
    held: BTreeMap<(usize, usize), Held>,
    /// Connected pairs over which a cut or a pause stands, and since when.
    silent_since: BTreeMap<(usize, usize), Time>,
    stalls: Stalls<H::Command>,
    /// Nodes whose messages are changed on their way out.
    tampers: BTreeMap<usize, (Tamper<H::Message>, Rng)>,
    connections: u32,
    events: VecDeque<(usize, H::Event)>,
    /// The trace so far.
    pub trace: Trace,
    counts: Counts,
    defects: Vec<Defect>,
    /// Memory for the words of a command.
    words: String,
}

impl<H: Host> Driver<H> {
    /// All nodes of `network`, none of them running yet.
    pub fn new(network: Network, options: Options) -> Self {
        Self {
            nodes: (0..network.len()).map(|_| Node::new()).collect(),
            trace: Trace::new(network.len(), options.recent, options.record),
            options,
            now: Time::ZERO,
            queue: Queue::new(),
            network,
            parcels: Parcels::new(),
            dialling: BTreeSet::new(),
            held: BTreeMap::new(),
            silent_since: BTreeMap::new(),
            stalls: Stalls::default(),
            tampers: BTreeMap::new(),
            connections: 0,
            events: VecDeque::new(),
            counts: Counts::default(),
            defects: Vec::new(),
            words: String::new(),
        }
    }

    /// Runs `host` as node `node` and dials its bootstrap contacts. Panics if one runs already.
    pub fn start(&mut self, node: usize, host: H) {
        assert!(self.nodes[node].host.is_none(), "node {node} runs already");
        assert!(self.network.is_up(node), "node {node} is down; restart it");
        self.nodes[node].host = Some(host);
        self.note(node, Kind::Started, None, &[]);
        self.settle(node);
        for peer in self.nodes[node].kept.clone() {
            self.dial(node, peer);
        }
    }

    /// A bootstrap contact: the node keeps connected to it whatever its machines want.
    pub fn keep(&mut self, node: usize, peer: usize) {
        if node != peer && self.nodes[node].kept.insert(peer) && self.is_running(node) {
            self.dial(node, peer);
        }
    }

    /// Gives a running host a command, now; a stalled one takes it when it goes on. False if it
    /// does not run, or is stalled and has no room.
    pub fn command(&mut self, node: usize, command: H::Command) -> bool {
        if !self.is_running(node) {
            return false;
        }
        if self.nodes[node].stalled {
            return self.put_off_command(node, command);
        }
        let mut words = std::mem::take(&mut self.words);
        words.clear();
        write!(words, "{command:?}").expect("writing into a string cannot fail");
        self.note(node, Kind::Command, None, words.as_bytes());
        self.words = words;
        self.input(node, opus_core::Input::Command(command));
        true
    }

    /// Changes a running host by other calls than [`Host`]'s, with its own time; what it answers is
    /// drained, of a stalled one when it goes on.
    pub fn mutate<T>(&mut self, node: usize, act: impl FnOnce(&mut H, Time) -> T) -> Option<T> {
        let now = self.local_time(node);
        let result = act(self.nodes[node].host.as_mut()?, now);
        self.settle(node);
        Some(result)
    }

    /// Lets the next thing happen, if it is not after `until`. False: the time is `until`.
    pub fn step(&mut self, until: Time) -> bool {
        let Some((at, what)) = self.queue.pop(until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = at;
        self.happen(what);
        true
    }

    /// Lets everything happen up to and including `until`.
    pub fn run_until(&mut self, until: Time) {
        while self.step(until) {}
    }

    /// What hosts told, in order.
    pub fn poll_event(&mut self) -> Option<(usize, H::Event)> {
        self.events.pop_front()
    }

    /// The present moment.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The host of a node that runs.
    pub fn host(&self, node: usize) -> Option<&H> {
        self.nodes[node].host.as_ref()
    }

    /// All nodes that run, rising, with their hosts: for what looks at each of them every second.
    pub fn hosts(&self) -> impl Iterator<Item = (usize, &H)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(node, state)| Some((node, state.host.as_ref()?)))
    }

    /// Ends the run: the hosts that run, by node, for what looks into them.
    pub fn into_hosts(self) -> impl Iterator<Item = (usize, H)> {
        let nodes = self.nodes.into_iter().enumerate();
        nodes.filter_map(|(node, state)| Some((node, state.host?)))
    }

    /// Whether a host runs at `node`.
    pub fn is_running(&self, node: usize) -> bool {
        self.nodes[node].host.is_some()
    }

    /// Number of nodes, running or not.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a network has at least two nodes"
    )]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The network, to look at.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// What `node` sent so far, over all its lives.
    pub fn tallies_of(&self, node: usize) -> Tallies {
        self.nodes[node].tallies
    }

    /// The bytes that `node` sent and received so far, over all its lives.
    pub fn traffic_of(&self, node: usize) -> Traffic {
        self.nodes[node].traffic
    }

    /// The bytes of all nodes so far; the difference of two is what passed between them.
    pub fn traffic(&self) -> Snapshot {
        Snapshot {
            at: self.now,
            nodes: self.nodes.iter().map(|node| node.traffic).collect(),
        }
    }

    /// When the next thing happens, if anything will.
    pub fn next_at(&self) -> Option<Time> {
        self.queue.first_at()
    }

    /// Happenings that are due at some time: timers, messages under way, dials.
    pub const fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Counts over all nodes.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Defects seen so far.
    pub fn defects(&self) -> &[Defect] {
        &self.defects
    }

    fn happen(&mut self, what: Happening) {
        if let Some(node) = self.stalled_for(&what) {
            self.put_off(node, what);
            return;
        }
        match what {
            Happening::Timeout { node } => self.on_timeout(node.get()),
            Happening::Arrival {
                from,
                to,
                connection,
                parcel,
            } => self.on_arrival(from.get(), to.get(), connection, parcel),
            Happening::Dialled {
                from,
                to,
                incarnations,
            } => self.on_dialled(from.get(), to.get(), incarnations),
            Happening::DialFailed {
                from,
                to,
                incarnation,
            } => {
                if self.network.incarnation(from.get()) == incarnation {
                    self.dial_failed(from.get(), to.get());
                }
            }
            Happening::Closed {
                node,
                peer,
                connection,
            } => self.disconnected(node.get(), peer.get(), connection),
            Happening::Silence {
                one,
                other,
                connection,
            } => self.on_silence(one, other, connection),
            Happening::Idle {
                one,
                other,
                connection,
            } => self.on_idle(one.get(), other.get(), connection),
            Happening::Redial {
                from,
                to,
                incarnation,
            } => self.on_redial(from.get(), to.get(), incarnation),
            Happening::Writable {
                from,
                to,
                connection,
            } => self.on_writable(from.get(), to.get(), connection),
            Happening::Resume { node, pause } => self.on_resume(node.get(), pause),
        }
    }

    fn schedule(&mut self, at: Time, what: Happening) {
        self.queue.push(at, what);
    }

    fn index_of(&self, id: NodeId) -> Option<usize> {
        let index = usize::try_from(id.index()).ok()?;
        (index < self.nodes.len() && id == id_of(index)).then_some(index)
    }

    fn note(&mut self, node: usize, kind: Kind, peer: Option<usize>, bytes: &[u8]) {
        let peer = peer.and_then(|peer| u32::try_from(peer).ok());
        self.trace.note(self.now, node, kind, peer, bytes);
    }

    fn defect(&mut self, node: usize, sentence: &'static str, got: String) {
        if self.defects.len() < DEFECTS_MAX {
            self.defects.push(Defect {
                at: self.now,
                node,
                sentence,
                got,
            });
        }
    }
}

/// The identity of node `index`.
pub fn id_of(index: usize) -> NodeId {
    NodeId::from_index(u32::try_from(index).expect("a topology is far below 2^32 nodes"))
}

#[cfg(test)]
mod tests;
