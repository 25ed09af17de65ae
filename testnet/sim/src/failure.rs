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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_all_that_is_needed_and_the_line_that_repeats_it() {
        let failure = Failure {
            test: "first-light".to_owned(),
            seed: 81,
            at: Time::from_millis(1_500),
            node: 7,
            sentence: "no sink is given a frame twice".to_owned(),
            expected: "frame 3".to_owned(),
            got: "frame 2".to_owned(),
            recent: vec!["1.400000s received n2".to_owned()],
            replay: "opus-testnet run FILE --seed 81".to_owned(),
        };
        let text = failure.to_string();
        let first = "first-light, seed 81, at 1.500000s, node n7";
        assert_eq!(text.lines().next(), Some(first));
        for part in [
            "given a frame twice",
            "frame 3",
            "frame 2",
            "received n2",
            "--seed 81",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
