//! The mergeable value of a record: a number or two, a list, or a sketch, by the key's function.
//!
//! Two summaries of disjoint sets of nodes merge into the summary of their union. The *distance* of
//! two summaries bounds, in the unit of [`Record::slack`](super::Record::slack), how far the
//! answers made of them can be apart; a sender's filter compares it with its width. It is built so
//! that distances add up when summaries are merged (for extremes and lists: the greatest counts).

mod distinct;
mod quantiles;
mod top;

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};

pub(super) use self::distinct::ERROR_SHARE;
pub use self::{
    distinct::Distinct,
    quantiles::Quantiles,
    top::{Entry, Top},
};
use super::{
    float::round32,
    key::{Function, KeySpec},
};

/// What a node gives as its own value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// A value, for all functions but two.
    Number(f64),
    /// A value and its weight in `0..=1`, for the weighted mean.
    Weighted(f64, f64),
    /// A set of items, for the count of different ones.
    Items(Box<Distinct>),
}

/// The value of a record. How many nodes it covers stands in the record beside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Summary {
    /// No node has a value.
    Nothing,
    /// The count alone.
    Count,
    /// The sum of values: for sum and mean.
    Sum(f64),
    /// The sum of weight times value, and of weights.
    Weighted {
        /// Sum of weight times value.
        sum: f64,
        /// Sum of weights.
        weight: f64,
    },
    /// First and second moment about the middle of the key's range, which no node's place moves.
    /// With `|y| <= span/2` a variance is lost in rounding below 10^-15 of the span squared only.
    Moments {
        /// Sum of `y = x - centre`.
        sum: f64,
        /// Sum of `y^2`.
        square: f64,
    },
    /// The least or greatest value.
    Extreme(f32),
    /// The greatest values and their nodes.
    Top(Box<Top>),
    /// The distribution.
    Quantiles(Box<Quantiles>),
    /// The set of items.
    Distinct(Box<Distinct>),
}

impl Summary {
    /// The summary of one node called `node`. `None`: the sample is of another function, or NaN.
    pub fn of(sample: &Sample, node: u64, spec: &KeySpec) -> Option<Self> {
        match (sample, spec.function) {
            (Sample::Number(x), Function::WeightedMean) => {
                Self::of(&Sample::Weighted(*x, 1.0), node, spec)
            }
            (Sample::Number(x), function) => Self::of_number(spec.admit(*x)?, node, function, spec),
            (Sample::Weighted(x, weight), Function::WeightedMean) => {
                let x = f64::from(spec.admit(*x)?);
                let weight = (!weight.is_nan()).then(|| weight.clamp(0.0, 1.0))?;
                let weight = f64::from(round32(weight));
                Some(Self::Weighted {
                    sum: x * weight,
                    weight,
                })
            }
            (Sample::Items(items), Function::Distinct) => Some(Self::Distinct(items.clone())),
            (Sample::Weighted(..) | Sample::Items(_), _) => None,
        }
    }

    fn of_number(x: f32, node: u64, function: Function, spec: &KeySpec) -> Option<Self> {
        Some(match function {
            Function::Count => Self::Count,
            Function::Sum | Function::Mean => Self::Sum(f64::from(x)),
            Function::Variance => {
                let sum = f64::from(x) - spec.centre();
                Self::Moments {
                    sum,
                    square: sum * sum,
                }
            }
            Function::Min | Function::Max => Self::Extreme(x),
            Function::TopK(_) => Self::Top(Box::new(Top::of(x, node))),
            Function::Quantiles => Self::Quantiles(Box::new(Quantiles::of(x, spec))),
            Function::WeightedMean | Function::Distinct => return None,
        })
    }

