//! What came down to a member, and how old it is.

use std::time::Duration;

use opus_core::Time;

use crate::aggregate::{Beside, Down, KeyId, Origin};

/// Records that came down, at most: one of each level for each key. Overflow: it is not taken.
const INBOX_MAX: usize = 64 * 7;

/// What came down, and how far it is complete.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    /// All pushes up to this one are known.
    pub(crate) pushed: u32,
    /// By rising key and origin. A list, since every member has all of them.
    records: Vec<Held>,
    /// Of the siblings of our clusters.
    pub(crate) beside: Beside,
}

/// Of the oldest values behind what was told: of one's own cluster, of all above, of siblings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ages {
    pub(crate) own: Duration,
    pub(crate) above: Duration,
    pub(crate) beside: Duration,
}

/// A record that came down.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) down: Down,
    /// When its age was that which it names.
    pub(crate) at: Time,
}

impl Inbox {
    /// Takes pushed records. `base`: what they build upon; 0 replaces all. Returns false if
    /// something between is not known.
    pub(crate) fn take(
        &mut self,
        now: Time,
        (base, number): (u32, u32),
        records: Vec<Down>,
        transit: Duration,
    ) -> bool {
        if base > self.pushed {
            return false;
        }
        if number <= self.pushed {
            return true;
        }
        if base == 0 {
            self.records = Vec::new();
            self.beside.clear();
        }
        self.pushed = number;
        for mut down in records {
            down.freshen(down.age().saturating_add(transit));
            if down.origin().beside {
                self.beside.take(now, &down);
            } else {
                self.put(Held { down, at: now });
            }
        }
        true
    }

    fn put(&mut self, held: Held) {
        match self.position(held.whose()) {
            Ok(at) => self.records[at] = held,
            Err(at) if self.records.len() < INBOX_MAX => {
                self.records.reserve_exact(1);
                self.records.insert(at, held);
            }
            Err(_) => {}
        }
    }

    /// Where the record stands, or would.
    fn position(&self, whose: (KeyId, Origin)) -> Result<usize, usize> {
        self.records.binary_search_by_key(&whose, Held::whose)
    }

    /// These keys mean something else now.
    pub(crate) fn forget(&mut self, keys: &[KeyId]) {
        self.records.retain(|held| !keys.contains(&held.down.key()));
        self.beside.forget(keys);
    }

    /// All that was pushed up to `pushed` still stands, for values not older than these: of the
    /// cluster at `level`, of those above it, of siblings.
    pub(crate) fn vouch(&mut self, now: Time, pushed: u32, level: u8, ages: Ages) {
        if pushed != self.pushed || pushed == 0 {
            return;
        }
        for held in &mut self.records {
            let age = if held.down.origin().level > level {
                ages.above
            } else {
                ages.own
            };
            if age < held.age(now) {
                held.down.freshen(age);
                held.at = now;
            }
        }
        self.beside.vouch(now, ages.beside);
    }

    /// The record of the cluster at `level`, or of the whole tree.
    pub(crate) fn get(&self, key: KeyId, level: Option<u8>) -> Option<&Held> {
        let mut of_key = self.records.iter().filter(|held| held.down.key() == key);
        let is_it = |origin: Origin| match level {
            Some(level) => origin.level == level,
            None => origin.is_root(),
        };
        of_key.find(|held| is_it(held.down.origin()))
    }

    pub(crate) fn held(&self, whose: (KeyId, Origin)) -> Option<&Held> {
        let at = self.position(whose).ok()?;
        Some(&self.records[at])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.records.iter()
    }
}

impl Held {
    /// Whose record it is.
    pub(crate) fn whose(&self) -> (KeyId, Origin) {
        (self.down.key(), self.down.origin())
    }

    pub(crate) fn age(&self, now: Time) -> Duration {
        self.down.age().saturating_add(now.since(self.at))
    }
}
