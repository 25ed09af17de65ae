//! Measurements: the queue of those that wait for the budget, and those under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use opus_core::{Bucket, NodeId, Time};

use crate::{Config, Refusal};

/// One measurement of one peer, and who waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Ids of the commands to answer. Overflow: the command is refused.
    pub(crate) waiters: Vec<u64>,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Counted round trips that are still wanted.
    pub(crate) pings_left: u8,
    /// Mishaps that may still be mended.
    pub(crate) retries_left: u8,
    /// Whether any ping of this measurement was answered.
    pub(crate) answered: bool,
}

/// How far a measurement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for the budget.
    Queued,
    /// Waits for a connection.
    Dialling,
    /// Waits for an answer.
    Pinging(Flight),
}

/// A ping without its answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// Of the ping.
    pub(crate) nonce: u64,
    /// When it left.
    pub(crate) sent_at: Time,
}

/// All measurements.
#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    /// By peer; at most `Config::jobs_max`. Overflow: the command is refused.
    by_peer: BTreeMap<NodeId, Job>,
    /// The queued ones, oldest first; a subset of `by_peer`.
    queue: VecDeque<NodeId>,
    budget: Bucket,
}

impl Jobs {
    /// No measurements, and a full budget.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            by_peer: BTreeMap::new(),
            queue: VecDeque::new(),
            budget: Bucket::new(config.measurements_per_s, config.measurements_burst),
        }
    }

    /// Makes command `id` wait for each of `targets`: joins what is under way, queues the rest.
    ///
    /// Errors: [`Refusal::Busy`]. State is unchanged.
    pub(crate) fn ask(
        &mut self,
        config: &Config,
        id: u64,
        targets: &BTreeSet<NodeId>,
    ) -> Result<(), Refusal> {
        let joined = targets.iter().filter_map(|peer| self.by_peer.get(peer));
        let crowded = joined
            .clone()
            .any(|job| job.waiters.len() >= config.waiters_max);
        let fresh = targets.len() - joined.count();
        if crowded || self.by_peer.len() + fresh > config.jobs_max {
            return Err(Refusal::Busy);
        }
        for &peer in targets {
            let queue = &mut self.queue;
            let job = self.by_peer.entry(peer).or_insert_with(|| {
                queue.push_back(peer);
                Job {
                    waiters: Vec::new(),
                    phase: Phase::Queued,
                    pings_left: config.pings.max(1),
                    retries_left: config.retries,
                    answered: false,
                }
            });
            job.waiters.push(id);
        }
        Ok(())
    }

    /// The next queued peer, if the budget has a token for it.
    pub(crate) fn start_next(&mut self, now: Time) -> Option<NodeId> {
        if self.queue.is_empty() || !self.budget.take(now) {
            return None;
        }
        self.queue.pop_front()
    }

    /// When the budget has a token for what is queued.
    pub(crate) fn next_start(&self, now: Time) -> Option<Time> {
        (!self.queue.is_empty()).then(|| self.budget.next(now))
    }

    /// The measurement of `peer`.
    pub(crate) fn get_mut(&mut self, peer: NodeId) -> Option<&mut Job> {
        self.by_peer.get_mut(&peer)
    }

    /// Takes the measurement of `peer` out, which must not be queued.
    pub(crate) fn finish(&mut self, peer: NodeId) -> Option<Job> {
        let job = self.by_peer.remove(&peer)?;
        debug_assert!(job.phase != Phase::Queued, "only what was started can end");
        if self.by_peer.is_empty() {
            // Most of the time there are none, and an emptied map keeps a node.
            (self.by_peer, self.queue) = (BTreeMap::new(), VecDeque::new());
        }
        Some(job)
    }

    /// Whether a measurement of `peer` is under way, and thus holds an interest in it.
    pub(crate) fn holds(&self, peer: NodeId) -> bool {
        let job = self.by_peer.get(&peer);
        job.is_some_and(|job| job.phase != Phase::Queued)
    }
}
