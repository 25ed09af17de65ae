//! The peers measured last, by whom we know where we stand.
//!
//! One step towards the latest peer alone (Vivaldi as published) forgets what the others said, and
//! a node that measures a few dozen pairs in its first seconds ends up far off. So the coordinate
//! is fitted to all of them at each measurement.
//!
//! Source: Dabek et al. 2004, "Vivaldi"; the window over recent samples is ours, and how it is
//! fitted stands in `opus_model::fit`.

use std::collections::VecDeque;

use opus_core::NodeId;
use opus_model::coordinate::Coordinate;

/// Peers that are remembered. 24: those of the way down a tree of three levels, and of one look
/// around. Overflow: the one measured longest ago goes.
const ANCHORS_MAX: usize = 24;

/// Peers, where each stood when it was last measured, and the round trip in microseconds. They are
/// known by [`NodeId::folded`]: of two that share it the later takes the place of the earlier.
#[derive(Clone, Debug, Default)]
pub(crate) struct Anchors {
    recent: VecDeque<(u64, Coordinate, u32)>,
}

impl Anchors {
    /// Notes a round trip: of those to a peer that is remembered the least counts, but each may be
    /// an eighth longer than the last, for ways change.
    pub(crate) fn take(&mut self, peer: NodeId, coordinate: Coordinate, rtt_us: u32) {
        let peer = peer.folded();
        let known = self.recent.iter().position(|(id, ..)| *id == peer);
        let before = known.and_then(|at| self.recent.remove(at));
        let least_us = before.map_or(rtt_us, |(_, _, before_us)| {
            rtt_us.min(before_us.saturating_add(before_us / 8))
        });
        if self.recent.len() >= ANCHORS_MAX {
            self.recent.pop_front();
        }
        self.recent.reserve_exact(1);
        self.recent.push_back((peer, coordinate, least_us));
    }

    /// The least round trip to a peer that is remembered.
    pub(crate) fn rtt_us(&self, peer: NodeId) -> Option<u32> {
        let peer = peer.folded();
        let found = self.recent.iter().rfind(|(id, ..)| *id == peer);
        found.map(|&(_, _, rtt_us)| rtt_us)
    }

    /// All, the one measured longest ago first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Coordinate, u32)> {
        self.recent.iter().map(|(_, at, rtt_us)| (at, *rtt_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_measured_longest_ago_is_forgotten_and_the_least_round_trip_counts() {
        let mut anchors = Anchors::default();
        let at = Coordinate::default();
        for index in 0..ANCHORS_MAX {
            anchors.take(NodeId::from_index(u32::try_from(index).unwrap()), at, 500);
        }
        let [first, second, new] = [0, 1, 99].map(NodeId::from_index);
        anchors.take(first, at, 700);
        anchors.take(new, at, 300);
        assert_eq!(anchors.rtt_us(first), Some(562));
        assert_eq!(anchors.rtt_us(second), None);
        assert_eq!(anchors.rtt_us(new), Some(300));
        assert_eq!(anchors.iter().count(), ANCHORS_MAX);
    }
}
