//! Accuracy budgets: from a key's tolerance to the width of each sender's filter.
//!
//! Of the error that a key tolerates half is kept for the way down, for there each change costs
//! every node a message, while on the way up it goes with a beat; the rest is split over levels by
//! the number of senders there, and inside a cluster by how much each child moves. The closed
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
pub const DOWN_SHARE: f64 = 0.5;
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
/// than there are, are left out.
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
mod tests;
