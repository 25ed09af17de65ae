//! The discrete-event driver: hosts, their connections and the network, in virtual time.
//!
//! A heap of (time, sequence, happening). One happening is one input of one host; all that the
//! host answers is drained before the next. Equal times go by sequence, so equal seeds give equal
//! runs. Programs live outside: they call [`Driver::command`], and take [`Driver::poll_event`]
//! after each [`Driver::step`], both in virtual time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use opus_core::{Input, NodeId, Output, Time};
use opus_net::Network;

mod connections;
mod faults;
mod settings;
mod traffic;

pub use self::settings::{Counts, Defect, Options, Tallies, Transport};
use self::{connections::Link, traffic::Held};
use crate::{
    host::Host,
    trace::{Detail, Kind, Record, Trace},
};

/// Defects kept. Overflow: the first ones stay.
const DEFECTS_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Driver<H: Host> {
    options: Options,
    now: Time,
    sequence: u64,
    heap: BinaryHeap<Reverse<Entry<H::Message>>>,
    network: Network,
    nodes: Vec<Node<H>>,
    /// (dialler, dialled) of dials under way.
    dialling: BTreeSet<(usize, usize)>,
    /// What waits for the end of a cut, by (from, to), in order.
    held: BTreeMap<(usize, usize), Held<H::Message>>,
    /// Connected pairs over which a cut stands, and since when.
    silent_since: BTreeMap<(usize, usize), Time>,
    connections: u64,
    events: VecDeque<(usize, H::Event)>,
    /// The trace so far.
    pub trace: Trace,
    counts: Counts,
    defects: Vec<Defect>,
}

#[derive(Debug)]
struct Node<H> {
    host: Option<H>,
    /// The next timeout in the heap that counts.
    armed: Option<Time>,
    links: BTreeMap<usize, Link>,
    /// Peers that the host dialled and did not release.
    wanted: BTreeSet<usize>,
    /// Bootstrap contacts that the node itself keeps connected.
    kept: BTreeSet<usize>,
    /// Sends nothing when killed: the machine lost its power, not only its process.
    silent: bool,
    tallies: Tallies,
    /// When each peer was last pinged; bounded by the nodes.
    pinged: BTreeMap<usize, Time>,
}

#[derive(Debug)]
struct Entry<M> {
    at: Time,
    sequence: u64,
    what: Happening<M>,
}

#[derive(Debug)]
enum Happening<M> {
    Timeout {
        node: usize,
    },
    Arrival {
        from: usize,
        to: usize,
        connection: u64,
        packet: Box<Packet<M>>,
    },
    /// The answer to a dial, or its timeout.
    Dialled {
        from: usize,
        to: usize,
        incarnations: (u32, u32),
    },
    /// A dial whose failure is certain already.
    DialFailed {
        from: usize,
        to: usize,
        incarnation: u32,
    },
    /// `node` notices that the connection is gone.
    Closed {
        node: usize,
        peer: usize,
        connection: u64,
    },
    /// Nothing passed for a while, if the cut still stands.
    Silence {
        one: usize,
        other: usize,
        connection: u64,
    },
    /// Nobody wanted the connection for a while, if that is still so.
    Idle {
        one: usize,
        other: usize,
        connection: u64,
    },
    Redial {
        from: usize,
        to: usize,
        incarnation: u32,
    },
    /// The link's capacity is free again.
    Writable {
        from: usize,
        to: usize,
        connection: u64,
    },
}

#[derive(Clone, Debug)]
enum Packet<M> {
    Message { message: M, bytes: Bytes },
    Frames(Bytes),
}

impl<M> PartialEq for Entry<M> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}

impl<M> Eq for Entry<M> {}

