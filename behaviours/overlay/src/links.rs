//! Who is connected, whom this machine keeps connected, and what waits for a connection.

use std::collections::{BTreeMap, BTreeSet};

use opus_core::{NodeId, Time};

use crate::wire::Message;

/// Messages that wait for one dial. Overflow: the newest is dropped.
const WAITING_MAX: usize = 4;

/// Connections as the driver tells them, and the interests this machine has in them.
#[derive(Debug)]
pub(crate) struct Links {
    max: usize,
    /// As many as the driver allows connections.
    connected: BTreeSet<NodeId>,
    held: BTreeMap<NodeId, Held>,
}

#[derive(Debug)]
struct Held {
    until: Time,
    waiting: Vec<Message>,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The peer is connected: send it.
    Now(Message),
    /// It waits; the peer must be dialled if `true`.
    Later(bool),
}

impl Links {
    /// No connection; interest in at most `max` peers. Overflow: the new interest is refused.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            connected: BTreeSet::new(),
            held: BTreeMap::new(),
        }
    }

    /// Takes an interest until `until` at least; tells whether the driver must hear of it.
    pub(crate) fn hold(&mut self, peer: NodeId, until: Time) -> bool {
        if let Some(held) = self.held.get_mut(&peer) {
            held.until = held.until.max(until);
            return false;
        }
        if self.held.len() >= self.max {
            return false;
        }
        let waiting = Vec::new();
        self.held.insert(peer, Held { until, waiting });
        true
    }

    /// A message to `peer`: now, or when the dial that it may need has succeeded.
    pub(crate) fn send(&mut self, peer: NodeId, message: Message, until: Time) -> Sent {
        if self.connected.contains(&peer) {
            return Sent::Now(message);
        }
        let dial = self.hold(peer, until);
        if let Some(held) = self.held.get_mut(&peer)
            && held.waiting.len() < WAITING_MAX
        {
            held.waiting.push(message);
        }
        Sent::Later(dial)
    }

    /// The peer is connected; gives what waited for it.
    pub(crate) fn on_connected(&mut self, peer: NodeId) -> Vec<Message> {
        self.connected.insert(peer);
        self.held
            .get_mut(&peer)
            .map(|held| std::mem::take(&mut held.waiting))
            .unwrap_or_default()
    }

    /// The peer is gone or could not be reached; tells whether there was an interest, which ends.
    pub(crate) fn on_gone(&mut self, peer: NodeId) -> bool {
        self.connected.remove(&peer);
        self.held.remove(&peer).is_some()
    }

    /// Ends the interests that are over and not needed; gives the peers to release.
    pub(crate) fn sweep(&mut self, now: Time, needed: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let over =
            |(&peer, held): (&NodeId, &Held)| (held.until <= now && !needed(peer)).then_some(peer);
        let released: Vec<NodeId> = self.held.iter().filter_map(over).collect();
        for peer in &released {
            self.held.remove(peer);
        }
        released
    }

    /// Whether there is no interest that a sweep could end.
    pub(crate) fn idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether `peer` is connected.
    pub(crate) fn connected(&self, peer: NodeId) -> bool {
        self.connected.contains(&peer)
    }
}

#[cfg(test)]
impl Links {
    pub(crate) fn state_len(&self) -> usize {
        let waiting = self
            .held
            .values()
            .map(|held| held.waiting.len())
            .sum::<usize>();
        self.connected.len() + self.held.len() + waiting
    }
}
