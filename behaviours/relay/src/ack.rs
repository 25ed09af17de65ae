//! Digests and tops: what a node has of a complete flow, and what it can give.
//!
//! A *digest* goes towards the source: the next sequence needed, the acknowledged position of the
//! whole branch, a bitmap of what is here beyond the first hole, the highest hop sequence received
//! from the addressee, and the branches below. The hop sequence makes loss certain: a frame that
//! was written before it and is not in the digest will not come, one written after may be on its
//! way. A *top* goes away from the source: the stable position, where a new child begins, and the
//! runs of sequences that the sender can give, and the position that it has heard of. Neither is
//! under a tag: they hold for one hop.

use crate::{
    header::{u32_at, u64_at},
    segments::Segments,
};

/// Words of a digest's bitmap at most: 1,024 sequences.
pub(crate) const WORDS_MAX: usize = 16;
/// Branches named in a digest at most. Overflow: further ones are not named, and a hold for them
/// runs to its end.
pub(crate) const BRANCHES_MAX: usize = 64;
const DIGEST_FIXED: usize = 32;
const TOP_FIXED: usize = 32;

/// The sender has no position: `next` is what it wishes to begin with, or 0.
const NEW: u8 = 1;
/// `hop_seen` holds.
const HOP: u8 = 2;
/// Local sinks are at the sender.
const SINK: u8 = 4;

/// See the module. Sequences are those of the flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    /// The first sequence that is missing; `None` before the first frame.
    pub(crate) position: Option<u64>,
    /// Without a position: where the sender would like to begin.
    pub(crate) wish: Option<u64>,
    /// All sinks of the branch have everything up to this sequence.
    pub(crate) ack: u64,
    /// The stable position that the sender knows.
    pub(crate) stable: u64,
    /// Low half of the highest hop sequence received from the addressee.
    pub(crate) hop_seen: Option<u32>,
    /// Whether the sender has sinks of its own.
    pub(crate) has_sink: bool,
    /// Bit i: sequence `position + 1 + i` is here.
    pub(crate) words: Vec<u64>,
    /// Last 8 bytes of the ids of the nodes below, nearest first.
    pub(crate) branches: Vec<u64>,
}

impl Digest {
    /// Whether `seq` is at the sender; `None` if the digest does not tell.
    pub(crate) fn has(&self, seq: u64) -> Option<bool> {
        let Some(position) = self.position else {
            return Some(false);
        };
        if seq <= position {
            return Some(seq < position);
        }
        let bit = usize::try_from(seq - position - 1).unwrap_or(usize::MAX);
        match self.words.get(bit / 64) {
            Some(word) => Some(word & (1 << (bit % 64)) != 0),
            None if self.words.len() < WORDS_MAX => Some(false),
            None => None,
        }
    }

