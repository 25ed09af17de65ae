//! The draws of one frame: a few words from a key, with nothing to set up.
//!
//! `SplitMix64`, seeded per frame by link and number of the frame. A frame needs one to five draws;
//! deriving a sub-seed by hash and keying a `ChaCha12` for them took longer than all else that a
//! simulated message costs. Nothing here is a secret.
//!
//! Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::SplitMix64;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Draws(SplitMix64);

impl Draws {
    /// The draws of number `index` under `key`.
    pub(crate) fn new(key: u64, index: u64) -> Self {
        // One word of each, or neighbouring frames and links would share the rest.
        let index = SplitMix64::seed_from_u64(index).next_u64();
        let seed = SplitMix64::seed_from_u64(key ^ index).next_u64();
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// Uniform over all words.
    pub(crate) fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in 0 to below 1, in steps of 2^-53.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// True with probability `chance`; none is drawn for what never happens.
    pub(crate) fn happens(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.unit() < chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_frames_and_links_draw_independently() {
        // Means and correlations of 100,000 pairs are uncertain by 0.001 and 0.003.
        let pairs: [fn(u64) -> (f64, f64); 3] = [
            |n| (Draws::new(7, n).unit(), Draws::new(7, n + 1).unit()),
            |n| (Draws::new(n, 3).unit(), Draws::new(n + 1, 3).unit()),
            |n| {
                let mut draws = Draws::new(7, n);
                (draws.unit(), draws.unit())
            },
        ];
        for pair in pairs {
            let (mut sum, mut product) = (0.0, 0.0);
            for number in 0..100_000 {
                let (one, other) = pair(number);
                sum += one;
                product += (one - 0.5) * (other - 0.5) * 12.0;
            }
            assert!((sum / 1e5 - 0.5).abs() < 0.005, "{}", sum / 1e5);
            assert!((product / 1e5).abs() < 0.015, "{}", product / 1e5);
        }
    }

    #[test]
    fn never_and_always_are_exact() {
        assert!((0..1_000).all(|n| Draws::new(1, n).happens(1.0)));
        assert!((0..1_000).all(|n| !Draws::new(1, n).happens(0.0)));
    }
}
