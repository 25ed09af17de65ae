//! A changed value as it stands in a beat.
//!
//! | byte | |
//! |---|---|
//! | 0 | low 6 bits: the key, or 63 if a varint with the key follows; high 2 bits: the kind |
//! | kind 0, a node's value | `f32`: 5 bytes in all |
//! | kind 1, with a weight | `f32` value, `f32` weight: 9 bytes |
//! | kind 2, no value any more | nothing: 1 byte |
//! | kind 3, a cluster's record | see below |
//!
//! A record is the kind of its summary (1), the summary, the count (a varint, 3 bytes to two
//! million), the slack ([`Up24`]), missing and double ([`Up8`] each).
//!
//! A cluster's mean takes 1 + 1 + 8 + 3 + 3 + 1 + 1 = 18 bytes. Its age is the age of the report.
//! A node's value loses nothing, since values are `f32`s from the start; a record's slack, missing
//! and double round up.

use std::time::Duration;

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};

use super::{
    float::{Up8, Up24, round32},
    key::{Function, KeyId, KeySpec, NODES_MAX},
    record::Record,
    summary::{Sample, Summary},
};

/// Keys below stand in the first byte.
const KEY_LONG: u8 = 63;

/// A change of one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A node's value.
    Value(KeyId, f32),
    /// A node's value and weight.
    Weighted(KeyId, f32, f32),
    /// There is no value any more.
    Withdrawn(KeyId),
    /// A cluster's record, or a node's set of items.
    Record(KeyId, Box<Told>),
}

/// A record as the wire holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    summary: Summary,
    count: u64,
    slack: Up24,
    missing: Up8,
    double: Up8,
}

impl Change {
    /// A node's own value. `None`: the sample is not of the key's function, or NaN.
    pub fn of_sample(key: KeyId, sample: &Sample, spec: &KeySpec) -> Option<Self> {
        Some(match sample {
            Sample::Number(x) if spec.function != Function::Distinct => {
                Self::Value(key, spec.admit(*x)?)
            }
            Sample::Weighted(x, weight) if spec.function == Function::WeightedMean => {
                let weight = (!weight.is_nan()).then(|| weight.clamp(0.0, 1.0))?;
                Self::Weighted(key, spec.admit(*x)?, round32(weight))
            }
            Sample::Items(_) => {
                let summary = Summary::of(sample, 0, spec)?;
                Self::of_record(key, &Record::of_one(summary))
            }
            Sample::Number(_) | Sample::Weighted(..) => return None,
        })
    }

    /// A cluster's record, with what rounding loses in its slack.
    pub fn of_record(key: KeyId, record: &Record) -> Self {
        Self::Record(
            key,
            Box::new(Told {
                summary: record.summary.clone(),
                count: record.count,
                slack: Up24::of(record.slack),
                missing: Up8::of(record.missing),
                double: Up8::of(record.double),
            }),
        )
    }

    /// The key.
    pub fn key(&self) -> KeyId {
        match self {
            Self::Value(key, _)
            | Self::Weighted(key, ..)
            | Self::Withdrawn(key)
            | Self::Record(key, _) => *key,
        }
    }

    /// What the change says of the key, clamped, as both ends see it; its age is zero. `node` names
    /// the sender. [`Record::NOTHING`] if it was withdrawn; `None` if it cannot be of this key.
    pub fn record(&self, node: u64, spec: &KeySpec) -> Option<Record> {
        let sample = match self {
            Self::Value(_, x) => Sample::Number(f64::from(*x)),
            Self::Weighted(_, x, weight) => Sample::Weighted(f64::from(*x), f64::from(*weight)),
            Self::Withdrawn(_) => return Some(Record::NOTHING),
            Self::Record(_, told) => {
                let record = Record {
                    summary: told.summary.clone(),
                    count: told.count,
                    slack: told.slack.value(),
                    age: Duration::ZERO,
                    missing: told.missing.value(),
                    double: told.double.value(),
                };
                return record.admitted(spec);
            }
        };
        Summary::of(&sample, node, spec).map(Record::of_one)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Value(..) => 0,
            Self::Weighted(..) => 1,
            Self::Withdrawn(_) => 2,
            Self::Record(..) => 3,
        }
    }
}

/// Packs a key and two bits beside it: 1 byte for keys below 63.
pub(super) fn pack_head(key: KeyId, kind: u8, to: &mut Writer) {
    let short = u8::try_from(key.0).unwrap_or(KEY_LONG).min(KEY_LONG);
    (short | kind << 6).pack(to);
    if short == KEY_LONG {
        key.pack(to);
    }
}

/// Takes a key and two bits off the front.
pub(super) fn unpack_head(from: &mut Reader<'_>) -> Result<(KeyId, u8), Malformed> {
    let byte = from.byte()?;
    let (short, kind) = (byte & KEY_LONG, byte >> 6);
    if short < KEY_LONG {
        return Ok((KeyId(u16::from(short)), kind));
    }
    let key = KeyId::unpack(from)?;
    if key.0 < u16::from(KEY_LONG) {
        return Err(Malformed::Invalid("a key is not in its shortest form"));
    }
    Ok((key, kind))
}

impl Pack for Change {
    fn pack(&self, to: &mut Writer) {
        pack_head(self.key(), self.kind(), to);
        match self {
            Self::Value(_, x) => x.pack(to),
            Self::Weighted(_, x, weight) => {
                x.pack(to);
                weight.pack(to);
            }
            Self::Withdrawn(_) => {}
            Self::Record(_, told) => told.pack(to),
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (key, kind) = unpack_head(from)?;
        Ok(match kind {
            0 => Self::Value(key, f32::unpack(from)?),
            1 => Self::Weighted(key, f32::unpack(from)?, f32::unpack(from)?),
            2 => Self::Withdrawn(key),
            _ => Self::Record(key, Pack::unpack(from)?),
        })
    }
}

impl Pack for Told {
    fn pack(&self, to: &mut Writer) {
        self.summary.pack(to);
        to.varint(self.count);
        self.slack.pack(to);
        self.missing.pack(to);
        self.double.pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            summary: Summary::unpack(from)?,
            count: from.varint(NODES_MAX)?,
            slack: Up24::unpack(from)?,
            missing: Up8::unpack(from)?,
            double: Up8::unpack(from)?,
        })
    }
}
