//! The backup ring of a complete flow: the frames that some sink may still need, by sequence.
//!
//! It is the dedup window, the reorder buffer, the queue to every child and the store for repair
//! in one. Sequences are contiguous within a *segment*; a restarted source begins a new one. A
//! ring has at most two: the closed `old` one, without holes, and the current one, whose holes are
//! fetched from the parent. `position` is the first hole: all before it is here or was.

use std::collections::VecDeque;

use bytes::Bytes;
use opus_core::Time;

use crate::{
    header::{LEFT_MAX, LEFT_UNIT_US},
    segments::{Segments, epoch},
};

/// A frame in the ring.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Without length field; hop fields are those of the hop before.
    pub(crate) frame: Bytes,
    /// When it came.
    pub(crate) arrived: Time,
    /// Time left when it came, 10 us; tells the age ([`LEFT_MAX`]).
    pub(crate) left: u32,
    /// Hops left, for copies.
    pub(crate) hop_limit: u8,
    /// It filled a hole.
    pub(crate) repaired: bool,
    /// Its tag was checked and fits.
    pub(crate) genuine: bool,
}

impl Entry {
    /// Time left at `now`, 10 us.
    pub(crate) fn left(&self, now: Time) -> u32 {
        let stay = now.0.saturating_sub(self.arrived.0) / LEFT_UNIT_US;
        self.left
            .saturating_sub(u32::try_from(stay).unwrap_or(u32::MAX))
    }

    /// Time since the source's `send`, by residence and link delays, microseconds.
    pub(crate) fn age_us(&self, now: Time) -> u64 {
        u64::from(LEFT_MAX - self.left(now).min(LEFT_MAX)) * LEFT_UNIT_US
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// Taken, at the end of all before.
    Next,
    /// Taken; it filled a hole before a later frame.
    Filled,
    /// Taken; there is a hole before it.
    Ahead,
    /// Was here already.
    Duplicate,
    /// Further ahead than the ring holds, or of another epoch.
    Beyond,
}

#[derive(Debug)]
struct Segment {
    first: u64,
    slots: VecDeque<Option<Entry>>,
}

impl Segment {
    fn new(first: u64) -> Self {
        Self {
            first,
            slots: VecDeque::new(),
        }
    }

    /// One past the last slot.
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn index(&self, seq: u64) -> Option<usize> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        (index < self.slots.len()).then_some(index)
    }

    fn get(&self, seq: u64) -> Option<&Entry> {
        self.slots.get(self.index(seq)?)?.as_ref()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    old: Option<Segment>,
    current: Option<Segment>,
    position: u64,
    frames: usize,
    bytes: usize,
}

impl Ring {
    /// Begins at `first` with nothing; only once.
    pub(crate) fn open(&mut self, first: u64) {
        debug_assert!(self.current.is_none(), "a ring is opened once");
        self.current = Some(Segment::new(first));
        self.position = first;
    }

    /// The first sequence of the current segment that is not here; `None` before `open`.
    pub(crate) fn position(&self) -> Option<u64> {
        self.current.as_ref().map(|_| self.position)
    }

    /// The first sequence that this ring may hold.
    pub(crate) fn first(&self) -> Option<u64> {
        let current = self.current.as_ref()?;
        Some(self.old.as_ref().map_or(current.first, |old| old.first))
    }

