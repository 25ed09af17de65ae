//! What comes down: the root's record and those of siblings, as a node keeps them to answer from.
//!
//! Nobody adds up what came down, so a number travels as the answer it is: value and half width.
//!
//! | bytes | |
//! |---|---|
//! | 1 | key and kind, as in a change: kind 0 a number, kind 3 a list or sketch |
//! | 2 | level and slot it is of |
//! | 4 | kind 0: the value, `f32` |
//! | 2 | half width ([`Up16`]): slack, repeats, and the rounding of both numbers |
//! | 3 | count (varint, 3 bytes to two million) |
//! | 2 | age in milliseconds ([`Up16`]) |
//! | 2 | missing, double ([`Up8`]) |
//!
//! 16 bytes for a number. A list or sketch stands in place of the value, behind its kind.
//!
//! A sibling's record stands *beside* those of one's own clusters. It is a number, and for no node
//! once the sibling is gone; there are many, each told roughly. So it takes 6 to 10 bytes:
//! key; level, with [`BESIDE`] and flags for what else there is; slot; the upper half of the
//! value's `f32`, unless that is the count; half width, unless it is none; count; age; missing and
//! double, if there are any.

use std::time::Duration;

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};

mod beside;

pub(crate) use self::beside::Beside;
use super::{
    answer::{Answer, Middle, Value, within},
    change::{pack_head, unpack_head},
    float::{Up8, Up16, round16, round32},
    key::{Function, KeyId, KeySpec, LEVELS_MAX, NODES_MAX},
    record::{AGE_MAX, Record},
    summary::Summary,
};
use crate::cluster::SEATS_MAX;

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Level of the cluster that the record tells of; leaves are 0.
    pub level: u8,
    /// Its slot among its siblings, counted from 1; 0 stands for the root.
    pub slot: u8,
    /// Whether it tells of a sibling, not of a cluster in which the receiver is.
    pub beside: bool,
}

/// The bit of a level that says that the record stands beside, and those that say what else of it
/// there is: a value that is not the count, a half width, nodes that are missing or count twice.
const BESIDE: u8 = 0x80;
const VALUE: u8 = 0x40;
const HALF: u8 = 0x20;
const NODES: u8 = 0x10;

impl Origin {
    /// Whether it is the whole tree's.
    pub const fn is_root(self) -> bool {
        self.slot == 0
    }
}

/// An age from milliseconds.
fn age_of(age: Up16) -> Duration {
    Duration::from_secs_f64(age.value() / 1e3)
}

/// A record on its way down.
#[derive(Clone, Debug, PartialEq)]
pub struct Down {
    key: KeyId,
    origin: Origin,
    body: Body,
    half: Up16,
    count: u64,
    age: Up16,
    missing: Up8,
    double: Up8,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Number(f32),
    /// Boxed: few are lists or sketches, and all members keep all records.
    Whole(Box<Summary>),
}

impl Down {
    /// The record of `origin` for `key`. `None` if it covers no node, or is a list or sketch of a
    /// sibling: only numbers are told of those.
    pub fn of(key: KeyId, origin: Origin, record: &Record, spec: &KeySpec) -> Option<Self> {
        let middle = Middle::of(record, spec)?;
        let whole = matches!(record.summary, Summary::Quantiles(_) | Summary::Top(_));
        if whole && origin.beside {
            return None;
        }
        let (body, half) = if whole {
            // Its repeats are reckoned where it arrives.
            (Body::Whole(Box::new(record.summary.clone())), record.slack)
        } else {
            let value = if origin.beside && record.summary != Summary::Count {
                round16(middle.number)
            } else {
                round32(middle.number)
            };
            let rounding = (f64::from(value) - middle.number).abs();
            (Body::Number(value), middle.half + rounding)
        };
        Some(Self {
            key,
            origin,
            body,
            half: Up16::of(half),
            count: record.count,
            age: Up16::of(record.age.min(AGE_MAX).as_micros() as f64 / 1e3),
            missing: Up8::of(record.missing),
            double: Up8::of(record.double.min(record.count)),
        })
    }

