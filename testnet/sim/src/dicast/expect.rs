//! What a scenario of the hierarchy expects, and which of it does not hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Crashed, DicastOutcome, Parted};

/// Bounds; what is not named is not checked. That no machine breaks its contract or refuses a
/// command is expected of every scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DicastExpect {
    /// Least.
    pub events_min: Option<u64>,
    /// Most.
    pub wall_s_max: Option<f64>,
    /// Most.
    pub peak_rss_bytes_max: Option<u64>,
    /// Most.
    pub formed_s_max: Option<u64>,
    /// Most.
    pub leaf_rtt_ratio_max: Option<f64>,
    /// Most.
    pub size_violations_max: Option<u64>,
    /// Most.
    pub label_violations_max: Option<u64>,
    /// Most.
    pub fence_violations_max: Option<u64>,
    /// Most.
    pub double_seat_violations_max: Option<u64>,
    /// Most.
    pub orphan_s_max: Option<u64>,
    /// Most.
    pub bytes_mean_max: Option<f64>,
    /// Most.
    pub bytes_max_max: Option<f64>,
    /// Most, of the bytes of the mean node at each size by those at the first.
    pub bytes_over_first_max: Option<f64>,
    /// Most.
    pub state_bytes_leaf_max: Option<u64>,
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
    pub shift_over_ranges_max: Option<f64>,
    /// Most.
    pub staleness_eager_s_max: Option<f64>,
    /// Most.
    pub staleness_lazy_s_max: Option<f64>,
    /// Most, by the share that crashed.
    pub t99_s_max: BTreeMap<String, u64>,
    /// Most, by the share that crashed.
    pub dead_out_99_s_max: BTreeMap<String, u64>,
    /// Most.
    pub counts_right_s_max: Option<u64>,
    /// Most.
    pub counts_near_s_max: Option<u64>,
    /// Most.
    pub one_tree_s_max: Option<u64>,
    /// Most.
    pub near_tree_s_max: Option<u64>,
    /// Least.
    pub coverage_end_min: Option<f64>,
    /// Least.
    pub coverage_min_min: Option<f64>,
    /// Least.
    pub coverage_mean_min: Option<f64>,
    /// Most.
    pub live_expelled_max: Option<u64>,
    /// Most.
    pub posts_unreachable_max: Option<u64>,
    /// Most.
    pub honest_deposed_max: Option<u64>,
    /// Least.
    pub liar_agents_min: Option<usize>,
    /// Most.
    pub liar_agents_found_s_max: Option<f64>,
}