    /// One past the highest sequence held.
    pub(crate) fn end(&self) -> Option<u64> {
        self.current.as_ref().map(Segment::end)
    }

    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether frames after a hole are here.
    pub(crate) fn has_hole(&self) -> bool {
        self.end().is_some_and(|end| end > self.position)
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Entry> {
        let current = self.current.as_ref()?;
        if seq >= current.first {
            return current.get(seq);
        }
        self.old.as_ref()?.get(seq)
    }

    /// The first sequence at or after `seq` that this ring may hold: `seq` itself, unless it lies
    /// before the ring or between two segments.
    pub(crate) fn available_from(&self, seq: u64) -> u64 {
        let Some(current) = &self.current else {
            return seq;
        };
        if seq >= current.first {
            return seq;
        }
        match &self.old {
            Some(old) if seq < old.end() => seq.max(old.first),
            Some(_) | None => current.first,
        }
    }

    /// What children may be told: the segments that this ring can give.
    pub(crate) fn segments(&self) -> Segments {
        let mut segments = Segments::default();
        if let Some(old) = &self.old {
            segments.push(old.first, old.end());
        }
        if let Some(current) = &self.current {
            segments.push(current.first, self.position);
        }
        segments
    }

    /// Whether `seq` is further ahead than `slots_max` sequences of the current segment.
    pub(crate) fn is_beyond(&self, seq: u64, slots_max: usize) -> bool {
        let first = self
            .current
            .as_ref()
            .map_or(u64::MAX, |current| current.first);
        seq.saturating_sub(first) >= slots_max as u64
    }

    /// Puts a frame in its place. At most `slots_max` sequences in the current segment.
    pub(crate) fn insert(&mut self, seq: u64, mut entry: Entry, slots_max: usize) -> Inserted {
        let position = self.position;
        let Some(current) = &mut self.current else {
            return Inserted::Beyond;
        };
        if seq < current.first {
            return Inserted::Duplicate;
        }
        let index = usize::try_from(seq - current.first).unwrap_or(usize::MAX);
        if index >= slots_max {
            return Inserted::Beyond;
        }
        let len = current.slots.len();
        let what = match index.cmp(&len) {
            std::cmp::Ordering::Less if current.slots[index].is_some() => {
                return Inserted::Duplicate;
            }
            std::cmp::Ordering::Less => {
                entry.repaired = true;
                Inserted::Filled
            }
            std::cmp::Ordering::Equal if seq == position => Inserted::Next,
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => Inserted::Ahead,
        };
        self.frames += 1;
        self.bytes += entry.frame.len();
        if index < len {
            current.slots[index] = Some(entry);
        } else {
            current.slots.extend((len..index).map(|_| None));
            current.slots.push_back(Some(entry));
        }
        self.advance();
        what
    }

    /// Moves the position over what is here.
    fn advance(&mut self) {
        let Some(current) = &self.current else { return };
        while current.get(self.position).is_some() {
            self.position += 1;
        }
    }

    /// Opens room for sequences from `seq` on, before those held: a child needs them and this
    /// node never had them. At most `slots_max` in all. Returns whether it was possible.
    pub(crate) fn rewind(&mut self, seq: u64, slots_max: usize) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        let Some(back) = current.first.checked_sub(seq) else {
            return false;
        };
        let fits = usize::try_from(back).is_ok_and(|back| back + current.slots.len() <= slots_max);
        if !fits || self.old.is_some() || epoch(seq) != epoch(current.first) {
            return false;
        }
        for _ in 0..back {
            current.slots.push_front(None);
        }
        current.first = seq;
        self.position = seq;
        true
    }

    /// Gives up all before `seq`, which lies in the current segment or begins a new one.
    pub(crate) fn jump(&mut self, seq: u64) {
        let Some(current) = &mut self.current else {
            return;
        };
        if epoch(seq) == epoch(current.first) && seq <= current.end() {
            while self.first().is_some_and(|first| first < seq) {
                self.pop_front();
            }
            self.position = self.position.max(seq);
            self.advance();
            return;
        }
        // The old segment keeps what has no hole before it.
        let keep = usize::try_from(self.position.saturating_sub(current.first)).unwrap_or(0);
        for entry in current
            .slots
            .drain(keep.min(current.slots.len())..)
            .flatten()
        {
            self.frames -= 1;
            self.bytes -= entry.frame.len();
        }
        let closed = self.current.replace(Segment::new(seq));
        self.position = seq;
        let closed = closed.filter(|segment| !segment.slots.is_empty());
        if let Some(dropped) = std::mem::replace(&mut self.old, closed) {
            for entry in dropped.slots.into_iter().flatten() {
                self.frames -= 1;
                self.bytes -= entry.frame.len();
            }
        }
    }

    /// Drops frames up to and including `stable` while more than `tail_bytes` or `tail_frames` are
    /// held.
    pub(crate) fn evict(&mut self, stable: u64, tail_bytes: usize, tail_frames: usize) {
        while (self.bytes > tail_bytes || self.frames > tail_frames)
            && self.first().is_some_and(|first| first <= stable)
        {
            if !self.pop_front() {
                break;
            }
        }
    }

    /// Frames and their bytes after `stable`.
    pub(crate) fn outstanding(&self, stable: u64) -> usize {
        let count = |segment: &Segment| {
            let from = segment.first.max(stable.saturating_add(1));
            usize::try_from(segment.end().saturating_sub(from)).unwrap_or(usize::MAX)
        };
        self.old.as_ref().map_or(0, count) + self.current.as_ref().map_or(0, count)
    }

