//! A scenario of the hierarchy, as a TOML file with `kind = "dicast"`.

use serde::{Deserialize, Serialize};

use super::DicastExpect;

/// Nodes of one scenario.
const NODES_MAX: usize = 100_000;

/// Keys of one scenario, beside the count and the marks.
const KEYS_MAX: usize = 32;

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
    /// Runs with each of these numbers of nodes instead, and compares the bytes with the first.
    #[serde(default)]
    pub sizes: Vec<usize>,
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
    /// Share of datagrams that arrive twice.
    #[serde(default)]
    pub duplicate: f64,
    /// Share of datagrams that are held up, so that later ones overtake them.
    #[serde(default)]
    pub reorder: f64,
    /// Clocks run fast or slow by at most this, and read up to an hour more or less than others.
    #[serde(default)]
    pub skew_ppm: u32,
    /// Share of nodes that strangers cannot dial.
    #[serde(default)]
    pub unreachable: f64,
    /// Share of nodes whose beats tell nonsense values.
    #[serde(default)]
    pub liars: f64,
    /// Agents that lie.
    #[serde(default)]
    pub lying_agents: Option<LyingAgents>,
    /// Whether deputies look whether agents lie, as they do in nodes.
    #[serde(default)]
    pub audits: bool,
    /// Whether a node that wants contacts is told of two that run, as if it were connected to them.
    #[serde(default)]
    pub neighbours: bool,
    /// Whether nodes start without knowing anybody: the directory alone leads them together.
    #[serde(default)]
    pub strangers: bool,
    /// Keys like the load; the first is judged.
    #[serde(default = "one")]
    pub keys: usize,
    /// Their accuracy: half the width that an answer may have. A load is about 1.
    #[serde(default = "eps")]
    pub eps: f32,
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
    /// Ways that are cut for a while.
    #[serde(default)]
    pub cuts: Vec<Cut>,
    /// Nodes that stall.
    #[serde(default)]
    pub pauses: Option<Pauses>,
    /// Nodes that come and go.
    #[serde(default)]
    pub churn: Option<Comings>,
    /// Nodes that shall sit together.
    #[serde(default)]
    pub sites: Option<Sites>,
    /// What is expected.
    #[serde(default)]
    pub expect: DicastExpect,
    /// How it runs where time is short.
    #[serde(default)]
    pub ci: Option<Small>,
}

const fn one() -> usize {
    1
}

const fn eps() -> f32 {
    0.01
}

/// Nodes that crash.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// When.
    pub at_s: u64,
    /// Which share of those alive, 0 to 1.
    pub share: f64,
    /// Whether they are those nearest to one place.
    #[serde(default)]
    pub by_region: bool,
}

/// Ways that carry nothing for a while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// When.
    pub at_s: u64,
    /// For how long.
    pub for_s: u64,
    /// Which share of the nodes, 0 to 1.
    pub share: f64,
    /// Which ways.
    pub kind: CutKind,
    /// It comes again after so long, with nodes drawn anew; 0: it does not.
    #[serde(default)]
    pub every_s: u64,
    /// It does not come again from then on.
    #[serde(default)]
    pub until_s: u64,
}

/// Which ways are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutKind {
    /// Both ways between the drawn nodes and all others.
    Side,
    /// The same, and the drawn nodes are those nearest to one place.
    Region,
    /// The way from each drawn node to one of its peers; the way back stays open.
    OneWay,
}

/// Nodes that stall, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pauses {
    /// The first ones stall then.
    pub from_s: u64,
    /// None stalls from then on.
    pub until_s: u64,
    /// Others are drawn after so long.
    pub every_s: u64,
    /// Which share of the nodes, 0 to 1.
    pub share: f64,
    /// For how long.
    pub for_s: f64,
}

/// Nodes that leave or crash, and come back as a new incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comings {
    /// The first goes not before this.
    pub from_s: u64,
    /// The last goes before this.
    pub until_s: u64,
    /// Share of all nodes that go each minute.
    pub per_min: f64,
    /// For how long they are away, uniformly.
    pub away_s: (f64, f64),
    /// Which share of them crashes without a word; the others leave.
    pub crash: f64,
}

/// Sites, whose nodes have a label each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sites {
    /// How many.
    pub count: usize,
    /// Nodes of the smallest; sizes are drawn so that there are as many small sites as large ones.
    pub least: usize,
    /// Nodes of the largest.
    pub most: usize,
    /// Which share of the sites is scattered all over; the others stand around one place.
    pub scattered: f64,
}

/// Agents of level 1 that tell their parents more than their members have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LyingAgents {
    /// They begin then.
    pub at_s: u64,
    /// Which share of the agents that have another node above them, 0 to 1; one at least.
    pub share: f64,
}

