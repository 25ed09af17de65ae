//! What may be done a second, as token buckets in whole numbers, so that equal inputs give equal
//! decisions.

use std::time::Duration;

use crate::Time;

/// One token in the bucket's own unit.
const TOKEN: u64 = 1_000_000;

/// A bucket of at most `burst` tokens that refills at `per_s` tokens a second. Begins full.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_s: u32,
    /// Tokens.
    burst: u32,
    /// Millionths of a token: at `per_s` tokens a second, one microsecond adds `per_s` of them.
    level: u64,
    at: Time,
}

impl Bucket {
    /// A full bucket of `burst` tokens. Both numbers count as at least 1.
    pub fn new(per_s: u32, burst: u32) -> Self {
        let burst = burst.max(1);
        Self {
            per_s: per_s.max(1),
            burst,
            level: u64::from(burst) * TOKEN,
            at: Time::ZERO,
        }
    }

    /// Takes a token; tells whether there was one.
    pub fn take(&mut self, now: Time) -> bool {
        self.refill(now);
        let taken = self.level >= TOKEN;
        if taken {
            self.level -= TOKEN;
        }
        taken
    }

    /// When a token can be taken: `now` if there is one.
    pub fn next(&self, now: Time) -> Time {
        let mut later = self.clone();
        later.refill(now);
        let missing = TOKEN.saturating_sub(later.level);
        now + Duration::from_micros(missing.div_ceil(self.per_s.into()))
    }

    fn refill(&mut self, now: Time) {
        let passed = now.as_micros().saturating_sub(self.at.as_micros());
        let gained = passed.saturating_mul(self.per_s.into());
        let burst = u64::from(self.burst) * TOKEN;
        self.level = self.level.saturating_add(gained).min(burst);
        self.at = self.at.max(now);
        assert!(self.level <= burst, "a bucket never overflows");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_spent_and_refills_at_the_rate() {
        let mut bucket = Bucket::new(4, 2);
        let start = Time::from_secs(9);
        assert!(bucket.take(start) && bucket.take(start));
        assert!(!bucket.take(start));
        assert_eq!(bucket.next(start), Time::from_millis(9_250));
        assert!(!bucket.take(Time::from_millis(9_249)));
        assert!(bucket.take(Time::from_millis(9_250)));
    }

    #[test]
    fn the_next_token_is_there_when_it_was_promised() {
        let mut bucket = Bucket::new(7, 1);
        let mut now = Time(3);
        for _ in 0..100 {
            assert!(bucket.take(now));
            let next = bucket.next(now);
            assert!(next > now);
            assert!(!bucket.clone().take(Time(next.0 - 1)));
            now = next;
        }
    }

    #[test]
    fn a_long_rest_gives_no_more_than_the_burst() {
        let mut bucket = Bucket::new(u32::MAX, 3);
        let taken = (0..10).filter(|_| bucket.take(Time::MAX)).count();
        assert_eq!(taken, 3);
    }
}
