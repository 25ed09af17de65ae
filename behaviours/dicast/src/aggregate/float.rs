//! Numbers on the wire: short floats that only ever round to the safe side.
//!
//! A slack, a half width or an age may be told too large, never too small; a width that is granted
//! may be too small, never too large. So each conversion says in its name which way it rounds.
//! [`Up16`] and [`Up24`] are the upper bits of an unsigned `f32`; [`Half`] is a binary16 scaled to
//! the range of its key; [`Up8`] counts nodes.

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

/// A signed number in 16 bits, nearest: a binary16 (10 bits of mantissa) after scaling by a power
/// of two, so that the key's reach lies at its upper end. Its error is known to the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Half(u16);

impl Half {
    /// `x` as one of at most `reach` in magnitude. `x`, `reach`: finite, `reach` above zero.
    pub fn of(x: f64, reach: f64) -> Self {
        let scaled = (x.abs() / unit(reach)).min(1.0) * 32_768.0;
        let exponent = if scaled > 0.0 {
            (libm::frexp(scaled).1 - 1).max(-14)
        } else {
            -14
        };
        let mantissa = libm::rint(libm::ldexp(scaled, 10 - exponent));
        // A mantissa that rounds up to 2^11 carries into the exponent by itself.
        let bits = whole16(f64::from((exponent + 14) << 10) + mantissa);
        Self(bits | if x < 0.0 { 0x8000 } else { 0 })
    }

    /// The number, for the same `reach`.
    pub fn value(self, reach: f64) -> f64 {
        let (mantissa, exponent) = self.parts();
        let magnitude = libm::ldexp(mantissa, exponent - 15) * unit(reach);
        if self.0 & 0x8000 == 0 {
            magnitude
        } else {
            -magnitude
        }
    }

    /// How far the number may be from the one it was made of.
    pub fn error(self, reach: f64) -> f64 {
        libm::ldexp(unit(reach), self.parts().1 - 16)
    }

    /// Mantissa and exponent of the scaled magnitude.
    fn parts(self) -> (f64, i32) {
        let (field, low) = (i32::from(self.0 >> 10 & 31), f64::from(self.0 & 1_023));
        if field == 0 {
            (low, -24)
        } else {
            (low + 1_024.0, field - 25)
        }
    }
}

impl Pack for Half {
    fn pack(&self, to: &mut Writer) {
        to.raw(&self.0.to_le_bytes());
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bits = u16::from_le_bytes(Pack::unpack(from)?);
        if bits & 0x7c00 == 0x7c00 {
            return Err(Malformed::Invalid("not a finite number"));
        }
        Ok(Self(bits))
    }
}

/// The power of two not below `reach`, or the next above it.
fn unit(reach: f64) -> f64 {
    libm::ldexp(1.0, libm::frexp(reach).1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float's cast saturates, and the value is whole and below 2^16"
)]
fn whole16(x: f64) -> u16 {
    x as u16
}

#[cfg(test)]
mod tests {
    use opus_core::pack::{from_bytes, to_bytes};
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
        fn a_half_is_as_near_as_it_says(x in -1.0..=1.0_f64, reach in 1e-9..1e12_f64) {
            let half = Half::of(x * reach, reach);
            prop_assert!((half.value(reach) - x * reach).abs() <= half.error(reach));
            let coarse = reach * 1e-8 + (x * reach).abs() / 2_048.0;
            prop_assert!(half.error(reach) <= coarse);
        }

        #[test]
        fn every_short_float_that_is_accepted_is_finite(bytes in any::<[u8; 3]>()) {
            if let Ok(up) = from_bytes::<Up16>(&bytes[..2]) {
                prop_assert!(up.value().is_finite() && Up16::of(up.value()) == up);
            }
            if let Ok(up) = from_bytes::<Up24>(&bytes) {
                prop_assert!(up.value().is_finite() && Up24::of(up.value()) == up);
            }
            if let Ok(half) = from_bytes::<Half>(&bytes[..2]) {
                prop_assert!(half.value(100.0).abs() <= 300.0);
                prop_assert_eq!(to_bytes(&half), bytes[..2].to_vec());
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

    #[test]
    fn half_a_range_in_sixteen_bits_is_exact() {
        let half = Half::of(-50.0, 100.0);
        assert!((half.value(100.0) + 50.0).abs() < f64::EPSILON);
    }
}
