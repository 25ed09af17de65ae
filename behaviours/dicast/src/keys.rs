//! Which keys there are: their specs, who set them, and in which version.
//!
//! Every node holds the same table. A change goes to all neighbours in the tree at once, and from
//! them on; beats and pulses carry a digest of the table, so that whoever missed a change gets it
//! with the next of them. *Tables only grow by what is newer*, so two that talk end up equal.

use std::collections::BTreeMap;

use opus_core::{NodeId, pack::Pack, packed};

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
}

packed!(Definition {
    spec,
    version,
    owner
});

impl Definition {
    /// Of two owners, who cannot have heard of each other, the smaller id holds the key.
    fn is_newer_than(&self, other: &Self) -> bool {
        let rank = |it: &Self| (std::cmp::Reverse(it.owner), it.version);
        rank(self) > rank(other)
    }
}

/// All keys but the built-in count of members.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    table: BTreeMap<KeyId, Definition>,
    digest: u16,
}

impl Default for Keys {
    fn default() -> Self {
        let mut keys = Self {
            table: BTreeMap::new(),
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
        self.table.get(&key).map(|it| &it.spec)
    }

    pub(crate) fn get(&self, key: KeyId) -> Option<&Definition> {
        self.table.get(&key)
    }

    /// All keys, the built-in count of members first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyId, &KeySpec)> {
        let set = self.table.iter().map(|(key, it)| (*key, &it.spec));
        std::iter::once((KeyId::MEMBERS, &KeySpec::MEMBERS)).chain(set)
    }

    pub(crate) fn table(&self) -> Vec<(KeyId, Definition)> {
        self.table.iter().map(|(key, it)| (*key, *it)).collect()
    }

    /// 16 bits that differ, very likely, if two tables do.
    pub(crate) const fn digest(&self) -> u16 {
        self.digest
    }

    /// Whether another key would find room; one is taken by the count of members.
    pub(crate) fn has_room(&self) -> bool {
        self.table.len() + 1 < KEYS_MAX
    }

    /// Takes a definition that is newer than what is known. Overflow: it is not taken. Tells
    /// whether it was.
    pub(crate) fn learn(&mut self, key: KeyId, definition: Definition) -> bool {
        let newer = match self.table.get(&key) {
            Some(known) => definition.is_newer_than(known),
            None => self.has_room(),
        };
        if key == KeyId::MEMBERS || !newer {
            return false;
        }
        self.table.insert(key, definition);
        self.redigest();
        true
    }

    fn redigest(&mut self) {
        let whole = digest(|to| {
            for (key, it) in &self.table {
                key.pack(to);
                it.version.pack(to);
                it.owner.pack(to);
            }
        });
        self.digest = u16::try_from(whole >> 16).expect("16 bits are left");
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
        }
    }

    #[test]
    fn tables_that_tell_each_other_all_they_know_become_equal() {
        let (mut one, mut other) = (Keys::default(), Keys::default());
        assert!(one.learn(KeyId(1), of(1, 1)) && one.learn(KeyId(2), of(1, 5)));
        assert!(other.learn(KeyId(1), of(2, 9)) && other.learn(KeyId(2), of(1, 6)));
        assert_ne!(one.digest(), other.digest());
        for (key, it) in one.table() {
            other.learn(key, it);
        }
        for (key, it) in other.table() {
            one.learn(key, it);
        }
        assert_eq!(one.table(), other.table());
        assert_eq!(one.digest(), other.digest());
        assert_eq!(one.get(KeyId(2)), Some(&of(1, 6)));
    }

    #[test]
    fn there_is_room_for_63_keys_and_none_is_the_count_of_members() {
        let mut keys = Keys::default();
        assert!(!keys.learn(KeyId::MEMBERS, of(1, 1)));
        for key in 1..100 {
            keys.learn(KeyId(key), of(1, 1));
        }
        assert_eq!(keys.iter().count(), KEYS_MAX);
    }
}
