//! The receiver's side: the last record of each member for each key.
//!
//! *Slots are replaced, never added to*, under (incarnation, epoch, number): what was lost,
//! repeated or overtaken spoils nothing, and the cluster's record is folded from all slots each
//! time, in slot order. Ages, not clocks: a slot's age is the one its last report named, plus the
//! time that it was under way, plus the time since. A report freshens the slot only if every set of
//! changes up to its last is known; else the values that it brought count, the age grows on, and
//! the caller asks for a full one. (What it brought may even be older than all that the slot held,
//! since nodes came in with it: so the greater of both ages counts.)
//!
//! Whoever was in a slot and was lost is *missing* for ten minutes.

use std::{collections::BTreeMap, time::Duration};

use opus_core::Time;

use self::column::Column;
pub use self::verdict::{Outcome, Verdict};
use super::{
    key::{KeyId, KeySpec, NODES_MAX},
    record::{AGE_MAX, Fold, Record},
    report::{KEYS_MAX, Report},
    summary::Summary,
};
use crate::cluster::SEATS_MAX;

mod column;
mod verdict;

/// A slot may miss so many times the nodes that it can have: it remembers for ten minutes.
const MISSING_SHARE: u64 = 64;

/// Under which a sender's reports are numbered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// Of the sender: rises when it restarts, or when another agent speaks for its cluster.
    pub incarnation: u64,
    /// Of the receiver: rises when another agent takes the receiving cluster over.
    pub epoch: u32,
}

/// Who takes a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// A node: it counts as a member itself.
    Leaf,
    /// A cluster that is said to have so many nodes.
    Cluster(u64),
}

/// How a slot became empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacated {
    /// Its nodes are counted elsewhere, or gone for good.
    Left,
    /// Its nodes may be alive.
    Lost,
}

/// All slots of one cluster.
#[derive(Clone, Debug)]
pub struct Slots {
    places: [Option<Place>; SEATS_MAX],
    /// As many nodes as one slot can stand for.
    nodes_max: u64,
    /// A slot whose oldest value is older does not count.
    age_max: Duration,
    columns: BTreeMap<KeyId, Column>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    node: u64,
    leaf: bool,
    term: Term,
    beat: u32,
    /// All sets up to this one are known.
    seen: u32,
    /// Of the oldest value, at `at`, in microseconds: cheaper to compare than a duration.
    age_us: u64,
    at: Time,
    /// Whether it ever was fresh.
    known: bool,
    /// Whether a full report has come since the last key was learnt.
    answered: bool,
    /// Nodes it is said to have.
    expected: u64,
    counts: Counts,
}

/// How what a slot says counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// So many of its nodes may be counted in another slot too.
    Twice(u64),
    /// Not at all: its nodes may still be counted where they were before, and are missing.
    Held,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new()
    }
}

impl Slots {
    /// No slot is taken; the members are counted.
    pub fn new() -> Self {
        Self {
            places: [None; SEATS_MAX],
            nodes_max: NODES_MAX,
            age_max: AGE_MAX,
            columns: BTreeMap::from([(KeyId::MEMBERS, Column::default())]),
        }
    }

    /// The same, of slots that can stand for so many nodes each: who says more is not believed. A
    /// slot with a value that is older than `age_max` is missing: its nodes may be counted
    /// elsewhere by then.
    pub fn within(nodes_max: u64, age_max: Duration) -> Self {
        Self {
            nodes_max,
            age_max,
            ..Self::new()
        }
    }

    /// `node` takes a slot, in place of whoever had it; it is missing until its first full report,
    /// but for a leaf's membership. Returns false, and does nothing, for a slot beyond the last.
    ///
    /// `since`: reports of earlier terms are ignored, as they were composed under widths that this
    /// receiver does not know. A new agent gives its own epoch.
    pub fn occupy(
        &mut self,
        slot: u8,
        now: Time,
        node: u64,
        occupant: Occupant,
        since: Term,
    ) -> bool {
        if usize::from(slot) >= SEATS_MAX {
            return false;
        }
        self.clear(slot);
        let leaf = occupant == Occupant::Leaf;
        let expected = match occupant {
            Occupant::Leaf => 1,
            Occupant::Cluster(nodes) => nodes,
        };
        self.places[usize::from(slot)] = Some(Place {
            node,
            leaf,
            term: since,
            beat: 0,
            seen: 0,
            age_us: 0,
            at: now,
            known: false,
            answered: false,
            expected,
            counts: Counts::Twice(0),
        });
        if leaf && let Some(column) = self.columns.get_mut(&KeyId::MEMBERS) {
            column.put(slot, 0, Record::of_one(Summary::Count), 0.0);
        }
        true
    }

