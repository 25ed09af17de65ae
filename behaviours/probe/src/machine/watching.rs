//! Watched peers: a ping each interval, news and silence.

use std::time::Duration;

use opus_core::{NodeId, Output, Time};
use rand::RngExt;

use super::{Probe, Timer};
use crate::{Refusal, path::Sample, watch::Watch};

impl Probe {
    pub(super) fn on_watch(&mut self, now: Time, peer: NodeId) {
        if self.watched.contains_key(&peer) {
            return;
        }
        if self.watched.len() >= self.config.watched_max {
            self.refuse(0, Refusal::Busy);
            return;
        }
        let interested = self.jobs.holds(peer);
        self.watched.insert(peer, Watch::default());
        if !interested {
            self.outputs.push_back(Output::Dial(peer));
        }
        if self.links.contains_key(&peer) {
            self.ping_watched(now, peer);
        }
        self.set_watch_timer(now, peer);
    }

    pub(super) fn on_unwatch(&mut self, peer: NodeId) {
        if self.watched.remove(&peer).is_some() {
            self.timers.clear(Timer::Watch(peer));
            if !self.jobs.holds(peer) {
                self.outputs.push_back(Output::Release(peer));
            }
        }
    }

    pub(super) fn on_watch_answered(&mut self, now: Time, peer: NodeId) {
        let (Some(watch), Some(path)) = (self.watched.get_mut(&peer), self.paths.get(peer)) else {
            return;
        };
        watch.silent = 0;
        if path
            .stats(now)
            .is_some_and(|stats| watch.is_news(stats.rtt_smoothed_us))
        {
            self.tell(now, 0, peer);
        }
    }

    /// An interval of a watched peer is over.
    pub(super) fn on_watch_due(&mut self, now: Time, peer: NodeId) {
        let silent_max = self.config.watch_silent_max.max(1);
        let connected = self.links.contains_key(&peer);
        let Some(watch) = self.watched.get_mut(&peer) else {
            return;
        };
        let unanswered = watch.flight.take().is_some();
        if unanswered {
            self.paths.touch(now, peer).record(now, Sample::Lost);
        }
        if (unanswered || !connected) && watch.is_silent_at_last(silent_max) {
            self.tell_unreachable(0, peer);
        }
        if connected {
            self.ping_watched(now, peer);
        } else {
            self.outputs.push_back(Output::Dial(peer));
        }
        self.set_watch_timer(now, peer);
    }

    pub(super) fn ping_watched(&mut self, now: Time, peer: NodeId) {
        let flight = self.new_flight(now);
        if let Some(watch) = self.watched.get_mut(&peer) {
            watch.flight = Some(flight);
            self.send_ping(peer, flight);
        }
    }

    pub(super) fn set_watch_timer(&mut self, now: Time, peer: NodeId) {
        let share = self.rng.random_range(900..=1_100);
        let interval = self.config.watch_interval * share / 1_000;
        let interval = interval.max(Duration::from_micros(1));
        self.timers.set(Timer::Watch(peer), now + interval);
    }
}
