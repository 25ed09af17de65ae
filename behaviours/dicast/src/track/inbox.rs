//! What came down to a member, and how old it is.

use std::time::Duration;

use opus_core::{FlatMap, Time};

use crate::aggregate::{Beside, Down, KeyId, Origin};

/// Records that came down, at most: one of each level for each key. Overflow: it is not taken.
const INBOX_MAX: usize = 64 * 7;

/// What came down, and how far it is complete.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    /// All pushes up to this one are known.
    pub(crate) pushed: u32,
    records: FlatMap<(KeyId, Origin), Held>,
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
            self.records.clear();
            self.beside.clear();
        }
        self.pushed = number;
        for mut down in records {
            let at = (down.key(), down.origin());
            if at.1.beside {
                down.freshen(down.age().saturating_add(transit));
                self.beside.take(now, &down);
            } else if self.records.len() < INBOX_MAX || self.records.contains_key(&at) {
                down.freshen(down.age().saturating_add(transit));
                self.records.insert(at, Held { down, at: now });
            }
        }
        true
    }

    /// These keys mean something else now.
    pub(crate) fn forget(&mut self, keys: &[KeyId]) {
        self.records.retain(|(key, _), _| !keys.contains(key));
        self.beside.forget(keys);
    }

    /// All that was pushed up to `pushed` still stands, for values not older than these: of the
    /// cluster at `level`, of those above it, of siblings.
    pub(crate) fn vouch(&mut self, now: Time, pushed: u32, level: u8, ages: Ages) {
        if pushed != self.pushed || pushed == 0 {
            return;
        }
        for ((_, origin), held) in self.records.iter_mut() {
            let age = if origin.level > level {
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
        let of_key = self.records.iter().filter(|((of, _), _)| *of == key);
        let is_it = |origin: Origin| match level {
            Some(level) => origin.level == level,
            None => origin.is_root(),
        };
        let mut found = of_key.filter(|((_, origin), _)| is_it(*origin));
        found.next().map(|(_, held)| held)
    }

    pub(crate) fn held(&self, whose: (KeyId, Origin)) -> Option<&Held> {
        self.records.get(&whose)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&(KeyId, Origin), &Held)> {
        self.records.iter()
    }
}

impl Held {
    pub(crate) fn age(&self, now: Time) -> Duration {
        self.down.age().saturating_add(now.since(self.at))
    }
}
