//! Accuracy budgets: from a key's tolerance to the width of each sender's filter.
//!
//! Of the error that a key tolerates 30 % is kept for the way down; the rest is split over levels
//! by the number of senders there, and inside a cluster by how much each child moves. The closed
//! forms minimise reports when children drift at random: a sum over a subtree moves by the root of
//! its size, and a filter of width `w` around a walk of step `s` is left at the rate `(s/w)^2`.
//!
//! Roots are `libm`'s, rounded to `f32`, and widths round down: all platforms agree, and a budget
//! is never exceeded.
//!
//! Source: Opus 3.3 (a target for each level); Olston, Jiang, Widom 2003; Jain et al. 2007, "STAR".

use super::{
    float::{floor32, round32},
    key::{Adds, Function, KeySpec, LEVELS_MAX, Mode, Tolerance},
};

/// What is kept of the tolerance for the way down.
pub const DOWN_SHARE: f64 = 0.3;
/// STAR's rule: a child whose width is below this share of its step would report at every beat
/// anyway, and its width is of more use to others.
const WIDTH_LEAST: f64 = 0.8;
/// A child that has not moved yet counts as one that moves by so little; nothing is divided by 0.
const STEP_LEAST: f32 = 1e-6;

/// A key's budget, split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Mean width of a sender by level, leaves first, in the unit of the slack. Zero where a level
    /// has no sender or no filter.
    pub widths: [f32; LEVELS_MAX],
    /// Width of the filter on the way down, in the unit of the value.
    pub down: f32,
}

/// Splits a key's tolerance over levels.
///
/// `mass`: what the answer divides by: the count, or the weights' sum for a weighted mean; unused
/// for sums and extremes. `senders`: how many report at each level, leaves first; further levels
/// than [`LEVELS_MAX`] are left out.
pub fn split(spec: &KeySpec, mass: f64, senders: &[u64]) -> Split {
    let unit = match spec.function {
        Function::Mean | Function::WeightedMean | Function::Variance | Function::Quantiles => mass,
        Function::Sum | Function::Distinct | Function::Min | Function::Max | Function::TopK(_) => {
            1.0
        }
        Function::Count => 0.0,
    };
    // The way down filters values; a distribution's are ranks.
    let unit_down = match spec.function {
        Function::Quantiles => mass,
        Function::Count => 0.0,
        Function::Sum
        | Function::Mean
        | Function::WeightedMean
        | Function::Variance
        | Function::Min
        | Function::Max
        | Function::TopK(_)
        | Function::Distinct => 1.0,
    };
    let first = usize::from(spec.exact_in_cluster);
    let mut count = [0.0; LEVELS_MAX];
    for (level, n) in senders.iter().enumerate().take(LEVELS_MAX).skip(first) {
        count[level] = *n as f64;
    }
    let up = unit * (1.0 - DOWN_SHARE);
    let (widths, eps) = match spec.tolerance {
        Tolerance::Total(eps) => {
            let eps = f64::from(eps);
            (over_levels(eps * up, &count, spec), eps)
        }
        Tolerance::PerLevel(levels) => {
            let mut widths = [0.0; LEVELS_MAX];
            for (level, eps) in levels.iter().enumerate().filter(|it| count[it.0] > 0.0) {
                let mut only = [0.0; LEVELS_MAX];
                only[level] = count[level];
                widths[level] = over_levels(f64::from(*eps) * up, &only, spec)[level];
            }
            (widths, levels.iter().map(|eps| f64::from(*eps)).sum())
        }
    };
    Split {
        widths: widths.map(floor32),
        down: floor32(eps * unit_down * DOWN_SHARE),
    }
}

