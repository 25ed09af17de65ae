//! One receiving program: what it was given, what was due to it, and whether that was in order.
//!
//! Frames are counted from 0 by the number that the source writes into each payload. A frame is due
//! to a sink if it was sent while the root listed the sink's node as joined.

use opus_core::Time;

use crate::checks::Broken;

/// A sink in one life of its node.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    /// Number of the attachment.
    pub(crate) att: u32,
    /// Whether the attachment was accepted.
    pub(crate) attached: bool,
    /// Whether the class promises every frame.
    complete: bool,
    /// Frames that are due: `from..until`, the last one perhaps open. Rising.
    due: Vec<(u64, Option<u64>)>,
    /// Frames given: `from..until`. Rising.
    given: Vec<(u64, u64)>,
    /// When the last frame came.
    last_at: Option<Time>,
    /// Frames given twice.
    pub(crate) duplicates: u64,
    /// Gaps among frames that were due, of which the sink was told.
    pub(crate) gaps_told: u64,
    /// Longest time between two frames that were both due, microseconds.
    pub(crate) stall_us: Option<u64>,
}

impl Sink {
    pub(crate) fn new(att: u32, complete: bool) -> Self {
        Self {
            att,
            attached: false,
            complete,
            due: Vec::new(),
            given: Vec::new(),
            last_at: None,
            duplicates: 0,
            gaps_told: 0,
            stall_us: None,
        }
    }

    /// The root lists it as joined: frames from number `next` on are due.
    pub(crate) fn joined(&mut self, next: u64) {
        if self.due.last().is_none_or(|&(_, until)| until.is_some()) {
            self.due.push((next, None));
        }
    }

    /// The root does not list it any more: frames from number `next` on are not due.
    pub(crate) fn parted(&mut self, next: u64) {
        if let Some((_, until @ None)) = self.due.last_mut() {
            *until = Some(next);
        }
    }

    /// Takes a frame and says what is wrong with it. `told`: it says that frames before it are
    /// lost.
    pub(crate) fn take(
        &mut self,
        now: Time,
        node: usize,
        number: u64,
        told: bool,
    ) -> Option<Broken> {
        let expected = self.given.last().map_or(0, |&(_, until)| until);
        if number < expected {
            self.duplicates += u64::from(self.was_given(number));
            return Some(self.out_of_order(node, expected, number));
        }
        let missed = self.first_due(expected, number).filter(|_| self.complete);
        self.gaps_told += u64::from(missed.is_some() && told);
        self.keep(now, number);
        missed
            .filter(|_| !told)
            .map(|missed| gap(node, missed, number))
    }

    fn keep(&mut self, now: Time, number: u64) {
        if let Some(before) = self.last_at.replace(now)
            && self.is_due(number)
        {
            let pause = now.as_micros().saturating_sub(before.as_micros());
            self.stall_us = self.stall_us.max(Some(pause));
        }
        match self.given.last_mut() {
            Some((_, until)) if *until == number => *until += 1,
            Some(_) | None => self.given.push((number, number + 1)),
        }
    }

    fn out_of_order(&self, node: usize, expected: u64, number: u64) -> Broken {
        let twice = self.was_given(number);
        Broken {
            node,
            sentence: if twice {
                "no sink is given a frame twice"
            } else {
                "frames are given in the order in which they were sent"
            },
            expected: format!("frame {expected} or later"),
            got: format!("frame {number}"),
        }
    }

    fn was_given(&self, number: u64) -> bool {
        self.given
            .iter()
            .any(|&(from, until)| (from..until).contains(&number))
    }

    fn is_due(&self, number: u64) -> bool {
        self.first_due(number, number + 1).is_some()
    }

    /// The first due frame of `from..until`.
    fn first_due(&self, from: u64, until: u64) -> Option<u64> {
        let within = |&(due_from, due_until): &(u64, Option<u64>)| {
            let first = from.max(due_from);
            (first < until.min(due_until.unwrap_or(u64::MAX))).then_some(first)
        };
        self.due.iter().find_map(within)
    }

    /// Frames given so far.
    pub(crate) fn given(&self) -> u64 {
        self.given.iter().map(|(from, until)| until - from).sum()
    }

    /// Frames that were due, of `sent` in all, and how many of these were given.
    pub(crate) fn due_and_given(&self, sent: u64) -> (u64, u64) {
        let (mut due, mut given) = (0, 0);
        for &(from, until) in &self.due {
            let until = until.unwrap_or(sent).max(from);
            due += until - from;
            for &(first, end) in &self.given {
                given += end.min(until).saturating_sub(first.max(from));
            }
        }
        (due, given)
    }
}

/// A sink that was cut off for longer than the hold may lose frames, but never without a word.
const GAP: &str = "a joined sink of the complete class is given every frame or told of the gap";

fn gap(node: usize, missed: u64, number: u64) -> Broken {
    Broken {
        node,
        sentence: GAP,
        expected: format!("frame {missed}"),
        got: format!("frame {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(complete: bool) -> Sink {
        let mut sink = Sink::new(1, complete);
        sink.joined(3);
        sink
    }

    fn take(sink: &mut Sink, numbers: &[u64]) -> Vec<&'static str> {
        let mut broken = Vec::new();
        for &number in numbers {
            broken.extend(sink.take(Time::from_secs(number), 0, number, false));
        }
        broken.into_iter().map(|broken| broken.sentence).collect()
    }

    #[test]
    fn frames_in_order_from_before_the_first_due_one_are_right() {
        let mut sink = sink(true);
        assert!(take(&mut sink, &[2, 3, 4, 5]).is_empty());
        assert_eq!(sink.due_and_given(6), (3, 3));
        assert_eq!(sink.due_and_given(8), (5, 3));
        assert_eq!(sink.stall_us, Some(1_000_000));
    }

    #[test]
    fn a_gap_is_told_in_the_complete_class_only() {
        assert_eq!(take(&mut sink(true), &[3, 5]), [GAP]);
        assert_eq!(
            take(&mut sink(true), &[4]),
            [GAP],
            "the first due one is missing"
        );
        assert!(take(&mut sink(false), &[3, 5, 9]).is_empty());
    }

    #[test]
    fn a_gap_of_which_the_sink_is_told_counts_as_lost_but_breaks_nothing() {
        let mut sink = sink(true);
        take(&mut sink, &[3]);
        assert_eq!(sink.take(Time::from_secs(9), 0, 5, true), None);
        assert_eq!(sink.gaps_told, 1);
        assert_eq!(sink.due_and_given(6), (3, 2));
    }

    #[test]
    fn what_was_sent_while_it_was_not_listed_may_be_missing() {
        let mut sink = sink(true);
        take(&mut sink, &[3, 4]);
        sink.parted(5);
        sink.joined(9);
        assert!(take(&mut sink, &[9, 10]).is_empty());
        assert_eq!(sink.due_and_given(11), (4, 4));
    }

    #[test]
    fn a_frame_twice_and_a_frame_late_are_two_things() {
        let mut sink = sink(false);
        let told = [
            "no sink is given a frame twice",
            "frames are given in the order in which they were sent",
        ];
        assert_eq!(take(&mut sink, &[3, 5, 5, 4]), told);
        assert_eq!(sink.duplicates, 1);
    }
}
