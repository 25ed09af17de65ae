//! Timed frames that wait for one neighbour: bounded, and what no longer fits goes first.
//!
//! A frame waits for a quarter of the time it has left when it comes, no longer: a queue in which
//! frames grow old until their deadline would only send frames that are late two hops further.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use opus_core::Time;

use crate::header::LEFT_UNIT_US;

/// A timed frame on its way to a neighbour.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    /// Without length field; hop fields are those of the hop before.
    pub(crate) frame: Bytes,
    /// When it is useless, by our clock.
    pub(crate) expires: Time,
    /// When it must have left this node.
    pub(crate) leaves_by: Time,
    /// Hops left, for the copy.
    pub(crate) hop_limit: u8,
}

impl Queued {
    /// A frame that came at `now` and is useless at `expires`.
    pub(crate) fn new(now: Time, frame: Bytes, expires: Time, hop_limit: u8) -> Self {
        Self {
            frame,
            expires,
            leaves_by: now + (expires - now) / 4,
            hop_limit,
        }
    }

    /// Whether it can be sent at `now` over a link of `delay`.
    pub(crate) fn fits(&self, now: Time, delay: Duration) -> bool {
        now <= self.leaves_by && now + delay < self.expires
    }

    /// Time left at `now`, 10 us.
    pub(crate) fn left(&self, now: Time) -> u32 {
        left_units(now, self.expires)
    }
}

/// Time from `now` until `expires` in the unit of the header.
pub(crate) fn left_units(now: Time, expires: Time) -> u32 {
    let units = expires.0.saturating_sub(now.0) / LEFT_UNIT_US;
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// A queue of at most `frames_max` frames and `bytes_max` bytes. Overflow: expired frames are
/// dropped first, wherever they stand; then the oldest.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    frames_max: usize,
    bytes_max: usize,
    frames: VecDeque<Queued>,
    bytes: usize,
    /// No frame here must have left before: spares most scans of a full queue.
    leaves_min: Time,
}

impl Queue {
    pub(crate) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self {
            frames_max: frames_max.max(1),
            bytes_max,
            frames: VecDeque::new(),
            bytes: 0,
            leaves_min: Time::MAX,
        }
    }

    /// Adds a frame; returns how many others had to go.
    pub(crate) fn push(&mut self, now: Time, item: Queued) -> u64 {
        let mut dropped = 0;
        let len = item.frame.len();
        if !self.has_room(len) && self.leaves_min <= now {
            dropped += self.drop_expired(now);
        }
        while !self.has_room(len) {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.frame.len();
            dropped += 1;
        }
        self.bytes += len;
        self.leaves_min = self.leaves_min.min(item.leaves_by);
        self.frames.push_back(item);
        dropped
    }

    /// The oldest frame, whatever its state.
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let item = self.frames.pop_front()?;
        self.bytes -= item.frame.len();
        if self.frames.is_empty() {
            self.leaves_min = Time::MAX;
        }
        Some(item)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
        self.leaves_min = Time::MAX;
    }

    fn has_room(&self, len: usize) -> bool {
        self.frames.len() < self.frames_max
            && (self.bytes + len <= self.bytes_max || self.frames.is_empty())
    }

    fn drop_expired(&mut self, now: Time) -> u64 {
        let before = self.frames.len();
        self.frames.retain(|item| item.leaves_by > now);
        self.bytes = self.frames.iter().map(|item| item.frame.len()).sum();
        self.leaves_min = self
            .frames
            .iter()
            .map(|item| item.leaves_by)
            .min()
            .unwrap_or(Time::MAX);
        (before - self.frames.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(expires: u64, byte: u8) -> Queued {
        Queued::new(Time(0), Bytes::from(vec![byte; 100]), Time(4 * expires), 1)
    }

    fn rest(queue: &mut Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop())
            .map(|item| item.frame[0])
            .collect()
    }

    #[test]
    fn a_full_queue_drops_what_is_expired_before_what_is_old() {
        let mut queue = Queue::new(3, 1_000);
        for (expires, byte) in [(900, 1), (100, 2), (900, 3)] {
            assert_eq!(queue.push(Time(0), item(expires, byte)), 0);
        }
        assert_eq!(queue.push(Time(100), item(900, 4)), 1);
        assert_eq!(queue.push(Time(100), item(900, 5)), 1);
        assert_eq!(rest(&mut queue), [3, 4, 5]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn bytes_are_bounded_too_but_one_frame_always_fits() {
        let mut queue = Queue::new(9, 250);
        for byte in 1..=5 {
            queue.push(Time(0), item(900, byte));
        }
        assert_eq!((queue.len(), queue.bytes()), (2, 200));
        let mut small = Queue::new(9, 10);
        small.push(Time(0), item(900, 7));
        assert_eq!(rest(&mut small), [7]);
    }
}
