//! The greatest values and who has them, with the greatest value that found no place.
//!
//! *Whoever is not named is not above `dropped`, and whoever is named is not below it.* Merging
//! keeps this: names are united, and at most k stay. A list that names k and dropped others has k
//! names above `dropped`, so each rank that is listed is right. A peer's list may be shorter and
//! have dropped all the same; then what falls below its `dropped` goes, since an unnamed node might
//! stand above it.

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};

use crate::aggregate::key::{KeySpec, TOP_MAX};

/// A node and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The value.
    pub value: f32,
    /// Names the node: the first 8 bytes of its id, little-endian.
    pub node: u64,
}

/// A list of the greatest values: falling, by rising name where equal; each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Top {
    entries: Vec<Entry>,
    dropped: Option<f32>,
}

impl Top {
    /// The list of one node.
    pub fn of(value: f32, node: u64) -> Self {
        Self {
            entries: vec![Entry { value, node }],
            dropped: None,
        }
    }

    /// The named nodes, greatest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The greatest value that is not named; none if every node is.
    pub fn dropped(&self) -> Option<f32> {
        self.dropped
    }

    /// Takes the other's nodes in and keeps `length`. A name on both sides keeps its greater value.
    pub fn merge(&mut self, other: &Self, length: u8) {
        self.entries.extend_from_slice(&other.entries);
        self.dropped = greater(self.dropped, other.dropped);
        self.settle(length);
    }

    /// Clamps values to the range and the list to its order and length.
    pub fn clamp(&mut self, spec: &KeySpec, length: u8) {
        let clamp = |value: f32| spec.admit(f64::from(value)).unwrap_or(value);
        for entry in &mut self.entries {
            entry.value = clamp(entry.value);
        }
        self.dropped = self.dropped.map(clamp);
        self.settle(length);
    }

    /// The most by which a named value, or the greatest unnamed one, differs; infinite if other
    /// nodes are named.
    pub fn distance(&self, other: &Self) -> f64 {
        if self.entries.len() != other.entries.len() {
            return f64::INFINITY;
        }
        let mut most = match (self.dropped, other.dropped) {
            (None, None) => 0.0,
            (Some(a), Some(b)) => (f64::from(a) - f64::from(b)).abs(),
            (Some(_), None) | (None, Some(_)) => return f64::INFINITY,
        };
        for entry in &self.entries {
            let Some(same) = other.entries.iter().find(|it| it.node == entry.node) else {
                return f64::INFINITY;
            };
            most = (f64::from(entry.value) - f64::from(same.value))
                .abs()
                .max(most);
        }
        most
    }

    fn settle(&mut self, length: u8) {
        let falling = |a: &Entry, b: &Entry| b.value.total_cmp(&a.value);
        self.entries
            .sort_by(|a, b| a.node.cmp(&b.node).then(falling(a, b)));
        self.entries.dedup_by_key(|entry| entry.node);
        self.entries
            .sort_by(|a, b| falling(a, b).then(a.node.cmp(&b.node)));
        if let Some(cut) = self.entries.get(usize::from(length)) {
            self.dropped = greater(self.dropped, Some(cut.value));
            self.entries.truncate(usize::from(length));
        }
        if let Some(dropped) = self.dropped {
            self.entries.retain(|entry| entry.value >= dropped);
        }
    }
}

fn greater(a: Option<f32>, b: Option<f32>) -> Option<f32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (one, None) | (None, one) => one,
    }
}

/// A byte for the length, 12 bytes an entry (value, name), a byte that tells whether a dropped
/// value follows, and it: 198 bytes at most.
impl Pack for Top {
    fn pack(&self, to: &mut Writer) {
        to.varint(self.entries.len() as u64);
        for entry in &self.entries {
            entry.value.pack(to);
            to.raw(&entry.node.to_le_bytes());
        }
        self.dropped.pack(to);
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = from.varint(u64::from(TOP_MAX))?;
        let mut top = Self::default();
        for _ in 0..count {
            top.entries.push(Entry {
                value: f32::unpack(from)?,
                node: u64::from_le_bytes(Pack::unpack(from)?),
            });
        }
        top.dropped = Option::unpack(from)?;
        top.settle(TOP_MAX);
        Ok(top)
    }
}

#[cfg(test)]
mod tests {
    use opus_core::pack::{from_bytes, to_bytes};
    use proptest::prelude::*;

    use super::*;

    fn leaves() -> impl Strategy<Value = Vec<(f32, u64)>> {
        proptest::collection::vec((-5.0..5.0_f32, 0..40_u64), 1..60)
    }

    fn merged(leaves: &[(f32, u64)], length: u8) -> Top {
        let mut top = Top::default();
        for &(value, node) in leaves {
            top.merge(&Top::of(value, node), length);
        }
        top
    }

    proptest! {
        #[test]
        fn every_listed_rank_is_right_however_the_tree_is_cut(
            leaves in leaves(), at in any::<prop::sample::Index>(), length in 1..=16_u8,
        ) {
            let at = at.index(leaves.len());
            let mut top = merged(&leaves[..at], length);
            top.merge(&merged(&leaves[at..], length), length);
            let mut best = std::collections::BTreeMap::new();
            for &(value, node) in &leaves {
                let most = best.entry(node).or_insert(value);
                *most = most.max(value);
            }
            let mut ranks: Vec<f32> = best.into_values().collect();
            ranks.sort_by(|a, b| b.total_cmp(a));
            for (entry, rank) in top.entries().iter().zip(&ranks) {
                prop_assert_eq!(entry.value.to_bits(), rank.to_bits());
            }
            prop_assert!(top.entries().len() <= usize::from(length));
            for rank in &ranks[top.entries().len()..] {
                prop_assert!(top.dropped().is_some_and(|dropped| *rank <= dropped));
            }
        }

        #[test]
        fn a_list_comes_out_of_its_bytes_again(leaves in leaves(), length in 1..=16_u8) {
            let top = merged(&leaves, length);
            let bytes = to_bytes(&top);
            prop_assert!(bytes.len() <= 198);
            prop_assert_eq!(from_bytes(&bytes), Ok(top));
        }

        #[test]
        fn hostile_bytes_give_an_ordered_list_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Ok(top) = from_bytes::<Top>(&bytes) {
                prop_assert!(top.entries().is_sorted_by(|a, b| a.value >= b.value));
                prop_assert_eq!(from_bytes(&to_bytes(&top)), Ok(top));
            }
        }
    }

    #[test]
    fn other_names_are_infinitely_far() {
        let (a, b) = (Top::of(1.0, 1), Top::of(1.0, 2));
        assert!(a.distance(&b).is_infinite());
        assert!((a.distance(&Top::of(1.5, 1)) - 0.5).abs() < f64::EPSILON);
    }
}