/// Widths for an error of `up` over all levels with senders.
fn over_levels(up: f64, count: &[f64; LEVELS_MAX], spec: &KeySpec) -> [f64; LEVELS_MAX] {
    // (what a level's width is proportional to, the total that the widths may have)
    let form = |n: f64| match (spec.adds(), spec.mode) {
        // sum of n w <= up, steps ~ n^(-1/2)
        (Adds::OverSenders, Mode::Hard) => (1.0 / cube_root(n), n / cube_root(n)),
        // sum of n w^2 / 3 <= (up / 3)^2
        (Adds::OverSenders, Mode::Statistical) => (1.0 / square_root(square_root(n)), 0.0),
        // sum of w <= up over one path, equal steps
        (Adds::AlongPath, _) => (cube_root(n), cube_root(n)),
        (Adds::Nowhere, _) => (0.0, 0.0),
    };
    let used = || count.iter().filter(|n| **n > 0.0);
    let scale = match (spec.adds(), spec.mode) {
        (Adds::OverSenders, Mode::Statistical) => {
            up / square_root(3.0 * used().map(|n| square_root(*n)).sum::<f64>())
        }
        _ => up / used().map(|n| form(*n).1).sum::<f64>(),
    };
    count.map(|n| {
        let width = if n > 0.0 { scale * form(n).0 } else { 0.0 };
        if width.is_finite() { width } else { 0.0 }
    })
}

/// Splits a cluster's budget among its children, so that the widths add up to `budget` at most.
///
/// `budget`: in the unit of the slack; `steps`: by how much each child moves in a beat, as
/// `Slots::steps` measures it. A child that would report at every beat anyway gets 0.
pub fn within_cluster(budget: f64, steps: &[f32]) -> Vec<f32> {
    let moved = |step: f32| if step > STEP_LEAST { step } else { STEP_LEAST };
    let shares: Vec<f64> = steps
        .iter()
        .map(|step| {
            let root = cube_root(f64::from(moved(*step)));
            root * root
        })
        .collect();
    // The most restless first: its width is the least of its step, and once it is gone the calm
    // ones may be above theirs.
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by(|a, b| steps[*b].total_cmp(&steps[*a]).then(a.cmp(b)));
    let mut widths = vec![0.0; steps.len()];
    for first in 0..order.len() {
        let rest = &order[first..];
        let total: f64 = rest.iter().map(|child| shares[*child]).sum();
        let scale = budget.max(0.0) / total;
        let restless = order[first];
        if scale * shares[restless] >= WIDTH_LEAST * f64::from(steps[restless]) {
            for child in rest {
                widths[*child] = floor32(scale * shares[*child]);
            }
            break;
        }
    }
    widths
}

/// Splits an age over levels: how long a change inside a filter may wait at each, in the unit of
/// `age`; the sum is `age` at most. Source: least reports for a sum of waits, `t ~ N^(1/2)`.
pub fn waits(age: f64, senders: &[u64]) -> [f32; LEVELS_MAX] {
    let mut roots = [0.0; LEVELS_MAX];
    for (root, n) in roots.iter_mut().zip(senders) {
        *root = square_root(*n as f64);
    }
    let total: f64 = roots.iter().sum();
    if total <= 0.0 {
        return [0.0; LEVELS_MAX];
    }
    roots.map(|root| floor32(age * root / total))
}

fn cube_root(x: f64) -> f64 {
    f64::from(round32(libm::cbrt(x)))
}

