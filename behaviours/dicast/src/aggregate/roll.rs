//! The values of a cluster's members, as its agent tells them to each: two bytes a value, and of
//! these only by how much they changed.
//!
//! A value stands in half precision, in units of the key's reach: 11 bits of it are right, down to
//! 10^-9 of the reach. As whole numbers in the order of the values ([`Code`]) those of most members
//! move by little from one roll to the next, so that a change takes 4 to 7 bits instead of 16
//! (Rice's code, its parameter chosen for each column). Whoever lacks the roll before gets all.

use std::time::Duration;

use opus_core::{FlatMap, Time, pack::Few, packed};

use super::{
    answer::Answer,
    bits::{BitReader, BitWriter},
    key::{Function, KeyId, KeySpec},
    report::KEYS_MAX,
};
use crate::cluster::SEATS_MAX;

mod seen;

pub(crate) use self::seen::{Between, Seen};

/// Bytes of one column: each value escaped, and who has one.
const COLUMN_BYTES_MAX: usize = SEATS_MAX * 4 + 16;

/// Ones that begin a change too large for the code; it then stands as it is.
const ESCAPE: u32 = 12;

/// Largest parameter of the code: beyond it a change is as good as new.
const RICE_MAX: u32 = 12;

/// A value in half precision, as a whole number in the order of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Code(i16);

/// What stands for the key's reach: half precision goes on to twice as much.
const REACH: f64 = 32_768.0;
/// Bits of half precision behind the first.
const MANTISSA: i32 = 10;
/// The least step is 2 to this power; below 2^-14 all steps are.
const STEP_LEAST: i32 = -24;
/// The code of [`REACH`].
const CODE_MAX: i32 = 30 << MANTISSA;

impl Code {
    /// The nearest to `x`, which is clamped to the key's range.
    fn of(x: f64, spec: &KeySpec) -> Self {
        let x = x.clamp(spec.range.0, spec.range.1);
        let y = (x.abs() / spec.reach() * REACH).min(REACH);
        if y <= 0.0 {
            return Self(0);
        }
        let (_, above) = libm::frexp(y);
        let step = (above - 1 - MANTISSA).max(STEP_LEAST);
        // Steps of this binary order of magnitude, which begin where those of the order below end.
        let steps = libm::rint(libm::scalbn(y, -step));
        let below = f64::from((step - STEP_LEAST) << MANTISSA);
        #[expect(clippy::cast_possible_truncation, reason = "at most 30 << 10")]
        let code = (steps + below) as i16;
        Self(if x < 0.0 { -code } else { code })
    }

    /// The value, and how far the one that it was made of may be from it.
    fn value(self, spec: &KeySpec) -> (f64, f64) {
        let code = i32::from(self.0.unsigned_abs());
        let order = ((code >> MANTISSA) - 1).max(0);
        let steps = code - (order << MANTISSA);
        let step = libm::scalbn(spec.reach() / REACH, order + STEP_LEAST);
        let value = f64::from(steps) * step;
        // The last part is for the arithmetic here.
        let half = step / 2.0 + value * 1e-12;
        (if self.0 < 0 { -value } else { value }, half)
    }

    /// From what a peer said; beyond the greatest there is none.
    fn from_wire(code: i32) -> Option<Self> {
        (code.abs() <= CODE_MAX).then_some(())?;
        i16::try_from(code).ok().map(Self)
    }
}

/// Whether a member's value of such a key is one number, and all of its cluster shall know it.
pub(crate) const fn is_told(spec: &KeySpec) -> bool {
    let number = matches!(
        spec.function,
        Function::Sum | Function::Mean | Function::Min | Function::Max
    );
    number && spec.exact_in_cluster
}

/// Of one key: who has a value, and which, in the order of the seats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Column {
    seats: u64,
    codes: Vec<Code>,
}

impl Column {
    fn get(&self, slot: u8) -> Option<Code> {
        let bit = 1_u64.checked_shl(u32::from(slot))?;
        let before = (self.seats & (bit - 1)).count_ones() as usize;
        (self.seats & bit != 0).then(|| self.codes.get(before).copied())?
    }

    fn slots(&self) -> impl Iterator<Item = u8> {
        let seats = self.seats;
        (0..64_u8).filter(move |slot| seats >> slot & 1 != 0)
    }

    /// By what the column differs from `base`, in as few bits as the best parameter gives.
    fn pack(&self, base: &Self) -> Vec<u8> {
        let packed = (0..=RICE_MAX).map(|rice| self.pack_with(base, rice));
        packed.min_by_key(Vec::len).unwrap_or_default()
    }

