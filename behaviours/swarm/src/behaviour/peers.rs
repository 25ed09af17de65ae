//! Who is connected, who is wanted, who is being dialled: plain data behind a [`super::Behaviour`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use libp2p::swarm::ConnectionId;
use opus_core::NodeId;

use crate::{
    connections::{Connections, Rank},
    mailbox::{LaneLimits, Mailbox},
};

/// Peers refused for their offences. Overflow: the smallest identity is forgotten.
const BANNED_MAX: usize = 1_024;

/// See the module. The swarm's connection limits bound `connected`.
#[derive(Debug)]
pub(super) struct Peers {
    lanes: LaneLimits,
    wishes_max: usize,
    connected: BTreeMap<NodeId, Peer>,
    /// Peers between `Dial` and `Release`, connected or not. Overflow: see [`Peers::want`].
    wishes: BTreeMap<NodeId, Wish>,
    /// Peers disconnected for their offences, at most [`BANNED_MAX`].
    banned: BTreeSet<NodeId>,
    /// The mailbox of a handler whose connection may still be denied by another behaviour. The
    /// swarm tells the outcome before it makes another handler: one is enough.
    prepared: Option<(ConnectionId, Arc<Mailbox>)>,
}

#[derive(Debug)]
struct Peer {
    /// Those that work for this protocol. Empty: the peer is gone for it.
    usable: Connections<()>,
    /// All, usable or not.
    established: usize,
    mailbox: Arc<Mailbox>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Standing,
    Dialling,
}

/// What a wish to be connected comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialAnswer {
    /// It is connected.
    Connected,
    /// A dial is to be made.
    Dial,
    /// A dial is under way.
    Wait,
    /// There are too many wishes, or the peer is connected but does not speak the protocol.
    Refused,
}

impl Peers {
    pub(super) fn new(lanes: LaneLimits, wishes_max: usize) -> Self {
        Self {
            lanes,
            wishes_max,
            connected: BTreeMap::new(),
            wishes: BTreeMap::new(),
            banned: BTreeSet::new(),
            prepared: None,
        }
    }

    /// The mailbox for a new handler.
    pub(super) fn prepare(&mut self, node: NodeId, id: ConnectionId) -> Arc<Mailbox> {
        let mailbox = match self.connected.get(&node) {
            Some(peer) => Arc::clone(&peer.mailbox),
            None => Arc::new(Mailbox::new(self.lanes)),
        };
        self.prepared = Some((id, Arc::clone(&mailbox)));
        mailbox
    }

    /// A connection is up; whether the peer is connected only by it.
    pub(super) fn established(&mut self, node: NodeId, id: ConnectionId, rank: Rank) -> bool {
        let prepared = self.prepared.take().filter(|(other, _)| *other == id);
        let Some((_, mailbox)) = prepared else {
            return false;
        };
        let peer = self.connected.entry(node).or_insert_with(|| Peer {
            usable: Connections::new(),
            established: 0,
            mailbox,
        });
        let first = peer.usable.active().is_none();
        peer.established += 1;
        peer.usable.insert(rank, ());
        peer.mailbox.set_active(peer.usable.active());
        self.banned.remove(&node);
        if let Some(wish) = self.wishes.get_mut(&node) {
            *wish = Wish::Standing;
            peer.mailbox.set_wanted(true);
        }
        first
    }

    /// A connection is down; whether the peer is thereby disconnected.
    pub(super) fn closed(&mut self, node: NodeId, id: ConnectionId) -> bool {
        let last = self.gone(node, id);
        if let Some(peer) = self.connected.get_mut(&node) {
            peer.mailbox.forget(id);
            peer.established -= 1;
            if peer.established == 0 {
                self.connected.remove(&node);
            }
        }
        last
    }

    /// A connection does not work for this protocol; whether the peer is thereby disconnected.
    pub(super) fn gone(&mut self, node: NodeId, id: ConnectionId) -> bool {
        let Some(peer) = self.connected.get_mut(&node) else {
            return false;
        };
        if !peer.usable.remove(id) {
            return false;
        }
        peer.mailbox.set_active(peer.usable.active());
        peer.usable.active().is_none()
    }

    /// The peer is to be disconnected for its offences; whether it was connected.
    pub(super) fn ban(&mut self, node: NodeId) -> bool {
        self.banned.insert(node);
        if self.banned.len() > BANNED_MAX {
            self.banned.pop_first();
        }
        let Some(peer) = self.connected.get_mut(&node) else {
            return false;
        };
        let connected = peer.usable.active().is_some();
        peer.usable = Connections::new();
        peer.mailbox.set_active(None);
        connected
    }

