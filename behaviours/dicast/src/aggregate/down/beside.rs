//! Records of siblings as a node keeps them: there are many, and each is a number.

use std::time::Duration;

use opus_core::Time;

use super::{AGE_MAX, Body, Down, KeyId, Origin, Up8, Up16, age_of, round16, round32};

/// Siblings' records that are kept, at most: of 24 siblings on each of two levels for 42 keys.
/// Overflow: a new one is not taken.
const BESIDE_MAX: usize = 2_048;

/// Records for which room is made at once.
const ROOM: usize = 8;

/// Among so many of the last moments one is looked for, and so many may be there for nothing.
const MOMENTS: usize = 16;

/// What came down of siblings, by level, slot and key. 14 bytes each: a map of [`Down`] would be
/// most of what a node keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    records: Vec<Sibling>,
    /// Since when records stand. All that were vouched for together share one.
    moments: Vec<Moment>,
}

/// When the oldest value behind a record may have been read, in nanoseconds; before the machine's
/// time began it is below 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(i64);

impl Moment {
    /// So long before `now`.
    fn before(now: Time, age: Duration) -> Self {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        Self(nanos(now).saturating_sub(age))
    }

    fn age(self, now: Time) -> Duration {
        let age = nanos(now).saturating_sub(self.0);
        Duration::from_nanos(u64::try_from(age).unwrap_or(0))
    }
}

fn nanos(time: Time) -> i64 {
    i64::try_from(time.as_micros().saturating_mul(1_000)).unwrap_or(i64::MAX)
}

/// The bit of a level that says that the value is the count.
const COUNTED: u8 = 0x80;

#[derive(Clone, Copy, Debug)]
struct Sibling {
    /// An `u32`, lowest byte first, which would need a place of its own alignment. More nodes stand
    /// as so many: no sibling has them.
    count: [u8; 4],
    key: KeyId,
    /// The upper half of the value, if that is not the count.
    value: u16,
    half: Up16,
    /// The place of its moment.
    moment: u16,
    /// With [`COUNTED`].
    level: u8,
    slot: u8,
    missing: Up8,
    double: Up8,
}

impl Sibling {
    /// `None`: only numbers are told of siblings.
    fn of(down: &Down, moment: u16) -> Option<Self> {
        let Body::Number(value) = down.body else {
            return None;
        };
        let count = u32::try_from(down.count).unwrap_or(u32::MAX);
        let counted = value.to_bits() == counted(count).to_bits();
        let value = round16(f64::from(value)).to_bits() >> 16;
        Some(Self {
            count: count.to_le_bytes(),
            key: down.key,
            value: u16::try_from(value).expect("16 bits are left"),
            half: down.half,
            moment,
            level: down.origin.level | if counted { COUNTED } else { 0 },
            slot: down.origin.slot,
            missing: down.missing,
            double: down.double,
        })
    }

    const fn whose(&self) -> (u8, u8, KeyId) {
        (self.level & !COUNTED, self.slot, self.key)
    }

    const fn count(&self) -> u32 {
        u32::from_le_bytes(self.count)
    }

    fn value(&self) -> f32 {
        if self.level & COUNTED != 0 {
            counted(self.count())
        } else {
            f32::from_bits(u32::from(self.value) << 16)
        }
    }

    /// As it is at this age.
    fn down(&self, age: Duration) -> Down {
        let (level, slot, key) = self.whose();
        let origin = Origin {
            level,
            slot,
            beside: true,
        };
        let mut down = Down {
            key,
            origin,
            body: Body::Number(self.value()),
            half: self.half,
            count: u64::from(self.count()),
            age: Up16::default(),
            missing: self.missing,
            double: self.double,
        };
        down.freshen(age);
        down
    }
}

/// A count as a value.
fn counted(count: u32) -> f32 {
    round32(f64::from(count))
}

impl Beside {
    /// Takes a record, or drops it if the sibling is gone.
    pub(crate) fn take(&mut self, now: Time, down: &Down) {
        let origin = down.origin;
        let whose = (origin.level, origin.slot, down.key);
        let at = self.records.binary_search_by_key(&whose, Sibling::whose);
        match at {
            Ok(at) if down.is_gone() => {
                self.records.remove(at);
            }
            Err(_) if down.is_gone() || self.records.len() >= BESIDE_MAX => {}
            Ok(_) | Err(_) => {
                let moment = self.moment(Moment::before(now, down.age()));
                let Some(sibling) = Sibling::of(down, moment) else {
                    return;
                };
                match at {
                    Ok(at) => self.records[at] = sibling,
                    Err(at) => self.insert(at, sibling),
                }
            }
        }
    }

    fn insert(&mut self, at: usize, sibling: Sibling) {
        if self.records.len() == self.records.capacity() {
            self.records
                .reserve_exact(ROOM.max(self.records.len() / ROOM));
        }
        self.records.insert(at, sibling);
    }

    /// The place of a moment, which is noted if it is none of the last.
    fn moment(&mut self, moment: Moment) -> u16 {
        if self.moments.len() >= 2 * self.records.len() + MOMENTS {
            self.tidy();
        }
        let place = place_among_last(&mut self.moments, moment);
        u16::try_from(place).expect("there are few more than records")
    }

    /// Forgets moments of which no record is any more, and those that are there twice.
    fn tidy(&mut self) {
        let before = std::mem::take(&mut self.moments);
        for sibling in &mut self.records {
            let moment = before[usize::from(sibling.moment)];
            let place = place_among_last(&mut self.moments, moment);
            sibling.moment = u16::try_from(place).expect("there are no more than records");
        }
        self.moments.shrink_to_fit();
        self.records.shrink_to_fit();
    }

    /// Nothing is known any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// These keys mean something else now.
    pub(crate) fn forget(&mut self, keys: &[KeyId]) {
        self.records.retain(|sibling| !keys.contains(&sibling.key));
    }

    /// All of it still stands, for values not older than this.
    pub(crate) fn vouch(&mut self, now: Time, age: Duration) {
        let told = Up16::of(age.min(AGE_MAX).as_micros() as f64 / 1e3);
        let told = Moment::before(now, age_of(told));
        for moment in &mut self.moments {
            if age < moment.age(now) {
                *moment = told;
            }
        }
        if self.moments.len() > MOMENTS {
            self.tidy();
        }
    }

    /// What is known of a sibling, as old as it is now.
    pub(crate) fn get(&self, now: Time, key: KeyId, origin: Origin) -> Option<Down> {
        let whose = (origin.level, origin.slot, key);
        let at = self.records.binary_search_by_key(&whose, Sibling::whose);
        at.ok().map(|at| self.down(now, &self.records[at]))
    }

    /// All of it, as old as it is now.
    pub(crate) fn iter(&self, now: Time) -> impl Iterator<Item = Down> {
        let records = self.records.iter();
        records.map(move |sibling| self.down(now, sibling))
    }

    fn down(&self, now: Time, sibling: &Sibling) -> Down {
        sibling.down(self.moments[usize::from(sibling.moment)].age(now))
    }
}

/// Where the moment stands, if it is one of the last; else it is put behind them.
fn place_among_last(moments: &mut Vec<Moment>, moment: Moment) -> usize {
    let last = moments.len().saturating_sub(MOMENTS);
    let known = moments[last..].iter().rposition(|it| *it == moment);
    known.map_or_else(
        || {
            if moments.len() == moments.capacity() {
                moments.reserve_exact(ROOM);
            }
            moments.push(moment);
            moments.len() - 1
        },
        |at| last + at,
    )
}
