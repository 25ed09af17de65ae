//! Connections: made after one round trip, lost when an end dies, a cut stands or nobody wants it.
//!
//! Both ends learn of a new connection at the same moment, one round trip after the dial. The end
//! that closes, or whose peer is killed, is told at once or one way later. Each connection has a
//! number; what is under way on a connection that was replaced or closed is dropped.

use opus_core::{Input, NodeId};
use opus_net::Fate;

use super::{
    Driver, Host,
    happening::{Happening, Index},
    links::Link,
};
use crate::{driver::id_of, trace::Kind};

impl<H: Host> Driver<H> {
    /// Whether `node` takes `peer` for connected.
    pub fn is_connected(&self, node: usize, peer: usize) -> bool {
        self.nodes[node].links.get(peer).is_some()
    }

    /// Peers that `node` takes for connected, rising.
    pub fn peers_of(&self, node: usize) -> impl Iterator<Item = usize> {
        self.nodes[node].links.peers()
    }

    pub(super) fn on_dial(&mut self, node: usize, peer: NodeId) {
        match self.index_of(peer).filter(|&peer| peer != node) {
            Some(peer) => {
                self.nodes[node].wanted.insert(peer);
                if let Some(link) = self.nodes[node].links.get_mut(peer) {
                    link.idle_since = None;
                } else {
                    self.dial(node, peer);
                }
            }
            None => self.input(node, Input::DialFailed(peer)),
        }
    }

    pub(super) fn on_release(&mut self, node: usize, peer: NodeId) {
        let Some(peer) = self.index_of(peer) else {
            return;
        };
        self.nodes[node].wanted.remove(&peer);
        self.rest(node, peer);
    }

    /// Starts the idle time of one end if nobody there wants the connection.
    fn rest(&mut self, node: usize, peer: usize) {
        if self.wants(node, peer) {
            return;
        }
        let now = self.now;
        let links = &mut self.nodes[node].links;
        if let Some(connection) = links.connection(peer) {
            if let Some(link) = links.get_mut(peer) {
                link.idle_since = Some(now);
            }
            let at = now + self.options.idle;
            self.schedule(
                at,
                Happening::Idle {
                    one: Index::of(node),
                    other: Index::of(peer),
                    connection,
                },
            );
        }
    }

    fn wants(&self, node: usize, peer: usize) -> bool {
        let node = &self.nodes[node];
        node.wanted.contains(&peer) || node.kept.contains(&peer)
    }

    /// Dials unless there is a connection or a dial already.
    pub(super) fn dial(&mut self, from: usize, to: usize) {
        if self.is_connected(from, to) || !self.dialling.insert((from, to)) {
            return;
        }
        let round_trip = self.network.one_way(from, to) + self.network.one_way(to, from);
        let open = self.is_open_both_ways(from, to) && !self.nodes[to].hidden;
        let refused = !self.is_running(to) && self.is_reachable(from, to);
        if open && self.is_running(to) {
            let incarnations = (self.network.incarnation(from), self.network.incarnation(to));
            self.schedule(
                self.now + round_trip,
                Happening::Dialled {
                    from: Index::of(from),
                    to: Index::of(to),
                    incarnations,
                },
            );
        } else {
            let wait = if refused {
                round_trip
            } else {
                self.options.dial_timeout
            };
            let incarnation = self.network.incarnation(from);
            self.schedule(
                self.now + wait.max(round_trip),
                Happening::DialFailed {
                    from: Index::of(from),
                    to: Index::of(to),
                    incarnation,
                },
            );
        }
    }

    /// A dead process on a living machine answers that nobody listens.
    fn is_reachable(&self, from: usize, to: usize) -> bool {
        !self.nodes[to].silent && !self.nodes[to].hidden && !self.is_cut(from, to)
    }

    pub(super) fn is_open_both_ways(&self, one: usize, other: usize) -> bool {
        self.network.is_open(one, other) && self.network.is_open(other, one)
    }

    pub(super) fn on_dialled(&mut self, from: usize, to: usize, incarnations: (u32, u32)) {
        if self.network.incarnation(from) != incarnations.0 || !self.is_running(from) {
            return;
        }
        let same = self.network.incarnation(to) == incarnations.1;
        if !(same && self.is_running(to) && self.is_open_both_ways(from, to)) {
            self.dial_failed(from, to);
            return;
        }
        self.dialling.remove(&(from, to));
        for node in [from, to] {
            self.nodes[node].traffic.dialled(true);
        }
        let here = self.connection(from, to);
        if here.is_none() || here != self.connection(to, from) {
            self.connect(from, to);
        }
    }