    /// What is known of a slot may already be so old: a new agent counts members that it has not
    /// heard.
    pub fn presume_age(&mut self, slot: u8, now: Time, age: Duration) {
        if let Some(Some(place)) = self.places.get_mut(usize::from(slot)) {
            let age_us = age.min(AGE_MAX).as_micros();
            place.age_us = u64::try_from(age_us).unwrap_or(u64::MAX);
            place.at = now;
        }
    }

    /// A slot becomes empty.
    pub fn vacate(&mut self, slot: u8, now: Time, how: Vacated) {
        let Some(place) = self.place(slot).copied() else {
            return;
        };
        if how == Vacated::Lost {
            for column in self.columns.values_mut() {
                let nodes = match column.get(slot) {
                    Some(held) => held.record.count + held.record.missing,
                    None if column.awaits(slot) || !place.known => place.expected,
                    None => 0,
                };
                column.on_gone(now, nodes);
            }
        }
        self.clear(slot);
        self.places[usize::from(slot)] = None;
    }

    /// So many nodes that sit in no slot may be alive.
    pub fn miss(&mut self, now: Time, nodes: u64) {
        for column in self.columns.values_mut() {
            column.on_gone(now, nodes.min(NODES_MAX));
        }
    }

    /// So many nodes that sit in no slot may be alive.
    pub fn unseated(&self, now: Time) -> u64 {
        let members = self.columns.get(&KeyId::MEMBERS);
        members.map_or(0, |column| column.missing(now))
    }

    /// A key was made known; whoever is in a slot is asked for its value (a full report of each).
    /// Returns false if there are [`KEYS_MAX`] keys already.
    pub fn learn(&mut self, key: KeyId) -> bool {
        if self.columns.contains_key(&key) {
            return true;
        }
        if self.columns.len() >= KEYS_MAX {
            return false;
        }
        let mut awaited = 0;
        for (slot, place) in (0_u32..).zip(&mut self.places) {
            if let Some(place) = place {
                place.answered = false;
                awaited |= 1 << slot;
            }
        }
        self.columns.insert(key, Column::awaiting(awaited));
        true
    }

    /// A key is no more. Key 0 stays.
    pub fn forget(&mut self, key: KeyId) {
        if key != KeyId::MEMBERS {
            self.columns.remove(&key);
        }
    }

    /// At most so many nodes of the slot are counted in another one too, somewhere in the tree. To
    /// be kept until every ancestor of the other one may know that they left it.
    pub fn suspect_double(&mut self, slot: u8, nodes: u64) {
        if let Some(Some(place)) = self.places.get_mut(usize::from(slot))
            && place.counts != Counts::Held
        {
            place.counts = Counts::Twice(nodes);
        }
    }

    /// While it is held, a slot's nodes are missing, whatever it says: they may be counted
    /// elsewhere too. To be released as late as a suspicion of double counts ends.
    pub fn hold(&mut self, slot: u8, held: bool) {
        if let Some(Some(place)) = self.places.get_mut(usize::from(slot)) {
            match (place.counts, held) {
                (_, true) => place.counts = Counts::Held,
                (Counts::Held, false) => place.counts = Counts::Twice(0),
                (Counts::Twice(_), false) => {}
            }
        }
    }

