//! What is aggregated: a key's function, the range of its values, and how exact it is to be.
//!
//! A key belongs to the application, which sets the accuracy target of section 3.3: a total error,
//! or one a level. Everything that a node may say about a key is clamped by the key's range, so
//! that a liar moves a sum by its range at most.

use std::time::Duration;

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};

use super::float::{ceil32, floor32, round32};
use crate::cluster;

/// Levels of a tree, as an index counts them.
pub(crate) const LEVELS_MAX: usize = cluster::LEVELS_MAX as usize;
/// Most nodes a count may name; more than six levels of 47 hold in practice.
pub const NODES_MAX: u64 = 1 << 32;
/// Longest list of a top-k key.
pub const TOP_MAX: u8 = 16;
/// Largest magnitude of a value: 2^32 squares of it are within an `f32`.
const REACH_MAX: f64 = 1e12;
/// Smallest range; it is also a millionth of its ends at least, since values are `f32`.
const SPAN_MIN: f64 = 1e-9;
/// Shortest and longest `age_max`.
const AGE_MIN: Duration = Duration::from_millis(100);
const AGE_MAX: Duration = Duration::from_secs(3_600);
/// How old a value within its filter may become as a rule: rare beside beats, soon for a reader.
const AGE_DEFAULT: Duration = Duration::from_secs(60);
/// The share for siblings as a rule: what is told of them costs little then.
const SIBLING: f32 = 0.05;

/// The name of a key in one tree. Keys below 63 take one byte on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u16);

impl KeyId {
    /// The built-in count of members, exact.
    pub const MEMBERS: Self = Self(0);
}

/// What is computed over the values of all nodes that have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// How many nodes have a value; exact, without filters.
    Count,
    /// The sum.
    Sum,
    /// The mean.
    Mean,
    /// The mean with a weight in `0..=1` from each node.
    WeightedMean,
    /// The variance over the nodes (divided by the count), in the unit squared.
    Variance,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The greatest values and who has them; 1 to [`TOP_MAX`].
    TopK(u8),
    /// The distribution, in buckets 6 % wide. Its tolerance is a share of the nodes: how many may
    /// stand in a wrong bucket.
    Quantiles,
    /// How many different items the nodes hold together, estimated. Its tolerance is in items.
    Distinct,
}

/// How widths of senders add to the error of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adds {
    /// Over all senders: sums and what is made of them.
    OverSenders,
    /// Along one path from leaf to root: an extreme is as wrong as its worst source.
    AlongPath,
    /// There is no filter: counts.
    Nowhere,
}

/// How wrong the answer at the root may be, in the key's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// In all; the budget of each level follows from the number of senders there.
    Total(f32),
    /// What the filters of each level may add, leaves first.
    PerLevel([f32; LEVELS_MAX]),
}

/// How a budget is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// So that the widths in force never exceed the tolerance.
    Hard,
    /// So that three standard deviations of independent errors stay within it. The bounds that an
    /// answer states stay hard, and are wider than the tolerance.
    Statistical,
}

/// When a change travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// With the next beat.
    Lazy,
    /// At once.
    Eager,
}

/// All that is known of a key. Fields may be set freely; only what [`KeySpec::checked`] returns is
/// used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeySpec {
    /// What is computed.
    pub function: Function,
    /// Least and greatest value of a node, in the key's unit; values are clamped to it.
    pub range: (f64, f64),
    /// Accuracy target.
    pub tolerance: Tolerance,
    /// How the target is split.
    pub mode: Mode,
    /// Whether leaves report every change, so that a node knows its own cluster exactly.
    pub exact_in_cluster: bool,
    /// When a change travels.
    pub urgency: Urgency,
    /// How far a sibling's record may be from what was pushed down, as a share of it.
    pub sibling: f32,
    /// A change within the filter is still told after this long over all levels.
    pub age_max: Duration,
}

/// A key was refused. Nothing was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// An end of the range is not a number, or beyond 10^12.
    #[error("the range ends beyond 10^12 or at no number")]
    RangeEnd,
    /// The range is empty, or too narrow to tell its values apart.
    #[error("the range is empty or narrower than 10^-9 and a millionth of its ends")]
    RangeNarrow,
    /// The tolerance is below zero or not a number.
    #[error("a tolerance is below zero or not a number")]
    Tolerance,
    /// A top-k list of nothing or of more than [`TOP_MAX`].
    #[error("a top-k list has 1 to 16 entries")]
    TopLength,
    /// The share for siblings is outside `0..=1`.
    #[error("the share for siblings is not within 0 and 1")]
    Sibling,
    /// The age is outside 100 ms to 1 h.
    #[error("the greatest age is not within 100 ms and 1 h")]
    Age,
}