    fn pack_with(&self, base: &Self, rice: u32) -> Vec<u8> {
        let mut to = BitWriter::default();
        to.put(u32::from(self.seats == base.seats), 1);
        if self.seats != base.seats {
            let seats = 64 - self.seats.leading_zeros();
            to.put(seats, 7);
            (0..seats).for_each(|slot| to.put(u32::from(self.seats >> slot & 1 != 0), 1));
        }
        to.put(rice, 4);
        for (slot, code) in self.slots().zip(&self.codes) {
            match base.get(slot) {
                Some(before) => {
                    let change = i32::from(code.0) - i32::from(before.0);
                    put_change(&mut to, zigzag(change), rice);
                }
                None => to.put(zigzag(i32::from(code.0)), 16),
            }
        }
        to.finish()
    }

    /// `None`: no column is packed like this.
    fn unpack(bytes: &[u8], base: &Self) -> Option<Self> {
        let mut from = BitReader::new(bytes);
        let mut seats = base.seats;
        if from.take(1)? == 0 {
            let count = from.take(7)?;
            (count <= 64).then_some(())?;
            seats = 0;
            for slot in 0..count {
                seats |= u64::from(from.take(1)?) << slot;
            }
        }
        let rice = from.take(4)?;
        let mut column = Self {
            seats,
            codes: Vec::with_capacity(seats.count_ones() as usize),
        };
        for slot in (0..64_u8).filter(|slot| seats >> slot & 1 != 0) {
            let code = match base.get(slot) {
                Some(before) => i32::from(before.0) + unzigzag(take_change(&mut from, rice)?),
                None => unzigzag(from.take(16)?),
            };
            column.codes.push(Code::from_wire(code)?);
        }
        from.is_over().then_some(column)
    }
}

fn put_change(to: &mut BitWriter, change: u32, rice: u32) {
    let ones = change >> rice;
    if ones >= ESCAPE {
        to.put((1 << ESCAPE) - 1, ESCAPE);
        to.put(change, 17);
    } else {
        to.put((1 << ones) - 1, ones);
        to.put(0, 1);
        to.put(change & ((1 << rice) - 1), rice);
    }
}

fn take_change(from: &mut BitReader<'_>, rice: u32) -> Option<u32> {
    let mut ones = 0;
    while from.take(1)? == 1 {
        ones += 1;
        if ones == ESCAPE {
            return from.take(17);
        }
    }
    Some((ones << rice) + from.take(rice)?)
}

/// Small numbers of either sign as small ones without.
const fn zigzag(x: i32) -> u32 {
    ((x << 1) ^ (x >> 31)).cast_unsigned()
}

const fn unzigzag(x: u32) -> i32 {
    (x >> 1).cast_signed() ^ -((x & 1).cast_signed())
}

/// What an agent says with a pulse of its members' values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// Which roll; never 0.
    pub number: u8,
    /// On which roll it builds: what is not named is as it was there. 0: on none.
    pub base: u8,
    /// Digest of the table of keys by which the values are meant.
    pub keys: u16,
    /// No value in it is older.
    pub age: Duration,
    /// By key.
    pub columns: Few<(KeyId, Few<u8, COLUMN_BYTES_MAX>), KEYS_MAX>,
}

packed!(Roll {
    number,
    base,
    keys,
    age,
    columns
});

/// The values of all members at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values {
    columns: FlatMap<KeyId, Column>,
}

impl Values {
    /// Notes a member's value. Members are to be named in the order of their seats.
    pub(crate) fn put(&mut self, key: KeyId, slot: u8, x: f64, spec: &KeySpec) {
        let Some(bit) = 1_u64.checked_shl(u32::from(slot)) else {
            return;
        };
        let column = self.columns.get_or_insert_with(key, Column::default);
        column.seats |= bit;
        column.codes.push(Code::of(x, spec));
    }

    /// By what they differ from `base`; everything if there is none.
    fn since(&self, base: Option<&Self>) -> Few<(KeyId, Few<u8, COLUMN_BYTES_MAX>), KEYS_MAX> {
        let nothing = Column::default();
        let before = |key: KeyId| base.and_then(|base| base.columns.get(&key));
        let of_base = base.into_iter().flat_map(|base| base.columns.keys());
        let gone = of_base.filter(|key| !self.columns.contains_key(key));
        let gone = gone.map(|key| (*key, &nothing));
        let all = self.columns.iter().map(|(key, column)| (*key, column));
        let changed = all
            .chain(gone)
            .filter(|(key, column)| before(*key) != Some(*column));
        let packed = changed.map(|(key, column)| {
            let packed = column.pack(before(key).unwrap_or(&nothing));
            (key, Few(packed))
        });
        Few(packed.take(KEYS_MAX).collect())
    }
}

/// An agent's side: the last two rolls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rolls {
    number: u8,
    last: Values,
    before: Values,
    keys: u16,
    taken: Time,
    age: Duration,
}

