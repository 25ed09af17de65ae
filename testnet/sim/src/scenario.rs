//! A scenario: one claim as a TOML file.
//!
//! ```toml
//! name = "first-light"
//! claim = "every member receives every frame"
//! topology = "transit-stub"          # or "matrix FILE", "ts600 FILE"
//! nodes = 30                         # of a matrix: all rows, if not given
//! duration_s = 60
//! seeds = [1, 2, 3]
//!
//! [app]
//! alpha = 1.5
//! reliability = 1.0
//! rate = 20.0
//! payload = 256
//!
//! [[faults]]
//! at_s = 30.0
//! kind = "crash"
//! share = 0.1
//!
//! [expect]
//! violators_end = 0
//! delivered = 1.0
//! ```
//!
//! Unknown keys are refused, with the line. Node 0 is the source and the root of the tree.

use std::fmt;

use opus_net::Conditions;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::expect::Expect;

/// Nodes of one scenario.
pub const NODES_MAX: usize = 12_000;
/// Virtual seconds of one scenario: a day.
pub const DURATION_S_MAX: u32 = 86_400;
/// Frames a second that a scenario's source may send.
pub const RATE_MAX: f64 = 10_000.0;
/// Bytes of a frame's payload: the relay's limit.
pub const PAYLOAD_MAX: usize = 64 << 10;
/// The least payload: it carries a number by which receivers check it.
pub const PAYLOAD_MIN: usize = 8;
/// Most faults, and most seeds, of one scenario.
pub const LIST_MAX: usize = 1_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Of the file, without folder and extension.
    pub name: String,
    /// What it proves, in a sentence.
    pub claim: String,
    /// Who is how far from whom.
    pub topology: Topology,
    /// Nodes; of a matrix all rows if not given.
    pub nodes: Option<usize>,
    /// Virtual seconds.
    pub duration_s: u32,
    /// Seeds that it runs with.
    pub seeds: Vec<u64>,
    /// What links do beside delaying.
    #[serde(default)]
    pub conditions: Conditions,
    /// How messages travel.
    #[serde(default)]
    pub transport: Transport,
    /// Bootstrap contacts of each node but the first: nodes with lower numbers, drawn.
    #[serde(default = "contacts")]
    pub contacts: usize,
    /// The application.
    #[serde(default)]
    pub app: App,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What must hold, for every seed.
    #[serde(default)]
    pub expect: Expect,
}

/// Where the delays come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Topology {
    /// Our own generator, its size by the number of nodes, drawn by the seed.
    TransitStub,
    /// A square matrix of round trips in milliseconds.
    Matrix(String),
    /// A GT-ITM graph; nodes stand at routers drawn by the seed.
    Ts600(String),
}

/// How messages travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// In order, late rather than lost.
    #[default]
    Streams,
    /// Each message alone.
    Datagrams,
}

/// One application: node 0 sends, the others receive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct App {
    /// The knob of the LAST tree, 1 to 16.
    pub alpha: f64,
    /// Most children of a node.
    pub cap: u8,
    /// 1 is the complete class.
    pub reliability: f64,
    /// Of the timed class.
    pub deadline_ms: u32,
    /// Sinks attach between these moments, drawn evenly.
    pub attach_s: (f64, f64),
    /// Share of the nodes that receive.
    pub sinks: f64,
    /// Frames a second; 0: none.
    pub rate: f64,
    /// Bytes of a frame.
    pub payload: usize,
    /// The source sends between these moments; the second is at least 5 s before the end.
    pub publish_s: (f64, f64),
}

impl Default for App {
    fn default() -> Self {
        Self {
            alpha: 1.5,
            cap: 12,
            reliability: 1.0,
            deadline_ms: 1_000,
            attach_s: (2.0, 5.0),
            sinks: 1.0,
            rate: 0.0,
            payload: 256,
            publish_s: (0.0, 0.0),
        }
    }
}

