//! The object that a run writes, and what is expected of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The result of one run. Keys are a contract; what did not occur or is not measured is null.
/// `wall_s` and `peak_rss_bytes` are filled in by who has a clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DicastOutcome {
    /// Version of these keys.
    pub schema: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Nodes.
    pub nodes: usize,
    /// Virtual seconds.
    pub virtual_s: u32,
    /// Share of datagrams that were lost.
    pub loss: f64,
    /// Inputs and timeouts handled.
    pub events: u64,
    /// Seconds of real time.
    pub wall_s: Option<f64>,
    /// Largest resident memory.
    pub peak_rss_bytes: Option<u64>,
    /// Over all events.
    pub trace_hash: String,
    /// Levels at 60 s.
    pub height: Option<u8>,
    /// Clusters of level 1 at 60 s.
    pub clusters: Option<usize>,
    /// When all nodes were first covered.
    pub formed_s: Option<u64>,
    /// Not measured yet.
    pub leaf_rtt_ratio: Option<f64>,
    /// Clusters out of bounds for more than 20 s, from 30 s on.
    pub size_violations: u64,
    /// Null: there are no labels yet.
    pub label_violations: Option<u64>,
    /// Posts seen with two agents under one cluster and epoch.
    pub fence_violations: u64,
    /// Sent by a node and second while all was steady.
    pub bytes_per_node_per_s_mean: Option<f64>,
    /// The worst node, sent or received.
    pub bytes_per_node_per_s_max: Option<f64>,
    /// Not measured yet.
    pub state_bytes_leaf_p99: Option<u64>,
    /// Answers that were judged.
    pub answer_samples: u64,
    /// Answers for the load whose bounds no lawful set of nodes reaches.
    pub bound_violations: u64,
    /// The same for the count of members.
    pub count_violations: u64,
    /// Half the width of an answer over the tolerance.
    pub half_width_over_eps_p99: Option<f64>,
    /// Distance from the truth of the moment over the tolerance.
    pub error_over_eps_p99: Option<f64>,
    /// From set to seen, to 100 ms.
    pub staleness_eager_s_p99: Option<f64>,
    /// The same for lazy marks.
    pub staleness_lazy_s_p99: Option<f64>,
    /// By the share that crashed, in percent.
    pub coverage_after_crash: BTreeMap<String, Crashed>,
    /// Share of live nodes covered at the end.
    pub coverage_end: Option<f64>,
    /// Live nodes that were put out of their cluster.
    pub live_expelled: u64,
    /// Null: every node can be reached here.
    pub posts_unreachable: Option<u64>,
    /// Commands that a machine refused.
    pub commands_refused: u64,
    /// Names of what was expected and does not hold.
    pub expect_failed: Vec<&'static str>,
}

/// Whole seconds after a crash until ...
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Crashed {
    /// ... 99 % of the living were covered.
    pub t99_s: Option<u64>,
    /// ... all were.
    pub t100_s: Option<u64>,
    /// ... 99 % of the dead had left all rosters.
    pub dead_out_99_s: Option<u64>,
    /// ... all had.
    pub dead_out_all_s: Option<u64>,
    /// Most seats of dead nodes at once.
    #[serde(skip)]
    pub dead: usize,
}

/// Bounds; what is not named is not checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DicastExpect {
    /// Most.
    pub formed_s_max: Option<u64>,
    /// Most.
    pub size_violations_max: Option<u64>,
    /// Most.
    pub fence_violations_max: Option<u64>,
    /// Most.
    pub bytes_mean_max: Option<f64>,
    /// Most.
    pub bytes_max_max: Option<f64>,
    /// Least.
    pub answer_samples_min: Option<u64>,
    /// Most.
    pub bound_violations_max: Option<u64>,
    /// Most.
    pub count_violations_max: Option<u64>,
    /// Most.
    pub half_width_over_eps_max: Option<f64>,
    /// Most.
    pub error_over_eps_max: Option<f64>,
    /// Most.
    pub staleness_eager_s_max: Option<f64>,
    /// Most.
    pub staleness_lazy_s_max: Option<f64>,
    /// Most, by the share that crashed.
    pub t99_s_max: BTreeMap<String, u64>,
    /// Most, by the share that crashed.
    pub dead_out_99_s_max: BTreeMap<String, u64>,
    /// Least.
    pub coverage_end_min: Option<f64>,
    /// Most.
    pub live_expelled_max: Option<u64>,
}

impl DicastExpect {
    /// Names of what does not hold. What was not measured does not hold.
    pub(super) fn failed(&self, out: &DicastOutcome) -> Vec<&'static str> {
        let samples = self.answer_samples_min.map(|limit| limit as f64);
        let checks = [
            ("formed_s", most(self.formed_s_max, out.formed_s)),
            (
                "size_violations",
                most(self.size_violations_max, Some(out.size_violations)),
            ),
            (
                "fence_violations",
                most(self.fence_violations_max, Some(out.fence_violations)),
            ),
            (
                "bytes_per_node_per_s_mean",
                most(self.bytes_mean_max, out.bytes_per_node_per_s_mean),
            ),
            (
                "bytes_per_node_per_s_max",
                most(self.bytes_max_max, out.bytes_per_node_per_s_max),
            ),
            (
                "answer_samples",
                least(samples, Some(out.answer_samples as f64)),
            ),
            (
                "bound_violations",
                most(self.bound_violations_max, Some(out.bound_violations)),
            ),
            (
                "count_violations",
                most(self.count_violations_max, Some(out.count_violations)),
            ),
            (
                "half_width_over_eps_p99",
                most(self.half_width_over_eps_max, out.half_width_over_eps_p99),
            ),
            (
                "error_over_eps_p99",
                most(self.error_over_eps_max, out.error_over_eps_p99),
            ),
            (
                "staleness_eager_s_p99",
                most(self.staleness_eager_s_max, out.staleness_eager_s_p99),
            ),
            (
                "staleness_lazy_s_p99",
                most(self.staleness_lazy_s_max, out.staleness_lazy_s_p99),
            ),
            ("t99_s", after(out, &self.t99_s_max, |it| it.t99_s)),
            (
                "dead_out_99_s",
                after(out, &self.dead_out_99_s_max, |it| it.dead_out_99_s),
            ),
            (
                "coverage_end",
                least(self.coverage_end_min, out.coverage_end),
            ),
            (
                "live_expelled",
                most(self.live_expelled_max, Some(out.live_expelled)),
            ),
            ("commands_refused", out.commands_refused == 0),
        ];
        let failed = checks.into_iter().filter(|(_, holds)| !holds);
        failed.map(|(name, _)| name).collect()
    }
}

fn most<T: PartialOrd>(limit: Option<T>, value: Option<T>) -> bool {
    limit.is_none_or(|limit| value.is_some_and(|value| value <= limit))
}

fn least(limit: Option<f64>, value: Option<f64>) -> bool {
    limit.is_none_or(|limit| value.is_some_and(|value| value >= limit))
}

/// Whether what is meant came in time after each crash that is named.
fn after(
    out: &DicastOutcome,
    limits: &BTreeMap<String, u64>,
    of: fn(&Crashed) -> Option<u64>,
) -> bool {
    limits.iter().all(|(share, limit)| {
        let crashed = out.coverage_after_crash.get(share);
        crashed.and_then(of).is_some_and(|value| value <= *limit)
    })
}
