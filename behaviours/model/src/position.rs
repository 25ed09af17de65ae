//! A network coordinate on the wire: whole numbers, clamped.

use serde::{Deserialize, Serialize};

use crate::coordinate::{
    Coordinate, DIMENSIONS, ERROR_MAX, ERROR_MIN, HEIGHT_MS_MAX, HEIGHT_MS_MIN, POSITION_MS_MAX,
};

/// A coordinate on the wire: point and height in microseconds of round trip, error in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position(
    /// The point.
    pub [i32; DIMENSIONS],
    /// The height.
    pub u32,
    /// The relative error.
    pub u16,
);

impl Position {
    /// The nearest lawful value, which is what [`Coordinate::clamped`] would make of it.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self::from(Coordinate::from(self))
    }

    /// Estimated round trip to `other`, microseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate is positive, and a cast from float saturates"
    )]
    pub fn estimate_us(self, other: Self) -> u32 {
        let estimate_ms = Coordinate::from(self).estimate_ms(&Coordinate::from(other));
        (estimate_ms * 1e3) as u32
    }
}

impl From<Position> for Coordinate {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the limits an f32 holds a microsecond to a few parts in ten million"
    )]
    fn from(Position(point, height, error): Position) -> Self {
        let point = point.map(|us| (f64::from(us) / 1e3) as f32);
        let height = (f64::from(height) / 1e3) as f32;
        Self::clamped(point, height, f32::from(error) / 1e3)
    }
}

impl From<Coordinate> for Position {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a coordinate is within limits that fit, and each value is clamped to them"
    )]
    fn from(coordinate: Coordinate) -> Self {
        let thousandths = |value: f32, least: f32, most: f32| {
            let limit = |bound: f32| f64::from(bound) * 1e3;
            (f64::from(value) * 1e3)
                .clamp(limit(least), limit(most))
                .round()
        };
        let point = coordinate.position_ms();
        Self(
            point.map(|ms| thousandths(ms, -POSITION_MS_MAX, POSITION_MS_MAX) as i32),
            thousandths(coordinate.height_ms(), HEIGHT_MS_MIN, HEIGHT_MS_MAX) as u32,
            thousandths(coordinate.error(), ERROR_MIN, ERROR_MAX) as u16,
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_peer_says_is_lawful_once_clamped(
            point in any::<[i32; DIMENSIONS]>(), height in any::<u32>(), error in any::<u16>()
        ) {
            let lawful = Position(point, height, error).clamped();
            let Position(point, height, error) = lawful;
            prop_assert!(point.iter().all(|us| us.abs() <= 20_000_000));
            prop_assert!((10..=20_000_000).contains(&height) && (10..=1_000).contains(&error));
            prop_assert_eq!(lawful.clamped(), lawful);
        }
    }
}
