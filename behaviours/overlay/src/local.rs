//! What all memberships of one node share: its identity, what it measured, its connections.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use opus_core::{Contact, Hint, Lane, NodeId, Offence, Output, OverlayId, Rng, Time, Timers};
use opus_model::Position;
use rand::RngExt;

use crate::{
    Config, Event,
    links::{Links, Sent},
    rtt::Rtts,
    wire::{Body, Message},
};

/// Most targets of one [`Event::Measure`]; more are asked for at a later tick.
const TARGETS_MAX: usize = 64;

/// Names of the timers; one table for all overlays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Interests that are over are released.
    Sweep,
    /// Gossip, probes, a move.
    Tick(OverlayId),
    /// Beats are sent, silent edges end.
    Beat(OverlayId),
    /// The pending change is given up.
    Pending(OverlayId),
    /// The search for a parent goes on.
    Search(OverlayId),
}

/// Shared by all memberships. Every method of a membership gets it.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) timers: Timers<Timer>,
    /// Drained after each mutation; holds what one mutation makes.
    pub(crate) outputs: VecDeque<Output<Message, Event>>,
    /// Of the present input.
    pub(crate) now: Time,
    pub(crate) id: NodeId,
    pub(crate) hint: Hint,
    pub(crate) position: Option<Position>,
    pub(crate) rtts: Rtts,
    pub(crate) links: Links,
    /// What the present mutation wants measured.
    targets: Vec<Contact>,
    /// Messages of each connected peer since the last sweep.
    received: BTreeMap<NodeId, u32>,
}

impl Local {
    pub(crate) fn new(id: NodeId, config: Config, rng: Rng) -> Self {
        let timers = Timers::new(1 + 4 * config.overlays_max);
        Self {
            rng,
            timers,
            outputs: VecDeque::new(),
            now: Time::ZERO,
            id,
            hint: Hint::default(),
            position: None,
            rtts: Rtts::new(config.rtts_max),
            links: Links::new(config.holds_max),
            targets: Vec::new(),
            received: BTreeMap::new(),
            config,
        }
    }

    /// Sends, after a dial if need be. Offers, claims, verdicts, beats and partings go first.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.timers
            .set_earliest(Timer::Sweep, self.now + self.config.tick);
        let until = self.now + self.config.hold;
        match self.links.send(to, message, until) {
            Sent::Now(message) => self.output(to, message),
            Sent::Later(true) => self.outputs.push_back(Output::Dial(to)),
            Sent::Later(false) => {}
        }
    }

    /// Keeps `peer` connected for a while; for longer as long as it is an edge.
    pub(crate) fn hold(&mut self, peer: NodeId) {
        self.timers
            .set_earliest(Timer::Sweep, self.now + self.config.tick);
        let until = self.now + self.config.hold;
        if self.links.hold(peer, until) {
            self.outputs.push_back(Output::Dial(peer));
        }
    }

    /// Counts a message; `false` if `from` sent too many since the last sweep.
    pub(crate) fn admit(&mut self, from: NodeId) -> bool {
        let at = self.now + self.config.tick;
        self.timers.set_earliest(Timer::Sweep, at);
        let max = self.config.messages_per_tick_max;
        let count = self.received.entry(from).or_default();
        *count = count.saturating_add(1);
        if *count == max + 1 {
            let penalty = Output::Penalise(from, Offence::Flood);
            self.outputs.push_back(penalty);
        }
        *count <= max
    }

    /// Releases the peers of no more interest, and begins to count anew.
    pub(crate) fn sweep(&mut self, needed: impl Fn(NodeId) -> bool) {
        for peer in self.links.sweep(self.now, needed) {
            self.outputs.push_back(Output::Release(peer));
        }
        self.received.clear();
        if !self.links.idle() {
            self.timers.set(Timer::Sweep, self.now + self.config.tick);
        }
    }

    /// Asks the node to measure `contact`, unless that is under way or was in vain.
    pub(crate) fn measure(&mut self, contact: &Contact) {
        let asked = self.targets.len() < TARGETS_MAX
            && contact.id != self.id
            && self.rtts.open(self.now, contact.id);
        if asked {
            self.targets.push(contact.clone());
        }
    }

    /// The round trip to `peer`, if measured lately enough to rely on it.
    pub(crate) fn rtt(&self, peer: NodeId) -> Option<u32> {
        self.rtts.fresh(self.now, peer, self.config.rtt_age)
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Ends the mutation: what it wants measured becomes one event.
    pub(crate) fn flush(&mut self) {
        if !self.targets.is_empty() {
            let targets = std::mem::take(&mut self.targets);
            self.event(Event::Measure { targets });
        }
    }

    pub(crate) fn on_connected(&mut self, peer: NodeId) {
        self.rtts.on_heard(peer);
        for message in self.links.on_connected(peer) {
            self.output(peer, message);
        }
    }

    /// The peer is gone: the interest ends with it, and begins anew with the next message.
    pub(crate) fn on_gone(&mut self, peer: NodeId) {
        if self.links.on_gone(peer) {
            self.outputs.push_back(Output::Release(peer));
        }
    }

    /// `period` give or take a fifth: ticks of different nodes must not fall into step.
    pub(crate) fn jittered(&mut self, period: Duration) -> Duration {
        let permille = self.rng.random_range(800..=1_200);
        period * permille / 1_000
    }

    fn output(&mut self, to: NodeId, message: Message) {
        let lane = match message.body {
            Body::Gossip(_) => Lane::Bulk,
            Body::Offer(_) | Body::Claim(_) | Body::Verdict(_) | Body::Beat(_) | Body::Leave(_) => {
                Lane::Control
            }
        };
        self.outputs.push_back(Output::Send { to, message, lane });
    }
}

#[cfg(test)]
impl Local {
    pub(crate) fn state_len(&self) -> usize {
        self.rtts.state_len() + self.links.state_len() + self.received.len() + self.targets.len()
    }
}
