//! The distribution of values, in buckets of equal relative width: a small DDSketch.
//!
//! The bucket of a value is the exponent and the first four bits of the mantissa of its `f32`: no
//! logarithm, so all platforms agree, and a bucket is at most 1/16 wide relative to its lower edge.
//! The buckets lie below the greatest magnitude of the key's range: 254 of one sign (16 octaves),
//! or 127 of each (8 octaves); what is smaller shares bucket zero. With places fixed by the range,
//! merging adds whole numbers, in any order.
//!
//! Written here since the known crate for it computes places by the platform's logarithm, and
//! hands out neither its buckets nor a check of what it decodes.
//!
//! Source: Masson, Rim, Lee 2019, "DDSketch: a fast and fully-mergeable quantile sketch".

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};

use crate::aggregate::key::{KeySpec, NODES_MAX};

/// Places of one sign, if the range has one sign only.
const PLACES_MAX: i16 = 254;
/// Bits of an `f32` below those that name the bucket.
const SHIFT: u32 = 19;
/// Most buckets that are in use at once: of one sign, or of both, and zero.
const BUCKETS_MAX: usize = 255;

/// How many nodes stand in each bucket, by rising value; no bucket is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    buckets: Vec<(i16, u64)>,
}

/// How a key's range is laid out in buckets.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Places of each sign.
    places: i16,
    /// Upper bits of the greatest magnitude.
    top: u32,
}

impl Layout {
    fn of(spec: &KeySpec) -> Self {
        let both = spec.range.0 < 0.0 && spec.range.1 > 0.0;
        Self {
            places: if both { PLACES_MAX / 2 } else { PLACES_MAX },
            top: crate::aggregate::float::ceil32(spec.reach()).to_bits() >> SHIFT,
        }
    }

    fn bucket(self, value: f32) -> i16 {
        let below = self.top.saturating_sub(value.abs().to_bits() >> SHIFT);
        let below = i16::try_from(below).unwrap_or(i16::MAX);
        let place = self.places.saturating_sub(below).max(0);
        if value < 0.0 { -place } else { place }
    }

    /// Least magnitude of a place of 1 or more; the least of place `p + 1` ends place `p`.
    fn edge(self, place: i16) -> f64 {
        let below = u32::from((self.places - place + 1).unsigned_abs());
        f64::from(f32::from_bits((self.top + 1 - below) << SHIFT))
    }

    /// Least and greatest value of a bucket.
    fn edges(self, bucket: i16) -> (f64, f64) {
        let place = bucket.abs();
        let far = self.edge(place + 1);
        match bucket {
            0 => (-far, far),
            1.. => (self.edge(place), far),
            _ => (-far, -self.edge(place)),
        }
    }
}

impl Quantiles {
    /// The distribution of one node.
    pub fn of(value: f32, spec: &KeySpec) -> Self {
        Self {
            buckets: vec![(Layout::of(spec).bucket(value), 1)],
        }
    }