/// The same scenario where time is short: other numbers, and what cannot be expected of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Small {
    /// Nodes.
    pub nodes: Option<usize>,
    /// Sizes.
    pub sizes: Option<Vec<usize>>,
    /// Seeds.
    pub seeds: Option<Vec<u64>>,
    /// Expectations that do not apply to so few nodes; the file says why.
    pub without: Vec<String>,
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

    /// Makes the scenario small, as its file says. Returns what was changed, for people; none if
    /// the file says nothing. Errors: an expectation that it leaves out does not exist.
    pub fn shrink(&mut self) -> Result<Vec<String>, DicastScenarioError> {
        let Some(small) = self.ci.clone() else {
            return Ok(Vec::new());
        };
        let mut told = Vec::new();
        if let Some(nodes) = small.nodes {
            told.push(format!("{nodes} nodes instead of {}", self.nodes));
            self.nodes = nodes;
        }
        if let Some(sizes) = small.sizes {
            told.push(format!("sizes {sizes:?} instead of {:?}", self.sizes));
            self.sizes = sizes;
        }
        if let Some(seeds) = small.seeds {
            told.push(format!("seeds {seeds:?} instead of {:?}", self.seeds));
            self.seeds = seeds;
        }
        for name in &small.without {
            self.expect
                .forget(name)
                .map_err(|problem| DicastScenarioError::new("ci.without", problem))?;
            told.push(format!("{name} not checked"));
        }
        Ok(told)
    }

    /// The numbers of nodes that it runs with.
    pub fn all_sizes(&self) -> Vec<usize> {
        if self.sizes.is_empty() {
            vec![self.nodes]
        } else {
            self.sizes.clone()
        }
    }

    /// Errors: a value is beyond its limits.
    pub fn check(&self) -> Result<(), DicastScenarioError> {
        let no = |field, problem: &str| Err(DicastScenarioError::new(field, problem.to_owned()));
        let fits = |nodes: &usize| (2..=NODES_MAX).contains(nodes);
        if !fits(&self.nodes) {
            return no("nodes", "is not within 2 and 100,000");
        }
        if !self.sizes.iter().all(fits) {
            return no("sizes", "are not within 2 and 100,000");
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
        if !(1..=KEYS_MAX).contains(&self.keys) {
            return no("keys", "is not within 1 and 32");
        }
        if self.skew_ppm > crate::driver::SKEW_PPM_MAX.unsigned_abs() {
            return no("skew_ppm", "is more than a tenth");
        }
        self.check_shares()?;
        self.check_faults()
    }

    fn check_shares(&self) -> Result<(), DicastScenarioError> {
        let no = |field, problem: &str| Err(DicastScenarioError::new(field, problem.to_owned()));
        let alone = [
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("unreachable", self.unreachable),
            ("liars", self.liars),
        ];
        let pauses = self.pauses.iter().map(|it| ("pauses", it.share));
        let churn = self.churn.iter().map(|it| ("churn", it.crash));
        let crashes = self.crashes.iter().map(|it| ("crashes", it.share));
        let cuts = self.cuts.iter().map(|it| ("cuts", it.share));
        let sites = self.sites.iter().map(|it| ("sites", it.scattered));
        let agents = self.lying_agents.iter();
        let agents = agents.map(|it| ("lying_agents", it.share));
        let shares = alone.into_iter().chain(pauses).chain(churn).chain(agents);
        for (field, share) in shares.chain(crashes).chain(cuts).chain(sites) {
            if !(0.0..=1.0).contains(&share) {
                return no(field, "have shares within 0 and 1");
            }
        }
        Ok(())
    }

    fn check_faults(&self) -> Result<(), DicastScenarioError> {
        let no = |field, problem: &str| Err(DicastScenarioError::new(field, problem.to_owned()));
        if self.cuts.iter().any(|it| it.for_s == 0) {
            return no("cuts", "last a second at least");
        }
        if let Some(pauses) = &self.pauses
            && (pauses.every_s == 0 || !(0.001..=3_600.0).contains(&pauses.for_s))
        {
            return no(
                "pauses",
                "come each second at most and last 1 ms to an hour",
            );
        }
        if let Some(sites) = &self.sites
            && (sites.least == 0 || sites.most < sites.least)
        {
            return no("sites", "have one node at least, and at most no fewer");
        }
        if let Some(churn) = &self.churn {
            if !(0.0..=60.0).contains(&churn.per_min) {
                return no("churn", "takes 0 to 60 times all nodes a minute");
            }
            let (least, most) = churn.away_s;
            if !(5.0..=86_400.0).contains(&least) || !(least..=86_400.0).contains(&most) {
                return no("churn", "keeps nodes away for 5 s to a day");
            }
            if churn.from_s >= churn.until_s {
                return no("churn", "ends before it begins");
            }
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

impl Cut {
    /// Whether it begins at this second.
    pub(super) fn begins(&self, second: u64) -> bool {
        if second <= self.at_s || self.every_s == 0 {
            return second == self.at_s;
        }
        second < self.until_s && (second - self.at_s).is_multiple_of(self.every_s)
    }
}

impl Pauses {
    /// Whether some begin at this second.
    pub(super) fn begin(&self, second: u64) -> bool {
        (self.from_s..self.until_s).contains(&second)
            && (second - self.from_s).is_multiple_of(self.every_s)
    }
}