/// Something that goes wrong, or right again. Numbered nodes, or a share of those that run, drawn
/// by the seed; the source is never drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When.
    pub at_s: f64,
    /// What.
    pub kind: FaultKind,
    /// Which nodes.
    #[serde(default)]
    pub nodes: Vec<usize>,
    /// Which share of all nodes, drawn.
    #[serde(default)]
    pub share: f64,
    /// The drawn nodes are inner nodes of the tree, the ones with most nodes below first.
    #[serde(default)]
    pub inner: bool,
    /// A killed machine tells nobody: its peers find out by their timeouts.
    #[serde(default)]
    pub silent: bool,
    /// A partition or killed nodes come back after so long; 0: not by themselves.
    #[serde(default)]
    pub for_s: f64,
    /// Links from here on.
    #[serde(default)]
    pub conditions: Option<Conditions>,
}

/// Kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Nodes are killed.
    Crash,
    /// Killed nodes start again, with nothing but their identity: all, or those named.
    Restart,
    /// Nodes are cut from the others; what is sent over connections waits.
    Partition,
    /// All cuts end.
    Heal,
    /// The tree edges above the nodes are cut, both ways.
    CutParents,
    /// Nodes are killed one by one, each to start again after ten seconds, for as long as `for_s`
    /// says; `share` is the share of all nodes a minute.
    Churn,
    /// Programs end their attachments.
    Detach,
    /// All links change.
    Conditions,
}

/// Why a text is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScenarioError {
    /// Not TOML, or not of this shape; names line and column.
    #[error("{0}")]
    Toml(String),
    /// A value out of its range.
    #[error("line {line}: {field} {problem}")]
    Field {
        /// Where the key stands; 0 if it does not.
        line: usize,
        /// The key.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

fn contacts() -> usize {
    3
}

impl Scenario {
    /// Reads a scenario. Errors: [`ScenarioError`], with the line.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self =
            toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string()))?;
        scenario
            .check()
            .map_err(|(field, problem)| ScenarioError::Field {
                line: line_of(text, field),
                field,
                problem,
            })?;
        Ok(scenario)
    }

    /// Checks every value; for scenarios that were changed by flags too.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        ensure(
            is_name(&self.name),
            "name",
            "must be 1 to 40 of a-z, 0-9 and -",
        )?;
        let nodes = self.nodes.unwrap_or(NODES_MAX);
        ensure(
            (2..=NODES_MAX).contains(&nodes),
            "nodes",
            "must be 2 to 12000",
        )?;
        let given = self.nodes.is_some() || matches!(self.topology, Topology::Matrix(_));
        ensure(
            given,
            "nodes",
            "must be given unless the topology is a matrix",
        )?;
        let lasts = (1..=DURATION_S_MAX).contains(&self.duration_s);
        ensure(lasts, "duration_s", "must be 1 to 86400")?;
        let seeds = (1..=LIST_MAX).contains(&self.seeds.len());
        ensure(seeds, "seeds", "must be 1 to 1000 numbers")?;
        ensure(
            self.contacts >= 1 && self.contacts <= 64,
            "contacts",
            "must be 1 to 64",
        )?;
        if let Err(error) = self.conditions.checked() {
            return Err(("conditions", error.to_string()));
        }
        self.app.check(f64::from(self.duration_s))?;
        ensure(
            self.faults.len() <= LIST_MAX,
            "faults",
            "must be at most 1000",
        )?;
        self.faults
            .iter()
            .try_for_each(|fault| fault.check(self.duration_s, nodes))
    }

    /// The moment at which the last fault is over, seconds.
    pub fn faults_end_s(&self) -> f64 {
        self.faults
            .iter()
            .map(|fault| fault.at_s + fault.for_s)
            .fold(0.0, f64::max)
    }
}

