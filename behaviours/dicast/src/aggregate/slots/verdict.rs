//! What becomes of a report.

use crate::aggregate::key::KeyId;

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The slot is as fresh as the report.
    Fresh,
    /// Something left out on purpose will follow; what came was taken.
    Partial,
    /// Changes were lost, or a new term began without a full report: ask for one.
    Gap,
    /// Older than what is known, or from an empty slot. Nothing was taken.
    Ignored,
    /// A change cannot be of its key. What came before it was taken.
    Refused,
}

/// What became of a report, and which keys have another value now, rising.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub verdict: Verdict,
    /// Whether a new term began with it, in which the sender's widths are 0 until granted
    /// (`Grants::on_new_term`).
    pub new_term: bool,
    /// Keys to fold anew.
    pub changed: Vec<KeyId>,
}
