//! Runs of sequences that a node can give: at most two, the second of a later life of the source.

/// The life of the source's node that a sequence belongs to: `boots` of `boots << 40 | n`.
pub(crate) const fn epoch(seq: u64) -> u64 {
    seq >> 40
}

/// At most two half-open runs, rising. The last one grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segments {
    runs: [(u64, u64); 2],
    len: usize,
}

impl Segments {
    /// Most runs.
    pub(crate) const MAX: usize = 2;

    /// Adds a run after those here; beyond [`Self::MAX`] it is not taken.
    pub(crate) fn push(&mut self, first: u64, end: u64) {
        if let Some(run) = self.runs.get_mut(self.len) {
            *run = (first, end.max(first));
            self.len += 1;
        }
    }

    pub(crate) fn runs(&self) -> &[(u64, u64)] {
        &self.runs[..self.len]
    }

    /// If the giver has nothing at `position` but something after: where that begins. A receiver
    /// at `position` will never get what lies between.
    pub(crate) fn resumes_after(&self, position: u64) -> Option<u64> {
        for (i, &(first, end)) in self.runs().iter().enumerate() {
            let is_last = i + 1 == self.len;
            if position < first {
                return Some(first);
            }
            if position < end || is_last {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_skips_only_what_the_giver_has_not() {
        let mut segments = Segments::default();
        assert_eq!(segments.resumes_after(5), None);
        segments.push(10, 20);
        assert_eq!(segments.resumes_after(5), Some(10));
        assert_eq!(segments.resumes_after(15), None);
        assert_eq!(segments.resumes_after(25), None, "ahead of the giver");
        segments.push(100, 120);
        assert_eq!(
            segments.resumes_after(15),
            None,
            "the first run is not at its end"
        );
        assert_eq!(segments.resumes_after(20), Some(100));
        assert_eq!(segments.resumes_after(130), None);
    }
}
