//! What does not count as it will, for whoever takes the post next.

use opus_core::Time;

use super::{DOUBLE_JOINED, Track};
use crate::{
    cluster::{Roster, SEATS_MAX},
    wire::Entry,
};

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
