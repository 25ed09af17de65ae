//! How much one peer may say: a bucket that refills with time.

use opus_core::Time;

/// Tokens left and when they were last counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    tokens: u32,
    counted: Time,
}

impl Allowance {
    pub(crate) const fn full(burst: u32, now: Time) -> Self {
        Self {
            tokens: burst,
            counted: now,
        }
    }

    /// Takes `cost` tokens, after refilling at `per_s` up to `burst`; false if there are too few.
    pub(crate) fn take(&mut self, cost: u32, per_s: u32, burst: u32, now: Time) -> bool {
        let micros = now.as_micros().saturating_sub(self.counted.as_micros());
        let earned = u64::from(per_s).saturating_mul(micros) / 1_000_000;
        if earned > 0 {
            let tokens = u64::from(self.tokens)
                .saturating_add(earned)
                .min(u64::from(burst));
            self.tokens = u32::try_from(tokens).expect("capped by a u32");
            self.counted = now;
        }
        let enough = self.tokens >= cost;
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_only_the_rate() {
        let mut allowance = Allowance::full(10, Time::ZERO);
        let passed = |allowance: &mut Allowance, at| {
            (0..100)
                .filter(|_| allowance.take(1, 5, 10, Time::from_millis(at)))
                .count()
        };
        assert_eq!(passed(&mut allowance, 0), 10);
        assert_eq!(passed(&mut allowance, 1_000), 5);
        assert_eq!(passed(&mut allowance, 60_000), 10);
    }
}