impl DicastExpect {
    /// Names of what does not hold. What was not measured does not hold. What is expected of all
    /// sizes together is [`Self::failed_of_sizes`].
    pub fn failed(&self, out: &DicastOutcome) -> Vec<&'static str> {
        let checks = self.of_tree(out).into_iter();
        let checks = checks.chain(self.of_answers(out));
        let checks = checks.chain(self.of_faults(out)).chain(self.of_lies(out));
        let failed = checks.filter(|(_, holds)| !holds);
        failed.map(|(name, _)| name).collect()
    }

    /// The bytes of each size over those of the first, of runs with one seed; and the name of that
    /// expectation, if it does not hold.
    pub fn failed_of_sizes(&self, runs: &[DicastOutcome]) -> (Vec<f64>, Option<&'static str>) {
        let bytes: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.bytes_per_node_per_s_mean)
            .collect();
        let first = bytes.first().copied().unwrap_or_default();
        let ratios: Vec<f64> = bytes.iter().map(|bytes| bytes / first).collect();
        let Some(limit) = self.bytes_over_first_max else {
            return (ratios, None);
        };
        let within = |ratio: &f64| ratio.is_finite() && *ratio <= limit;
        let holds = ratios.len() == runs.len() && ratios.iter().all(within);
        (ratios, (!holds).then_some("bytes_over_first"))
    }

    /// Takes one expectation back. Errors: there is none of this name, with the reason.
    pub fn forget(&mut self, name: &str) -> Result<(), String> {
        let table = toml::Table::try_from(&*self).map_err(|error| error.to_string())?;
        let mut table: toml::Table = table;
        if table.remove(name).is_none() {
            return Err(format!("{name} is not expected"));
        }
        *self = table
            .try_into()
            .map_err(|error: toml::de::Error| error.to_string())?;
        Ok(())
    }

    fn of_tree(&self, out: &DicastOutcome) -> [(&'static str, bool); 13] {
        [
            ("events", least(self.events_min, Some(out.events))),
            ("wall_s", most(self.wall_s_max, out.wall_s)),
            (
                "peak_rss_bytes",
                most(self.peak_rss_bytes_max, out.peak_rss_bytes),
            ),
            ("formed_s", most(self.formed_s_max, out.formed_s)),
            (
                "leaf_rtt_ratio",
                most(self.leaf_rtt_ratio_max, out.leaf_rtt_ratio),
            ),
            (
                "size_violations",
                most(self.size_violations_max, Some(out.size_violations)),
            ),
            (
                "label_violations",
                most(self.label_violations_max, out.label_violations),
            ),
            (
                "fence_violations",
                most(self.fence_violations_max, Some(out.fence_violations)),
            ),
            (
                "double_seat_violations",
                most(
                    self.double_seat_violations_max,
                    Some(out.double_seat_violations),
                ),
            ),
            (
                "orphan_s_max",
                most(self.orphan_s_max, Some(out.orphan_s_max)),
            ),
            ("defects", out.defects == 0),
            ("penalties", out.malformed.is_some() || out.penalties == 0),
            ("commands_refused", out.commands_refused == 0),
        ]
    }

    fn of_answers(&self, out: &DicastOutcome) -> [(&'static str, bool); 11] {
        [
            (
                "bytes_per_node_per_s_mean",
                most(self.bytes_mean_max, out.bytes_per_node_per_s_mean),
            ),
            (
                "bytes_per_node_per_s_max",
                most(self.bytes_max_max, out.bytes_per_node_per_s_max),
            ),
            (
                "state_bytes_leaf_p99",
                most(self.state_bytes_leaf_max, out.state_bytes_leaf_p99),
            ),
            (
                "answer_samples",
                least(self.answer_samples_min, Some(out.answer_samples)),
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
                "shift_over_ranges",
                most(self.shift_over_ranges_max, out.shift_over_ranges),
            ),
            (
                "staleness_eager_s_p99",
                most(self.staleness_eager_s_max, out.staleness_eager_s_p99),
            ),
            (
                "staleness_lazy_s_p99",
                most(self.staleness_lazy_s_max, out.staleness_lazy_s_p99),
            ),
        ]
    }

    fn of_faults(&self, out: &DicastOutcome) -> [(&'static str, bool); 11] {
        let cut = |of: fn(&Parted) -> Option<u64>| out.after_cut.as_ref().and_then(of);
        [
            ("t99_s", after(out, &self.t99_s_max, |it| it.t99_s)),
            (
                "dead_out_99_s",
                after(out, &self.dead_out_99_s_max, |it| it.dead_out_99_s),
            ),
            (
                "counts_right_s",
                most(self.counts_right_s_max, cut(|it| it.counts_right_s)),
            ),
            (
                "counts_near_s",
                most(self.counts_near_s_max, cut(|it| it.counts_near_s)),
            ),
            (
                "one_tree_s",
                most(self.one_tree_s_max, cut(|it| it.one_tree_s)),
            ),
            (
                "near_tree_s",
                most(self.near_tree_s_max, cut(|it| it.near_tree_s)),
            ),
            (
                "coverage_end",
                least(self.coverage_end_min, out.coverage_end),
            ),
            (
                "coverage_min",
                least(self.coverage_min_min, out.coverage_min),
            ),
            (
                "coverage_mean",
                least(self.coverage_mean_min, out.coverage_mean),
            ),
            (
                "live_expelled",
                most(self.live_expelled_max, Some(out.live_expelled)),
            ),
            (
                "posts_unreachable",
                most(self.posts_unreachable_max, out.posts_unreachable),
            ),
        ]
    }

    fn of_lies(&self, out: &DicastOutcome) -> [(&'static str, bool); 3] {
        [
            (
                "honest_deposed",
                most(self.honest_deposed_max, Some(out.honest_deposed)),
            ),
            ("liar_agents", least(self.liar_agents_min, out.liar_agents)),
            (
                "liar_agents_found_s_p99",
                most(self.liar_agents_found_s_max, out.liar_agents_found_s_p99),
            ),
        ]
    }
}

fn most<T: PartialOrd>(limit: Option<T>, value: Option<T>) -> bool {
    limit.is_none_or(|limit| value.is_some_and(|value| value <= limit))
}

fn least<T: PartialOrd>(limit: Option<T>, value: Option<T>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_does_not_hold_and_what_was_taken_back_is_not_checked() {
        let mut expect = DicastExpect {
            leaf_rtt_ratio_max: Some(1.5),
            one_tree_s_max: Some(15),
            ..DicastExpect::default()
        };
        let mut out = DicastOutcome::default();
        assert_eq!(expect.failed(&out), ["leaf_rtt_ratio", "one_tree_s"]);
        out.leaf_rtt_ratio = Some(1.4);
        assert_eq!(expect.failed(&out), ["one_tree_s"]);
        expect.forget("one_tree_s_max").unwrap();
        assert!(expect.failed(&out).is_empty());
        let error = expect.forget("one_tree_s_max").unwrap_err();
        assert_eq!(error, "one_tree_s_max is not expected");
    }

    #[test]
    fn every_size_has_to_cost_little_more_than_the_first() {
        let run = |bytes| DicastOutcome {
            bytes_per_node_per_s_mean: bytes,
            ..DicastOutcome::default()
        };
        let expect = DicastExpect {
            bytes_over_first_max: Some(1.15),
            ..DicastExpect::default()
        };
        let of = |bytes: [Option<f64>; 3]| expect.failed_of_sizes(&bytes.map(run)).1;
        assert_eq!(of([Some(100.0), Some(115.0), Some(90.0)]), None);
        let failed = Some("bytes_over_first");
        assert_eq!(of([Some(100.0), Some(116.0), Some(90.0)]), failed);
        assert_eq!(of([Some(100.0), None, Some(90.0)]), failed);
        assert_eq!(of([Some(0.0), Some(0.0), Some(0.0)]), failed);
    }
}