impl App {
    fn check(&self, duration_s: f64) -> Result<(), (&'static str, String)> {
        ensure(
            (1.0..=16.0).contains(&self.alpha),
            "alpha",
            "must be 1 to 16",
        )?;
        ensure((1..=64).contains(&self.cap), "cap", "must be 1 to 64")?;
        let share = (0.0..=1.0).contains(&self.reliability);
        ensure(share, "reliability", "must be 0 to 1")?;
        ensure(
            (1..=60_000).contains(&self.deadline_ms),
            "deadline_ms",
            "must be 1 to 60000",
        )?;
        ensure(
            self.sinks > 0.0 && self.sinks <= 1.0,
            "sinks",
            "must be above 0, at most 1",
        )?;
        ensure(
            (0.0..=RATE_MAX).contains(&self.rate),
            "rate",
            "must be 0 to 10000",
        )?;
        let payload = (PAYLOAD_MIN..=PAYLOAD_MAX).contains(&self.payload);
        ensure(payload, "payload", "must be 8 to 65536 bytes")?;
        ensure(
            window(self.attach_s, duration_s),
            "attach_s",
            "must rise within the duration",
        )?;
        let drained = self.rate <= 0.0 || self.publish_s.1 + 5.0 <= duration_s;
        ensure(
            window(self.publish_s, duration_s) && drained,
            "publish_s",
            "must rise and end at least 5 s before the duration does",
        )
    }
}

impl Fault {
    fn check(&self, duration_s: u32, nodes: usize) -> Result<(), (&'static str, String)> {
        let duration_s = f64::from(duration_s);
        ensure(
            (0.0..=duration_s).contains(&self.at_s),
            "at_s",
            "must be within the duration",
        )?;
        ensure(
            (0.0..=duration_s).contains(&self.for_s),
            "for_s",
            "must be within the duration",
        )?;
        ensure((0.0..=1.0).contains(&self.share), "share", "must be 0 to 1")?;
        let known = self.nodes.iter().all(|&node| node < nodes);
        ensure(known, "nodes", "of a fault must exist")?;
        let some = self.share > 0.0 || !self.nodes.is_empty();
        let needs = match self.kind {
            FaultKind::Crash | FaultKind::Partition | FaultKind::CutParents | FaultKind::Detach => {
                some
            }
            FaultKind::Churn => self.share > 0.0 && self.for_s > 0.0,
            FaultKind::Conditions => self.conditions.is_some(),
            FaultKind::Restart | FaultKind::Heal => true,
        };
        ensure(
            needs,
            "kind",
            "needs nodes or a share, churn for_s too, conditions those",
        )?;
        match self.conditions.map(Conditions::checked) {
            Some(Err(error)) => Err(("conditions", error.to_string())),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}

impl TryFrom<String> for Topology {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text
            .split_once(' ')
            .map_or((text.as_str(), ""), |(kind, file)| (kind, file.trim()))
        {
            ("transit-stub", "") => Ok(Self::TransitStub),
            ("matrix", file) if !file.is_empty() => Ok(Self::Matrix(file.to_owned())),
            ("ts600", file) if !file.is_empty() => Ok(Self::Ts600(file.to_owned())),
            _ => Err("topology must be \"transit-stub\", \"matrix FILE\" or \"ts600 FILE\"".into()),
        }
    }
}

impl From<Topology> for String {
    fn from(topology: Topology) -> Self {
        topology.to_string()
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TransitStub => f.write_str("transit-stub"),
            Self::Matrix(file) => write!(f, "matrix {file}"),
            Self::Ts600(file) => write!(f, "ts600 {file}"),
        }
    }
}

fn ensure(holds: bool, field: &'static str, problem: &str) -> Result<(), (&'static str, String)> {
    if holds {
        Ok(())
    } else {
        Err((field, problem.to_owned()))
    }
}

fn window((from, until): (f64, f64), duration_s: f64) -> bool {
    0.0 <= from && from <= until && until <= duration_s
}

fn is_name(name: &str) -> bool {
    let lawful = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=40).contains(&name.len()) && name.chars().all(lawful)
}

/// The first line on which `key` is given a value or a table.
fn line_of(text: &str, key: &str) -> usize {
    let gives = |line: &str| {
        let line = line.trim_start_matches([' ', '[']);
        let rest = line.strip_prefix(key).map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with(['=', ']', '.']))
    };
    text.lines().position(gives).map_or(0, |line| line + 1)
}

#[cfg(test)]
mod tests;
