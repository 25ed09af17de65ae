//! Which keys there are: their specs, who set them, and in which version.
//!
//! Every node holds the same table. A change goes to all neighbours in the tree at once, and from
//! them on; beats carry a digest of the table, so that whoever missed a change gets it with the
//! next of them. *Of two definitions the newer stands*, and of more keys than there is room for
//! those with the smallest numbers, so two tables that talk end up equal.
//!
//! A key that nobody has a value of expires: who holds the post at the top defines it as gone. That
//! is remembered for as long as a node may have missed it, and is no part of the digest, so that it
//! does not matter when each node forgets it.

use std::{collections::BTreeMap, time::Duration};

use opus_core::{
    FlatMap, NodeId, Time,
    pack::{Pack, to_bytes},
    packed,
};

use crate::{
    aggregate::{KEYS_MAX, KeyId, KeySpec},
    cluster::digest,
};

/// A key's spec, and who may change it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// What the key is.
    pub spec: KeySpec,
    /// Rises with each change.
    pub version: u32,
    /// Who set it first.
    pub owner: NodeId,
    /// Whether it is no more, until its owner defines it anew.
    pub gone: bool,
}

packed!(Definition {
    spec,
    version,
    owner,
    gone
});

/// How long it is remembered that a key is gone: whoever missed that for longer brings it back.
const GONE_FOR: Duration = Duration::from_secs(600);

impl Definition {
    /// Of two who set it at once, and so cannot have heard of each other, the smaller id holds the
    /// key. One who forgot what it had set may set something else under the same version.
    fn is_newer_than(&self, other: &Self) -> bool {
        let rank = |it: &Self| {
            let owner = std::cmp::Reverse(it.owner);
            (it.version, owner, it.gone, to_bytes(&it.spec))
        };
        rank(self) > rank(other)
    }
}

/// All keys but the built-in count of members.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    table: FlatMap<KeyId, Definition>,
    /// Until when those are remembered that are gone.
    gone: BTreeMap<KeyId, Time>,
    digest: u16,
}

impl Default for Keys {
    fn default() -> Self {
        let mut keys = Self {
            table: FlatMap::new(),
            gone: BTreeMap::new(),
            digest: 0,
        };
        keys.redigest();
        keys
    }
}

impl Keys {
    /// The spec of a key, the built-in one's too.
    pub(crate) fn spec(&self, key: KeyId) -> Option<&KeySpec> {
        if key == KeyId::MEMBERS {
            return Some(&KeySpec::MEMBERS);
        }
        let known = self.table.get(&key).filter(|it| !it.gone);
        known.map(|it| &it.spec)
    }

    pub(crate) fn get(&self, key: KeyId) -> Option<&Definition> {
        self.table.get(&key)
    }

