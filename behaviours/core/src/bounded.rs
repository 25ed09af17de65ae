//! Collections that cannot grow past a capacity. Each names its overflow policy.

use std::collections::{BTreeMap, VecDeque, btree_map};

/// A map of at most `capacity` keys. Overflow: a new key is refused; the caller decides.
#[derive(Clone, Debug)]
pub struct BoundedMap<K, V> {
    capacity: usize,
    items: BTreeMap<K, V>,
}

/// A new key was refused because the collection is full. State is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("collection is full")]
pub struct Full;

impl<K: Ord, V> BoundedMap<K, V> {
    /// An empty map of at most `capacity` keys.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            items: BTreeMap::new(),
        }
    }

    /// Inserts or replaces. Gives the value replaced, or [`Full`] for a new key in a full map.
    pub fn insert(&mut self, key: K, value: V) -> Result<Option<V>, Full> {
        let full = self.is_full();
        match self.items.entry(key) {
            btree_map::Entry::Occupied(mut entry) => Ok(Some(entry.insert(value))),
            btree_map::Entry::Vacant(_) if full => Err(Full),
            btree_map::Entry::Vacant(entry) => {
                entry.insert(value);
                Ok(None)
            }
        }
    }

    /// The value of `key`, made by `make` if absent; `None` for a new key in a full map.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> Option<&mut V> {
        let full = self.is_full();
        match self.items.entry(key) {
            btree_map::Entry::Occupied(entry) => Some(entry.into_mut()),
            btree_map::Entry::Vacant(_) if full => None,
            btree_map::Entry::Vacant(entry) => Some(entry.insert(make())),
        }
    }

    /// Whether a new key would be refused.
    pub fn is_full(&self) -> bool {
        self.items.len() >= self.capacity
    }

    /// The most keys that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.items.get(key)
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.items.get_mut(key)
    }

    /// Whether `key` is present.
    pub fn contains_key(&self, key: &K) -> bool {
        self.items.contains_key(key)
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.items.remove(key)
    }

    /// Keeps what `keep` accepts.
    pub fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.items.retain(keep);
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All pairs, by rising key.
    pub fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.items.iter()
    }

    /// All pairs, by rising key, values to change.
    pub fn iter_mut(&mut self) -> btree_map::IterMut<'_, K, V> {
        self.items.iter_mut()
    }

    /// All keys, rising.
    pub fn keys(&self) -> btree_map::Keys<'_, K, V> {
        self.items.keys()
    }

    /// All values, by rising key.
    pub fn values(&self) -> btree_map::Values<'_, K, V> {
        self.items.values()
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a BoundedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = btree_map::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a mut BoundedMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = btree_map::IterMut<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// A set of at most `capacity` keys. Overflow: a new key is refused.
#[derive(Clone, Debug)]
pub struct BoundedSet<K>(BoundedMap<K, ()>);

impl<K: Ord> BoundedSet<K> {
    /// An empty set of at most `capacity` keys.
    pub fn new(capacity: usize) -> Self {
        Self(BoundedMap::new(capacity))
    }

    /// Inserts `key`; tells whether it was new, or [`Full`].
    pub fn insert(&mut self, key: K) -> Result<bool, Full> {
        self.0.insert(key, ()).map(|old| old.is_none())
    }

    /// Whether `key` is present.
    pub fn contains(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// Removes `key`; tells whether it was present.
    pub fn remove(&mut self, key: &K) -> bool {
        self.0.remove(key).is_some()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All keys, rising.
    pub fn iter(&self) -> btree_map::Keys<'_, K, ()> {
        self.0.keys()
    }
}

impl<'a, K: Ord> IntoIterator for &'a BoundedSet<K> {
    type Item = &'a K;
    type IntoIter = btree_map::Keys<'a, K, ()>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A queue of at most `capacity` items. Overflow: pushing drops the oldest and hands it back.
#[derive(Clone, Debug)]
pub struct BoundedQueue<T> {
    capacity: usize,
    items: VecDeque<T>,
}

impl<T> BoundedQueue<T> {
    /// An empty queue of at most `capacity` items; at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            items: VecDeque::new(),
        }
    }

    /// Appends `item`; gives the oldest item if it had to go.
    pub fn push(&mut self, item: T) -> Option<T> {
        let dropped = if self.items.len() >= self.capacity {
            self.items.pop_front()
        } else {
            None
        };
        // Queues are short, and most stay as they are for long.
        self.items.reserve_exact(1);
        self.items.push_back(item);
        dropped
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// The oldest item.
    pub fn front(&self) -> Option<&T> {
        self.items.front()
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the next push drops an item.
    pub fn is_full(&self) -> bool {
        self.items.len() >= self.capacity
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All items, oldest first.
    pub fn iter(&self) -> std::collections::vec_deque::Iter<'_, T> {
        self.items.iter()
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        self.items = VecDeque::new();
    }

    /// Keeps what `keep` accepts, and no more room than that takes.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.items.retain(keep);
        self.items.shrink_to_fit();
    }
}

impl<'a, T> IntoIterator for &'a BoundedQueue<T> {
    type Item = &'a T;
    type IntoIter = std::collections::vec_deque::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_refuses_new_keys_and_replaces_old_ones() {
        let mut map = BoundedMap::new(1);
        assert_eq!(map.insert(1, 'a'), Ok(None));
        assert_eq!(map.insert(2, 'b'), Err(Full));
        assert_eq!(map.insert(1, 'c'), Ok(Some('a')));
        assert!(map.get_or_insert_with(2, || 'd').is_none());
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn a_full_queue_drops_its_oldest() {
        let mut queue = BoundedQueue::new(2);
        assert_eq!(queue.push(1), None);
        assert_eq!(queue.push(2), None);
        assert_eq!(queue.push(3), Some(1));
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_full_set_refuses() {
        let mut set = BoundedSet::new(1);
        assert_eq!(set.insert(1), Ok(true));
        assert_eq!(set.insert(1), Ok(false));
        assert_eq!(set.insert(2), Err(Full));
    }
}