impl KeySpec {
    /// What key 0 is: the count of members.
    pub const MEMBERS: Self = Self {
        function: Function::Count,
        range: (0.0, 1.0),
        tolerance: Tolerance::Total(0.0),
        mode: Mode::Hard,
        exact_in_cluster: true,
        urgency: Urgency::Lazy,
        sibling: SIBLING,
        age_max: AGE_MAX,
    };

    /// A key whose values are within `range` and whose answer may be wrong by `eps` in all, both in
    /// its unit: hard bounds, exact in a node's own cluster, lazy. Other fields may be set after.
    pub const fn new(function: Function, range: (f64, f64), eps: f32) -> Self {
        Self {
            function,
            range,
            tolerance: Tolerance::Total(eps),
            mode: Mode::Hard,
            exact_in_cluster: true,
            urgency: Urgency::Lazy,
            sibling: SIBLING,
            age_max: AGE_DEFAULT,
        }
    }

    /// The same, whose changes travel at once.
    #[must_use]
    pub const fn eager(mut self) -> Self {
        self.urgency = Urgency::Eager;
        self
    }

    /// Whether answers may be wrong at all. If not, each change is an event of its own.
    pub fn is_approximate(&self) -> bool {
        match &self.tolerance {
            Tolerance::Total(eps) => *eps > 0.0,
            Tolerance::PerLevel(levels) => levels.iter().any(|eps| *eps > 0.0),
        }
    }

    /// The key with the ends of its range moved outward to `f32`s, which values have on the wire.
    /// Errors: [`KeyError`].
    pub fn checked(mut self) -> Result<Self, KeyError> {
        let (lo, hi) = self.range;
        if !(lo.abs() <= REACH_MAX && hi.abs() <= REACH_MAX) {
            return Err(KeyError::RangeEnd);
        }
        let (lo, hi) = (f64::from(floor32(lo)), f64::from(ceil32(hi)));
        let narrow = SPAN_MIN.max(lo.abs().max(hi.abs()) * 1e-6);
        if hi - lo < narrow {
            return Err(KeyError::RangeNarrow);
        }
        let tolerances = match &self.tolerance {
            Tolerance::Total(eps) => std::slice::from_ref(eps),
            Tolerance::PerLevel(levels) => &levels[..],
        };
        if !tolerances.iter().all(|eps| (0.0..=f32::MAX).contains(eps)) {
            return Err(KeyError::Tolerance);
        }
        if let Function::TopK(length) = self.function
            && !(1..=TOP_MAX).contains(&length)
        {
            return Err(KeyError::TopLength);
        }
        if !(0.0..=1.0).contains(&self.sibling) {
            return Err(KeyError::Sibling);
        }
        if !(AGE_MIN..=AGE_MAX).contains(&self.age_max) {
            return Err(KeyError::Age);
        }
        self.range = (lo, hi);
        Ok(self)
    }

    /// A node's value as all nodes see it: within the range, rounded to `f32`; `None` for NaN.
    pub fn admit(&self, value: f64) -> Option<f32> {
        // The ends are `f32`s themselves, so rounding does not leave the range.
        (!value.is_nan()).then(|| round32(value.clamp(self.range.0, self.range.1)))
    }

    /// How far apart two values may be.
    pub fn span(&self) -> f64 {
        self.range.1 - self.range.0
    }

    /// The middle of the range.
    pub fn centre(&self) -> f64 {
        f64::midpoint(self.range.0, self.range.1)
    }

    /// The greatest magnitude of a value.
    pub fn reach(&self) -> f64 {
        self.range.0.abs().max(self.range.1.abs())
    }

    /// How widths add up.
    pub fn adds(&self) -> Adds {
        match self.function {
            Function::Count => Adds::Nowhere,
            Function::Sum
            | Function::Mean
            | Function::WeightedMean
            | Function::Variance
            | Function::Quantiles
            | Function::Distinct => Adds::OverSenders,
            Function::Min | Function::Max | Function::TopK(_) => Adds::AlongPath,
        }
    }

