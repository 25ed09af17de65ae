//! Measurements on demand: from the question to the answer.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{NodeId, Output, Time};

use super::{Probe, Timer};
use crate::{Config, Refusal, measure::Phase, path::Sample};

impl Probe {
    pub(super) fn on_measure(&mut self, now: Time, id: u64, targets: &[NodeId], age_max: Duration) {
        if targets.len() > Config::TARGETS_MAX {
            self.refuse(id, Refusal::TooManyTargets);
            return;
        }
        let targets: BTreeSet<NodeId> = targets.iter().copied().collect();
        let (known, unknown): (BTreeSet<NodeId>, BTreeSet<NodeId>) = targets
            .into_iter()
            .partition(|&peer| self.is_known(now, peer, age_max));
        if let Err(refusal) = self.jobs.ask(&self.config, id, &unknown) {
            self.refuse(id, refusal);
            return;
        }
        for peer in known {
            self.tell(now, id, peer);
        }
        self.start_queued(now);
    }

    /// Whether a question for `peer` can be answered from memory.
    pub(super) fn is_known(&self, now: Time, peer: NodeId, age_max: Duration) -> bool {
        let Some(path) = self.paths.get(peer) else {
            return false;
        };
        let unreachable_for = self.config.unreachable_for.min(age_max);
        let unreachable = path
            .unreachable_at
            .is_some_and(|at| now.since(at) < unreachable_for);
        unreachable || (path.is_fresh(now, age_max) && path.stats(now).is_some())
    }

    /// The dial of a measurement succeeded.
    pub(super) fn on_job_connected(&mut self, now: Time, peer: NodeId) {
        let job = self.jobs.get_mut(peer);
        if job.is_some_and(|job| job.phase == Phase::Dialling) {
            self.ping(now, peer);
        }
    }

    /// The connection of a measurement is gone.
    pub(super) fn on_job_disconnected(&mut self, now: Time, peer: NodeId) {
        let job = self.jobs.get_mut(peer);
        if job.is_some_and(|job| matches!(job.phase, Phase::Pinging(_))) {
            self.on_mishap(now, peer);
        }
    }

    pub(super) fn on_dial_failed(&mut self, now: Time, peer: NodeId) {
        let job = self.jobs.get_mut(peer);
        if job.is_some_and(|job| job.phase == Phase::Dialling) {
            self.end(now, peer);
        }
    }

    pub(super) fn on_job_answered(&mut self, now: Time, peer: NodeId, counted: bool) {
        let Some(job) = self.jobs.get_mut(peer) else {
            return;
        };
        if counted {
            job.pings_left -= 1;
        }
        if job.pings_left == 0 {
            self.end(now, peer);
        } else {
            self.ping(now, peer);
        }
    }

    /// A ping, a dial or a connection of the measurement of `peer` was lost: again, or the end.
    pub(super) fn on_mishap(&mut self, now: Time, peer: NodeId) {
        let Some(job) = self.jobs.get_mut(peer) else {
            return;
        };
        let pinging = matches!(job.phase, Phase::Pinging(_));
        let again = job.retries_left > 0;
        job.retries_left = job.retries_left.saturating_sub(1);
        if pinging {
            self.paths.touch(now, peer).record(now, Sample::Lost);
        }
        if !again {
            self.end(now, peer);
        } else if self.links.contains_key(&peer) {
            self.ping(now, peer);
        } else {
            self.dial(now, peer);
        }
    }

    pub(super) fn start_queued(&mut self, now: Time) {
        while let Some(peer) = self.jobs.start_next(now) {
            if !self.watched.contains_key(&peer) {
                self.outputs.push_back(Output::Dial(peer));
            }
            if self.links.contains_key(&peer) {
                self.ping(now, peer);
            } else {
                self.wait_for_dial(now, peer);
            }
        }
        match self.jobs.next_start(now) {
            Some(at) => self.timers.set(Timer::Start, at),
            None => self.timers.clear(Timer::Start),
        }
    }

    pub(super) fn dial(&mut self, now: Time, peer: NodeId) {
        self.outputs.push_back(Output::Dial(peer));
        self.wait_for_dial(now, peer);
    }

    pub(super) fn wait_for_dial(&mut self, now: Time, peer: NodeId) {
        if let Some(job) = self.jobs.get_mut(peer) {
            job.phase = Phase::Dialling;
            self.timers
                .set(Timer::Job(peer), now + self.config.dial_timeout);
        }
    }

    pub(super) fn ping(&mut self, now: Time, peer: NodeId) {
        let flight = self.new_flight(now);
        if let Some(job) = self.jobs.get_mut(peer) {
            job.phase = Phase::Pinging(flight);
            self.timers
                .set(Timer::Job(peer), now + self.config.ping_timeout);
            self.send_ping(peer, flight);
        }
    }

    /// Ends the measurement of `peer` and answers everybody who waits for it.
    pub(super) fn end(&mut self, now: Time, peer: NodeId) {
        self.timers.clear(Timer::Job(peer));
        let Some(job) = self.jobs.finish(peer) else {
            return;
        };
        if !job.answered {
            self.paths.touch(now, peer).unreachable_at = Some(now);
        }
        if !self.watched.contains_key(&peer) {
            self.outputs.push_back(Output::Release(peer));
        }
        for id in job.waiters {
            self.tell(now, id, peer);
        }
    }
}
