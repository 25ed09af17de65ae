//! A scenario of the hierarchy, as a TOML file with `kind = "dicast"`.

use serde::{Deserialize, Serialize};

use super::DicastExpect;

/// Nodes of one scenario.
const NODES_MAX: usize = 100_000;

/// See the module. Times are virtual seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DicastScenario {
    /// Always `dicast`.
    pub kind: String,
    /// Of the file, without folder and extension.
    pub name: String,
    /// What it proves, in a sentence.
    pub claim: String,
    /// Nodes.
    pub nodes: usize,
    /// How long it runs.
    pub duration_s: u32,
    /// Seeds that it runs with.
    pub seeds: Vec<u64>,
    /// All nodes start within this.
    pub start_s: f64,
    /// Share of datagrams that are lost.
    pub loss: f64,
    /// How far delays vary, as a share of them.
    pub jitter: f64,
    /// Bytes and accuracy are measured between these.
    pub steady_s: (u64, u64),
    /// Each second between these one node sets a mark of each kind.
    pub marks_s: Option<(u64, u64)>,
    /// Between these the tenth of all nodes nearest one region has so much more load each second.
    pub surge: Option<(u64, u64, f64)>,
    /// Between these all nodes have.
    pub drift: Option<(u64, u64, f64)>,
    /// Crashes without a word.
    #[serde(default)]
    pub crashes: Vec<Crash>,
    /// What is expected.
    #[serde(default)]
    pub expect: DicastExpect,
}

/// Nodes that crash.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// When.
    pub at_s: u64,
    /// Which share of those alive, 0 to 1.
    pub share: f64,
}

/// The scenario cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct DicastScenarioError {
    field: &'static str,
    problem: String,
}

impl DicastScenarioError {
    pub(super) const fn new(field: &'static str, problem: String) -> Self {
        Self { field, problem }
    }
}

impl DicastScenario {
    /// Reads a file. Errors: it is no TOML, lacks a key or has one too many.
    pub fn from_toml(text: &str) -> Result<Self, DicastScenarioError> {
        toml::from_str(text).map_err(|error| DicastScenarioError::new("file", error.to_string()))
    }

    /// Whether a file is of this kind at all.
    pub fn is_meant(text: &str) -> bool {
        let table = text.parse::<toml::Table>();
        table.is_ok_and(|table| table.get("kind").and_then(toml::Value::as_str) == Some("dicast"))
    }

    /// Errors: a value is beyond its limits.
    pub fn check(&self) -> Result<(), DicastScenarioError> {
        let no = |field, problem: &str| Err(DicastScenarioError::new(field, problem.to_owned()));
        if !(2..=NODES_MAX).contains(&self.nodes) {
            return no("nodes", "is not within 2 and 100,000");
        }
        if !(1..=86_400).contains(&self.duration_s) {
            return no("duration_s", "is not within 1 s and a day");
        }
        if !(0.0..=f64::from(self.duration_s)).contains(&self.start_s) {
            return no("start_s", "is not within the duration");
        }
        if !(0.0..1.0).contains(&self.loss) || !(0.0..1.0).contains(&self.jitter) {
            return no("loss", "and jitter are shares below 1");
        }
        if self.seeds.is_empty() {
            return no("seeds", "names none");
        }
        if self.steady_s.0 >= self.steady_s.1 {
            return no("steady_s", "ends before it begins");
        }
        if self
            .crashes
            .iter()
            .any(|it| !(0.0..=1.0).contains(&it.share))
        {
            return no("crashes", "have shares within 0 and 1");
        }
        Ok(())
    }

    pub(super) fn is_steady(&self, second: u64) -> bool {
        second > self.steady_s.0 && second <= self.steady_s.1
    }

    pub(super) fn is_marked(&self, second: u64) -> bool {
        // The last marks have time to be seen.
        self.marks_s
            .is_some_and(|(from, to)| (from..to.saturating_sub(4)).contains(&second))
    }

    pub(super) fn is_marked_soon(&self, second: u64) -> bool {
        self.marks_s
            .is_some_and(|(from, to)| (from..to).contains(&second))
    }
}
