//! Round trips that this node has measured, shared by all its overlays.
//!
//! A pair is measured once however many overlays want it: what one membership asked for, the next
//! finds here.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{NodeId, Time};

use opus_model::Position;

/// A question unanswered for this long may be asked again: the probe gives up earlier.
const OPEN: Duration = Duration::from_secs(15);
/// A peer that could not be reached is left alone for this long.
const UNREACHABLE: Duration = Duration::from_secs(60);

/// Measured round trips, questions under way.
#[derive(Debug)]
pub(crate) struct Rtts {
    max: usize,
    known: BTreeMap<NodeId, Path>,
    open: BTreeMap<NodeId, Time>,
}

#[derive(Debug)]
struct Path {
    rtt_us: Option<u32>,
    position: Option<Position>,
    at: Time,
}

impl Rtts {
    /// Nothing measured; at most `max` peers. Overflow: the oldest is forgotten.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            known: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    /// The answer to a question, or news.
    pub(crate) fn on_measured(
        &mut self,
        now: Time,
        peer: NodeId,
        rtt_us: Option<u32>,
        position: Option<Position>,
    ) {
        self.open.remove(&peer);
        if self.known.len() >= self.max && !self.known.contains_key(&peer) {
            let oldest = self.known.iter().min_by_key(|(_, rtt)| rtt.at);
            if let Some(oldest) = oldest.map(|(&id, _)| id) {
                self.known.remove(&oldest);
            }
        }
        let position = position.or_else(|| self.known.get(&peer)?.position);
        let path = Path {
            rtt_us,
            position,
            at: now,
        };
        self.known.insert(peer, path);
    }

    /// Notes that `peer` is about to be measured; `false` if it is under way or was in vain lately.
    pub(crate) fn open(&mut self, now: Time, peer: NodeId) -> bool {
        self.open.retain(|_, &mut since| since + OPEN > now);
        if self.unreachable(now, peer) || self.open.contains_key(&peer) {
            return false;
        }
        self.open.len() < self.max && self.open.insert(peer, now).is_none()
    }

    /// Questions under way.
    pub(crate) fn open_len(&self) -> usize {
        self.open.len()
    }

    /// The last measured round trip, however old.
    pub(crate) fn get(&self, peer: NodeId) -> Option<u32> {
        self.known.get(&peer)?.rtt_us
    }

    /// The same if it is younger than `age`.
    pub(crate) fn fresh(&self, now: Time, peer: NodeId, age: Duration) -> Option<u32> {
        let rtt = self.known.get(&peer)?;
        rtt.rtt_us.filter(|_| rtt.at + age > now)
    }

    /// The coordinate that came with the last answer.
    pub(crate) fn position(&self, peer: NodeId) -> Option<Position> {
        self.known.get(&peer)?.position
    }

    /// Whether the last measurement, not long ago, found nobody.
    pub(crate) fn unreachable(&self, now: Time, peer: NodeId) -> bool {
        self.known
            .get(&peer)
            .is_some_and(|rtt| rtt.rtt_us.is_none() && rtt.at + UNREACHABLE > now)
    }

    /// Forgets that `peer` could not be reached: it is connected, or speaks.
    pub(crate) fn on_heard(&mut self, peer: NodeId) {
        if self
            .known
            .get(&peer)
            .is_some_and(|rtt| rtt.rtt_us.is_none())
        {
            self.known.remove(&peer);
        }
    }
}

#[cfg(test)]
impl Rtts {
    pub(crate) fn state_len(&self) -> usize {
        self.known.len() + self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_round_trip_is_forgotten_when_full() {
        let mut rtts = Rtts::new(2);
        for index in 0..3 {
            let peer = NodeId::from_index(index);
            rtts.on_measured(Time::from_secs(index.into()), peer, Some(index), None);
        }
        assert_eq!(rtts.get(NodeId::from_index(0)), None);
        assert_eq!(rtts.get(NodeId::from_index(2)), Some(2));
        assert_eq!(rtts.known.len(), 2);
    }

    #[test]
    fn a_pair_is_asked_for_once_and_again_after_its_answer() {
        let peer = NodeId::from_index(1);
        let mut rtts = Rtts::new(8);
        assert!(rtts.open(Time::ZERO, peer));
        assert!(!rtts.open(Time::from_secs(1), peer));
        rtts.on_measured(Time::from_secs(1), peer, Some(5), None);
        assert!(rtts.open(Time::from_secs(1), peer));
    }

    #[test]
    fn an_unreachable_peer_is_left_alone_until_it_connects() {
        let peer = NodeId::from_index(1);
        let mut rtts = Rtts::new(8);
        rtts.on_measured(Time::ZERO, peer, None, None);
        assert!(!rtts.open(Time::from_secs(59), peer));
        rtts.on_heard(peer);
        assert!(rtts.open(Time::from_secs(59), peer));
    }
}
