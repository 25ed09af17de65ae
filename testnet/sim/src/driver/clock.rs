//! What a node's clock reads: time that runs a little fast or slow, and may have jumped ahead.

use std::time::Duration;

use opus_core::Time;

/// The most that a clock may run fast or slow, in parts per million: a tenth. A quartz is off by
/// 200 at worst.
pub const SKEW_PPM_MAX: i32 = 100_000;

/// A clock that read `reads` at the moment `since` and gains `ppm` microseconds a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    since: Time,
    reads: Time,
    ppm: i32,
}

impl Clock {
    /// What it reads at `at`, which is not before it was set.
    pub(super) fn read(&self, at: Time) -> Time {
        let passed = at.0.saturating_sub(self.since.0);
        let passed = if self.ppm == 0 {
            passed
        } else {
            let millionths = u128::from(passed) * u128::from(self.rate());
            u64::try_from(millionths / MILLION).unwrap_or(u64::MAX)
        };
        Time(self.reads.0.saturating_add(passed))
    }

    /// The first moment at which it reads `reading` or later.
    pub(super) fn moment_of(&self, reading: Time) -> Time {
        let ahead = reading.0.saturating_sub(self.reads.0);
        let ahead = if self.ppm == 0 {
            ahead
        } else {
            let millionths = u128::from(ahead) * MILLION;
            u64::try_from(millionths.div_ceil(u128::from(self.rate()))).unwrap_or(u64::MAX)
        };
        Time(self.since.0.saturating_add(ahead))
    }

    /// From `at` on it runs `ppm` fast and reads `ahead` more. It never reads less than before.
    pub(super) fn set(&mut self, at: Time, ahead: Duration, ppm: i32) {
        *self = Self {
            since: at,
            reads: self.read(at) + ahead,
            ppm: ppm.clamp(-SKEW_PPM_MAX, SKEW_PPM_MAX),
        };
    }

    /// Microseconds that it gains in a million.
    const fn rate(&self) -> u32 {
        1_000_000_u32.saturating_add_signed(self.ppm)
    }
}

const MILLION: u128 = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fast_clock_gains_and_a_slow_one_loses() {
        for (ppm, reads) in [(200, 10_002_000), (-200, 9_998_000), (0, 10_000_000)] {
            let mut clock = Clock::default();
            clock.set(Time::ZERO, Duration::ZERO, ppm);
            assert_eq!(clock.read(Time::from_secs(10)), Time(reads));
        }
        let mut clock = Clock::default();
        clock.set(Time::from_secs(1), Duration::from_secs(3_600), 0);
        assert_eq!(clock.read(Time::from_secs(2)), Time::from_secs(3_602));
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_a_deadline_is_due_at_its_first_moment(
            changes in proptest::collection::vec(
                (1_u64..10_000_000, 0_u64..5_000_000, -200_000_i32..200_000), 1..20
            ),
            wait in 1_u64..100_000_000,
        ) {
            let mut clock = Clock::default();
            let (mut at, mut before) = (Time::ZERO, Time::ZERO);
            for (passed, ahead, ppm) in changes {
                at = at + Duration::from_micros(passed);
                prop_assert!(clock.read(at) >= before);
                before = clock.read(at);
                clock.set(at, Duration::from_micros(ahead), ppm);
                prop_assert!(clock.read(at) >= before);
                before = clock.read(at);
                let deadline = before + Duration::from_micros(wait);
                let due = clock.moment_of(deadline);
                prop_assert!(due > at && clock.read(due) >= deadline);
                prop_assert!(clock.read(Time(due.0 - 1)) < deadline);
            }
        }
    }
}
