//! Connections: which peers are connected, which this machine wants, and what waits for a dial.
//!
//! A member keeps the connection to its agent; all others are opened when something is to be said
//! and let go some seconds after the last word.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use opus_core::{Bucket, FlatMap, NodeId, Time};

use crate::wire::Message;

/// Messages that wait for one dial. Overflow: the oldest is dropped, as the network might.
const WAITING_MAX: usize = 4;

/// Peers wanted at once: the members of two posts that all have to be checked, and as many others.
/// Overflow: the message is dropped.
const WANTED_MAX: usize = 256;

/// How long a connection is held after the last word to a peer that is not kept.
const HELD: Duration = Duration::from_secs(8);

/// What the driver must be told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Order {
    Dial(NodeId),
    Release(NodeId),
    Send(NodeId, Box<Message>),
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// And what each may still say.
    connected: FlatMap<NodeId, Bucket>,
    /// Tokens a second and at most, of what a peer may say.
    allowed: (u32, u32),
    wanted: FlatMap<NodeId, Wish>,
    /// Few: our agents, and whom we ask about them.
    kept: Vec<NodeId>,
    orders: VecDeque<Order>,
}

#[derive(Clone, Debug)]
struct Wish {
    used_at: Time,
    /// Most wait for nothing.
    waiting: Vec<Message>,
}

impl Links {
    /// Nobody is connected. `allowed`: messages a second and at once that each peer may send.
    pub(crate) fn new(allowed: (u32, u32)) -> Self {
        Self {
            connected: FlatMap::new(),
            allowed,
            wanted: FlatMap::new(),
            kept: Vec::new(),
            orders: VecDeque::new(),
        }
    }

    /// Whether a peer may say one thing more. Nobody speaks whom the driver has not connected.
    pub(crate) fn admit(&mut self, now: Time, peer: NodeId) -> bool {
        let bucket = self.connected.get_mut(&peer);
        bucket.is_none_or(|bucket| bucket.take(now))
    }

    /// Sends, or dials first.
    pub(crate) fn send(&mut self, now: Time, to: NodeId, message: Message) {
        if let Some(wish) = self.wanted.get_mut(&to) {
            wish.used_at = now;
        }
        if self.connected.contains_key(&to) {
            self.orders.push_back(Order::Send(to, Box::new(message)));
            return;
        }
        if !self.want(now, to) {
            return;
        }
        if let Some(wish) = self.wanted.get_mut(&to) {
            if wish.waiting.len() >= WAITING_MAX {
                wish.waiting.remove(0);
            }
            wish.waiting.push(message);
        }
    }

    /// Whether connections are kept to just these.
    pub(crate) fn keeps(&self, mut peers: impl Iterator<Item = NodeId> + Clone) -> bool {
        let named = |kept: &NodeId| peers.clone().any(|peer| peer == *kept);
        self.kept.iter().all(named) && peers.all(|peer| self.kept.contains(&peer))
    }

    /// Sets the peers to which connections are kept while they last.
    pub(crate) fn keep(&mut self, now: Time, peers: BTreeSet<NodeId>) {
        for &peer in &peers {
            self.want(now, peer);
        }
        self.kept = peers.into_iter().collect();
    }

    pub(crate) fn on_connected(&mut self, now: Time, peer: NodeId) {
        let (per_s, burst) = self.allowed;
        self.connected.insert(peer, Bucket::new(per_s, burst));
        if let Some(wish) = self.wanted.get_mut(&peer) {
            wish.used_at = now;
            for message in std::mem::take(&mut wish.waiting) {
                self.orders.push_back(Order::Send(peer, Box::new(message)));
            }
        }
    }

    /// The connection is gone, or there will be none; what waited for it is lost.
    pub(crate) fn on_gone(&mut self, peer: NodeId) {
        self.connected.remove(&peer);
        if self.wanted.remove(&peer).is_some() {
            self.orders.push_back(Order::Release(peer));
        }
    }

    /// Lets go what has not been used for a while.
    pub(crate) fn sweep(&mut self, now: Time) {
        let (kept, orders) = (&self.kept, &mut self.orders);
        self.wanted.retain(|peer, wish| {
            let holds = kept.contains(peer) || now.since(wish.used_at) < HELD;
            if !holds {
                orders.push_back(Order::Release(*peer));
            }
            holds
        });
    }

    /// All who are connected, for whatever reason.
    pub(crate) fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.connected.keys().copied()
    }

    pub(crate) fn is_connected(&self, peer: NodeId) -> bool {
        self.connected.contains_key(&peer)
    }

    pub(crate) fn poll(&mut self) -> Option<Order> {
        let order = self.orders.pop_front();
        if order.is_none() {
            self.orders = VecDeque::new();
        }
        order
    }

    fn want(&mut self, now: Time, peer: NodeId) -> bool {
        if self.wanted.contains_key(&peer) {
            return true;
        }
        if self.wanted.len() >= WANTED_MAX {
            return false;
        }
        let wish = Wish {
            used_at: now,
            waiting: Vec::new(),
        };
        self.wanted.insert(peer, wish);
        self.orders.push_back(Order::Dial(peer));
        true
    }
}
