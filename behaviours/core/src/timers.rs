//! Timers as state: a small table of named optional deadlines.

use std::fmt::Debug;

use crate::{
    flat::FlatMap,
    time::{Deadline, Time},
};

/// Named deadlines. `K` is the machine's own enum of timer names, or a pair of name and key.
///
/// Setting a timer replaces it, clearing it cancels it; nothing is ever scheduled elsewhere. The
/// table holds at most `capacity` timers: a machine's timers are bounded by its other bounded
/// state, so a full table is a defect and asserts.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    capacity: usize,
    at: FlatMap<K, Time>,
    queue: FlatMap<(Time, K), ()>,
}

impl<K: Ord + Copy + Debug> Timers<K> {
    /// An empty table of at most `capacity` timers.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            at: FlatMap::new(),
            queue: FlatMap::new(),
        }
    }

    /// Sets or moves timer `key` to `at`.
    ///
    /// # Panics
    /// If the table is full: a defect of the machine, never of a peer.
    pub fn set(&mut self, key: K, at: Time) {
        self.clear(key);
        assert!(
            self.at.len() < self.capacity,
            "timer table is full, cannot set {key:?}"
        );
        self.at.insert(key, at);
        self.queue.insert((at, key), ());
    }

    /// Sets timer `key` to `at` unless it is due earlier already.
    pub fn set_earliest(&mut self, key: K, at: Time) {
        if self.get(key).is_none_or(|due| at < due) {
            self.set(key, at);
        }
    }

    /// Cancels timer `key`.
    pub fn clear(&mut self, key: K) {
        if let Some(at) = self.at.remove(&key) {
            self.queue.remove(&(at, key));
        }
    }

    /// When timer `key` is due, if it is set.
    pub fn get(&self, key: K) -> Option<Time> {
        self.at.get(&key).copied()
    }

    /// Takes the earliest timer that is due at `now`; ties go to the smaller key.
    pub fn pop_due(&mut self, now: Time) -> Option<K> {
        let (&(at, key), ()) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }

    /// Moves the timers that `which` names and that are due before `until` to then.
    pub fn put_off(&mut self, until: Time, which: impl Fn(K) -> bool) {
        let due = self.queue.keys().take_while(|(at, _)| *at < until);
        let due = due.map(|&(_, key)| key).filter(|&key| which(key));
        for key in due.collect::<Vec<_>>() {
            self.set(key, until);
        }
    }

    /// The earliest deadline; `name` turns the key into the reason that is shown.
    pub fn next(&self, name: impl Fn(K) -> &'static str) -> Option<Deadline> {
        self.queue.first().map(|(&(at, key), ())| Deadline {
            at,
            reason: name(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Name {
        Tick,
        Beat,
    }

    fn name(key: Name) -> &'static str {
        match key {
            Name::Tick => "tick",
            Name::Beat => "beat",
        }
    }

    #[test]
    fn setting_again_moves_a_timer() {
        let mut timers = Timers::new(2);
        timers.set(Name::Tick, Time(10));
        timers.set(Name::Tick, Time(30));
        assert_eq!(timers.pop_due(Time(20)), None);
        assert_eq!(
            timers.next(name),
            Some(Deadline {
                at: Time(30),
                reason: "tick"
            })
        );
    }

    #[test]
    fn due_timers_come_in_order_and_once() {
        let mut timers = Timers::new(2);
        timers.set(Name::Tick, Time(20));
        timers.set(Name::Beat, Time(10));
        assert_eq!(timers.pop_due(Time(20)), Some(Name::Beat));
        assert_eq!(timers.pop_due(Time(20)), Some(Name::Tick));
        assert_eq!(timers.pop_due(Time(20)), None);
        assert_eq!(timers.next(name), None);
    }

    #[test]
    fn the_earliest_wins() {
        let mut timers = Timers::new(2);
        timers.set_earliest(Name::Tick, Time(20));
        timers.set_earliest(Name::Tick, Time(40));
        assert_eq!(timers.get(Name::Tick), Some(Time(20)));
    }

    #[test]
    fn only_what_is_due_before_and_is_named_is_put_off() {
        let mut timers = Timers::new(2);
        timers.set(Name::Tick, Time(10));
        timers.set(Name::Beat, Time(10));
        timers.put_off(Time(20), |name| name == Name::Beat);
        assert_eq!(timers.get(Name::Tick), Some(Time(10)));
        assert_eq!(timers.get(Name::Beat), Some(Time(20)));
        timers.put_off(Time(15), |_| true);
        assert_eq!(timers.get(Name::Tick), Some(Time(15)));
        assert_eq!(timers.get(Name::Beat), Some(Time(20)));
    }

    #[test]
    #[should_panic(expected = "timer table is full")]
    fn a_full_table_is_a_defect() {
        let mut timers = Timers::new(1);
        timers.set(Name::Tick, Time(1));
        timers.set(Name::Beat, Time(1));
    }
}