    /// Drops the first slot; false if there is none.
    fn pop_front(&mut self) -> bool {
        if let Some(old) = &mut self.old {
            let entry = old.slots.pop_front();
            old.first += 1;
            let empty = old.slots.is_empty();
            self.account(entry.flatten());
            if empty {
                self.old = None;
            }
            return true;
        }
        let Some(current) = &mut self.current else {
            return false;
        };
        let Some(slot) = current.slots.pop_front() else {
            return false;
        };
        current.first += 1;
        self.position = self.position.max(current.first);
        self.account(slot);
        true
    }

    fn account(&mut self, gone: Option<Entry>) {
        if let Some(entry) = gone {
            self.frames -= 1;
            self.bytes -= entry.frame.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const E1: u64 = 1 << 40;
    const E2: u64 = 2 << 40;

    fn entry(len: usize) -> Entry {
        Entry {
            frame: Bytes::from(vec![0; len]),
            arrived: Time(0),
            left: LEFT_MAX,
            hop_limit: 9,
            repaired: false,
            genuine: true,
        }
    }

    fn ring(seqs: &[u64]) -> Ring {
        let mut ring = Ring::default();
        ring.open(E1 + 1);
        for seq in seqs {
            ring.insert(E1 + seq, entry(10), 100);
        }
        ring
    }

    #[test]
    fn the_position_is_the_first_hole() {
        let mut ring = ring(&[1, 2, 5]);
        assert_eq!(ring.position(), Some(E1 + 3));
        assert!(ring.has_hole());
        assert_eq!(ring.insert(E1 + 3, entry(10), 100), Inserted::Filled);
        assert_eq!(ring.insert(E1 + 3, entry(10), 100), Inserted::Duplicate);
        assert_eq!(ring.insert(E1 + 4, entry(10), 100), Inserted::Filled);
        assert_eq!(ring.position(), Some(E1 + 6));
        assert_eq!(ring.insert(E1 + 6, entry(10), 100), Inserted::Next);
        assert_eq!(ring.insert(E1 + 101, entry(10), 100), Inserted::Beyond);
        assert!(ring.get(E1 + 3).unwrap().repaired);
        assert_eq!((ring.frames(), ring.bytes()), (6, 60));
    }

    #[test]
    fn eviction_stops_at_the_stable_position_and_keeps_a_tail() {
        let mut ring = ring(&[1, 2, 3, 4, 5]);
        ring.evict(E1 + 4, 30, 9);
        assert_eq!(ring.first(), Some(E1 + 3));
        ring.evict(E1 + 4, 99, 1);
        assert_eq!((ring.first(), ring.frames()), (Some(E1 + 5), 1));
        assert_eq!(ring.outstanding(E1 + 4), 1);
    }

    #[test]
    fn a_new_epoch_keeps_the_old_one_until_it_is_stable() {
        let mut ring = ring(&[1, 2, 4]);
        ring.jump(E2 + 1);
        assert_eq!(ring.insert(E2 + 1, entry(10), 100), Inserted::Next);
        assert_eq!(ring.first(), Some(E1 + 1));
        assert!(
            ring.get(E1 + 4).is_none(),
            "behind a hole that nobody can fill"
        );
        assert_eq!(ring.available_from(E1 + 2), E1 + 2);
        assert_eq!(ring.available_from(E1 + 3), E2 + 1);
        assert_eq!(ring.outstanding(E1 + 1), 2);
        ring.evict(E1 + 2, 0, 9);
        assert_eq!(ring.first(), Some(E2 + 1));
        assert_eq!((ring.frames(), ring.bytes()), (1, 10));
    }

    #[test]
    fn a_jump_within_the_epoch_drops_what_is_before() {
        let mut ring = ring(&[1, 4, 5]);
        ring.jump(E1 + 4);
        assert_eq!(
            (ring.first(), ring.position()),
            (Some(E1 + 4), Some(E1 + 6))
        );
        assert_eq!(ring.frames(), 2);
    }

    #[test]
    fn a_rewind_opens_holes_before_what_is_here() {
        let mut ring = Ring::default();
        ring.open(E1 + 50);
        ring.insert(E1 + 50, entry(10), 100);
        assert!(!ring.rewind(E1 - 1, 100), "another epoch");
        assert!(ring.rewind(E1 + 40, 100));
        assert_eq!(ring.position(), Some(E1 + 40));
        assert!(ring.get(E1 + 50).is_some());
        assert!(!ring.rewind(E1 + 1, 20), "more than the ring may hold");
    }
}
