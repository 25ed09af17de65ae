//! What a node is told of a key: a value, between which bounds the truth lies, and for whom.
//!
//! *For `count` nodes, each at some time within `age`, the aggregate lies in `lo..=hi`.* At most
//! `missing_max` known nodes are left out of it, and `double_max` may be in it twice: the bounds
//! hold with the repeats and without them. They cover filters, rounding and repeats, not the nodes
//! left out, and not what changed since.
//!
//! How repeats count: with a share `p = double/count` of repeats a mean is off by `p` times the
//! difference of two means, which the span bounds; a variance by `p` times the span squared at
//! most; a rank by one each. Extremes, lists and unions do not change by a repeat: of the two
//! moments of such a node, the one that counts there is meant.

use std::time::Duration;

use super::{
    key::{Function, KeySpec},
    record::{AGE_MAX, Record},
    summary::{ERROR_SHARE, Quantiles, Summary, Top},
};

/// Sums of 47 `f64` over six levels are off by 3 x 10^-14 of their largest; this is twice that.
const ROUNDING: f64 = 1.0 / (1_u64 << 44) as f64;

/// The value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number, in the key's unit (variance: squared; count, distinct: how many).
    Number(f64),
    /// The greatest values and their nodes. `lo..=hi` is for the last of them; every named value,
    /// and the greatest unnamed one, holds to `half`.
    Top(Top),
    /// The distribution; `lo..=hi` is for the median. [`Answer::quantile`] gives the others.
    Quantiles(Quantiles),
}

/// An answer for one key and one part of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// Not above the truth.
    pub lo: f64,
    /// Not below the truth.
    pub hi: f64,
    /// Whether `lo` and `hi` always hold. Only an estimate of different items has soft ones.
    pub hard: bool,
    /// Nodes it is for.
    pub count: u64,
    /// At most so many known nodes are left out.
    pub missing_max: u64,
    /// At most so many nodes count twice.
    pub double_max: u64,
    /// No value in it is older.
    pub age: Duration,
    /// How far the value may be off, before the range limits it; for a list each value of it; for
    /// a distribution in ranks.
    pub half: f64,
}

impl Answer {
    /// What a record says if it is known to within `down`, which is in the unit of the value.
    /// `None` if it covers no node.
    pub fn of(record: &Record, down: f64, spec: &KeySpec) -> Option<Self> {
        let middle = Middle::of(record, spec)?;
        let half = middle.half + down;
        let told = |value, bounds| Self::told(value, bounds, record, spec);
        let around = |number| within(number, half, record.count, record.double, spec);
        let answer = match &record.summary {
            Summary::Nothing => return None,
            Summary::Quantiles(sketch) => {
                let (_, lo, hi) = sketch.quantile(0.5, half, spec)?;
                told(Value::Quantiles(Quantiles::clone(sketch)), (lo, hi))
            }
            Summary::Top(top) => told(Value::Top(Top::clone(top)), around(middle.number)),
            Summary::Count
            | Summary::Sum(_)
            | Summary::Weighted { .. }
            | Summary::Moments { .. }
            | Summary::Extreme(_)
            | Summary::Distinct(_) => {
                let (lo, hi) = around(middle.number);
                told(Value::Number(middle.number.clamp(lo, hi)), (lo, hi))
            }
        };
        Some(Self { half, ..answer })
    }

    /// The answer with this value and these bounds; the rest is the record's.
    pub(super) fn told(value: Value, bounds: (f64, f64), record: &Record, spec: &KeySpec) -> Self {
        Self {
            value,
            lo: bounds.0,
            hi: bounds.1,
            hard: spec.function != Function::Distinct,
            count: record.count,
            missing_max: record.missing,
            double_max: record.double,
            age: record.age.min(AGE_MAX),
            half: (bounds.1 - bounds.0) / 2.0,
        }
    }

    /// What one member has of a key whose values are numbers, and how far that may be off.
    pub(crate) fn of_member((x, half): (f64, f64), age: Duration, spec: &KeySpec) -> Self {
        let (lo, hi) = within(x, half, 1, 0, spec);
        let record = Record {
            count: 1,
            age,
            ..Record::NOTHING
        };
        let told = Self::told(Value::Number(x.clamp(lo, hi)), (lo, hi), &record, spec);
        Self { half, ..told }
    }

    /// The `share`-quantile: value, least, greatest. `None` unless the value is a distribution.
    pub fn quantile(&self, share: f64, spec: &KeySpec) -> Option<(f64, f64, f64)> {
        match &self.value {
            Value::Quantiles(sketch) => sketch.quantile(share, self.half, spec),
            Value::Number(_) | Value::Top(_) => None,
        }
    }
}

/// The number in the middle of a record, and how far the truth may be from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Middle {
    /// In the unit of the value; for quantiles unused.
    pub(super) number: f64,
    /// In the unit of the value; for quantiles in ranks. Repeats and rounding are in it.
    pub(super) half: f64,
}

impl Middle {
    /// `None` if the record covers no node.
    pub(super) fn of(record: &Record, spec: &KeySpec) -> Option<Self> {
        let n = record.count as f64;
        let wrong = record.slack + record.double as f64 * spec.repeat();
        let (number, half, scale) = match &record.summary {
            Summary::Nothing => return None,
            Summary::Count => (n, record.double as f64, 0.0),
            Summary::Sum(sum) if spec.function == Function::Sum => (*sum, wrong, n * spec.reach()),
            Summary::Sum(sum) => (sum / n, wrong / n, spec.reach()),
            Summary::Weighted { sum, weight } => {
                let at_least = weight - record.slack * 2.0 / spec.span();
                if at_least <= 0.0 {
                    (spec.centre(), spec.span(), 0.0)
                } else {
                    let rounding = spec.reach() * n / at_least;
                    (sum / weight, wrong / at_least, rounding)
                }
            }
            Summary::Moments { sum, square } => {
                let mean = sum / n;
                let scale = spec.span() * spec.span();
                (square / n - mean * mean, wrong / n, scale)
            }
            Summary::Extreme(value) => (f64::from(*value), wrong, spec.reach()),
            Summary::Top(top) => {
                let last = top.entries().last().map(|entry| entry.value);
                let number = last.or(top.dropped()).map_or(spec.range.0, f64::from);
                (number, wrong, spec.reach())
            }
            Summary::Quantiles(_) => (0.0, wrong, 0.0),
            Summary::Distinct(sketch) => {
                let estimate = sketch.estimate();
                (estimate, wrong + ERROR_SHARE * estimate, 0.0)
            }
        };
        Some(Self {
            number,
            half: half + (scale + half) * ROUNDING,
        })
    }
}

/// `number -/+ half`, within what `count` nodes of the key can have at all, less the repeats.
pub(super) fn within(
    number: f64,
    half: f64,
    count: u64,
    double: u64,
    spec: &KeySpec,
) -> (f64, f64) {
    let (lo, hi) = spec.range;
    let (n, once) = (count as f64, count.saturating_sub(double) as f64);
    let (least, most) = match spec.function {
        Function::Count => (once, n),
        Function::Sum => ((n * lo).min(once * lo), (n * hi).max(once * hi)),
        Function::Variance => (0.0, spec.span() * spec.span() / 4.0),
        Function::Distinct => (0.0, f64::MAX),
        Function::Mean
        | Function::WeightedMean
        | Function::Min
        | Function::Max
        | Function::TopK(_)
        | Function::Quantiles => (lo, hi),
    };
    let clamp = |x: f64| x.clamp(least, most);
    (clamp(number - half), clamp(number + half))
}