    /// How much one node that is counted twice may move the answer's slack: the page's
    /// `double_max x range`, in the slack's unit (see `Record::slack`). Extremes and unions do not
    /// change by a repeat.
    pub fn repeat(&self) -> f64 {
        match self.function {
            Function::Count | Function::Quantiles => 1.0,
            Function::Sum => self.reach(),
            Function::Mean | Function::WeightedMean => self.span(),
            Function::Variance => self.span() * self.span(),
            Function::Min | Function::Max | Function::TopK(_) | Function::Distinct => 0.0,
        }
    }
}

/// A varint: most are small.
impl Pack for KeyId {
    fn pack(&self, to: &mut Writer) {
        u32::from(self.0).pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let key = u16::try_from(u32::unpack(from)?);
        key.map(Self)
            .map_err(|_| Malformed::Invalid("a key beyond the last"))
    }
}

impl Function {
    /// The function's byte; top-k stands as 16 + k.
    fn code(self) -> u8 {
        match self {
            Self::Count => 0,
            Self::Sum => 1,
            Self::Mean => 2,
            Self::WeightedMean => 3,
            Self::Variance => 4,
            Self::Min => 5,
            Self::Max => 6,
            Self::Quantiles => 7,
            Self::Distinct => 8,
            Self::TopK(length) => 16 + length.min(TOP_MAX),
        }
    }
}

impl Pack for Function {
    fn pack(&self, to: &mut Writer) {
        self.code().pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            0 => Self::Count,
            1 => Self::Sum,
            2 => Self::Mean,
            3 => Self::WeightedMean,
            4 => Self::Variance,
            5 => Self::Min,
            6 => Self::Max,
            7 => Self::Quantiles,
            8 => Self::Distinct,
            code @ 17..=32 => Self::TopK(code - 16),
            _ => return Err(Malformed::Invalid("no such function")),
        })
    }
}

/// A byte for the function; the range as two `f32`; a byte of flags (1 per level, 2 statistical,
/// 4 exact, 8 eager); one or six `f32` of tolerance; the share for siblings as `f32`; the age in
/// milliseconds. 20 bytes or 40 for 10 s. What is unpacked is clamped where it can be, then
/// checked.
impl Pack for KeySpec {
    fn pack(&self, to: &mut Writer) {
        self.function.pack(to);
        floor32(self.range.0).pack(to);
        ceil32(self.range.1).pack(to);
        let per_level = matches!(self.tolerance, Tolerance::PerLevel(_));
        let flags = u8::from(per_level)
            | u8::from(self.mode == Mode::Statistical) << 1
            | u8::from(self.exact_in_cluster) << 2
            | u8::from(self.urgency == Urgency::Eager) << 3;
        flags.pack(to);
        match self.tolerance {
            Tolerance::Total(eps) => eps.pack(to),
            Tolerance::PerLevel(levels) => levels.iter().for_each(|eps| eps.pack(to)),
        }
        self.sibling.pack(to);
        self.age_max.pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let function = Function::unpack(from)?;
        let range = (f32::unpack(from)?, f32::unpack(from)?);
        let flags = from.byte()?;
        if flags > 15 {
            return Err(Malformed::Invalid("no such flag of a key"));
        }
        let mut eps = || f32::unpack(from).map(|eps| eps.max(0.0));
        let tolerance = if flags & 1 == 0 {
            Tolerance::Total(eps()?)
        } else {
            let mut levels = [0.0; LEVELS_MAX];
            for level in &mut levels {
                *level = eps()?;
            }
            Tolerance::PerLevel(levels)
        };
        let spec = Self {
            function,
            range: (f64::from(range.0), f64::from(range.1)),
            tolerance,
            mode: if flags & 2 == 0 {
                Mode::Hard
            } else {
                Mode::Statistical
            },
            exact_in_cluster: flags & 4 != 0,
            urgency: if flags & 8 == 0 {
                Urgency::Lazy
            } else {
                Urgency::Eager
            },
            sibling: f32::unpack(from)?.clamp(0.0, 1.0),
            age_max: Duration::unpack(from)?.clamp(AGE_MIN, AGE_MAX),
        };
        spec.checked()
            .map_err(|_| Malformed::Invalid("the range of a key"))
    }
}

#[cfg(test)]
mod tests;