    fn connect(&mut self, one: usize, other: usize) {
        self.connections = self.connections.checked_add(1).expect("a run is too short");
        self.counts.connections += 1;
        let connection = self.connections;
        for (node, peer) in [(one, other), (other, one)] {
            // What is left of an earlier connection whose end has not been noticed yet.
            if let Some(stale) = self.connection(node, peer) {
                self.disconnected(node, peer, stale);
            }
        }
        for (node, peer) in [(one, other), (other, one)] {
            let link = Link {
                blocked: false,
                idle_since: None,
            };
            self.nodes[node].links.insert(peer, connection, link);
        }
        for (node, peer) in [(one, other), (other, one)] {
            self.note(node, Kind::Connected, Some(peer), &[]);
            self.input(node, Input::Connected(id_of(peer)));
            self.rest(node, peer);
        }
    }

    pub(super) fn dial_failed(&mut self, from: usize, to: usize) {
        self.dialling.remove(&(from, to));
        self.nodes[from].traffic.dialled(false);
        if !self.is_running(from) || self.is_connected(from, to) {
            return;
        }
        self.counts.dials_failed += 1;
        self.redial_later(from, to);
        if self.nodes[from].wanted.contains(&to) {
            self.note(from, Kind::DialFailed, Some(to), &[]);
            self.input(from, Input::DialFailed(id_of(to)));
        }
    }

    fn redial_later(&mut self, from: usize, to: usize) {
        if self.nodes[from].kept.contains(&to) {
            let incarnation = self.network.incarnation(from);
            let at = self.now + self.options.redial;
            self.schedule(
                at,
                Happening::Redial {
                    from: Index::of(from),
                    to: Index::of(to),
                    incarnation,
                },
            );
        }
    }

    /// `node` notices that this connection is gone, unless it knows already.
    pub(super) fn disconnected(&mut self, node: usize, peer: usize, connection: u32) {
        if self.connection(node, peer) != Some(connection) {
            return;
        }
        self.nodes[node].links.remove(peer);
        self.drop_held(node, peer);
        self.note(node, Kind::Disconnected, Some(peer), &[]);
        self.redial_later(node, peer);
        self.input(node, Input::Disconnected(id_of(peer)));
    }

    pub(super) fn on_redial(&mut self, from: usize, to: usize, incarnation: u32) {
        let same = self.network.incarnation(from) == incarnation;
        if same && self.is_running(from) && self.nodes[from].kept.contains(&to) {
            self.dial(from, to);
        }
    }

    pub(super) fn on_silence(&mut self, one: Index, other: Index, connection: u32) {
        let pair = (one.get(), other.get());
        let since = self.silent_since.get(&pair);
        if since.is_none_or(|&since| self.now.since(since) < self.options.silence) {
            return;
        }
        self.silent_since.remove(&pair);
        for (node, peer) in [(one, other), (other, one)] {
            self.happen(Happening::Closed {
                node,
                peer,
                connection,
            });
        }
    }

    pub(super) fn on_idle(&mut self, one: usize, other: usize, connection: u32) {
        let due = |node: usize, peer: usize| {
            let known = self.connection(node, peer) == Some(connection);
            let link = self.nodes[node].links.get(peer).filter(|_| known);
            link.and_then(|link| link.idle_since)
                .is_some_and(|since| self.now.since(since) >= self.options.idle)
        };
        if !(due(one, other) && due(other, one)) {
            return;
        }
        let at = match self
            .network
            .send_in_order(self.now, one, other, CLOSE_BYTES)
        {
            Fate::Deliver(at) | Fate::Twice(at, _) => at,
            Fate::Held | Fate::Lost => self.now + self.options.silence,
        };
        self.disconnected(one, other, connection);
        self.schedule(
            at,
            Happening::Closed {
                node: Index::of(other),
                peer: Index::of(one),
                connection,
            },
        );
    }

    pub(super) fn link_mut(&mut self, node: usize, peer: usize, n: u32) -> Option<&mut Link> {
        let known = self.connection(node, peer) == Some(n);
        let links = &mut self.nodes[node].links;
        known.then(|| links.get_mut(peer)).flatten()
    }

    pub(super) fn connection(&self, node: usize, peer: usize) -> Option<u32> {
        self.nodes[node].links.connection(peer)
    }
}

/// What the end of a connection takes on the wire.
pub(super) const CLOSE_BYTES: usize = 40;