    pub(super) fn is_banned(&self, node: NodeId) -> bool {
        self.banned.contains(&node)
    }

    /// Whether messages that arrive on this connection count.
    pub(super) fn uses(&self, node: NodeId, id: ConnectionId) -> bool {
        let peer = self.connected.get(&node);
        peer.is_some_and(|peer| peer.usable.get(id).is_some())
    }

    /// Where to post for a connected peer.
    pub(super) fn mailbox(&self, node: NodeId) -> Option<&Mailbox> {
        let peer = self.connected.get(&node)?;
        peer.usable.active().map(|_| &*peer.mailbox)
    }

    /// Messages to all peers that were not written yet.
    pub(super) fn unsent(&self) -> u64 {
        self.connected
            .values()
            .map(|peer| peer.mailbox.unsent())
            .sum()
    }

    #[cfg(test)]
    pub(super) fn active(&self, node: NodeId) -> Option<ConnectionId> {
        self.connected.get(&node)?.usable.active()
    }

    /// The machine wants `node`. When there are too many wishes, one for a peer that is neither
    /// connected nor being dialled is forgotten; if there is none, this one is refused.
    pub(super) fn want(&mut self, node: NodeId) -> DialAnswer {
        let known = self.wishes.contains_key(&node);
        if !known && self.wishes.len() >= self.wishes_max && !self.forget_idle_wish() {
            return DialAnswer::Refused;
        }
        let wish = self.wishes.entry(node).or_insert(Wish::Standing);
        match self.connected.get(&node) {
            Some(peer) if peer.usable.active().is_some() => {
                peer.mailbox.set_wanted(true);
                DialAnswer::Connected
            }
            Some(_) => DialAnswer::Refused,
            None if *wish == Wish::Dialling => DialAnswer::Wait,
            None => {
                *wish = Wish::Dialling;
                DialAnswer::Dial
            }
        }
    }

    /// The machine does not want `node` any longer.
    pub(super) fn release(&mut self, node: NodeId) {
        self.wishes.remove(&node);
        if let Some(peer) = self.connected.get(&node) {
            peer.mailbox.set_wanted(false);
        }
    }

    /// A dial failed; whether the machine waits for it.
    pub(super) fn dial_failed(&mut self, node: NodeId) -> bool {
        match self.wishes.get_mut(&node) {
            Some(wish @ Wish::Dialling) => {
                *wish = Wish::Standing;
                true
            }
            Some(Wish::Standing) | None => false,
        }
    }

    /// Forgets one wish for a peer that is neither connected nor being dialled.
    fn forget_idle_wish(&mut self) -> bool {
        let idle = self
            .wishes
            .iter()
            .find(|(node, wish)| **wish == Wish::Standing && !self.connected.contains_key(node));
        let Some((&node, _)) = idle else {
            return false;
        };
        self.wishes.remove(&node);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(wishes_max: usize) -> Peers {
        let lanes = LaneLimits {
            messages: 8,
            bytes: 1_024,
        };
        Peers::new(lanes, wishes_max)
    }

    fn node(index: u32) -> NodeId {
        NodeId::from_index(index)
    }

    #[test]
    fn a_second_wish_waits_for_the_first_dial() {
        let mut peers = peers(8);
        assert_eq!(peers.want(node(1)), DialAnswer::Dial);
        assert_eq!(peers.want(node(1)), DialAnswer::Wait);
        assert!(peers.dial_failed(node(1)));
        assert!(!peers.dial_failed(node(1)), "told once");
        assert_eq!(peers.want(node(1)), DialAnswer::Dial);
    }

    #[test]
    fn a_failed_dial_of_someone_else_is_not_told() {
        assert!(!peers(8).dial_failed(node(1)));
    }

    #[test]
    fn when_wishes_are_full_an_idle_one_goes_and_without_one_the_dial_is_refused() {
        let mut peers = peers(2);
        peers.want(node(1));
        peers.want(node(2));
        assert_eq!(peers.want(node(3)), DialAnswer::Refused);
        assert!(peers.dial_failed(node(1)));
        assert_eq!(peers.want(node(3)), DialAnswer::Dial);
        assert_eq!(peers.wishes.len(), 2);
    }
}
