//! Watched peers: edges whose round trip is followed.

use std::collections::BTreeMap;

use opus_core::NodeId;

use crate::measure::Flight;

/// A change of the smoothed round trip by more than this share is told: 5 %.
const CHANGE_PERCENT: u64 = 5;

/// What is remembered of a watched peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// The newest ping, until it is answered or lost.
    pub(crate) flight: Option<Flight>,
    /// Intervals in a row without an answer; stops at the configured number.
    pub(crate) silent: u8,
    /// The smoothed round trip that was told last, microseconds; `None` before and after silence.
    pub(crate) told_us: Option<u32>,
}

impl Watch {
    /// Counts one more interval without an answer; tells whether it is the one that makes the peer
    /// silent. The next answer is news then.
    pub(crate) fn is_silent_at_last(&mut self, silent_max: u8) -> bool {
        let before = self.silent;
        self.silent = before.saturating_add(1).min(silent_max);
        let at_last = before < silent_max && self.silent == silent_max;
        if at_last {
            self.told_us = None;
        }
        at_last
    }

    /// Whether a smoothed round trip of `smoothed_us` is news; if so, it counts as told.
    pub(crate) fn is_news(&mut self, smoothed_us: u32) -> bool {
        let news = self.told_us.is_none_or(|told| {
            u64::from(told.abs_diff(smoothed_us)) * 100 > u64::from(told) * CHANGE_PERCENT
        });
        if news {
            self.told_us = Some(smoothed_us);
        }
        news
    }
}

/// All watched peers, by peer; at most `Config::watched_max`. Overflow: the command is refused.
pub(crate) type Watched = BTreeMap<NodeId, Watch>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_more_than_a_twentieth_is_news() {
        let mut watch = Watch::default();
        assert!(watch.is_news(1_000));
        assert!(!watch.is_news(1_050));
        assert!(!watch.is_news(950));
        assert!(watch.is_news(1_051));
        assert_eq!(watch.told_us, Some(1_051));
    }
}
