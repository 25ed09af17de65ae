//! What a scenario expects, and which of it failed.

use serde::{Deserialize, Serialize};

use crate::outcome::{Figures, Outcome};

/// Bounds; what is not given is not checked. Every scenario also expects that no invariant broke.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Most members over the bound at the end.
    pub violators_end: Option<usize>,
    /// Most members without a way to the root at the end.
    pub unattached_end: Option<usize>,
    /// Most, of the cost at the end by that of the central LAST over the same members.
    pub cost_over_last_max: Option<f64>,
    /// Most, of the largest true relative delay penalty at the end.
    pub rdp_max: Option<f64>,
    /// Most, of the mean one.
    pub rdp_mean_max: Option<f64>,
    /// Latest moment at which all members hang on the root for the first time.
    pub attached_s_max: Option<f64>,
    /// Least share of frames due that were delivered, over all sinks that lived.
    pub delivered: Option<f64>,
    /// Most frames given to a sink twice.
    pub duplicates: Option<u64>,
    /// Most gaps of the complete class of which a sink was told.
    pub gaps_told: Option<u64>,
    /// Most seconds from a fault until all live members hang on the root again.
    pub repair_s_max: Option<f64>,
    /// Most seconds in which a live sink got nothing while the source sent.
    pub stall_s_max: Option<f64>,
    /// Most delay measurements that the mean node started.
    pub probes_mean_max: Option<f64>,
    /// Most messages of the overlay that the mean node sent a second.
    pub overlay_messages_per_s_max: Option<f64>,
    /// Most, of the bytes of frames sent by those of the frames given to sinks.
    pub frame_overhead_max: Option<f64>,
    /// Most bytes of control messages that the mean node sent a second.
    pub control_bytes_per_s_max: Option<f64>,
}

/// An expectation that does not hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failed {
    /// Its key.
    pub name: &'static str,
    /// The bound.
    pub expected: String,
    /// What was found.
    pub got: String,
}

impl Expect {
    /// Those that do not hold for this outcome, in the order of the file; `invariants` first.
    pub fn failed(&self, outcome: &Outcome) -> Vec<Failed> {
        let figures = &outcome.figures;
        let mut failed = Vec::new();
        if outcome.broken_total > 0 {
            let got = format!("{} broken", outcome.broken_total);
            failed.push(Failed {
                name: "invariants",
                expected: "0 broken".to_owned(),
                got,
            });
        }
        for (name, bound, value) in self.upper_bounds(figures) {
            let Some(bound) = bound else { continue };
            if value.is_none_or(|value| value.is_nan() || value > bound) {
                failed.push(Failed::new(name, "at most", bound, value));
            }
        }
        if let Some(least) = self.delivered
            && figures
                .delivered
                .is_none_or(|share| share.is_nan() || share < least)
        {
            failed.push(Failed::new(
                "delivered",
                "at least",
                least,
                figures.delivered,
            ));
        }
        failed
    }

    /// Name, greatest value if one is expected, value if there is one.
    fn upper_bounds(&self, figures: &Figures) -> [(&'static str, Option<f64>, Option<f64>); 14] {
        let count = |value: usize| value as f64;
        [
            (
                "violators_end",
                self.violators_end.map(count),
                Some(count(figures.violators_end)),
            ),
            (
                "unattached_end",
                self.unattached_end.map(count),
                Some(count(figures.unattached_end)),
            ),
            (
                "cost_over_last_max",
                self.cost_over_last_max,
                figures.cost_over_last,
            ),
            ("rdp_max", self.rdp_max, Some(figures.rdp_max)),
            ("rdp_mean_max", self.rdp_mean_max, Some(figures.rdp_mean)),
            ("attached_s_max", self.attached_s_max, figures.attached_s),
            (
                "duplicates",
                self.duplicates.map(|n| n as f64),
                Some(figures.duplicates as f64),
            ),
            (
                "gaps_told",
                self.gaps_told.map(|n| n as f64),
                Some(figures.gaps_told as f64),
            ),
            ("repair_s_max", self.repair_s_max, figures.repair_s),
            ("stall_s_max", self.stall_s_max, figures.stall_s),
            (
                "probes_mean_max",
                self.probes_mean_max,
                Some(figures.probes_mean),
            ),
            (
                "overlay_messages_per_s_max",
                self.overlay_messages_per_s_max,
                Some(figures.overlay_messages_per_s),
            ),
            (
                "frame_overhead_max",
                self.frame_overhead_max,
                figures.frame_overhead,
            ),
            (
                "control_bytes_per_s_max",
                self.control_bytes_per_s_max,
                Some(figures.control_bytes_per_s),
            ),
        ]
    }
}

impl Failed {
    fn new(name: &'static str, which: &str, bound: f64, got: Option<f64>) -> Self {
        let got = got.map_or_else(|| "none".to_owned(), |value| format!("{value:.6}"));
        Self {
            name,
            expected: format!("{which} {bound}"),
            got,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(expect: &Expect, outcome: &Outcome) -> Vec<&'static str> {
        expect
            .failed(outcome)
            .into_iter()
            .map(|failed| failed.name)
            .collect()
    }

    #[test]
    fn a_figure_over_its_bound_fails_by_name_and_one_at_it_passes() {
        let mut outcome = Outcome::default();
        outcome.figures.violators_end = 2;
        outcome.figures.delivered = Some(0.999);
        let expect = Expect {
            violators_end: Some(1),
            unattached_end: Some(0),
            delivered: Some(1.0),
            ..Expect::default()
        };
        assert_eq!(names(&expect, &outcome), ["violators_end", "delivered"]);
        outcome.figures.violators_end = 1;
        outcome.figures.delivered = Some(1.0);
        assert!(names(&expect, &outcome).is_empty());
    }

    #[test]
    fn a_figure_that_does_not_exist_fails_its_bound() {
        let expect = Expect {
            repair_s_max: Some(9.0),
            ..Expect::default()
        };
        assert_eq!(names(&expect, &Outcome::default()), ["repair_s_max"]);
    }

    #[test]
    fn a_broken_invariant_fails_every_scenario() {
        let outcome = Outcome {
            broken_total: 1,
            ..Outcome::default()
        };
        assert_eq!(names(&Expect::default(), &outcome), ["invariants"]);
    }
}
