//! Records of siblings as a node keeps them: there are many, and each is a number.

use std::time::Duration;

use opus_core::Time;

use super::{AGE_MAX, Body, Down, KeyId, Origin, Up8, Up16};

/// Siblings' records that are kept, at most: of 24 siblings on each of two levels for 42 keys.
/// Overflow: a new one is not taken.
const BESIDE_MAX: usize = 2_048;

/// What came down of siblings, by level, slot and key. 32 bytes each: a map of [`Down`] would be
/// most of what a node keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    records: Vec<Sibling>,
}

#[derive(Clone, Copy, Debug)]
struct Sibling {
    at: Time,
    value: f32,
    /// More nodes than this stand as so many: no sibling has them.
    count: u32,
    age: Up16,
    half: Up16,
    key: KeyId,
    level: u8,
    slot: u8,
    missing: Up8,
    double: Up8,
}

impl Sibling {
    const fn whose(&self) -> (u8, u8, KeyId) {
        (self.level, self.slot, self.key)
    }

    fn origin(&self) -> Origin {
        Origin {
            level: self.level,
            slot: self.slot,
            beside: true,
        }
    }

    fn age(&self, now: Time) -> Duration {
        Duration::from_secs_f64(self.age.value() / 1e3).saturating_add(now.since(self.at))
    }

    fn down(&self, now: Time) -> Down {
        let mut down = Down {
            key: self.key,
            origin: self.origin(),
            body: Body::Number(self.value),
            half: self.half,
            count: u64::from(self.count),
            age: self.age,
            missing: self.missing,
            double: self.double,
        };
        down.freshen(self.age(now));
        down
    }
}

impl Beside {
    /// Takes a record, or drops it if the sibling is gone.
    pub(crate) fn take(&mut self, now: Time, down: &Down) {
        let origin = down.origin;
        let whose = (origin.level, origin.slot, down.key);
        let at = self.records.binary_search_by_key(&whose, Sibling::whose);
        let Body::Number(value) = down.body else {
            return;
        };
        let sibling = Sibling {
            at: now,
            value,
            count: u32::try_from(down.count).unwrap_or(u32::MAX),
            age: down.age,
            half: down.half,
            key: down.key,
            level: origin.level,
            slot: origin.slot,
            missing: down.missing,
            double: down.double,
        };
        match at {
            Ok(at) if down.is_gone() => {
                self.records.remove(at);
            }
            Ok(at) => self.records[at] = sibling,
            Err(at) if !down.is_gone() && self.records.len() < BESIDE_MAX => {
                self.records.insert(at, sibling);
            }
            Err(_) => {}
        }
    }

    /// Nothing is known any more.
    pub(crate) fn clear(&mut self) {
        self.records = Vec::new();
    }

    /// These keys mean something else now.
    pub(crate) fn forget(&mut self, keys: &[KeyId]) {
        self.records.retain(|sibling| !keys.contains(&sibling.key));
    }

    /// All of it still stands, for values not older than this.
    pub(crate) fn vouch(&mut self, now: Time, age: Duration) {
        for sibling in &mut self.records {
            if age < sibling.age(now) {
                sibling.age = Up16::of(age.min(AGE_MAX).as_micros() as f64 / 1e3);
                sibling.at = now;
            }
        }
    }

    /// What is known of a sibling, as old as it is now.
    pub(crate) fn get(&self, now: Time, key: KeyId, origin: Origin) -> Option<Down> {
        let whose = (origin.level, origin.slot, key);
        let at = self.records.binary_search_by_key(&whose, Sibling::whose);
        at.ok().map(|at| self.records[at].down(now))
    }

    /// All of it, as old as it is now.
    pub(crate) fn iter(&self, now: Time) -> impl Iterator<Item = Down> {
        self.records.iter().map(move |sibling| sibling.down(now))
    }
}
