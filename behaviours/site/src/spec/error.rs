//! Why a spec is refused, in words for its owner.

use opus_core::Malformed;

/// Why a spec is refused. Nothing was kept.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// Not TOML, or a value of another type.
    #[error("{0}")]
    Toml(String),
    /// Not the CBOR of a spec.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A key that no spec has.
    #[error("unknown key {key}; did you mean {nearest}?")]
    UnknownKey {
        /// With its table: `sla.latencyms`.
        key: String,
        /// The known key of that table which is closest in spelling.
        nearest: String,
    },
    /// A value out of its range, or a needed one that is missing.
    #[error("{field} {problem}")]
    Field {
        /// With its table.
        field: String,
        /// What it must be.
        problem: String,
    },
    /// A utility curve that bends upwards.
    #[error(
        "sla.points: not concave at points {}, {}, {}: slopes {} then {}",
        .first, .first + 1, .first + 2, .slopes.0, .slopes.1
    )]
    NotConcave {
        /// The first point of the offending three, from 0.
        first: usize,
        /// Value per share, before and after the middle point.
        slopes: (f64, f64),
    },
}

impl SpecError {
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }
}
