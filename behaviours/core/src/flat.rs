//! A map as a list: for the many small tables of a machine.
//!
//! A B-tree makes room for eleven entries at once, and keeps it when they are gone. Most tables of
//! most nodes hold one entry or none, and here they take what they hold and no more. A key is
//! found by bisection; an insertion moves what stands behind it, which for some hundred entries
//! costs less than the walk down a tree.

use std::slice;

/// From this length on a list grows by a quarter at once.
const EXACT_MAX: usize = 16;

/// A map with the calls of a `BTreeMap`, in the same order, that takes as much as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatMap<K, V> {
    /// By rising key.
    items: Vec<(K, V)>,
}

/// All pairs, by rising key.
pub type Iter<'a, K, V> = std::iter::Map<slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;

impl<K, V> Default for FlatMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> FlatMap<K, V> {
    /// An empty map, which takes nothing.
    pub const fn new() -> Self {
        Self { items: Vec::new() }
    }

    /// Number of keys.
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no key.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All pairs, by rising key.
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.items.iter().map(|(key, value)| (key, value))
    }

    /// All keys, rising.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.items.iter().map(|(key, _)| key)
    }

    /// All values, by rising key.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.items.iter().map(|(_, value)| value)
    }

    /// All values, by rising key, to change.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.items.iter_mut().map(|(_, value)| value)
    }

    /// All pairs, by rising key, values to change.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> {
        self.items.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// The least key, and its value.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.items.first().map(|(key, value)| (key, value))
    }

    /// Keeps what `keep` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.items.retain_mut(|(key, value)| keep(key, value));
        self.give_back();
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.items = Vec::new();
    }

    fn grow(&mut self) {
        if self.items.len() == self.items.capacity() {
            let more = if self.items.len() < EXACT_MAX {
                1
            } else {
                self.items.len() / 4
            };
            self.items.reserve_exact(more);
        }
    }

    /// What is less than half full gives back the rest.
    fn give_back(&mut self) {
        if self.items.len() * 2 < self.items.capacity() {
            self.items.shrink_to_fit();
        }
    }
}

impl<K: Ord, V> FlatMap<K, V> {
    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let at = self.position(key).ok()?;
        Some(&self.items[at].1)
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.position(key).ok()?;
        Some(&mut self.items[at].1)
    }

    /// Whether `key` is present.
    pub fn contains_key(&self, key: &K) -> bool {
        self.position(key).is_ok()
    }

    /// Inserts or replaces. Gives the value replaced.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.position(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.items[at].1, value)),
            Err(at) => {
                self.grow();
                self.items.insert(at, (key, value));
                None
            }
        }
    }

    /// The value of `key`, made by `make` if absent.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = self.position(&key).unwrap_or_else(|at| {
            self.grow();
            self.items.insert(at, (key, make()));
            at
        });
        &mut self.items[at].1
    }

    /// Removes `key`. Gives its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.position(key).ok()?;
        let (_, value) = self.items.remove(at);
        self.give_back();
        Some(value)
    }

    /// Where `key` stands, or would.
    fn position(&self, key: &K) -> Result<usize, usize> {
        self.items.binary_search_by(|(it, _)| it.cmp(key))
    }
}

impl<'a, K, V> IntoIterator for &'a FlatMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_tree_holds_in_the_same_order(
            steps in proptest::collection::vec((0..40_u8, any::<Option<u8>>()), 0..200),
        ) {
            let (mut flat, mut tree) = (FlatMap::new(), BTreeMap::new());
            for (key, value) in steps {
                if let Some(value) = value {
                    prop_assert_eq!(flat.insert(key, value), tree.insert(key, value));
                } else {
                    prop_assert_eq!(flat.remove(&key), tree.remove(&key));
                }
                prop_assert_eq!(flat.get(&key), tree.get(&key));
                prop_assert!(flat.iter().eq(tree.iter()));
            }
            flat.retain(|key, _| key % 2 == 0);
            tree.retain(|key, _| key % 2 == 0);
            prop_assert!(flat.iter().eq(tree.iter()));
        }
    }

    #[test]
    fn a_small_map_takes_what_it_holds_and_an_emptied_one_nothing() {
        let mut map: FlatMap<u8, [u8; 100]> = FlatMap::new();
        for key in [3, 1, 2] {
            map.insert(key, [key; 100]);
            assert_eq!(map.items.capacity(), map.len());
        }
        assert_eq!(*map.get_or_insert_with(0, || [7; 100]), [7; 100]);
        for key in 0..4 {
            map.remove(&key);
        }
        assert_eq!(map.items.capacity(), 0);
    }
}