fn square_root(x: f64) -> f64 {
    f64::from(round32(libm::sqrt(x)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(function: Function, eps: f32) -> KeySpec {
        KeySpec {
            function,
            range: (0.0, 100.0),
            tolerance: Tolerance::Total(eps),
            exact_in_cluster: false,
            ..KeySpec::MEMBERS
        }
    }

    const SENDERS: [u64; 3] = [10_000, 429, 18];

    fn near(a: f32, b: f64) -> bool {
        (f64::from(a) - b).abs() < b.abs() * 1e-6 + 1e-9
    }

    #[test]
    fn a_hard_budget_goes_to_the_levels_as_88_11_and_1_percent() {
        let split = split(&spec(Function::Mean, 0.01), 10_000.0, &SENDERS);
        // 70 of the error of 100: sum of n^(2/3) = 464.159 + 56.882 + 6.868 = 527.909.
        for (level, share) in [(0, 0.879_240_775), (1, 0.107_748_860), (2, 0.013_010_365)] {
            let n = SENDERS[level] as f64;
            assert!(near(split.widths[level], 70.0 * share / n), "{split:?}");
        }
        assert!(near(split.down, 0.003));
        assert_eq!(split.widths[3..], [0.0; 3]);
    }

    #[test]
    fn a_statistical_budget_keeps_three_deviations_within_the_error() {
        let spec = KeySpec {
            mode: Mode::Statistical,
            ..spec(Function::Sum, 100.0)
        };
        let split = split(&spec, 0.0, &SENDERS);
        let variances = (0..3)
            .map(|level| SENDERS[level] as f64 * f64::from(split.widths[level]).powi(2) / 3.0);
        let total: f64 = variances.sum();
        assert!((total - (70.0_f64 / 3.0).powi(2)).abs() < 1e-3, "{total}");
        // w^2 ~ n^(-1/2)
        let ratio = f64::from(split.widths[1] / split.widths[0]);
        assert!((ratio - (10_000.0_f64 / 429.0).sqrt().sqrt()).abs() < 1e-6);
    }

    #[test]
    fn extremes_split_the_error_along_the_path() {
        let split = split(&spec(Function::Max, 1.0), 0.0, &[1_000, 27, 1]);
        // 0.7 in the ratio 10 : 3 : 1
        assert!(near(split.widths[0], 0.5));
        assert!(near(split.widths[1], 0.15));
        assert!(near(split.widths[2], 0.05));
    }

    #[test]
    fn an_exact_cluster_leaves_the_budget_to_the_levels_above() {
        let spec = KeySpec {
            exact_in_cluster: true,
            ..spec(Function::Sum, 1.0)
        };
        let split = split(&spec, 0.0, &[100, 8]);
        assert!(split.widths[0].to_bits() == 0 && near(split.widths[1], 0.7 / 8.0));
    }

    #[test]
    fn a_tolerance_per_level_is_kept_at_each() {
        let spec = KeySpec {
            tolerance: Tolerance::PerLevel([0.1, 0.2, 0.0, 0.0, 0.0, 0.0]),
            ..spec(Function::Mean, 0.0)
        };
        let split = split(&spec, 50.0, &[50, 5]);
        assert!(near(split.widths[0], 0.07) && near(split.widths[1], 1.4));
        assert!(near(split.down, 0.09));
    }

    #[test]
    fn a_child_that_would_report_at_every_beat_gets_nothing() {
        // Roots 1, 1, 100: at a budget of 10 the restless child would have 9.8 of its 1,000.
        let widths = within_cluster(10.0, &[1.0, 1.0, 1_000.0]);
        assert_eq!(widths, [5.0, 5.0, 0.0]);
        assert_eq!(within_cluster(0.1, &[1.0, 1.0]), [0.0, 0.0]);
    }

    #[test]
    fn widths_in_a_cluster_grow_by_the_two_third_power_of_the_steps() {
        let widths = within_cluster(100.0, &[1.0, 8.0]);
        assert_eq!(widths, [20.0, 80.0]);
        assert_eq!(within_cluster(8.0, &[0.0, 0.0]), [4.0, 4.0]);
    }

    #[test]
    fn waits_grow_by_the_root_of_the_senders() {
        assert_eq!(waits(11.0, &[100, 1])[..3], [10.0, 1.0, 0.0]);
        assert_eq!(waits(11.0, &[])[..], [0.0; LEVELS_MAX]);
    }

    proptest! {
        #[test]
        fn widths_never_exceed_the_budget(
            eps in 0.0..1e6_f32,
            senders in proptest::collection::vec(0..100_000_u64, 0..8),
            steps in proptest::collection::vec(0.0..1e6_f32, 0..47),
            budget in 0.0..1e6_f64,
        ) {
            let split = split(&spec(Function::Sum, eps), 0.0, &senders);
            let widths = split.widths.iter().zip(&senders);
            let used: f64 = widths.map(|(width, n)| f64::from(*width) * *n as f64).sum();
            let all = used + f64::from(split.down);
            prop_assert!(all <= f64::from(eps) * (1.0 + 1e-12), "{all} of {eps}");
            let inside: f64 = within_cluster(budget, &steps).iter().map(|w| f64::from(*w)).sum();
            prop_assert!(inside <= budget * (1.0 + 1e-12), "{inside} of {budget}");
            let path = self::split(&spec(Function::Min, eps), 0.0, &senders);
            let used: f64 = path.widths.iter().map(|w| f64::from(*w)).sum();
            prop_assert!(used + f64::from(path.down) <= f64::from(eps) * (1.0 + 1e-12));
            let waits: f64 = waits(budget, &senders).iter().map(|t| f64::from(*t)).sum();
            prop_assert!(waits <= budget * (1.0 + 1e-12));
        }
    }
}