    /// All keys, the built-in count of members first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyId, &KeySpec)> {
        let set = self.table.iter().filter(|(_, it)| !it.gone);
        let set = set.map(|(key, it)| (*key, &it.spec));
        std::iter::once((KeyId::MEMBERS, &KeySpec::MEMBERS)).chain(set)
    }

    pub(crate) fn table(&self) -> Vec<(KeyId, Definition)> {
        self.table.iter().map(|(key, it)| (*key, *it)).collect()
    }

    /// 16 bits that differ, very likely, if two tables do.
    pub(crate) const fn digest(&self) -> u16 {
        self.digest
    }

    /// Whether another key would find room beside all that there are; one is taken by the count of
    /// members.
    pub(crate) fn has_room(&self) -> bool {
        self.iter().count() < KEYS_MAX
    }

    /// Takes a definition that is newer than what is known. Overflow: what is gone is forgotten,
    /// then the key with the greatest number, which may be this one. Returns the keys that are not
    /// what they were.
    pub(crate) fn learn(&mut self, now: Time, key: KeyId, definition: Definition) -> Vec<KeyId> {
        let known = self.table.get(&key);
        let newer = known.is_none_or(|known| definition.is_newer_than(known));
        if key == KeyId::MEMBERS || !newer {
            return Vec::new();
        }
        let before = self.table.insert(key, definition);
        let _ = if definition.gone {
            self.gone.insert(key, now + GONE_FOR)
        } else {
            self.gone.remove(&key)
        };
        let mut changed = vec![key];
        if self.table.len() >= KEYS_MAX {
            let gone = self.gone.pop_last().map(|(key, _)| key);
            let last = gone.or_else(|| self.table.keys().next_back().copied());
            if let Some(last) = last {
                self.table.remove(&last);
                changed.push(last);
            }
        }
        self.redigest();
        // What never was there, or was gone already, did not change.
        let is = |key: &KeyId| self.spec(*key).is_some();
        let was = before.is_some_and(|before| !before.gone);
        changed.retain(|it| is(it) || *it != key || was);
        changed.dedup();
        changed
    }

    /// Forgets what has been gone for long enough.
    pub(crate) fn sweep(&mut self, now: Time) {
        let Self { table, gone, .. } = self;
        gone.retain(|key, until| {
            let remembers = *until > now;
            if !remembers {
                table.remove(key);
            }
            remembers
        });
    }

    fn redigest(&mut self) {
        self.digest = digest(|to| {
            for (key, it) in self.table.iter().filter(|(_, it)| !it.gone) {
                key.pack(to);
                it.version.pack(to);
                it.owner.pack(to);
                it.spec.pack(to);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(owner: u32, version: u32) -> Definition {
        Definition {
            spec: KeySpec::MEMBERS,
            version,
            owner: NodeId::from_index(owner),
            gone: false,
        }
    }

    fn learn(keys: &mut Keys, key: u16, definition: Definition) -> Vec<u16> {
        let changed = keys.learn(Time::ZERO, KeyId(key), definition);
        changed.into_iter().map(|key| key.0).collect()
    }

    /// Each tells the other all it knows.
    fn meet(one: &mut Keys, other: &mut Keys) {
        for (key, it) in one.table() {
            learn(other, key.0, it);
        }
        for (key, it) in other.table() {
            learn(one, key.0, it);
        }
    }

    #[test]
    fn tables_that_tell_each_other_all_they_know_become_equal() {
        let (mut one, mut other) = (Keys::default(), Keys::default());
        assert_eq!(learn(&mut one, 1, of(1, 1)), [1]);
        assert_eq!(learn(&mut one, 2, of(1, 5)), [2]);
        assert_eq!(learn(&mut other, 1, of(2, 1)), [1]);
        assert_eq!(learn(&mut other, 2, of(1, 6)), [2]);
        assert_ne!(one.digest(), other.digest());
        meet(&mut one, &mut other);
        assert_eq!(one.table(), other.table());
        assert_eq!(one.digest(), other.digest());
        assert_eq!(one.get(KeyId(2)), Some(&of(1, 6)));
    }

    #[test]
    fn one_who_forgot_what_it_set_and_sets_something_else_does_not_part_the_tables() {
        let (mut one, mut other) = (Keys::default(), Keys::default());
        let wider = Definition {
            spec: KeySpec {
                range: (0.0, 2.0),
                ..KeySpec::MEMBERS
            },
            ..of(1, 1)
        };
        learn(&mut one, 1, of(1, 1));
        learn(&mut other, 1, wider);
        assert_ne!(one.digest(), other.digest());
        meet(&mut one, &mut other);
        assert_eq!(one.table(), other.table());
    }

    #[test]
    fn there_is_room_for_63_keys_and_none_is_the_count_of_members() {
        let mut keys = Keys::default();
        assert_eq!(learn(&mut keys, 0, of(1, 1)), [0; 0]);
        for key in 1..100 {
            learn(&mut keys, key, of(1, 1));
        }
        assert_eq!(keys.iter().count(), KEYS_MAX);
        assert!(!keys.has_room());
    }

    #[test]
    fn full_tables_of_different_keys_become_equal_too() {
        let (mut one, mut other) = (Keys::default(), Keys::default());
        for key in 1..=63 {
            learn(&mut one, 2 * key, of(1, 1));
            learn(&mut other, 2 * key + 1, of(2, 1));
        }
        meet(&mut one, &mut other);
        meet(&mut one, &mut other);
        assert_eq!((one.digest(), one.table()), (other.digest(), other.table()));
        assert_eq!(one.iter().last().map(|(key, _)| key), Some(KeyId(64)));
        // Who makes room says so, and who finds none changes nothing.
        assert_eq!(learn(&mut one, 1, of(3, 1)), [1, 64]);
        assert_eq!(learn(&mut one, 99, of(3, 1)), [0; 0]);
        assert_eq!(one.spec(KeyId(99)), None);
    }

    #[test]
    fn a_key_that_is_gone_stays_away_until_its_owner_brings_it_back_and_takes_no_room() {
        let (mut one, mut other) = (Keys::default(), Keys::default());
        for keys in [&mut one, &mut other] {
            learn(keys, 7, of(1, 1));
        }
        let gone = Definition {
            gone: true,
            ..of(1, 2)
        };
        assert_eq!(learn(&mut one, 7, gone), [7]);
        assert_eq!(learn(&mut one, 7, of(1, 1)), [0; 0]);
        assert_eq!(one.spec(KeyId(7)), None);
        assert_eq!(one.digest(), Keys::default().digest());
        meet(&mut one, &mut other);
        assert_eq!(other.spec(KeyId(7)), None);
        // It makes room for others.
        for key in 8..=70 {
            learn(&mut other, key, of(1, 1));
        }
        assert_eq!(other.iter().count(), KEYS_MAX);
        // Each forgets it when it likes.
        one.sweep(Time::ZERO + GONE_FOR / 2);
        assert!(one.get(KeyId(7)).is_some());
        one.sweep(Time::ZERO + GONE_FOR);
        assert_eq!(
            (one.get(KeyId(7)), one.digest()),
            (None, Keys::default().digest())
        );
        assert_eq!(learn(&mut one, 7, of(1, 3)), [7]);
        assert!(one.spec(KeyId(7)).is_some());
    }
}
