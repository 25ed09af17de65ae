//! How many different items there are: HyperLogLog with 1,024 registers.
//!
//! Items come as 64-bit hashes: 10 bits choose a register, and it keeps the longest run of zeros
//! that the rest began with. The union of two sets is the greater register at each place, so copies
//! do not count. The standard error is 1.04/sqrt(1,024) = 3.3 %.
//!
//! Written here since the known crate for it hashes by a hasher of the caller's and neither shows
//! its registers nor checks what it decodes.
//!
//! Source: Flajolet, Fusy, Gandouet, Meunier 2007, "HyperLogLog"; small sets by linear counting.

use opus_core::{
    Malformed,
    pack::{Pack, Reader, Writer},
};

use crate::aggregate::float::round32;

const REGISTERS: usize = 1_024;
/// Longest run and one: 54 bits are left of a hash.
const RUN_MAX: u8 = 55;
/// Below so many registers in use, a list of them is shorter than all (768 bytes).
const SPARSE_MAX: usize = 383;
/// Three standard errors, as a share of the estimate.
pub(crate) const ERROR_SHARE: f64 = 0.0975;

/// A set of items, as far as its size needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct Distinct {
    registers: [u8; REGISTERS],
}

impl Default for Distinct {
    fn default() -> Self {
        Self {
            registers: [0; REGISTERS],
        }
    }
}

impl std::fmt::Debug for Distinct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Distinct(about {})", self.estimate())
    }
}

impl Distinct {
    /// Adds an item by a hash whose 64 bits are all equally likely.
    pub fn insert(&mut self, hash: u64) {
        let index = usize::try_from(hash >> 54).expect("10 bits");
        // The bit set below the hash's own ends every run.
        let run = (hash << 10 | 1 << 9).leading_zeros() + 1;
        let run = u8::try_from(run).expect("at most 55");
        self.registers[index] = self.registers[index].max(run);
    }

    /// Adds the other's items.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// About how many different items were added.
    pub fn estimate(&self) -> f64 {
        const M: f64 = REGISTERS as f64;
        let inverse = |run: &u8| f64::from_bits((1_023 - u64::from(*run)) << 52);
        let sum: f64 = self.registers.iter().map(inverse).sum();
        let raw = 0.7213 / (1.0 + 1.079 / M) * M * M / sum;
        let zeros = REGISTERS - self.used();
        if raw <= 2.5 * M && zeros > 0 {
            // Rounded, so that no platform's last bit is seen.
            f64::from(round32(M * libm::log(M / zeros as f64)))
        } else {
            f64::from(round32(raw))
        }
    }

    /// Registers in use.
    fn used(&self) -> usize {
        self.registers.iter().map(|run| usize::from(*run > 0)).sum()
    }

    /// About how many items are in one of the two sets only.
    pub fn distance(&self, other: &Self) -> f64 {
        if self == other {
            return 0.0;
        }
        let mut union = self.clone();
        union.merge(other);
        (2.0 * union.estimate() - self.estimate() - other.estimate()).max(0.0)
    }
}

/// Two bytes tell how many registers are in use. Fewer than 384 follow as a list, 2 bytes each:
/// place and run in 10 and 6 bits; else all registers follow, 6 bits each: 770 bytes at most.
impl Pack for Distinct {
    fn pack(&self, to: &mut Writer) {
        let used = self.used();
        let used16 = u16::try_from(used).expect("1,024 at most");
        to.raw(&used16.to_le_bytes());
        if used <= SPARSE_MAX {
            for (place, run) in (0_u16..).zip(&self.registers).filter(|it| *it.1 > 0) {
                to.raw(&(place << 6 | u16::from(*run)).to_le_bytes());
            }
            return;
        }
        for four in self.registers.chunks_exact(4) {
            let bits = four
                .iter()
                .rev()
                .fold(0, |bits, run| bits << 6 | u32::from(*run));
            to.raw(&bits.to_le_bytes()[..3]);
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let used = usize::from(u16::from_le_bytes(Pack::unpack(from)?));
        let mut sketch = Self::default();
        if used <= SPARSE_MAX {
            let mut from_place = 0;
            for _ in 0..used {
                let bits = u16::from_le_bytes(Pack::unpack(from)?);
                let (place, run) = (usize::from(bits >> 6), low6(u32::from(bits)));
                if place < from_place || !(1..=RUN_MAX).contains(&run) {
                    return Err(Malformed::Invalid("registers out of order or range"));
                }
                sketch.registers[place] = run;
                from_place = place + 1;
            }
            return Ok(sketch);
        }
        for four in sketch.registers.chunks_exact_mut(4) {
            let [a, b, c] = Pack::unpack(from)?;
            let bits = u32::from_le_bytes([a, b, c, 0]);
            for (run, shift) in four.iter_mut().zip([0, 6, 12, 18]) {
                *run = low6(bits >> shift);
            }
        }
        if sketch.used() != used || sketch.registers.iter().any(|run| *run > RUN_MAX) {
            return Err(Malformed::Invalid("registers out of number or range"));
        }
        Ok(sketch)
    }
}

fn low6(bits: u32) -> u8 {
    u8::try_from(bits & 63).expect("6 bits")
}

#[cfg(test)]
mod tests {
    use opus_core::pack::{from_bytes, to_bytes};
    use proptest::prelude::*;

    use super::*;

    /// Stands in for a good hash: the finaliser of splitmix64.
    fn hash(item: u64) -> u64 {
        let mut x = item.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn set(items: std::ops::Range<u64>) -> Distinct {
        let mut set = Distinct::default();
        items.for_each(|item| set.insert(hash(item)));
        set
    }

    #[test]
    fn sets_of_all_sizes_are_estimated_within_three_standard_errors() {
        for size in [0, 1, 5, 50, 500, 2_000, 3_000, 10_000, 100_000] {
            let estimate = set(0..size).estimate();
            let error = (estimate - size as f64).abs();
            assert!(
                error <= size as f64 * ERROR_SHARE + 0.5,
                "{size}: {estimate}"
            );
        }
    }

    #[test]
    fn a_union_counts_no_item_twice_and_a_distance_what_is_in_one_only() {
        let (a, b) = (set(0..600), set(300..900));
        let mut union = a.clone();
        union.merge(&b);
        assert_eq!(union, set(0..900));
        assert!((a.distance(&b) - 600.0).abs() < 120.0, "{}", a.distance(&b));
        assert!(a.distance(&a).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn a_set_comes_out_of_its_bytes_again(size in 0..3_000_u64, start in any::<u32>()) {
            let start = u64::from(start);
            let set = set(start..start + size);
            let bytes = to_bytes(&set);
            prop_assert!(bytes.len() <= 770);
            prop_assert_eq!(from_bytes(&bytes), Ok(set));
        }

        #[test]
        fn hostile_bytes_give_a_lawful_set_or_none(
            mut bytes in proptest::collection::vec(any::<u8>(), 2..772), dense in any::<bool>(),
        ) {
            bytes[1] = if dense { 3 } else { 0 };
            if let Ok(set) = from_bytes::<Distinct>(&bytes) {
                prop_assert!(set.estimate().is_finite());
                prop_assert_eq!(to_bytes(&set), bytes);
            }
        }
    }
}
