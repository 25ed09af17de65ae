//! A broken invariant, as it is printed.

use std::fmt;

use opus_core::Time;
use serde::Serialize;

/// What a failure says: enough to understand it, and the line that repeats it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Scenario or test.
    pub test: String,
    /// The seed.
    pub seed: u64,
    /// Virtual microseconds.
    pub at: Time,
    /// Which node.
    pub node: usize,
    /// The sentence that does not hold.
    pub sentence: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub got: String,
    /// The node's last events.
    pub recent: Vec<String>,
    /// The command that repeats it.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, seed {}, at {:?}, node n{}",
            self.test, self.seed, self.at, self.node
        )?;
        writeln!(f, "  broken    {}", self.sentence)?;
        writeln!(f, "  expected  {}", self.expected)?;
        writeln!(f, "  got       {}", self.got)?;
        writeln!(
            f,
            "  the last {} events of n{}:",
            self.recent.len(),
            self.node
        )?;
        for line in &self.recent {
            writeln!(f, "    {line}")?;
        }
        write!(f, "  again     {}", self.replay)
    }
}