    /// Takes a report. `transit`: not less than it was under way; `spec_of`: the specs of all keys
    /// learnt. Changes of other keys are passed over.
    pub fn apply<'s>(
        &mut self,
        slot: u8,
        now: Time,
        term: Term,
        report: &Report,
        transit: Duration,
        spec_of: impl Fn(KeyId) -> Option<&'s KeySpec>,
    ) -> Outcome {
        let mut outcome = Outcome {
            verdict: Verdict::Ignored,
            new_term: false,
            changed: Vec::new(),
        };
        let Some(mut place) = self.place(slot).copied() else {
            return outcome;
        };
        if term < place.term || term == place.term && report.beat <= place.beat {
            return outcome;
        }
        if (term > place.term || place.beat == 0) && !report.full {
            outcome.verdict = Verdict::Gap;
            return outcome;
        }
        outcome.new_term = term > place.term;
        place.term = term;
        place.beat = report.beat;
        if report.full {
            self.empty(slot, place.leaf, &mut outcome.changed);
            place.answered = true;
            // The one set there is stands for all before it.
            place.seen = report.seq.saturating_sub(1);
        }
        let lawful = self.take_sets(slot, &mut place, report, spec_of, &mut outcome.changed);
        outcome.changed.sort_unstable();
        outcome.changed.dedup();
        outcome.verdict = match (lawful, place.seen < report.seq, report.partial) {
            (false, ..) => Verdict::Refused,
            (true, true, _) => Verdict::Gap,
            (true, false, true) => Verdict::Partial,
            (true, false, false) => Verdict::Fresh,
        };
        let age = report.age.saturating_add(transit).min(AGE_MAX);
        let age_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        let fresh = outcome.verdict == Verdict::Fresh;
        let known_us = if fresh { 0 } else { place.age_us(now) };
        (place.age_us, place.at) = (age_us.max(known_us), now);
        if fresh {
            place.known = true;
            if place.answered {
                for column in self.columns.values_mut() {
                    column.awaited &= !(1 << slot);
                }
            }
        }
        self.places[usize::from(slot)] = Some(place);
        outcome
    }

    /// The cluster's record of a key: all slots in order. `widths`: the greatest width that each
    /// slot's sender may use, from slot 0 on; 0 for those not named. `None` for an unknown key.
    pub fn record(
        &self,
        key: KeyId,
        now: Time,
        spec: &KeySpec,
        widths: impl IntoIterator<Item = f32>,
    ) -> Option<Record> {
        let column = self.columns.get(&key)?;
        let mut fold = Fold::new(spec);
        let mut widths = widths.into_iter();
        let mut oldest_us = 0;
        let stale_us = u64::try_from(self.age_max.as_micros()).unwrap_or(u64::MAX);
        for (slot, place) in (0_u8..).zip(&self.places) {
            let width = widths.next().unwrap_or(0.0);
            let Some(place) = place else {
                continue;
            };
            let age_us = place.age_us(now);
            match (column.get(slot), place.counts) {
                (Some(held), Counts::Twice(nodes)) if age_us <= stale_us => {
                    fold.add_value(&held.record, f64::from(width));
                    fold.add_double(nodes.min(held.record.count));
                    if held.record.count > 0 {
                        oldest_us = age_us.max(oldest_us);
                    }
                }
                (Some(held), Counts::Held | Counts::Twice(_)) => {
                    fold.add_missing(held.record.count + held.record.missing);
                }
                (None, _) if !place.known || column.awaits(slot) => {
                    fold.add_missing(place.expected);
                }
                (None, _) => {}
            }
        }
        fold.add_missing(column.missing(now));
        fold.add_age(Duration::from_micros(oldest_us));
        Some(fold.finish())
    }

    /// What the part of a cluster's record is that one slot gives, with the greatest width that its
    /// sender may use. `None` for an unknown key or an empty slot.
    pub fn record_of(
        &self,
        slot: u8,
        key: KeyId,
        now: Time,
        spec: &KeySpec,
        width: f32,
    ) -> Option<Record> {
        let (column, place) = (self.columns.get(&key)?, self.place(slot)?);
        let held = column.get(slot)?;
        let mut fold = Fold::new(spec);
        match place.counts {
            Counts::Held => fold.add_missing(held.record.count + held.record.missing),
            Counts::Twice(nodes) => {
                let age = Duration::from_micros(place.age_us(now));
                fold.add(&held.record, f64::from(width), age);
                fold.add_double(nodes.min(held.record.count));
            }
        }
        Some(fold.finish())
    }

    /// What a slot's sender last said of a key; its age is [`Slots::age`].
    pub fn held(&self, slot: u8, key: KeyId) -> Option<&Record> {
        let column = self.columns.get(&key)?;
        column.get(slot).map(|held| &held.record)
    }

    /// Whether the slot's sender has not yet said of every key what it has.
    pub fn is_awaited(&self, slot: u8) -> bool {
        self.place(slot).is_some_and(|place| !place.answered)
    }

    /// The term under which a slot's sender is heard. Widths are granted under it, and a child
    /// ignores those of another term of its own.
    #[cfg(test)]
    pub(crate) fn term(&self, slot: u8) -> Option<Term> {
        self.place(slot).map(|place| place.term)
    }

    /// The age of a slot's oldest value.
    pub fn age(&self, slot: u8, now: Time) -> Option<Duration> {
        let place = self.place(slot)?;
        Some(Duration::from_micros(place.age_us(now)))
    }

    /// By how much each slot's value of a key moved in a beat, from what was reported in the last
    /// `beats`: the root of the mean square. For the split of the budget; counting begins anew.
    pub fn steps(&mut self, key: KeyId, beats: u32) -> Vec<(u8, f32)> {
        let Some(column) = self.columns.get_mut(&key) else {
            return Vec::new();
        };
        let beats = f64::from(beats.max(1));
        let held = (0..).zip(&mut column.held);
        held.filter_map(|(slot, held)| {
            let moved = std::mem::take(&mut held.as_mut()?.moved);
            Some((slot, super::float::round32(libm::sqrt(moved / beats))))
        })
        .collect()
    }

    fn place(&self, slot: u8) -> Option<&Place> {
        self.places.get(usize::from(slot))?.as_ref()
    }

    /// Applies the sets in the order in which they were made; what is known already changes
    /// nothing. Returns false at a change that cannot be of its key.
    fn take_sets<'s>(
        &mut self,
        slot: u8,
        place: &mut Place,
        report: &Report,
        spec_of: impl Fn(KeyId) -> Option<&'s KeySpec>,
        changed: &mut Vec<KeyId>,
    ) -> bool {
        let nodes_max = self.nodes_max;
        let newest_first = (0_u32..).zip(&report.sets.0);
        let numbered = newest_first.map(|(back, set)| (report.seq.saturating_sub(back), set));
        for (seq, set) in numbered.collect::<Vec<_>>().into_iter().rev() {
            if seq <= place.seen {
                continue;
            }
            for change in &set.0 {
                let key = change.key();
                let column = self.columns.get_mut(&key);
                let (Some(column), Some(spec)) = (column, spec_of(key)) else {
                    continue;
                };
                if key == KeyId::MEMBERS && place.leaf {
                    continue;
                }
                let record = change.record(place.node, spec);
                let Some(record) = record.filter(|record| place.may_say(record, nodes_max)) else {
                    return false;
                };
                if column.take(slot, seq, record, spec) {
                    changed.push(key);
                }
            }
            if seq == place.seen + 1 {
                place.seen = seq;
            }
        }
        if let Some(members) = self.held(slot, KeyId::MEMBERS) {
            place.expected = members.count;
        }
        true
    }

    /// Drops all that a slot's sender said, but for a leaf's membership.
    fn empty(&mut self, slot: u8, leaf: bool, changed: &mut Vec<KeyId>) {
        for (key, column) in &mut self.columns {
            if (*key != KeyId::MEMBERS || !leaf) && column.remove(slot) {
                changed.push(*key);
            }
        }
    }

    fn clear(&mut self, slot: u8) {
        for column in self.columns.values_mut() {
            column.remove(slot);
            column.awaited &= !(1 << slot);
        }
    }
}

impl Place {
    /// Whether it can be true. A leaf is one node, of which it knows all.
    const fn may_say(&self, record: &Record, nodes_max: u64) -> bool {
        if self.leaf {
            record.count <= 1 && record.missing == 0 && record.double == 0 && record.slack <= 0.0
        } else {
            record.count <= nodes_max && record.missing <= nodes_max.saturating_mul(MISSING_SHARE)
        }
    }

    fn age_us(&self, now: Time) -> u64 {
        let since = now.as_micros().saturating_sub(self.at.as_micros());
        self.age_us.saturating_add(since)
    }
}

#[cfg(test)]
mod tests;