    /// One past the highest sequence that the sender says it has.
    pub(crate) fn end(&self) -> Option<u64> {
        let position = self.position?;
        let word = self.words.iter().rposition(|&word| word != 0);
        let bits = word.map_or(0, |at| {
            at as u64 * 64 + u64::from(64 - self.words[at].leading_zeros())
        });
        Some(position.saturating_add(if bits == 0 { 0 } else { bits + 1 }))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut flags = 0;
        if self.position.is_none() {
            flags |= NEW;
        }
        if self.hop_seen.is_some() {
            flags |= HOP;
        }
        if self.has_sink {
            flags |= SINK;
        }
        let words = self.words.len().min(WORDS_MAX);
        let branches = self.branches.len().min(BRANCHES_MAX);
        let mut bytes = Vec::with_capacity(DIGEST_FIXED + 8 * (words + branches));
        let next = self.position.or(self.wish).unwrap_or(0);
        bytes.extend_from_slice(&next.to_le_bytes());
        bytes.extend_from_slice(&self.ack.to_le_bytes());
        bytes.extend_from_slice(&self.stable.to_le_bytes());
        bytes.extend_from_slice(&self.hop_seen.unwrap_or(0).to_le_bytes());
        let count = |n: usize| u8::try_from(n).expect("at most 64");
        bytes.extend_from_slice(&[flags, count(words), count(branches), 0]);
        for word in self
            .words
            .iter()
            .take(words)
            .chain(self.branches.iter().take(branches))
        {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// `None`: bytes that no honest peer sends.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < DIGEST_FIXED {
            return None;
        }
        let (flags, words, branches) = (bytes[28], bytes[29] as usize, bytes[30] as usize);
        let whole = DIGEST_FIXED + 8 * (words + branches) == bytes.len();
        if !whole || words > WORDS_MAX || branches > BRANCHES_MAX || flags > (NEW | HOP | SINK) {
            return None;
        }
        let next = u64_at(bytes, 0);
        let is_new = flags & NEW != 0;
        let ack = u64_at(bytes, 8);
        // The last sequence is never used, so that `next + 1` cannot overflow.
        if next >= u64::MAX - 1 || (!is_new && (next == 0 || ack >= next)) {
            return None;
        }
        let read =
            |from: usize, n: usize| (0..n).map(move |i| u64_at(bytes, from + 8 * i)).collect();
        Some(Self {
            position: (!is_new).then_some(next),
            wish: (is_new && next > 0).then_some(next),
            ack,
            stable: u64_at(bytes, 16),
            hop_seen: (flags & HOP != 0).then(|| u32_at(bytes, 24)),
            has_sink: flags & SINK != 0,
            words: read(DIGEST_FIXED, words),
            branches: read(DIGEST_FIXED + 8 * words, branches),
        })
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Top {
    /// All sinks of the overlay have everything up to this sequence, as far as the sender knows.
    pub(crate) stable: u64,
    /// Where a child without a position begins.
    pub(crate) start: Option<u64>,
    /// The addressee's position as the sender knows it. Only then do the segments prove that what
    /// the addressee needs is gone: before, the sender could not fetch it from above.
    pub(crate) heard: Option<u64>,
    /// What the sender can give.
    pub(crate) segments: Segments,
}

impl Top {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let runs = self.segments.runs();
        let mut bytes = Vec::with_capacity(TOP_FIXED + 16 * runs.len());
        bytes.extend_from_slice(&self.stable.to_le_bytes());
        bytes.extend_from_slice(&self.start.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&self.heard.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&(runs.len() as u64).to_le_bytes());
        for (first, end) in runs {
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        bytes
    }

    /// `None`: bytes that no honest peer sends.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < TOP_FIXED {
            return None;
        }
        let runs = usize::try_from(u64_at(bytes, 24))
            .ok()
            .filter(|&n| n <= Segments::MAX)?;
        if bytes.len() != TOP_FIXED + 16 * runs {
            return None;
        }
        let start = u64_at(bytes, 8);
        let mut segments = Segments::default();
        let mut least = 1;
        for run in 0..runs {
            let (first, end) = (
                u64_at(bytes, TOP_FIXED + 16 * run),
                u64_at(bytes, TOP_FIXED + 8 + 16 * run),
            );
            if first < least || end < first || end >= u64::MAX - 1 {
                return None;
            }
            least = end.max(first + 1);
            segments.push(first, end);
        }
        if start >= u64::MAX - 1 {
            return None;
        }
        Some(Self {
            stable: u64_at(bytes, 0),
            start: (start > 0).then_some(start),
            heard: Some(u64_at(bytes, 16)).filter(|&heard| heard > 0),
            segments,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest() -> Digest {
        Digest {
            position: Some(100),
            wish: None,
            ack: 90,
            stable: 80,
            hop_seen: Some(7),
            has_sink: true,
            words: vec![0b101, 1 << 63],
            branches: vec![11, 12],
        }
    }

    #[test]
    fn a_digest_survives_the_round_trip_and_tells_what_is_here() {
        let digest = digest();
        assert_eq!(Digest::decode(&digest.encode()), Some(digest.clone()));
        let has = |seq| digest.has(seq);
        assert_eq!(
            (has(99), has(100), has(101), has(102)),
            (Some(true), Some(false), Some(true), Some(false))
        );
        assert_eq!((has(228), has(229)), (Some(true), Some(false)));
        assert_eq!(digest.end(), Some(229));
        let new = Digest {
            wish: Some(5),
            ..Digest::default()
        };
        assert_eq!(Digest::decode(&new.encode()), Some(new));
    }

    #[test]
    fn a_full_bitmap_tells_nothing_of_what_is_beyond() {
        let full = Digest {
            words: vec![0; WORDS_MAX],
            ..digest()
        };
        assert_eq!(full.has(100 + 1_024), Some(false));
        assert_eq!(full.has(100 + 1_025), None);
    }

    #[test]
    fn a_digest_that_acknowledges_what_it_lacks_is_refused() {
        let lie = Digest {
            ack: 100,
            ..digest()
        };
        assert_eq!(Digest::decode(&lie.encode()), None);
    }

    #[test]
    fn a_top_survives_the_round_trip_and_runs_must_rise() {
        let mut top = Top {
            stable: 4,
            start: Some(5),
            heard: Some(6),
            segments: Segments::default(),
        };
        top.segments.push(3, 9);
        top.segments.push(20, 20);
        assert_eq!(Top::decode(&top.encode()), Some(top));
        let mut bytes = top.encode();
        bytes[TOP_FIXED + 16] = 8;
        assert_eq!(Top::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..700),
        ) {
            if let Some(digest) = Digest::decode(&bytes) {
                let end = digest.end().unwrap_or(1);
                prop_assert!(digest.has(end) != Some(true));
            }
            let _top: Option<Top> = Top::decode(&bytes);
        }
    }
}
