//! The two workloads: what is done to a side, second by second, and what is measured meanwhile.

use std::collections::BTreeSet;

use opus_core::Time;

use crate::{
    figures::{Accuracy, Bytes, Lags, Mean, Members},
    side::Side,
    walk::{DRIFT, TOLERANCE, Walk},
    world::{START, World},
};

/// How long each part lasts, in virtual seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From the last start until something is measured.
    pub settle_s: u64,
    /// How long bytes and accuracy are measured.
    pub steady_s: u64,
    /// How long all values rise.
    pub drift_s: u64,
    /// How long it may take until all know of the crash.
    pub crash_s: u64,
}

impl Default for Plan {
    /// Settled after a minute as in dicast-10k, measured for a minute. 600 s: SWIM with the
    /// settings for wide-area networks waits 90 s at 1,000 nodes before it calls a suspect dead,
    /// and who has missed the word finds out when it probes the dead itself, one node each 5 s.
    fn default() -> Self {
        Self {
            settle_s: 60,
            steady_s: 60,
            drift_s: 30,
            crash_s: 600,
        }
    }
}

struct Run<'a, S: Side> {
    side: &'a mut S,
    world: &'a World,
    alive: Vec<bool>,
    /// The present second.
    now: u64,
    /// Nodes that have started.
    started: usize,
    telling: Telling,
    /// What each node has told last, and in which second.
    told: Vec<Option<(f64, u64)>>,
}

/// When a node tells its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Telling {
    /// It is further than this from what was told last.
    filter: f64,
    /// Or so many seconds have passed.
    again_s: Option<u64>,
}

impl Telling {
    /// Whenever it is another.
    pub const EACH: Self = Self {
        filter: 0.0,
        again_s: None,
    };

    /// As rarely as a mean to 1 % allows, where every node holds every number. Half the tolerance:
    /// while each number is within it of what was told, so is their mean; the other half is for
    /// what is late. dicast has filters of its own.
    pub const FILTERED: Self = Self {
        filter: TOLERANCE / 2.0,
        again_s: None,
    };

    /// The same, and again each half minute: for a protocol that tells newcomers nothing of what
    /// was told before. Without it a node lacks numbers of others for minutes.
    pub const REPEATED: Self = Self {
        again_s: Some(30),
        ..Self::FILTERED
    };

    fn tells(&self, told: Option<(f64, u64)>, value: f64, now_s: u64) -> bool {
        told.is_none_or(|(told, at_s)| {
            let late = self.again_s.is_some_and(|again_s| now_s >= at_s + again_s);
            late || (value - told).abs() > self.filter
        })
    }
}

/// W1: each node's number walks, each node holds the mean; at the end all rise.
pub fn mean<S: Side>(side: &mut S, world: &World, plan: Plan, telling: Telling) -> Mean {
    let mut run = Run::new(side, world);
    run.telling = telling;
    let mut walk = Walk::new(world);
    let settled = START.as_secs() + plan.settle_s;
    while run.now < settled {
        run.values(&mut walk, 0.0);
    }
    let before = run.sent();
    let (mut errors, mut right, mut lags) = (Vec::new(), Vec::new(), Lags::default());
    for _ in 0..plan.steady_s {
        run.values(&mut walk, 0.0);
        run.errors(&walk, &mut errors);
        for node in 0..world.nodes {
            right.push(run.side.look(node, &run.alive).lists());
            run.side.lags(node, &run.alive, &mut lags);
        }
    }
    let bytes = Bytes::of(&before, &run.sent(), plan.steady_s as f64);
    let mut drifting = Vec::new();
    for _ in 0..plan.drift_s {
        run.values(&mut walk, DRIFT);
        run.errors(&walk, &mut drifting);
    }
    Mean {
        bytes,
        walk: Accuracy::of(&errors),
        drift: Accuracy::of(&drifting),
        lists: share(&right),
        lag_s_p99: lags.percentile(0.99),
    }
}

