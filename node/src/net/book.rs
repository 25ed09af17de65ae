//! The address book: where peers may be reached, bounded and filtered.

use std::{collections::BTreeMap, time::Duration};

use libp2p::{Multiaddr, PeerId};
use opus_core::Time;

use super::addr::{Policy, is_relayed, without_peer};

/// Most peers in the book. Overflow: the one unheard of for longest goes, but never a written one.
const PEERS_MAX: usize = 4_096;
/// Most addresses a peer. Overflow: the oldest learned one goes.
const ADDRESSES_MAX: usize = 8;
/// Wait after the first failed dial; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait between two dials of one peer by this node's own wish to have neighbours.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Entry {
    /// Written by the operator: dialled whatever the policy says, never evicted.
    written: Vec<Multiaddr>,
    /// Learned from others, oldest first; each allowed by the policy.
    learned: Vec<Multiaddr>,
    heard: Time,
    failures: u32,
    retry_at: Time,
}

/// Addresses by peer.
#[derive(Debug)]
pub struct Book {
    me: PeerId,
    policy: Policy,
    entries: BTreeMap<PeerId, Entry>,
}

impl Book {
    /// An empty book of node `me`.
    pub fn new(me: PeerId, policy: Policy) -> Self {
        Self {
            me,
            policy,
            entries: BTreeMap::new(),
        }
    }

    /// Replaces the policy, and drops the learned addresses that it does not allow.
    pub fn set_policy(&mut self, policy: Policy) {
        for entry in self.entries.values_mut() {
            entry.learned.retain(|address| policy.allows(address));
        }
        self.policy = policy;
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes an address that the operator wrote.
    pub fn write(&mut self, now: Time, peer: PeerId, address: Multiaddr) {
        let address = without_peer(address);
        if let Some(entry) = self.entry(now, peer)
            && !entry.written.contains(&address)
            && entry.written.len() < ADDRESSES_MAX
        {
            entry.written.push(address);
        }
    }

    /// Takes an address that somebody told. Returns whether the policy allows it.
    pub fn learn(&mut self, now: Time, peer: PeerId, address: Multiaddr) -> bool {
        let address = without_peer(address);
        if is_relayed(&address) || !self.policy.allows(&address) {
            return false;
        }
        let Some(entry) = self.entry(now, peer) else {
            return false;
        };
        entry.heard = now;
        if let Some(at) = entry.learned.iter().position(|known| *known == address) {
            let known = entry.learned.remove(at);
            entry.learned.push(known);
        } else {
            if entry.learned.len() >= ADDRESSES_MAX {
                entry.learned.remove(0);
            }
            entry.learned.push(address);
        }
        true
    }

    fn entry(&mut self, now: Time, peer: PeerId) -> Option<&mut Entry> {
        if peer == self.me {
            return None;
        }
        if !self.entries.contains_key(&peer) && self.entries.len() >= PEERS_MAX {
            self.evict()?;
        }
        Some(self.entries.entry(peer).or_insert_with(|| Entry {
            heard: now,
            ..Entry::default()
        }))
    }

    fn evict(&mut self) -> Option<()> {
        let learned = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.written.is_empty());
        let oldest = learned
            .min_by_key(|(_, entry)| entry.heard)
            .map(|(peer, _)| *peer)?;
        self.entries.remove(&oldest).map(|_| ())
    }

    /// Where to dial `peer`: written addresses first, then the learned ones, newest first.
    pub fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let Some(entry) = self.entries.get(peer) else {
            return Vec::new();
        };
        entry
            .written
            .iter()
            .chain(entry.learned.iter().rev())
            .cloned()
            .collect()
    }

    /// Notes that a dial failed, so that the peer is left alone for a while.
    pub fn failed(&mut self, now: Time, peer: &PeerId) {
        if let Some(entry) = self.entries.get_mut(peer) {
            let wait = BACKOFF_MIN
                .saturating_mul(1 << entry.failures.min(6))
                .min(BACKOFF_MAX);
            entry.failures = entry.failures.saturating_add(1);
            entry.retry_at = now + wait;
        }
    }

    /// Notes that a connection came up.
    pub fn connected(&mut self, now: Time, peer: &PeerId) {
        if let Some(entry) = self.entries.get_mut(peer) {
            entry.failures = 0;
            entry.retry_at = Time::ZERO;
            entry.heard = now;
        }
    }

    /// Peers that may be dialled at `now`: have an address and are not in their back-off.
    pub fn dialable(&self, now: Time) -> impl Iterator<Item = (&PeerId, bool)> {
        self.entries
            .iter()
            .filter(move |(_, entry)| entry.retry_at <= now)
            .filter(|(_, entry)| !(entry.written.is_empty() && entry.learned.is_empty()))
            .map(|(peer, entry)| (peer, !entry.written.is_empty()))
    }

    /// Number of peers known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no peer is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> Multiaddr {
        format!("/ip4/203.0.113.9/tcp/{port}").parse().unwrap()
    }

    fn book() -> Book {
        Book::new(PeerId::random(), Policy::GlobalOnly)
    }

    #[test]
    fn what_the_operator_wrote_is_dialled_whatever_the_policy_says() {
        let (mut book, peer) = (book(), PeerId::random());
        let private: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        assert!(!book.learn(Time::ZERO, peer, private.clone()));
        book.write(Time::ZERO, peer, private.clone());
        assert_eq!(book.addresses(&peer), [private]);
    }

    #[test]
    fn the_newest_address_is_tried_first_and_old_ones_fall_out() {
        let (mut book, peer) = (book(), PeerId::random());
        for port in 0..20 {
            book.learn(Time::ZERO, peer, addr(port));
        }
        let expected: Vec<_> = (12..20).rev().map(addr).collect();
        assert_eq!(book.addresses(&peer), expected);
    }

    #[test]
    fn a_full_book_forgets_the_longest_unheard_but_no_written_peer() {
        let (mut book, friend) = (book(), PeerId::random());
        book.write(Time::ZERO, friend, addr(1));
        let peers: Vec<_> = (0..PEERS_MAX).map(|_| PeerId::random()).collect();
        for (second, peer) in (1..).zip(&peers) {
            book.learn(Time::from_secs(second), *peer, addr(2));
        }
        assert_eq!(book.len(), PEERS_MAX);
        assert!(book.addresses(&peers[0]).is_empty());
        assert!(!book.addresses(&friend).is_empty());
    }

    #[test]
    fn failed_dials_back_off_up_to_a_minute() {
        let (mut book, peer) = (book(), PeerId::random());
        book.learn(Time::ZERO, peer, addr(1));
        let dialable = |book: &Book, now| book.dialable(now).count() == 1;
        book.failed(Time::ZERO, &peer);
        assert!(!dialable(&book, Time::from_millis(999)));
        assert!(dialable(&book, Time::from_secs(1)));
        for _ in 0..40 {
            book.failed(Time::ZERO, &peer);
        }
        assert!(!dialable(&book, Time::from_secs(59)));
        assert!(dialable(&book, Time::from_secs(60)));
        book.connected(Time::ZERO, &peer);
        assert!(dialable(&book, Time::ZERO));
    }
}