    /// Nodes in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, nodes)| nodes).sum()
    }

    /// Adds the other's nodes.
    pub fn merge(&mut self, other: &Self) {
        let mut merged = Vec::with_capacity(self.buckets.len().max(other.buckets.len()));
        let mut mine = self.buckets.iter().copied().peekable();
        for &(bucket, nodes) in &other.buckets {
            while let Some(before) = mine.next_if(|it| it.0 < bucket) {
                merged.push(before);
            }
            let same = mine.next_if(|it| it.0 == bucket).map_or(0, |it| it.1);
            merged.push((bucket, nodes + same));
        }
        merged.extend(mine);
        self.buckets = merged;
    }

    /// The greatest difference in rank at any value: how many nodes stand elsewhere.
    pub fn distance(&self, other: &Self) -> f64 {
        let (mut mine, mut theirs) = (&self.buckets[..], &other.buckets[..]);
        let (mut rank, mut rank_other, mut most) = (0_u64, 0_u64, 0_u64);
        while let Some(next) = [mine.first(), theirs.first()]
            .iter()
            .flatten()
            .map(|it| it.0)
            .min()
        {
            for (rest, rank) in [(&mut mine, &mut rank), (&mut theirs, &mut rank_other)] {
                if let Some((&(bucket, nodes), later)) = rest.split_first()
                    && bucket == next
                {
                    *rank += nodes;
                    *rest = later;
                }
            }
            most = most.max(rank.abs_diff(rank_other));
        }
        most as f64
    }

    /// Refuses what is not the distribution of `count` nodes of this key.
    pub fn fits(&self, spec: &KeySpec, count: u64) -> bool {
        let places = Layout::of(spec).places;
        let within = self.buckets.iter().all(|it| it.0.abs() <= places);
        let signs = if places == PLACES_MAX {
            self.buckets.iter().all(|it| it.0 >= 0) || self.buckets.iter().all(|it| it.0 <= 0)
        } else {
            true
        };
        within && signs && self.count() == count
    }

    /// The `share`-quantile, and between which values it lies if ranks are wrong by `slack`.
    ///
    /// `share`: 0 to 1, for the least value of which that share of the nodes is not above.
    /// `slack`: nodes. Returns value, least, greatest, in the key's unit; `None` without nodes.
    pub fn quantile(&self, share: f64, slack: f64, spec: &KeySpec) -> Option<(f64, f64, f64)> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = libm::ceil(share.clamp(0.0, 1.0) * count as f64).max(1.0);
        let (mut below, mut lo, mut at) = (0.0, None, None);
        let (layout, (least, most)) = (Layout::of(spec), spec.range);
        let edges = |bucket: i16| {
            let (lo, hi) = layout.edges(bucket);
            (lo.max(least), hi.min(most))
        };
        for &(bucket, nodes) in &self.buckets {
            below += nodes as f64;
            let (from, to) = edges(bucket);
            // Nodes that are reported in no bucket below may stand there all the same.
            if lo.is_none() && below + slack >= rank {
                lo = Some(if slack >= rank { least } else { from });
            }
            if at.is_none() && below >= rank {
                at = Some(f64::midpoint(from, to));
            }
            if below - slack >= rank {
                return Some((at?, lo?, to));
            }
        }
        Some((at?, lo?, most))
    }
}

/// The number of buckets; then for each its distance from the one before (the first: from the
/// lowest place there is) and its nodes, all varints: at most 1 KiB while there are fewer than two
/// million nodes in each bucket.
impl Pack for Quantiles {
    fn pack(&self, to: &mut Writer) {
        to.varint(self.buckets.len() as u64);
        let mut after = -PLACES_MAX;
        for &(bucket, nodes) in &self.buckets {
            to.varint(u64::from((bucket - after).unsigned_abs()));
            to.varint(nodes);
            after = bucket + 1;
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = from.varint(BUCKETS_MAX as u64)?;
        let mut sketch = Self::default();
        let (mut after, mut total) = (-PLACES_MAX, 0);
        for _ in 0..count {
            let gap = from.varint(2 * u64::from(PLACES_MAX.unsigned_abs()))?;
            let bucket = after + i16::try_from(gap).unwrap_or(i16::MAX / 2);
            let nodes = from.varint(NODES_MAX)?;
            total += nodes;
            if bucket > PLACES_MAX || nodes == 0 || total > NODES_MAX {
                return Err(Malformed::Invalid("a bucket that cannot be"));
            }
            sketch.buckets.push((bucket, nodes));
            after = bucket + 1;
        }
        Ok(sketch)
    }
}

#[cfg(test)]
mod tests {
    use opus_core::pack::{from_bytes, to_bytes};
    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::key::Function;

    fn spec(range: (f64, f64)) -> KeySpec {
        let spec = KeySpec::new(Function::Quantiles, range, 0.0);
        spec.checked().unwrap()
    }

    fn range() -> impl Strategy<Value = (f64, f64)> {
        prop_oneof![Just((0.0, 100.0)), Just((-7.0, 3.0)), Just((-9.0, -1.0))]
    }

