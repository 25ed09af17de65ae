//! Where a node or cluster stands, as its seat remembers it.

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};
use opus_model::Position;

/// A network coordinate in a message, or none. Clamped when unpacked. 20 bytes: every member keeps
/// one of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The parts of the position; zero if there is none.
    point: [i32; 3],
    height: u32,
    error: u16,
    known: bool,
}

impl Place {
    /// There.
    pub const fn at(position: Position) -> Self {
        let Position(point, height, error) = position;
        Self {
            point,
            height,
            error,
            known: true,
        }
    }

    /// Where that is, if it is known.
    pub const fn position(self) -> Option<Position> {
        if self.known {
            Some(Position(self.point, self.height, self.error))
        } else {
            None
        }
    }

    /// Whether it says anything.
    pub const fn is_known(self) -> bool {
        self.known
    }

    /// Estimated round trip, microseconds; far if either is unknown.
    pub fn estimate_us(self, other: Self) -> u32 {
        match (self.position(), other.position()) {
            (Some(one), Some(other)) => one.estimate_us(other),
            _ => UNKNOWN_US,
        }
    }

    /// Whether `now` is known, and so far away that it is worth a word.
    pub fn has_moved(self, now: Self) -> bool {
        match (self.position(), now.position()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(one), Some(other)) => {
                let along = one.0.iter().zip(other.0).map(|(a, b)| a.abs_diff(b));
                let heights = one.1.abs_diff(other.1);
                along.chain([heights]).any(|us| us > MOVED_US)
            }
        }
    }
}

/// A place that moved by less than this, in microseconds, is not told again: no decision depends on
/// it.
const MOVED_US: u32 = 2_000;

/// How far away what has no coordinate is taken to be: 1 s, farther than any real round trip.
const UNKNOWN_US: u32 = 1_000_000;

impl Pack for Place {
    fn pack(&self, to: &mut Writer) {
        self.known.pack(to);
        if let Some(Position(point, height, error)) = self.position() {
            for us in point {
                us.pack(to);
            }
            height.pack(to);
            error.pack(to);
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if !bool::unpack(from)? {
            return Ok(Self::default());
        }
        let point = [
            Pack::unpack(from)?,
            Pack::unpack(from)?,
            Pack::unpack(from)?,
        ];
        let position = Position(point, Pack::unpack(from)?, Pack::unpack(from)?);
        Ok(Self::at(position.clamped()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_again_when_it_is_off_by_more_than_jitter() {
        let at = |x_us, height| Place::at(Position([x_us, 0, 0], height, 10));
        assert!(Place::default().has_moved(at(0, 100)));
        assert!(!at(0, 100).has_moved(Place::default()));
        assert!(!at(0, 100).has_moved(at(1_500, 1_500)));
        assert!(at(0, 100).has_moved(at(0, 5_000)));
        assert!(at(-3_000, 100).has_moved(at(0, 100)));
    }
}
