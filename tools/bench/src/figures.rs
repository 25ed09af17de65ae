//! What is gathered while a side runs, and what is made of it.

use serde::Serialize;

/// How far behind exact values are, in whole seconds.
#[derive(Clone, Debug)]
pub struct Lags {
    /// By seconds; the last also holds all that are later.
    counts: [u64; LAGS_MAX],
}

/// Later than this is told as this.
const LAGS_MAX: usize = 121;

impl Default for Lags {
    fn default() -> Self {
        Self {
            counts: [0; LAGS_MAX],
        }
    }
}

impl Lags {
    /// One value that was replaced so many seconds ago; 0: it is the present one.
    pub fn add(&mut self, seconds: u64) {
        let at = usize::try_from(seconds).unwrap_or(LAGS_MAX);
        self.counts[at.min(LAGS_MAX - 1)] += 1;
    }

    /// The least number of seconds within which `share` of all values are; none without values.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let all: u64 = self.counts.iter().sum();
        let mut within = 0;
        let at = self.counts.iter().position(|count| {
            within += count;
            within as f64 >= share * all as f64
        });
        at.filter(|_| all > 0).map(|at| at as u64)
    }
}

/// Shares and percentiles of how far held means were off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Accuracy {
    /// Share of looks at which a node held the mean within the tolerance.
    pub within: f64,
    /// Distance from the truth of the moment over the tolerance, 99th percentile of the looks at
    /// which a node held one.
    pub error_p99: Option<f64>,
}

impl Accuracy {
    /// `errors`: in tolerances, of each look; none where nothing was held.
    pub fn of(errors: &[Option<f64>]) -> Self {
        let mut held: Vec<f64> = errors.iter().flatten().copied().collect();
        held.sort_unstable_by(f64::total_cmp);
        let within = held.iter().filter(|&&error| error <= 1.0).count();
        Self {
            within: within as f64 / errors.len().max(1) as f64,
            error_p99: percentile(&held, 0.99),
        }
    }
}

/// Of sorted numbers the least that `share` of them do not exceed.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let needed = (share * sorted.len() as f64).ceil();
    let fits = |&(rank, _): &(usize, &f64)| rank as f64 + 1.0 >= needed;
    sorted.iter().enumerate().find(fits).map(|(_, x)| *x)
}

/// Bytes sent a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bytes {
    /// Mean over the nodes.
    pub mean: f64,
    /// Of the node that sent most.
    pub worst: f64,
}

impl Bytes {
    /// `before`, `after`: sent so far, by node, at two moments `seconds` apart.
    pub fn of(before: &[u64], after: &[u64], seconds: f64) -> Self {
        let passed = || {
            before
                .iter()
                .zip(after)
                .map(|(before, after)| after - before)
        };
        let sum: u64 = passed().sum();
        Self {
            mean: sum as f64 / before.len().max(1) as f64 / seconds,
            worst: passed().max().unwrap_or(0) as f64 / seconds,
        }
    }
}

/// W1, *track the mean*.
#[derive(Clone, Debug, Serialize)]
pub struct Mean {
    /// Sent by a node and second while values walk.
    pub bytes: Bytes,
    /// While values walk.
    pub walk: Accuracy,
    /// While all values rise by the tolerance each second.
    pub drift: Accuracy,
    /// Share of looks at which a node's lists were right, while values walk.
    pub lists: f64,
    /// Seconds since the exact values that a node holds of others were replaced, 99th percentile;
    /// null where a node holds none.
    pub lag_s_p99: Option<u64>,
}

/// W2, *membership only*.
#[derive(Clone, Debug, Serialize)]
pub struct Members {
    /// Sent by a node and second at rest.
    pub bytes: Bytes,
    /// Share of looks at which a node's lists were right, at rest.
    pub lists: f64,
    /// Living nodes that somebody took for dead, at rest or after the crash.
    pub wronged: usize,
    /// Living nodes that somebody suspected at one of the looks; null where suspicion is not told.
    pub suspected: Option<usize>,
    /// Whole seconds from the crash until 99 % of the living knew of all deaths; null: not within
    /// the run.
    pub known_99_s: Option<u64>,
    /// The same until all did.
    pub known_all_s: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_nothing_is_not_within_the_tolerance() {
        let accuracy = Accuracy::of(&[Some(0.5), Some(1.0), Some(3.0), None]);
        assert!((accuracy.within - 0.5).abs() < 1e-9);
        assert_eq!(accuracy.error_p99, Some(3.0));
        assert_eq!(Accuracy::of(&[None]).error_p99, None);
    }

    #[test]
    fn percentiles_are_the_least_that_suffice() {
        let numbers: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&numbers, 0.99), Some(198.0));
        assert_eq!(percentile(&numbers, 0.5), Some(100.0));
        let mut lags = Lags::default();
        assert_eq!(lags.percentile(0.99), None);
        for seconds in [0, 0, 0, 7] {
            lags.add(seconds);
        }
        assert_eq!(lags.percentile(0.75), Some(0));
        assert_eq!(lags.percentile(0.99), Some(7));
        lags.add(100_000);
        assert_eq!(lags.percentile(1.0), Some(120));
    }

    #[test]
    fn bytes_are_a_difference_by_second_with_the_worst_node() {
        let bytes = Bytes::of(&[100, 0], &[200, 300], 10.0);
        assert_eq!((bytes.mean, bytes.worst), (20.0, 30.0));
    }
}