    fn sketch(values: &[f32], spec: &KeySpec) -> Quantiles {
        let mut sketch = Quantiles::default();
        for value in values {
            sketch.merge(&Quantiles::of(*value, spec));
        }
        sketch
    }

    fn values(range: (f64, f64), shares: &[f64]) -> Vec<f32> {
        let spec = spec(range);
        let value = |share| range.0 + share * spec.span();
        let all = shares.iter().map(|share| spec.admit(value(share)).unwrap());
        all.collect()
    }

    proptest! {
        #[test]
        fn every_quantile_lies_within_its_bounds_and_near_its_value(
            range in range(),
            shares in proptest::collection::vec(0.0..=1.0_f64, 1..80),
            at in 0.0..=1.0_f64,
        ) {
            let (spec, mut values) = (spec(range), values(range, &shares));
            let sketch = sketch(&values, &spec);
            values.sort_by(f32::total_cmp);
            let rank = libm::ceil(at * values.len() as f64).max(1.0);
            let truth = f64::from(values.iter().copied().zip(1..)
                .find(|(_, place)| f64::from(*place) >= rank).unwrap().0);
            let (value, lo, hi) = sketch.quantile(at, 0.0, &spec).unwrap();
            prop_assert!(lo <= truth && truth <= hi, "{lo} {truth} {hi}");
            let zero = spec.reach() / 128.0;
            prop_assert!((value - truth).abs() <= truth.abs() / 16.0 + zero);
        }

        #[test]
        fn a_quantile_holds_though_as_many_nodes_as_the_slack_stand_elsewhere(
            range in range(),
            shares in proptest::collection::vec((0.0..=1.0_f64, 0.0..=1.0_f64), 1..40),
            moved in 0..10_usize,
            at in 0.0..=1.0_f64,
        ) {
            let spec = spec(range);
            let told = values(range, &shares.iter().map(|it| it.0).collect::<Vec<_>>());
            let other = values(range, &shares.iter().map(|it| it.1).collect::<Vec<_>>());
            let mut truth = told.clone();
            let moved = moved.min(told.len());
            truth[..moved].copy_from_slice(&other[..moved]);
            let (told, real) = (sketch(&told, &spec), sketch(&truth, &spec));
            let slack = told.distance(&real);
            prop_assert!(slack <= moved as f64);
            truth.sort_by(f32::total_cmp);
            let rank = libm::ceil(at * truth.len() as f64).max(1.0);
            let exact = f64::from(truth.iter().copied().zip(1..)
                .find(|(_, place)| f64::from(*place) >= rank).unwrap().0);
            let (_, lo, hi) = told.quantile(at, slack, &spec).unwrap();
            prop_assert!(lo <= exact && exact <= hi, "{lo} {exact} {hi}");
        }

        #[test]
        fn a_distribution_comes_out_of_its_bytes_again_and_fits_its_key(
            range in range(), shares in proptest::collection::vec(0.0..=1.0_f64, 1..300),
        ) {
            let spec = spec(range);
            let sketch = sketch(&values(range, &shares), &spec);
            prop_assert!(sketch.fits(&spec, shares.len() as u64));
            let bytes = to_bytes(&sketch);
            prop_assert!(bytes.len() <= 1_024);
            prop_assert_eq!(from_bytes(&bytes), Ok(sketch));
        }

        #[test]
        fn hostile_bytes_give_a_sketch_within_limits_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(sketch) = from_bytes::<Quantiles>(&bytes) {
                prop_assert!(sketch.count() <= NODES_MAX);
                prop_assert!(sketch.quantile(0.5, 1.0, &spec((-7.0, 3.0))).is_none()
                    || sketch.count() > 0);
                prop_assert_eq!(to_bytes(&sketch), bytes);
            }
        }
    }

    #[test]
    fn a_full_sketch_of_many_nodes_takes_a_kibibyte() {
        let buckets = (0..=254).map(|bucket| (bucket, (1 << 21) - 1)).collect();
        let bytes = to_bytes(&Quantiles { buckets });
        assert!(bytes.len() <= 1_024, "{}", bytes.len());
    }
}
