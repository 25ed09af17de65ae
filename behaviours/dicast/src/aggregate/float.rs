//! Numbers on the wire: short floats that only ever round to the safe side.
//!
//! A slack, a half width or an age may be told too large, never too small; a width that is granted
//! may be too small, never too large. So each conversion says in its name which way it rounds.
//! [`Up16`] and [`Up24`] are the upper bits of an unsigned `f32`; [`Up8`] counts nodes.

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};

/// The largest `f32` that is not above `x`. `x`: finite.
pub(crate) fn floor32(x: f64) -> f32 {
    let near = round32(x);
    if f64::from(near) > x {
        near.next_down()
    } else {
        near
    }
}

/// The smallest `f32` that is not below `x`; `f32::MAX` at most, which no checked key reaches.
pub(crate) fn ceil32(x: f64) -> f32 {
    let near = round32(x);
    let up = if f64::from(near) < x {
        near.next_up()
    } else {
        near
    };
    up.min(f32::MAX)
}

/// The `f32` nearest to `x`, within the finite ones. `x`: not NaN.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to nearest is the purpose"
)]
pub(crate) fn round32(x: f64) -> f32 {
    (x as f32).clamp(f32::MIN, f32::MAX)
}

/// The number nearest to `x` of those that 16 bits hold: a sign, 8 bits of exponent and 7 of
/// mantissa, so .4 % off at most. `x`: not NaN.
pub(super) fn round16(x: f64) -> f32 {
    let bits = round32(x).to_bits();
    let near = bits.saturating_add(0x8000) & 0xffff_0000;
    let near = f32::from_bits(near);
    // Rounding may have gone beyond the last.
    if near.is_finite() {
        near
    } else {
        f32::from_bits(bits & 0xffff_0000)
    }
}

/// A number not below zero in 16 bits, rounded up: 8 bits of exponent, 8 of mantissa, so at most
/// 0.4 % too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Up16(u16);

impl Up16 {
    /// The largest: above it come the bits of infinity.
    const MAX: u32 = 0xfeff;

    /// `x` or a little more. `x`: finite; below zero counts as zero.
    pub fn of(x: f64) -> Self {
        let bits = (ceil32(x.max(0.0)).to_bits() + 0x7fff) >> 15;
        Self(u16::try_from(bits.min(Self::MAX)).expect("31 bits less 15 are 16"))
    }

    /// The number.
    pub fn value(self) -> f64 {
        f64::from(f32::from_bits(u32::from(self.0) << 15))
    }
}

impl Pack for Up16 {
    fn pack(&self, to: &mut Writer) {
        to.raw(&self.0.to_le_bytes());
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bits = u16::from_le_bytes(Pack::unpack(from)?);
        if u32::from(bits) > Self::MAX {
            return Err(Malformed::Invalid("not a finite number"));
        }
        Ok(Self(bits))
    }
}

/// A number not below zero in 24 bits, rounded up: 8 bits of exponent, 16 of mantissa, so at most
/// 0.002 % too large; for the slack of reports, which is rounded once at each level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Up24(u32);

impl Up24 {
    /// The largest: above it come the bits of infinity.
    const MAX: u32 = 0x00fe_ffff;

    /// `x` or a little more. `x`: finite; below zero counts as zero.
    pub fn of(x: f64) -> Self {
        let bits = (ceil32(x.max(0.0)).to_bits() + 0x7f) >> 7;
        Self(bits.min(Self::MAX))
    }

    /// The number.
    pub fn value(self) -> f64 {
        f64::from(f32::from_bits(self.0 << 7))
    }
}

impl Pack for Up24 {
    fn pack(&self, to: &mut Writer) {
        to.raw(&self.0.to_le_bytes()[..3]);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let [a, b, c] = Pack::unpack(from)?;
        let bits = u32::from_le_bytes([a, b, c, 0]);
        if bits > Self::MAX {
            return Err(Malformed::Invalid("not a finite number"));
        }
        Ok(Self(bits))
    }
}

/// A number of nodes in one byte, rounded up: exact to 15, then at most 12.5 % too large; what
/// exceeds [`Up8::MAX`] stands as that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Up8(u8);

impl Up8 {
    /// The largest number: 15 << 30, more nodes than a tree may have.
    pub const MAX: u64 = 15 << 30;

    /// `x` or a little more.
    pub fn of(x: u64) -> Self {
        let x = x.min(Self::MAX);
        if x < 16 {
            return Self(u8::try_from(x).expect("below 16"));
        }
        let mut shift = 60 - u64::from(x.leading_zeros());
        let mut mantissa = (x >> shift) + u64::from(x & ((1 << shift) - 1) != 0);
        if mantissa == 16 {
            mantissa = 8;
            shift += 1;
        }
        Self(
            u8::try_from((shift + 1) << 3 | (mantissa - 8))
                .expect("30 shifts, mantissas of 3 bits"),
        )
    }

    /// The number.
    pub fn value(self) -> u64 {
        match self.0 {
            small @ 0..16 => u64::from(small),
            byte => (8 + u64::from(byte & 7)) << ((byte >> 3) - 1),
        }
    }
}

impl Pack for Up8 {
    fn pack(&self, to: &mut Writer) {
        self.0.pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        u8::unpack(from).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use opus_core::pack::from_bytes;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn widths_round_down_and_slacks_round_up(x in 0.0..1e30_f64) {
            prop_assert!(f64::from(floor32(x)) <= x);
            prop_assert!(f64::from(ceil32(x)) >= x);
            let (a, b) = (Up16::of(x).value(), Up24::of(x).value());
            prop_assert!(x <= b && b <= a);
            prop_assert!(a <= x * 1.004 + 1e-37, "{a} for {x}");
            prop_assert!(b <= x * 1.000_02 + 1e-37, "{b} for {x}");
        }

        #[test]
        fn a_number_of_nodes_is_never_told_too_small(x in 0..=Up8::MAX) {
            let told = Up8::of(x).value();
            prop_assert!(told >= x && told <= x + x / 8);
        }

        #[test]
        fn every_short_float_that_is_accepted_is_finite(bytes in any::<[u8; 3]>()) {
            if let Ok(up) = from_bytes::<Up16>(&bytes[..2]) {
                prop_assert!(up.value().is_finite() && Up16::of(up.value()) == up);
            }
            if let Ok(up) = from_bytes::<Up24>(&bytes) {
                prop_assert!(up.value().is_finite() && Up24::of(up.value()) == up);
            }
        }
    }

    #[test]
    fn small_numbers_of_nodes_are_exact() {
        for x in 0..16 {
            assert_eq!(Up8::of(x).value(), x);
        }
        assert_eq!(Up8::of(17).value(), 18);
        assert_eq!(Up8::of(u64::MAX).value(), Up8::MAX);
    }
}
