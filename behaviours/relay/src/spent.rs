//! Sequences that this node's sources have used in this life, kept while their overlay is closed.
//!
//! A sequence never goes back (ipc.md, "Delivery"): a member that missed the end of an overlay
//! would take the frames of a source that begins anew for copies of the old ones.

use std::collections::BTreeMap;

use opus_core::OverlayId;

/// Overlays remembered: as many as there are applications. Overflow: the smallest is forgotten.
const SPENT_MAX: usize = 1_024;

/// The next free sequence of closed overlays that had a source here.
#[derive(Debug, Default)]
pub(crate) struct Spent(BTreeMap<OverlayId, u64>);

impl Spent {
    /// Notes that sequences below `next` are used up.
    pub(crate) fn note(&mut self, overlay: OverlayId, next: u64) {
        let known = self.0.entry(overlay).or_default();
        *known = next.max(*known);
        if self.0.len() > SPENT_MAX {
            self.0.pop_first();
        }
    }

    /// Where a source that would begin at `seq_first` begins.
    pub(crate) fn first(&self, overlay: OverlayId, seq_first: u64) -> u64 {
        self.0.get(&overlay).copied().unwrap_or(0).max(seq_first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_never_goes_back_and_memory_is_bounded() {
        let mut spent = Spent::default();
        spent.note(OverlayId(5), 40);
        spent.note(OverlayId(5), 30);
        assert_eq!(spent.first(OverlayId(5), 1), 40);
        assert_eq!(spent.first(OverlayId(5), 50), 50);
        assert_eq!(spent.first(OverlayId(6), 1), 1);
        for overlay in 10..5_000 {
            spent.note(OverlayId(overlay), 2);
        }
        assert_eq!(spent.0.len(), SPENT_MAX);
    }
}