    /// The sibling is no more, or nothing is known of it.
    pub(crate) fn gone(key: KeyId, origin: Origin) -> Self {
        Self {
            key,
            origin,
            body: Body::Number(0.0),
            half: Up16::default(),
            count: 0,
            age: Up16::default(),
            missing: Up8::default(),
            double: Up8::default(),
        }
    }

    /// Whether it says that there is nothing.
    pub(crate) const fn is_gone(&self) -> bool {
        self.count == 0
    }

    /// The key.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Whose record it is.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// How old its oldest value was when it was composed or last freshened.
    pub fn age(&self) -> Duration {
        age_of(self.age)
    }

    /// Nodes it is for.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Known nodes that are left out, at most.
    pub fn missing(&self) -> u64 {
        self.missing.value()
    }

    /// Nodes that may be in it twice, at most.
    pub fn double(&self) -> u64 {
        self.double.value()
    }

    /// The number in it; none for a list or sketch.
    pub fn number(&self) -> Option<f64> {
        match self.body {
            Body::Number(value) => Some(f64::from(value)),
            Body::Whole(_) => None,
        }
    }

    /// Whether both say the same, but for their age.
    pub fn agrees(&self, other: &Self) -> bool {
        let rest = |it: &Self| (it.key, it.origin, it.half, it.count, it.missing, it.double);
        rest(self) == rest(other) && self.body == other.body
    }

    /// The sender vouches that it still stands (it strays by no more than the width), for values
    /// that are not older than `age` now.
    pub fn freshen(&mut self, age: Duration) {
        self.age = Up16::of(age.min(AGE_MAX).as_micros() as f64 / 1e3);
    }

    /// What it says when it has been under way and held for `held` and its sender's filter may be
    /// as wide as `width`, which is in the unit of the value (ranks for a distribution). `None` if
    /// it cannot be of this key.
    pub fn answer(&self, held: Duration, width: f64, spec: &KeySpec) -> Option<Answer> {
        let age = self.age().saturating_add(held);
        let mut record = Record {
            summary: Summary::Nothing,
            count: self.count,
            slack: self.half.value(),
            age,
            missing: self.missing.value(),
            double: self.double.value(),
        };
        let half = record.slack + width;
        match &self.body {
            Body::Whole(summary) => {
                record.summary = Summary::clone(summary);
                Answer::of(&record.admitted(spec)?, width, spec)
            }
            Body::Number(value) => {
                if matches!(spec.function, Function::TopK(_) | Function::Quantiles) {
                    return None;
                }
                let double = record.double.min(record.count);
                let (lo, hi) = within(f64::from(*value), half, record.count, double, spec);
                let number = Value::Number(f64::from(*value).clamp(lo, hi));
                let record = Record { double, ..record };
                let answer = Answer::told(number, (lo, hi), &record, spec);
                Some(Answer { half, ..answer })
            }
        }
    }

    /// How wide a filter must be for this to stand for the newer `record` too; infinite if it
    /// cannot. In the unit of the value, as `width` of [`Down::answer`].
    pub fn strays(&self, record: &Record, spec: &KeySpec) -> f64 {
        let Some(newer) = Self::of(self.key, self.origin, record, spec) else {
            return f64::INFINITY;
        };
        if (newer.count, newer.missing, newer.double) != (self.count, self.missing, self.double) {
            return f64::INFINITY;
        }
        self.strays_in_value(record, spec)
    }

    /// The same for the value alone, whatever nodes it holds for.
    pub fn strays_in_value(&self, record: &Record, spec: &KeySpec) -> f64 {
        let Some(newer) = Self::of(self.key, self.origin, record, spec) else {
            return f64::INFINITY;
        };
        let gone = match (&newer.body, &self.body) {
            (Body::Number(a), Body::Number(b)) => (f64::from(*a) - f64::from(*b)).abs(),
            (Body::Whole(a), Body::Whole(b)) => a.distance(b, spec),
            (Body::Number(_), Body::Whole(_)) | (Body::Whole(_), Body::Number(_)) => f64::INFINITY,
        };
        (gone + newer.half.value() - self.half.value()).max(0.0)
    }
}

