//! The knob of an overlay: how many times the direct delay a node may be away.

use thiserror::Error;

/// A factor from 1 to infinity: alpha of a LAST, k of a spanner. Unit: none.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Stretch(f64);

/// A stretch below 1, or not a number, asks for the impossible. Nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{0} is not a stretch: it must be 1 or more")]
pub struct BelowOne(pub f64);

impl Stretch {
    /// Shortest paths only.
    pub const ONE: Self = Self(1.0);
    /// No bound: cost alone counts.
    pub const UNBOUNDED: Self = Self(f64::INFINITY);

    /// A stretch of `factor`. Errors: below 1, or not a number.
    pub fn new(factor: f64) -> Result<Self, BelowOne> {
        if factor >= 1.0 {
            Ok(Self(factor))
        } else {
            Err(BelowOne(factor))
        }
    }

    /// The factor, from 1 to infinity.
    pub const fn factor(self) -> f64 {
        self.0
    }

    /// Whether `delay` is at most this many times `direct`, with a relative tolerance of 1e-9.
    pub fn allows(self, delay: f64, direct: f64) -> bool {
        at_most(delay, self.0 * direct)
    }
}

/// Sums of delays in another order differ in their last bits: equal up to 1e-9 relative.
pub(crate) fn at_most(value: f64, bound: f64) -> bool {
    value <= bound * (1.0 + 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_one_or_more() {
        assert_eq!(Stretch::new(1.0), Ok(Stretch::ONE));
        assert_eq!(Stretch::new(f64::INFINITY), Ok(Stretch::UNBOUNDED));
        assert_eq!(Stretch::new(0.999), Err(BelowOne(0.999)));
        assert!(Stretch::new(f64::NAN).is_err());
    }

    #[test]
    fn the_bound_forgives_rounding_but_not_more() {
        let stretch = Stretch::new(1.5).unwrap();
        assert!(stretch.allows(15.0 + 1e-9, 10.0));
        assert!(!stretch.allows(15.000_1, 10.0));
        assert!(Stretch::UNBOUNDED.allows(1e300, 0.001));
    }
}
