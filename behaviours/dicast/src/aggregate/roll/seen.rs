//! What an agent told in several rolls, to be held against what it told others.

use opus_core::Time;

use super::{Code, Column, Told};
use crate::aggregate::{KeyId, KeySpec};

impl Told {
    /// When the oldest value in the last roll may have been read; none before the first.
    pub(crate) fn from(&self) -> Option<Time> {
        let age = u64::try_from(self.age.as_micros()).unwrap_or(u64::MAX);
        let from = self.at.as_micros().saturating_sub(age);
        (self.number != 0).then(|| Time::ZERO + std::time::Duration::from_micros(from))
    }

    /// When the last roll came.
    pub(crate) const fn at(&self) -> Time {
        self.at
    }

    /// The keys of which it says something.
    pub(crate) fn keys(&self) -> impl Iterator<Item = KeyId> {
        self.values.columns.keys().copied()
    }

    /// What it says of the member at `slot`, and how far that may be off.
    pub(crate) fn entry(&self, key: KeyId, slot: u8, spec: &KeySpec) -> Option<(f64, f64)> {
        let code = self.values.columns.get(&key)?.get(slot)?;
        Some(code.value(spec))
    }
}

/// Of one key, what some rolls said of each seat.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) key: KeyId,
    rolls: u8,
    /// Seat, least, greatest, in how many rolls. At most as many as a column has.
    seats: Vec<(u8, Code, Code, u8)>,
}

/// What the sum over a cluster's members may have been while these rolls were told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Between {
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// By how much the members moved from roll to roll, all together.
    pub(crate) moved: f64,
    /// Members that had a value in each roll.
    pub(crate) always: u64,
    /// Members that had one in some.
    pub(crate) sometimes: u64,
}

impl Seen {
    pub(crate) const fn new(key: KeyId) -> Self {
        Self {
            key,
            rolls: 0,
            seats: Vec::new(),
        }
    }

    /// One more roll.
    pub(crate) fn take(&mut self, told: &Told) {
        self.rolls = self.rolls.saturating_add(1);
        let column = told.values.columns.get(&self.key);
        for (slot, code) in column.into_iter().flat_map(entries) {
            match self.seats.iter_mut().find(|it| it.0 == slot) {
                Some((_, least, most, times)) => {
                    (*least, *most) = ((*least).min(code), (*most).max(code));
                    *times = times.saturating_add(1);
                }
                None => self.seats.push((slot, code, code, 1)),
            }
        }
    }

    /// The least and the greatest that was said of the member at `slot`.
    pub(crate) fn of(&self, slot: u8, spec: &KeySpec) -> Option<[(f64, f64); 2]> {
        let (_, least, most, _) = self.seats.iter().find(|it| it.0 == slot)?;
        Some([least.value(spec), most.value(spec)])
    }

    pub(crate) fn between(&self, spec: &KeySpec) -> Between {
        let mut sum = Between::default();
        for (_, least, most, times) in &self.seats {
            let ((least, below), (most, above)) = (least.value(spec), most.value(spec));
            let (mut lo, mut hi) = (least - below, most + above);
            if *times == self.rolls {
                sum.always += 1;
            } else {
                sum.sometimes += 1;
                (lo, hi) = (lo.min(0.0), hi.max(0.0));
            }
            sum.least += lo;
            sum.most += hi;
            sum.moved += most - least;
        }
        sum
    }
}

fn entries(column: &Column) -> impl Iterator<Item = (u8, Code)> {
    column.slots().zip(column.codes.iter().copied())
}

#[cfg(test)]
impl super::Rolls {
    /// The last roll, in which everybody has more but one.
    pub(crate) fn lying_but_of(&self, now: Time, honest: u8) -> super::Roll {
        let mut values = self.last.clone();
        for column in values.columns.values_mut() {
            let slots: Vec<u8> = column.slots().collect();
            for (slot, code) in slots.into_iter().zip(&mut column.codes) {
                if slot != honest {
                    code.0 += 2_000;
                }
            }
        }
        super::Roll {
            columns: values.since(None),
            ..self.since(now, 0)
        }
    }
}