impl Down {
    /// A sibling's record, behind its key.
    fn pack_beside(&self, to: &mut Writer) {
        let counted = round32(self.count as f64).to_bits();
        let value = self.number().map(round32);
        let value = value.filter(|value| value.to_bits() != counted);
        let nodes = self.missing.value() > 0 || self.double.value() > 0;
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let half = self.half.value() > 0.0;
        let there = bit(value.is_some(), VALUE) | bit(half, HALF) | bit(nodes, NODES);
        (self.origin.level | BESIDE | there).pack(to);
        self.origin.slot.pack(to);
        if let Some(value) = value {
            to.raw(&round16(f64::from(value)).to_le_bytes()[2..]);
        }
        if half {
            self.half.pack(to);
        }
        to.varint(self.count);
        self.age.pack(to);
        if nodes {
            (self.missing, self.double).pack(to);
        }
    }

    /// `level`: as it stands on the wire.
    fn unpack_beside(key: KeyId, level: u8, from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let has = |part: u8| level & part != 0;
        let origin = Origin {
            level: level & !(BESIDE | VALUE | HALF | NODES),
            slot: from.byte()?,
            beside: true,
        };
        let value = if has(VALUE) {
            let [low, high] = Pack::unpack(from)?;
            Some(f32::from_le_bytes([0, 0, low, high]))
        } else {
            None
        };
        let half = if has(HALF) {
            Up16::unpack(from)?
        } else {
            Up16::default()
        };
        let count = from.varint(NODES_MAX)?;
        let age = Up16::unpack(from)?;
        let (missing, double) = if has(NODES) {
            <(Up8, Up8)>::unpack(from)?
        } else {
            <(Up8, Up8)>::default()
        };
        let value = value.unwrap_or_else(|| round32(count as f64));
        let seat = (1..=LEVELS_MAX).contains(&usize::from(origin.level))
            && (1..=SEATS_MAX).contains(&usize::from(origin.slot));
        let old = age.value() > AGE_MAX.as_millis() as f64 * 1.01;
        if !seat || old || !value.is_finite() {
            return Err(Malformed::Invalid(
                "a sibling without a slot or a value, or older than a day",
            ));
        }
        Ok(Self {
            key,
            origin,
            body: Body::Number(value),
            half,
            count,
            age,
            missing,
            double,
        })
    }
}

impl Pack for Down {
    fn pack(&self, to: &mut Writer) {
        let kind = match self.body {
            Body::Number(_) => 0,
            Body::Whole(_) => 3,
        };
        pack_head(self.key, kind, to);
        if self.origin.beside {
            return self.pack_beside(to);
        }
        self.origin.level.pack(to);
        self.origin.slot.pack(to);
        match &self.body {
            Body::Number(value) => value.pack(to),
            Body::Whole(summary) => summary.pack(to),
        }
        self.half.pack(to);
        to.varint(self.count);
        self.age.pack(to);
        self.missing.pack(to);
        self.double.pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (key, kind) = unpack_head(from)?;
        let level = from.byte()?;
        let beside = level & BESIDE != 0;
        if beside && kind == 0 {
            return Self::unpack_beside(key, level, from);
        }
        if beside || usize::from(level) > LEVELS_MAX {
            return Err(Malformed::Invalid("no such level"));
        }
        let origin = Origin {
            level,
            slot: from.byte()?,
            beside: false,
        };
        let body = match kind {
            0 => Body::Number(f32::unpack(from)?),
            3 => Body::Whole(Pack::unpack(from)?),
            _ => return Err(Malformed::Invalid("no such kind of record")),
        };
        let down = Self {
            key,
            origin,
            body,
            half: Up16::unpack(from)?,
            count: from.varint(NODES_MAX)?,
            age: Up16::unpack(from)?,
            missing: Up8::unpack(from)?,
            double: Up8::unpack(from)?,
        };
        if down.count == 0 || down.age.value() > AGE_MAX.as_millis() as f64 * 1.01 {
            return Err(Malformed::Invalid(
                "a record of nobody, or older than a day",
            ));
        }
        Ok(down)
    }
}