/// W2: nothing is told but who is alive; after a while a tenth crashes at once.
pub fn members<S: Side>(side: &mut S, world: &World, plan: Plan) -> Members {
    let mut run = Run::new(side, world);
    while run.now < START.as_secs() + plan.settle_s {
        run.second(|_, _| {});
    }
    // Who is taken for dead while all are still joining is not counted.
    run.side.wronged(&run.alive);
    let before = run.sent();
    let mut right = Vec::new();
    let mut wrongs = Wrongs::default();
    for _ in 0..plan.steady_s {
        run.second(|_, _| {});
        for node in 0..world.nodes {
            right.push(run.side.look(node, &run.alive).lists());
        }
        wrongs.look(run.side, &run.alive);
    }
    let bytes = Bytes::of(&before, &run.sent(), plan.steady_s as f64);
    for node in world.victims() {
        run.side.crash(node);
        run.alive[node] = false;
    }
    let mut known = (None, None);
    for second in 1..=plan.crash_s {
        run.second(|_, _| {});
        wrongs.look(run.side, &run.alive);
        let living: Vec<usize> = (0..world.nodes).filter(|&node| run.alive[node]).collect();
        let mourn = |&&node: &&usize| run.side.look(node, &run.alive).mourns();
        let mourning = living.iter().filter(mourn).count();
        if known.0.is_none() && mourning as f64 >= 0.99 * living.len() as f64 {
            known.0 = Some(second);
        }
        if mourning == living.len() {
            known.1 = Some(second);
            break;
        }
    }
    Members {
        bytes,
        lists: share(&right),
        wronged: wrongs.wronged.len(),
        suspected: wrongs.suspected.map(|nodes| nodes.len()),
        known_99_s: known.0,
        known_all_s: known.1,
    }
}

/// Living nodes of which somebody thought otherwise.
#[derive(Default)]
struct Wrongs {
    wronged: BTreeSet<usize>,
    suspected: Option<BTreeSet<usize>>,
}

impl Wrongs {
    fn look<S: Side>(&mut self, side: &mut S, alive: &[bool]) {
        self.wronged.extend(side.wronged(alive));
        if let Some(nodes) = side.suspected(alive) {
            self.suspected.get_or_insert_default().extend(nodes);
        }
    }
}

impl<'a, S: Side> Run<'a, S> {
    fn new(side: &'a mut S, world: &'a World) -> Self {
        Self {
            side,
            world,
            alive: vec![true; world.nodes],
            now: 0,
            started: 0,
            telling: Telling::EACH,
            told: vec![None; world.nodes],
        }
    }

    /// One second in which all values change at its beginning, those of the nodes that start in it
    /// when they start.
    fn values(&mut self, walk: &mut Walk, drift: f64) {
        walk.step(drift);
        for node in 0..self.started {
            let value = walk.value(node);
            if self.telling.tells(self.told[node], value, self.now) {
                self.side.set(node, value);
                self.told[node] = Some((value, self.now));
            }
        }
        let (before, now_s) = (self.started, self.now);
        self.second(|side, node| side.set(node, walk.value(node)));
        for node in before..self.started {
            self.told[node] = Some((walk.value(node), now_s));
        }
    }

    /// One second passes, in which nodes start whose time it is. `started`: what is then done.
    fn second(&mut self, started: impl Fn(&mut S, usize)) {
        let end = Time::from_secs(self.now + 1);
        while self.started < self.world.nodes && self.world.start_of(self.started) < end {
            let node = self.started;
            self.side.run_until(self.world.start_of(node));
            self.side.start(node, &self.world.seeds_of(node));
            started(self.side, node);
            self.started += 1;
        }
        self.side.run_until(end);
        self.now += 1;
        if self.now == START.as_secs() + 1 {
            self.side.acquaint();
        }
    }

    fn sent(&self) -> Vec<u64> {
        let nodes = 0..self.world.nodes;
        nodes.map(|node| self.side.sent(node)).collect()
    }

    /// How far off the means are that the nodes hold, in tolerances.
    fn errors(&mut self, walk: &Walk, errors: &mut Vec<Option<f64>>) {
        let truth = walk.mean(&self.alive);
        for node in 0..self.world.nodes {
            let held = self.side.look(node, &self.alive).mean;
            errors.push(held.map(|mean| (mean - truth).abs() / TOLERANCE));
        }
    }
}

fn share(looks: &[bool]) -> f64 {
    let right = looks.iter().filter(|right| **right).count();
    right as f64 / looks.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_when_it_is_off_or_late() {
        let told = Some((1.0, 10));
        assert!(Telling::EACH.tells(None, 1.0, 10));
        assert!(!Telling::EACH.tells(told, 1.0, 99));
        assert!(Telling::EACH.tells(told, 1.0001, 11));
        assert!(!Telling::FILTERED.tells(told, 1.004, 99));
        assert!(Telling::FILTERED.tells(told, 0.994, 11));
        assert!(!Telling::REPEATED.tells(told, 1.004, 39));
        assert!(Telling::REPEATED.tells(told, 1.004, 40));
    }
}
