//! What does not count as it will, for whoever takes the post next.

use std::time::Duration;

use opus_core::Time;

use super::{DOUBLE_JOINED, Track};
use crate::{
    cluster::{LEVELS_MAX, Roster, SEATS_MAX},
    wire::Entry,
};

/// From which age on the values of a seat do not count, by level: its nodes may have come back
/// elsewhere, and count there after [`DOUBLE_JOINED`]. At level 1 a little longer than a silent
/// member is kept, above so much longer that a new agent can speak first.
const STALE: [Duration; LEVELS_MAX as usize] = [
    Duration::from_secs(7),
    Duration::from_millis(11_500),
    Duration::from_secs(13),
    Duration::from_millis(13_500),
    Duration::from_secs(14),
    Duration::from_millis(14_500),
];

/// See [`STALE`].
pub(super) fn stale(level: u8) -> Duration {
    let levels = usize::from(level.clamp(1, LEVELS_MAX));
    STALE[levels - 1]
}

impl Track {
    /// Whether all that does not count as it will is of a seat, and can be handed over as such.
    pub(crate) fn is_orderly(&self, now: Time) -> bool {
        self.ghosts.is_empty() && self.changing.is_empty() && self.inherited.1 <= now
    }

    /// Nodes that sit in no seat and may be alive, and nodes of no certain seat that may be counted
    /// twice.
    pub(crate) fn unseated(&self, now: Time) -> (u32, u32) {
        let (double, until) = self.inherited;
        let double = if now < until { double } else { 0 };
        let clamp = |nodes: u64| u32::try_from(nodes).unwrap_or(u32::MAX);
        (clamp(self.slots.unseated(now)), clamp(double))
    }

    /// Seats that do not count as others do yet, among these.
    pub(crate) fn books(&self, now: Time, roster: &Roster) -> Vec<Entry> {
        let entry = |slot: u8, until: Time, double: u64| Entry {
            slot,
            double: u32::try_from(double).unwrap_or(u32::MAX),
            left: until.since(now),
        };
        let doubles = self.doubles.iter();
        let doubles = doubles.map(|(&slot, &(until, nodes))| entry(slot, until, nodes.max(1)));
        let held = self
            .held
            .iter()
            .map(|(&slot, &until)| entry(slot, until, 0));
        let all = doubles
            .filter(|it| !self.held.contains_key(&it.slot))
            .chain(held);
        let all = all.filter(|it| roster.get(it.slot).is_some());
        all.take(SEATS_MAX).collect()
    }

    /// Goes on with the books of whoever had the post.
    pub(crate) fn take_books(&mut self, now: Time, books: &[Entry]) {
        for entry in books.iter().filter(|it| self.seated.contains_key(&it.slot)) {
            let left = entry.left.min(DOUBLE_JOINED);
            if entry.double == 0 {
                self.held.insert(entry.slot, now + left);
                self.slots.hold(entry.slot, true);
            } else {
                let nodes = u64::from(entry.double);
                self.doubles.insert(entry.slot, (now + left, nodes));
                self.slots.suspect_double(entry.slot, nodes);
            }
        }
    }
}
