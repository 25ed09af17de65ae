//! The score of peers that broke a protocol: points per offence that fade with time.

use std::time::Duration;

use opus_core::{NodeId, Offence, Time};
use std::collections::BTreeMap;

/// Peers with a score. Overflow: the lowest score is forgotten.
const PEERS_MAX: usize = 1_024;

/// Points of one offence, of the 100 that cost the connection by default. Four malformed messages
/// in ten minutes are no accident; a forgery needs intent, two are enough.
pub(crate) fn points(offence: Offence) -> u32 {
    match offence {
        Offence::Malformed => 25,
        Offence::Flood => 20,
        Offence::Forged => 50,
        Offence::Protocol => 10,
    }
}

/// Scores by peer; they outlive connections, so that an offender gains nothing by a new one.
#[derive(Debug)]
pub(crate) struct Scores {
    /// One point fades in this time.
    fade: Duration,
    /// At most [`PEERS_MAX`]: points, and when they were counted.
    peers: BTreeMap<NodeId, (u32, Time)>,
}

impl Scores {
    pub(crate) fn new(fade: Duration) -> Self {
        Self {
            fade: fade.max(Duration::from_millis(1)),
            peers: BTreeMap::new(),
        }
    }

    /// Adds the points of `offence`; gives the new score.
    pub(crate) fn add(&mut self, now: Time, peer: NodeId, offence: Offence) -> u32 {
        let score = self.of(now, peer).saturating_add(points(offence));
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            self.forget_lowest(now);
        }
        self.peers.insert(peer, (score, now));
        score
    }

    /// The score after fading.
    pub(crate) fn of(&self, now: Time, peer: NodeId) -> u32 {
        let Some(&(points, at)) = self.peers.get(&peer) else {
            return 0;
        };
        let faded = now.since(at).as_micros() / self.fade.as_micros();
        points.saturating_sub(u32::try_from(faded).unwrap_or(u32::MAX))
    }

    fn forget_lowest(&mut self, now: Time) {
        let lowest = self
            .peers
            .keys()
            .copied()
            .min_by_key(|&peer| self.of(now, peer));
        if let Some(peer) = lowest {
            self.peers.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_add_up_and_fade() {
        let mut scores = Scores::new(Duration::from_secs(6));
        let peer = NodeId([1; 32]);
        assert_eq!(scores.add(Time::ZERO, peer, Offence::Malformed), 25);
        assert_eq!(
            scores.add(Time::from_secs(60), peer, Offence::Malformed),
            40
        );
        assert_eq!(scores.of(Time::from_secs(3_600), peer), 0);
    }

    #[test]
    fn the_table_keeps_the_worst_when_full() {
        let mut scores = Scores::new(Duration::from_secs(6));
        let worst = NodeId([255; 32]);
        scores.add(Time::ZERO, worst, Offence::Forged);
        for index in 0..2_000 {
            scores.add(Time::ZERO, NodeId::from_index(index), Offence::Protocol);
        }
        assert_eq!(scores.peers.len(), PEERS_MAX);
        assert_eq!(scores.of(Time::ZERO, worst), 50);
    }
}
