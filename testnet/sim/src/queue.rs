//! What is to happen, in order of time; equal times in the order in which they were put in.
//!
//! A hierarchical wheel instead of a heap: ten levels of 64 slots and one of 16. An entry lies on
//! the level of the highest six bits in which its time differs from the time of the last entry
//! taken. Taking one finds the first slot in use of the lowest level in use; above level 0 the slot
//! is spread over the levels below it first. An entry that is a second away moves four times,
//! through memory that is read and written in order, where a heap of 100,000 entries walks 17
//! levels at random.
//!
//! *Equal times stay in order*: two entries of equal time always lie in one slot, for its place
//! depends on their time and the last one taken only, and a slot is spread as a whole, into slots
//! that are empty. So there is no sequence number.

use std::mem;

use opus_core::Time;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// Entries for which an empty slot keeps memory; a larger one gives it back, or all slots would in
/// time be as large as the largest.
const KEPT: usize = 128;
/// Six bits a level cover the 64 bits of a time.
const LEVELS: usize = 64_usize.div_ceil(BITS as usize);

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    slots: Vec<Slot<T>>,
    /// By level, a bit for each slot in use.
    used: [u64; LEVELS],
    /// The time of the last entry taken.
    last: u64,
    len: usize,
    /// The entries of level 0 under way: all of one time, the next one at the end.
    ready: Vec<T>,
}

#[derive(Debug)]
struct Slot<T> {
    least: u64,
    entries: Vec<(u64, T)>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let slot = || Slot {
            least: u64::MAX,
            entries: Vec::new(),
        };
        Self {
            slots: (0..LEVELS * SLOTS).map(|_| slot()).collect(),
            used: [0; LEVELS],
            last: 0,
            len: 0,
            ready: Vec::new(),
        }
    }

    /// Entries that wait.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Puts one in. Panics if it lies before the last one taken.
    pub(crate) fn push(&mut self, at: Time, what: T) {
        assert!(at.0 >= self.last, "time went backwards");
        self.len += 1;
        self.place(at.0, what);
    }

    /// The time of the first entry.
    pub(crate) fn first_at(&self) -> Option<Time> {
        if !self.ready.is_empty() {
            return Some(Time(self.last));
        }
        let level = self.used.iter().position(|&used| used != 0)?;
        Some(Time(self.slots[self.first_slot(level)].least))
    }

    /// Takes the first entry, if it is not after `until`.
    pub(crate) fn pop(&mut self, until: Time) -> Option<(Time, T)> {
        if self.ready.is_empty() {
            self.gather(until)?;
        }
        if self.last > until.0 {
            return None;
        }
        let what = self.ready.pop()?;
        self.len -= 1;
        Some((Time(self.last), what))
    }

    /// Makes the entries of the first time ready, if that is not after `until`.
    fn gather(&mut self, until: Time) -> Option<()> {
        loop {
            let level = self.used.iter().position(|&used| used != 0)?;
            let index = self.first_slot(level);
            let least = self.slots[index].least;
            if least > until.0 {
                return None;
            }
            self.last = least;
            self.used[level] &= !(1 << (index % SLOTS));
            let slot = &mut self.slots[index];
            slot.least = u64::MAX;
            let mut entries = mem::take(&mut slot.entries);
            if level == 0 {
                let entries = entries.drain(..).rev();
                self.ready.extend(entries.map(|(_, what)| what));
            } else {
                for (at, what) in entries.drain(..) {
                    self.place(at, what);
                }
            }
            if entries.capacity() <= KEPT {
                self.slots[index].entries = entries;
            }
            if level == 0 {
                return Some(());
            }
        }
    }

    fn first_slot(&self, level: usize) -> usize {
        level * SLOTS + self.used[level].trailing_zeros() as usize
    }

    fn place(&mut self, at: u64, what: T) {
        let differs = at ^ self.last;
        let level = (differs | 1).ilog2() / BITS;
        let slot = slot_of(at >> (level * BITS));
        let level = level as usize;
        self.used[level] |= 1 << slot;
        let slot = &mut self.slots[level * SLOTS + slot];
        slot.least = slot.least.min(at);
        slot.entries.push((at, what));
    }
}

/// The lowest six bits.
#[expect(clippy::cast_possible_truncation, reason = "six bits fit anywhere")]
const fn slot_of(word: u64) -> usize {
    (word % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_times_come_out_as_they_were_put_in() {
        let mut queue = Queue::new();
        for number in 0..5 {
            queue.push(Time(1_000_000), number);
        }
        queue.push(Time(7), 100);
        assert_eq!(queue.first_at(), Some(Time(7)));
        assert_eq!(queue.pop(Time(6)), None);
        assert_eq!(queue.pop(Time::MAX), Some((Time(7), 100)));
        assert_eq!(queue.pop(Time(2_000_000)), Some((Time(1_000_000), 0)));
        // Put in while its moment is under way: after all others of that moment.
        queue.push(Time(1_000_000), 5);
        let rest: Vec<i32> = std::iter::from_fn(|| Some(queue.pop(Time::MAX)?.1)).collect();
        assert_eq!(rest, [1, 2, 3, 4, 5]);
        assert_eq!((queue.len(), queue.first_at()), (0, None));
    }

    #[test]
    fn looking_ahead_does_not_keep_earlier_entries_out() {
        let mut queue = Queue::new();
        queue.push(Time(5_000_000), 'b');
        assert_eq!(queue.pop(Time(1_000_000)), None);
        queue.push(Time(1_000_001), 'a');
        assert_eq!(queue.pop(Time::MAX), Some((Time(1_000_001), 'a')));
        queue.push(Time::MAX, 'c');
        assert_eq!(queue.pop(Time::MAX), Some((Time(5_000_000), 'b')));
        assert_eq!(queue.pop(Time::MAX), Some((Time::MAX, 'c')));
    }

    #[test]
    #[should_panic(expected = "time went backwards")]
    fn nothing_happens_in_the_past() {
        let mut queue = Queue::new();
        queue.push(Time(10), ());
        queue.pop(Time::MAX);
        queue.push(Time(9), ());
    }

    proptest! {
        #[test]
        fn it_gives_what_a_sorted_set_of_time_and_number_gives(
            steps in proptest::collection::vec((0_u64..4, 0_u64..300_000, 0_u64..200_000), 1..200)
        ) {
            let mut queue = Queue::new();
            let mut sorted = BTreeSet::new();
            let mut now = 0;
            for (number, (pushes, ahead, horizon)) in steps.into_iter().enumerate() {
                for push in 0..pushes {
                    let at = now + ahead * push * push;
                    queue.push(Time(at), (number, push));
                    sorted.insert((at, number, push));
                }
                let until = now + horizon;
                while let Some((at, what)) = queue.pop(Time(until)) {
                    let (expected_at, number, push) = sorted.pop_first().unwrap();
                    prop_assert_eq!((at.0, what), (expected_at, (number, push)));
                    prop_assert!(at.0 >= now && queue.first_at().is_none_or(|next| next >= at));
                }
                prop_assert!(sorted.first().is_none_or(|first| first.0 > until));
                prop_assert_eq!(queue.len(), sorted.len());
                now = until;
            }
        }
    }
}
