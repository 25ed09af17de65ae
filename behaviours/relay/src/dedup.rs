//! The dedup window of a flow: the highest sequence seen and a bit for each of the W up to it.
//!
//! A sequence at or below `top - W` is *old*: with W >= burst + rate x deadline its deadline has
//! passed, so that dropping it loses nothing. There is no reset timer and no wrap: a restarted
//! source goes on from `boots << 40 | 1`, which is far ahead (relay.md section 9).

use std::time::Duration;

/// Least bits of a window.
const BITS_MIN: u64 = 1_024;
/// Most bits of a window: 8 KiB a flow.
const BITS_MAX: u64 = 65_536;

/// What a window says of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The first copy; it is marked.
    First,
    /// A further copy.
    Again,
    /// Too far back to tell: past its deadline.
    Old,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Dedup {
    /// Highest sequence seen; 0 before the first.
    top: u64,
    /// `W / 64` words; sequence s has bit `s mod W`. Bits of sequences above `top` are zero.
    words: Box<[u64]>,
}

impl Dedup {
    /// A window of `bits`, rounded up to a power of two from 1,024 to 65,536.
    pub(crate) fn new(bits: u64) -> Self {
        let bits = bits.clamp(BITS_MIN, BITS_MAX).next_power_of_two();
        Self {
            top: 0,
            words: vec![0; usize::try_from(bits / 64).expect("at most 1,024")].into_boxed_slice(),
        }
    }

    /// The bits for a deadline at 10,000 frames/s, more than one flow carries in practice.
    pub(crate) fn bits_for(deadline: Duration) -> u64 {
        u64::try_from(deadline.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_mul(10)
    }

    /// W.
    pub(crate) fn bits(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    /// The highest sequence seen; 0 before the first.
    pub(crate) fn top(&self) -> u64 {
        self.top
    }

    /// Whether marking `seq` would throw the whole window away: a restart, or a forgery that would
    /// make all later frames old. The caller checks the frame's tag first.
    pub(crate) fn is_jump(&self, seq: u64) -> bool {
        seq.saturating_sub(self.top) >= self.bits()
    }

    /// Marks `seq` as seen.
    pub(crate) fn mark(&mut self, seq: u64) -> Seen {
        if seq > self.top {
            self.advance(seq);
            self.set(seq);
            return Seen::First;
        }
        if self.top - seq >= self.bits() {
            return Seen::Old;
        }
        let (word, bit) = self.at(seq);
        if self.words[word] & bit != 0 {
            return Seen::Again;
        }
        self.set(seq);
        Seen::First
    }

    fn advance(&mut self, seq: u64) {
        if self.is_jump(seq) {
            self.words.fill(0);
        } else {
            for between in self.top + 1..=seq {
                let (word, bit) = self.at(between);
                self.words[word] &= !bit;
            }
        }
        self.top = seq;
    }

    fn set(&mut self, seq: u64) {
        let (word, bit) = self.at(seq);
        self.words[word] |= bit;
    }

    /// Word and bit of `seq`. W is a power of two: masks, no division.
    fn at(&self, seq: u64) -> (usize, u64) {
        let word = (seq >> 6) as usize & (self.words.len() - 1);
        (word, 1 << (seq & 63))
    }
}

#[cfg(test)]
mod tests {
    use opus_core::Seed;
    use rand::RngExt;

    use super::*;

    #[test]
    fn a_million_frames_reordered_by_512_with_two_percent_copies_are_each_seen_once() {
        let mut rng = Seed::new(opus_core::testing::test_seed(9))
            .derive("dedup", 0)
            .rng();
        let base = 5 << 40;
        let mut arrivals: Vec<(u64, u64)> = Vec::new();
        for seq in 1..=1_000_000_u64 {
            arrivals.push((seq * 2 + rng.random_range(0..1_024), base + seq));
            if rng.random_bool(0.02) {
                arrivals.push((seq * 2 + rng.random_range(0..1_024), base + seq));
            }
        }
        arrivals.sort_unstable();
        let copies = arrivals.len();
        let mut window = Dedup::new(1_024);
        let mut first = vec![0_u8; 1_000_001];
        let mut again = 0;
        for (_, seq) in arrivals {
            match window.mark(seq) {
                Seen::First => first[usize::try_from(seq - base).unwrap()] += 1,
                Seen::Again => again += 1,
                Seen::Old => panic!("an in-time frame was called old: {seq}"),
            }
        }
        assert!(first[1..].iter().all(|&n| n == 1));
        assert_eq!(again, copies - 1_000_000);
    }

    #[test]
    fn a_restart_jumps_forward_and_the_past_is_old() {
        let mut window = Dedup::new(1_024);
        assert_eq!(window.mark(1 << 40 | 1), Seen::First);
        assert!(window.is_jump(2 << 40 | 1));
        assert_eq!(window.mark(2 << 40 | 1), Seen::First);
        assert_eq!(window.mark(1 << 40 | 1), Seen::Old);
        assert_eq!(window.mark(2 << 40 | 1), Seen::Again);
    }

    #[test]
    fn the_edge_of_the_window_is_exact() {
        let mut window = Dedup::new(1_024);
        assert_eq!(window.mark(5_000), Seen::First);
        assert_eq!(window.mark(5_000 - 1_023), Seen::First);
        assert_eq!(window.mark(5_000 - 1_024), Seen::Old);
        assert_eq!(window.mark(u64::MAX), Seen::First);
        assert_eq!(window.mark(u64::MAX), Seen::Again);
    }

    #[test]
    fn the_size_is_a_power_of_two_within_its_limits() {
        assert_eq!(Dedup::new(1).bits(), 1_024);
        assert_eq!(Dedup::new(4_000).bits(), 4_096);
        assert_eq!(Dedup::new(u64::MAX).bits(), 65_536);
        assert_eq!(Dedup::bits_for(Duration::from_millis(400)), 4_000);
    }
}
