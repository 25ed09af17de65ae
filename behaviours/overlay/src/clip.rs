//! The triangle clip: what a common acquaintance says about a delay that nobody measured.
//!
//! Coordinates alone mislead: nodes far apart in truth come out as neighbours. If q measured both
//! v and u, the delay of v and u lies between the difference and the sum of what q measured, and a
//! node is rarely on the far side of its acquaintance: the estimate is kept within the lower half.

/// What is known about the delay of a pair: it lies between both, microseconds of round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    low_us: u32,
    high_us: u32,
}

impl Interval {
    /// Nothing is known.
    pub(crate) const UNKNOWN: Self = Self {
        low_us: 0,
        high_us: u32::MAX,
    };

    /// The other end measured it.
    pub(crate) const fn exactly(rtt_us: u32) -> Self {
        Self {
            low_us: rtt_us,
            high_us: rtt_us,
        }
    }

    /// The triangle over an acquaintance that is `near_us` and `far_us` away from both.
    pub(crate) fn triangle(near_us: u32, far_us: u32) -> Self {
        Self {
            low_us: near_us.abs_diff(far_us),
            high_us: near_us.saturating_add(far_us),
        }
    }

    /// What both intervals say. Where delays are no metric they may contradict; the newer holds.
    pub(crate) fn and(self, newer: Self) -> Self {
        let both = Self {
            low_us: self.low_us.max(newer.low_us),
            high_us: self.high_us.min(newer.high_us),
        };
        if both.low_us > both.high_us {
            newer
        } else {
            both
        }
    }

    /// The estimate within the lower half; the middle if there is none, and 0 if nothing is known.
    pub(crate) fn clip(self, estimate_us: Option<u32>) -> u32 {
        if self == Self::UNKNOWN {
            return estimate_us.unwrap_or(0);
        }
        let middle = self.low_us + (self.high_us - self.low_us) / 2;
        estimate_us.unwrap_or(middle).clamp(self.low_us, middle)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_estimate_is_kept_within_the_lower_half_of_the_triangle() {
        let interval = Interval::triangle(30, 50);
        assert_eq!(interval.clip(Some(5)), 20);
        assert_eq!(interval.clip(Some(40)), 40);
        assert_eq!(interval.clip(Some(70)), 50);
        assert_eq!(interval.clip(None), 50);
        assert_eq!(Interval::UNKNOWN.clip(Some(7)), 7);
    }

    #[test]
    fn of_two_contradicting_triangles_the_newer_holds() {
        let older = Interval::triangle(10, 10);
        let newer = Interval::triangle(10, 90);
        assert_eq!(older.and(newer), newer);
    }

    proptest! {
        #[test]
        fn a_clipped_estimate_lies_within_the_interval(a: u32, b: u32, c: u32, d: u32, e: u32) {
            let interval = Interval::triangle(a, b).and(Interval::triangle(c, d));
            let clipped = interval.clip(Some(e));
            prop_assert!((interval.low_us..=interval.high_us).contains(&clipped));
        }
    }
}
