//! One measured path: a window of round trips and what follows from it.

use std::{collections::VecDeque, time::Duration};

use opus_core::Time;
use opus_model::coordinate::Coordinate;

use crate::PathStats;

/// Probes in the window. 64: at one ping each 5 s a watched path remembers five minutes.
const WINDOW: usize = 64;

/// The outcome of one ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sample {
    /// Round trip in microseconds.
    Answered(u32),
    /// Round trip in microseconds that also opened the protocol's substreams: counts only while
    /// there is nothing better.
    Setup(u32),
    /// No answer in time.
    Lost,
}

/// What is remembered of the path to one peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    /// At most [`WINDOW`], oldest first. Overflow: the oldest goes.
    window: VecDeque<Sample>,
    smoothed_us: Option<u32>,
    answered_at: Option<Time>,
    /// When the peer last turned out to be unreachable, and has not connected since.
    pub(crate) unreachable_at: Option<Time>,
    /// When anything was last heard or asked of it.
    pub(crate) touched_at: Time,
    /// The peer's coordinate, as it told us.
    pub(crate) coordinate: Option<Coordinate>,
}

impl Path {
    /// Takes the outcome of one ping.
    pub(crate) fn record(&mut self, now: Time, sample: Sample) {
        if self.window.len() >= WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(sample);
        self.touched_at = now;
        match sample {
            Sample::Lost => {}
            Sample::Setup(_) => self.answered_at = Some(now),
            Sample::Answered(rtt_us) => {
                self.answered_at = Some(now);
                self.smoothed_us = Some(smooth(self.smoothed_us, rtt_us));
            }
        }
    }

    /// Whether the newest answer is at most `age_max` old.
    pub(crate) fn is_fresh(&self, now: Time, age_max: Duration) -> bool {
        self.answered_at
            .is_some_and(|answered| now.since(answered) <= age_max)
    }

    /// What is known, or `None` if no answer is in the window.
    pub(crate) fn stats(&self, now: Time) -> Option<PathStats> {
        let answered_at = self.answered_at?;
        let mut round_trips = self.round_trips();
        round_trips.sort_unstable();
        let rtt_min_us = *round_trips.first()?;
        let rtt_p95_us = *round_trips.get(rank_p95(round_trips.len()))?;
        let lost = self.window.iter().filter(|&&s| s == Sample::Lost).count();
        Some(PathStats {
            rtt_min_us,
            rtt_smoothed_us: self.smoothed_us.unwrap_or(rtt_min_us),
            rtt_p95_us,
            sent: u32::try_from(self.window.len()).expect("a window is small"),
            lost: u32::try_from(lost).expect("a window is small"),
            age: now.since(answered_at),
        })
    }

    /// The counted round trips, or those with set-up in them while there are no others.
    fn round_trips(&self) -> Vec<u32> {
        let counted = self.window.iter().filter_map(|&sample| match sample {
            Sample::Answered(rtt_us) => Some(rtt_us),
            Sample::Setup(_) | Sample::Lost => None,
        });
        let counted: Vec<u32> = counted.collect();
        if !counted.is_empty() {
            return counted;
        }
        let setup = self.window.iter().filter_map(|&sample| match sample {
            Sample::Setup(rtt_us) => Some(rtt_us),
            Sample::Answered(_) | Sample::Lost => None,
        });
        setup.collect()
    }
}

/// Exponential smoothing with weight 1/8 (Jacobson 1988), in whole microseconds.
fn smooth(before: Option<u32>, rtt_us: u32) -> u32 {
    let Some(before) = before else {
        return rtt_us;
    };
    let sum = u64::from(before) * 7 + u64::from(rtt_us) + 4;
    u32::try_from(sum / 8).expect("a mean of two u32 is one")
}

/// Index of the 95th percentile among `len` sorted values, by the nearest rank.
fn rank_p95(len: usize) -> usize {
    (len * 95).div_ceil(100).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(samples: impl IntoIterator<Item = Sample>) -> Path {
        let mut path = Path::default();
        for (second, sample) in (1..).zip(samples) {
            path.record(Time::from_secs(second), sample);
        }
        path
    }

    #[test]
    fn the_figures_of_a_known_window_are_right() {
        let answers = (1..=20).map(|ms| Sample::Answered(ms * 1_000));
        let path = path(answers.chain([Sample::Lost, Sample::Lost]));
        let stats = path.stats(Time::from_secs(25)).unwrap();
        assert_eq!((stats.rtt_min_us, stats.rtt_p95_us), (1_000, 19_000));
        assert_eq!((stats.sent, stats.lost), (22, 2));
        assert_eq!(stats.age, Duration::from_secs(5));
        assert!((13_000..15_000).contains(&stats.rtt_smoothed_us));
    }

    #[test]
    fn a_round_trip_with_set_up_in_it_counts_only_alone() {
        let alone = path([Sample::Setup(90)]);
        assert_eq!(alone.stats(Time::from_secs(2)).unwrap().rtt_min_us, 90);
        let more = path([Sample::Setup(90), Sample::Answered(100)]);
        let stats = more.stats(Time::from_secs(2)).unwrap();
        assert_eq!((stats.rtt_min_us, stats.rtt_smoothed_us), (100, 100));
        assert_eq!(stats.rtt_p95_us, 100);
    }

    #[test]
    fn a_path_without_an_answer_is_not_known() {
        let silent = path([Sample::Lost, Sample::Lost]);
        assert_eq!(silent.stats(Time::from_secs(3)), None);
        assert!(!silent.is_fresh(Time::from_secs(3), Duration::MAX));
        let forgotten = path(
            [Sample::Answered(7)]
                .into_iter()
                .chain([Sample::Lost; WINDOW]),
        );
        assert_eq!(forgotten.stats(Time::from_secs(99)), None);
    }

    #[test]
    fn the_smallest_of_the_window_forgets_what_left_it() {
        let early = [Sample::Answered(1)];
        let path = path(early.into_iter().chain([Sample::Answered(500); WINDOW]));
        let stats = path.stats(Time::from_secs(99)).unwrap();
        assert_eq!((stats.rtt_min_us, stats.sent), (500, 64));
    }

    proptest! {
        #[test]
        fn figures_are_ordered_and_within_the_samples(
            rtts in proptest::collection::vec(any::<u32>(), 1..100),
        ) {
            let path = path(rtts.iter().map(|&rtt| Sample::Answered(rtt)));
            let stats = path.stats(Time::from_secs(200)).unwrap();
            let most = *rtts.iter().max().unwrap();
            let least = *rtts.iter().min().unwrap();
            prop_assert!(stats.rtt_min_us <= stats.rtt_p95_us);
            prop_assert!(stats.rtt_min_us >= least && stats.rtt_p95_us <= most);
            prop_assert!((least..=most).contains(&stats.rtt_smoothed_us));
        }
    }
}