    /// The value of the one node that it is of, where that is a number.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Sum(x) => Some(*x),
            Self::Extreme(x) => Some(f64::from(*x)),
            Self::Nothing
            | Self::Count
            | Self::Weighted { .. }
            | Self::Moments { .. }
            | Self::Top(_)
            | Self::Quantiles(_)
            | Self::Distinct(_) => None,
        }
    }

    /// Takes the nodes of `other` in. Both must fit the key; what does not is left out.
    pub fn merge(&mut self, other: &Self, spec: &KeySpec) {
        match (self, other) {
            (Self::Sum(sum), Self::Sum(more)) => *sum += more,
            (
                Self::Weighted { sum, weight },
                Self::Weighted {
                    sum: more,
                    weight: heavier,
                },
            ) => {
                *sum += more;
                *weight += heavier;
            }
            (
                Self::Moments { sum, square },
                Self::Moments {
                    sum: more,
                    square: wider,
                },
            ) => {
                *sum += more;
                *square += wider;
            }
            (Self::Extreme(mine), Self::Extreme(theirs)) => {
                *mine = if spec.function == Function::Min {
                    mine.min(*theirs)
                } else {
                    mine.max(*theirs)
                };
            }
            (Self::Top(mine), Self::Top(theirs)) => mine.merge(theirs, length(spec)),
            (Self::Quantiles(mine), Self::Quantiles(theirs)) => mine.merge(theirs),
            (Self::Distinct(mine), Self::Distinct(theirs)) => mine.merge(theirs),
            (mine @ Self::Nothing, theirs) => *mine = theirs.clone(),
            _ => {}
        }
    }

    /// How far the answers of the two can be apart, in the unit of the slack, if they cover equally
    /// many nodes. Infinite if the two are not alike.
    pub fn distance(&self, other: &Self, spec: &KeySpec) -> f64 {
        match (self, other) {
            (Self::Nothing, Self::Nothing) | (Self::Count, Self::Count) => 0.0,
            (Self::Sum(a), Self::Sum(b)) => (a - b).abs(),
            (
                Self::Weighted { sum, weight },
                Self::Weighted {
                    sum: other_sum,
                    weight: other_weight,
                },
            ) => {
                // About the centre a change of weight alone moves the least.
                let weight = weight - other_weight;
                let sum = sum - other_sum - spec.centre() * weight;
                sum.abs() + spec.span() / 2.0 * weight.abs()
            }
            (
                Self::Moments { sum, square },
                Self::Moments {
                    sum: other_sum,
                    square: other_square,
                },
            ) => (square - other_square).abs() + spec.span() * (sum - other_sum).abs(),
            (Self::Extreme(a), Self::Extreme(b)) => (f64::from(*a) - f64::from(*b)).abs(),
            (Self::Top(a), Self::Top(b)) => a.distance(b),
            (Self::Quantiles(a), Self::Quantiles(b)) => a.distance(b),
            (Self::Distinct(a), Self::Distinct(b)) => a.distance(b),
            _ => f64::INFINITY,
        }
    }

    /// Whether this can be the value of `count` nodes of the key; numbers are clamped to what so
    /// many nodes can have.
    pub fn clamp(&mut self, count: u64, spec: &KeySpec) -> bool {
        let (n, half) = (count as f64, spec.span() / 2.0);
        match (&mut *self, spec.function) {
            (Self::Nothing, _) => return count == 0,
            (Self::Count, Function::Count) | (Self::Distinct(_), Function::Distinct) => {}
            (Self::Sum(sum), Function::Sum | Function::Mean) => {
                *sum = sum.clamp(n * spec.range.0, n * spec.range.1);
            }
            (Self::Weighted { sum, weight }, Function::WeightedMean) => {
                *weight = weight.clamp(0.0, n);
                *sum = sum.clamp(*weight * spec.range.0, *weight * spec.range.1);
            }
            (Self::Moments { sum, square }, Function::Variance) => {
                *sum = sum.clamp(-n * half, n * half);
                *square = square.clamp(0.0, n * half * half);
            }
            (Self::Extreme(value), Function::Min | Function::Max) => {
                *value = spec.admit(f64::from(*value)).unwrap_or(*value);
            }
            (Self::Top(top), Function::TopK(length)) => top.clamp(spec, length),
            (Self::Quantiles(sketch), Function::Quantiles) => return sketch.fits(spec, count),
            _ => return false,
        }
        count > 0
    }
}

fn length(spec: &KeySpec) -> u8 {
    if let Function::TopK(length) = spec.function {
        length
    } else {
        0
    }
}

/// A byte for the kind, then: nothing (nothing, count), an `f64` (sum), two (weighted, moments), an
/// `f32` (extreme), or the list or sketch.
impl Pack for Summary {
    fn pack(&self, to: &mut Writer) {
        let kind: u8 = match self {
            Self::Nothing => 0,
            Self::Count => 1,
            Self::Sum(_) => 2,
            Self::Weighted { .. } => 3,
            Self::Moments { .. } => 4,
            Self::Extreme(_) => 5,
            Self::Top(_) => 6,
            Self::Quantiles(_) => 7,
            Self::Distinct(_) => 8,
        };
        kind.pack(to);
        match self {
            Self::Nothing | Self::Count => {}
            Self::Sum(sum) => sum.pack(to),
            Self::Weighted { sum, weight } => {
                sum.pack(to);
                weight.pack(to);
            }
            Self::Moments { sum, square } => {
                sum.pack(to);
                square.pack(to);
            }
            Self::Extreme(value) => value.pack(to),
            Self::Top(top) => top.pack(to),
            Self::Quantiles(sketch) => sketch.pack(to),
            Self::Distinct(sketch) => sketch.pack(to),
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            0 => Self::Nothing,
            1 => Self::Count,
            2 => Self::Sum(f64::unpack(from)?),
            3 => Self::Weighted {
                sum: f64::unpack(from)?,
                weight: f64::unpack(from)?,
            },
            4 => Self::Moments {
                sum: f64::unpack(from)?,
                square: f64::unpack(from)?,
            },
            5 => Self::Extreme(f32::unpack(from)?),
            6 => Self::Top(Box::new(Top::unpack(from)?)),
            7 => Self::Quantiles(Box::new(Quantiles::unpack(from)?)),
            8 => Self::Distinct(Box::new(Distinct::unpack(from)?)),
            _ => return Err(Malformed::Invalid("no such summary")),
        })
    }
}