impl Rolls {
    /// The values now, by the table of this digest; none of them is older than `age`.
    pub(crate) fn take(&mut self, now: Time, values: Values, keys: u16, age: Duration) {
        self.number = after(self.number);
        self.before = std::mem::replace(&mut self.last, values);
        (self.keys, self.taken, self.age) = (keys, now, age);
    }

    /// The values of before mean nothing any more: the next roll builds on none. It has a number
    /// that follows on none which a member may hold.
    pub(crate) fn restart(&mut self) {
        *self = Self {
            number: after(self.number),
            ..Self::default()
        };
    }

    /// Number of the last one; 0 before the first.
    pub(crate) const fn number(&self) -> u8 {
        self.number
    }

    /// Whether nobody has anything that is told, or had in the one before.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.columns.is_empty() && self.before.columns.is_empty()
    }

    /// The last one for a member that has the roll `has`; 0 if it has none.
    pub(crate) fn since(&self, now: Time, has: u8) -> Roll {
        let before = self.number.checked_sub(1).filter(|number| *number > 0);
        let base = before.filter(|before| *before == has);
        Roll {
            number: self.number,
            base: base.unwrap_or(0),
            keys: self.keys,
            age: self.age.saturating_add(now.since(self.taken)),
            columns: self.last.since(base.map(|_| &self.before)),
        }
    }
}

/// The number of the roll after this one; never 0.
fn after(number: u8) -> u8 {
    number.checked_add(1).unwrap_or(1)
}

/// A member's side: the last roll that it was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    number: u8,
    values: Values,
    at: Time,
    age: Duration,
    /// Seats that others took, and in how many rolls what is said of them may be of those before.
    changed: Vec<(u8, u8)>,
}

/// The roll in force when a seat changes hands, and the one that may have been under way.
const OUTDATED: u8 = 2;

impl Told {
    /// Number of the roll that we have; 0 if there is none.
    pub(crate) const fn number(&self) -> u8 {
        self.number
    }

    /// Takes a roll that was under way for `transit` at most. False: it builds on one that we lack,
    /// or is malformed, and everything has to be told again.
    pub(crate) fn take(&mut self, now: Time, roll: &Roll, transit: Duration) -> bool {
        let known = roll.base == 0 || roll.base == self.number;
        let values = known.then(|| self.unpacked(roll)).flatten();
        let Some(values) = values.filter(|_| roll.number != 0) else {
            self.miss();
            return false;
        };
        if roll.number != self.number {
            self.changed.retain_mut(|(_, rolls)| {
                *rolls -= 1;
                *rolls > 0
            });
        }
        (self.number, self.values) = (roll.number, values);
        (self.at, self.age) = (now, roll.age.saturating_add(transit));
        true
    }

    /// A roll could not be taken: all of the next one has to be told. What we have stands, and
    /// grows old.
    pub(crate) const fn miss(&mut self) {
        self.number = 0;
    }

    fn unpacked(&self, roll: &Roll) -> Option<Values> {
        let nothing = Column::default();
        let mut values = Values::default();
        if roll.base != 0 {
            values.columns.clone_from(&self.values.columns);
        }
        for (key, Few(bytes)) in &roll.columns.0 {
            let base = values.columns.get(key).unwrap_or(&nothing);
            let column = Column::unpack(bytes, base)?;
            if column.seats == 0 {
                values.columns.remove(key);
            } else if values.columns.len() < KEYS_MAX || values.columns.contains_key(key) {
                values.columns.insert(*key, column);
            }
        }
        Some(values)
    }

    /// Somebody else sits there now, or nobody.
    pub(crate) fn on_changed(&mut self, slot: u8) {
        self.changed.retain(|(it, _)| *it != slot);
        self.changed.push((slot, OUTDATED));
    }

    /// These keys mean something else now, and the agent begins anew.
    pub(crate) fn forget(&mut self, keys: &[KeyId]) {
        self.miss();
        self.values.columns.retain(|key, _| !keys.contains(key));
    }

    /// What the member at `slot` has of the key.
    pub(crate) fn answer(&self, now: Time, key: KeyId, slot: u8, spec: &KeySpec) -> Option<Answer> {
        if !is_told(spec) || self.changed.iter().any(|(it, _)| *it == slot) {
            return None;
        }
        let code = self.values.columns.get(&key)?.get(slot)?;
        let age = self.age.saturating_add(now.since(self.at));
        Some(Answer::of_member(code.value(spec), age, spec))
    }

    /// The seats of which something is known for the key.
    pub(crate) fn slots(&self, key: KeyId) -> impl Iterator<Item = u8> {
        self.values
            .columns
            .get(&key)
            .into_iter()
            .flat_map(Column::slots)
    }
}

#[cfg(test)]
mod tests;