impl<M> PartialOrd for Entry<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Entry<M> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl<H: Host> Driver<H> {
    /// All nodes of `network`, none of them running yet.
    pub fn new(network: Network, options: Options) -> Self {
        let nodes = (0..network.len()).map(|_| Node {
            host: None,
            armed: None,
            links: BTreeMap::new(),
            wanted: BTreeSet::new(),
            kept: BTreeSet::new(),
            silent: false,
            tallies: Tallies::default(),
            pinged: BTreeMap::new(),
        });
        Self {
            nodes: nodes.collect(),
            trace: Trace::new(network.len(), options.record),
            options,
            now: Time::ZERO,
            sequence: 0,
            heap: BinaryHeap::new(),
            network,
            dialling: BTreeSet::new(),
            held: BTreeMap::new(),
            silent_since: BTreeMap::new(),
            connections: 0,
            events: VecDeque::new(),
            counts: Counts::default(),
            defects: Vec::new(),
        }
    }

    /// Runs `host` as node `node` and dials its bootstrap contacts. Panics if one runs already.
    pub fn start(&mut self, node: usize, host: H) {
        assert!(self.nodes[node].host.is_none(), "node {node} runs already");
        assert!(self.network.is_up(node), "node {node} is down; restart it");
        self.nodes[node].host = Some(host);
        self.note(node, Kind::Started, None, &[], Detail::None);
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

    /// Gives a running host a command, now. False if it does not run.
    pub fn command(&mut self, node: usize, command: H::Command) -> bool {
        if !self.is_running(node) {
            return false;
        }
        let text = format!("{command:?}");
        self.note(
            node,
            Kind::Command,
            None,
            text.as_bytes(),
            Detail::Text(text.clone()),
        );
        self.input(node, Input::Command(command));
        true
    }

    /// Changes a running host by other calls than [`Host`]'s; what it answers is drained.
    pub fn mutate<T>(&mut self, node: usize, act: impl FnOnce(&mut H, Time) -> T) -> Option<T> {
        let result = act(self.nodes[node].host.as_mut()?, self.now);
        self.settle(node);
        Some(result)
    }

    /// Lets the next thing happen, if it is not after `until`. False: the time is `until`.
    pub fn step(&mut self, until: Time) -> bool {
        let due = self
            .heap
            .peek()
            .is_some_and(|Reverse(entry)| entry.at <= until);
        let Some(Reverse(entry)) = due.then(|| self.heap.pop()).flatten() else {
            self.now = self.now.max(until);
            return false;
        };
        assert!(entry.at >= self.now, "time went backwards");
        self.now = entry.at;
        self.happen(entry.what);
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

    /// Counts over all nodes.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Defects seen so far.
    pub fn defects(&self) -> &[Defect] {
        &self.defects
    }

    fn happen(&mut self, what: Happening<H::Message>) {
        match what {
            Happening::Timeout { node } => self.on_timeout(node),
            Happening::Arrival {
                from,
                to,
                connection,
                packet,
            } => {
                self.on_arrival(from, to, connection, *packet);
            }
            Happening::Dialled {
                from,
                to,
                incarnations,
            } => {
                self.on_dialled(from, to, incarnations);
            }
            Happening::DialFailed {
                from,
                to,
                incarnation,
            } => {
                if self.network.incarnation(from) == incarnation {
                    self.dial_failed(from, to);
                }
            }
            Happening::Closed {
                node,
                peer,
                connection,
            } => {
                self.disconnected(node, peer, connection);
            }
            Happening::Silence {
                one,
                other,
                connection,
            } => {
                self.on_silence(one, other, connection);
            }
            Happening::Idle {
                one,
                other,
                connection,
            } => self.on_idle(one, other, connection),
            Happening::Redial {
                from,
                to,
                incarnation,
            } => {
                let same = self.network.incarnation(from) == incarnation;
                if same && self.is_running(from) && self.nodes[from].kept.contains(&to) {
                    self.dial(from, to);
                }
            }
            Happening::Writable {
                from,
                to,
                connection,
            } => {
                if let Some(link) = self.link_mut(from, to, connection) {
                    link.blocked = false;
                    self.pump(from, to);
                    self.settle(from);
                }
            }
        }
    }

    fn on_timeout(&mut self, node: usize) {
        if self.nodes[node].armed != Some(self.now) {
            return;
        }
        self.nodes[node].armed = None;
        let Some(host) = &self.nodes[node].host else {
            return;
        };
        let due = host
            .poll_timeout()
            .filter(|deadline| deadline.at <= self.now);
        if let Some(deadline) = due {
            let reason = deadline.reason;
            self.note(
                node,
                Kind::Timeout,
                None,
                reason.as_bytes(),
                Detail::Reason(reason),
            );
            let now = self.now;
            if let Some(host) = &mut self.nodes[node].host {
                host.handle_timeout(now);
                if host.poll_timeout().is_some_and(|next| next.at <= now) {
                    let sentence = "after a due timeout the next one lies later";
                    self.defect(node, sentence, format!("{reason} is due again"));
                }
            }
        }
        self.settle(node);
    }

    fn input(&mut self, node: usize, input: Input<H::Command, H::Message>) {
        let now = self.now;
        if let Some(host) = &mut self.nodes[node].host {
            host.handle(now, input);
        }
        self.settle(node);
    }

    /// Drains a host after a mutation and arms its timer.
    fn settle(&mut self, node: usize) {
        while let Some(output) = self.host_mut(node).and_then(Host::poll_output) {
            match output {
                Output::Send {
                    to,
                    message,
                    lane: _,
                } => {
                    if let Some(to) = self.index_of(to) {
                        self.post(node, to, message);
                    }
                }
                Output::Dial(peer) => self.on_dial(node, peer),
                Output::Release(peer) => self.on_release(node, peer),
                Output::Penalise(peer, offence) => {
                    self.counts.penalties += 1;
                    let text = format!("penalises {peer:?} for {offence:?}");
                    self.remark(node, text);
                }
                Output::Event(event) => {
                    if let Some(text) = H::note(&event) {
                        self.remark(node, text);
                    }
                    self.events.push_back((node, event));
                }
            }
        }
        while let Some(peer) = self.host_mut(node).and_then(Host::poll_wake) {
            if let Some(peer) = self.index_of(peer) {
                self.pump(node, peer);
            }
        }
        self.arm(node);
    }

    fn arm(&mut self, node: usize) {
        let Some(deadline) = self.nodes[node].host.as_ref().and_then(Host::poll_timeout) else {
            self.nodes[node].armed = None;
            return;
        };
        // A deadline in the past fires at the next microsecond, so that a defect cannot spin.
        let at = if deadline.at > self.now {
            deadline.at
        } else {
            self.now + Duration::from_micros(1)
        };
        if self.nodes[node].armed != Some(at) {
            self.nodes[node].armed = Some(at);
            self.schedule(at, Happening::Timeout { node });
        }
    }

    fn schedule(&mut self, at: Time, what: Happening<H::Message>) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at, sequence, what }));
    }

    fn host_mut(&mut self, node: usize) -> Option<&mut H> {
        self.nodes[node].host.as_mut()
    }

    fn index_of(&self, id: NodeId) -> Option<usize> {
        let index = usize::try_from(id.index()).ok()?;
        (index < self.nodes.len() && id == id_of(index)).then_some(index)
    }

    fn note(&mut self, node: usize, kind: Kind, peer: Option<usize>, bytes: &[u8], detail: Detail) {
        let peer = peer.and_then(|peer| u32::try_from(peer).ok());
        let record = Record {
            at: self.now,
            kind,
            peer,
            detail,
        };
        self.trace.note(node, bytes, record);
    }

    fn remark(&mut self, node: usize, text: String) {
        let detail = Detail::Text(text);
        let record = Record {
            at: self.now,
            kind: Kind::Told,
            peer: None,
            detail,
        };
        self.trace.remark(node, record);
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
