//! The values of all nodes: loads that walk, and marks.

use std::collections::VecDeque;

use opus_core::{Rng, Seed};
use opus_net::Regions;
use opus_site::dicast::{
    Command,
    aggregate::{Function, KeyId, KeySpec, Sample},
};
use rand::RngExt;

use super::{DicastScenario, LOAD, MARKS, MORE};

/// Least and greatest load.
pub(super) const RANGE: (f64, f64) = (0.0, 100.0);

/// Mean and shape of the nodes' steps (Pareto), which a factor of their region scales.
const STEP_MEAN: f64 = 0.004;
const STEP_SHAPE: f64 = 1.2;

/// How fast a load returns to 1.
const RETURN: f64 = 0.01;

/// Values of a node that are remembered, a second each.
pub(super) const PAST_MAX: usize = 90;

pub(super) struct Workload {
    rng: Rng,
    step: Vec<f64>,
    load: Vec<f64>,
    /// Of each node, the newest last, as all nodes see them.
    pub(super) past: Vec<VecDeque<f32>>,
    marks: [Vec<f64>; 2],
    /// Further keys: of each its values by node.
    more: Vec<Vec<f64>>,
    more_rng: Rng,
    marked: bool,
    spec: KeySpec,
    surging: Vec<bool>,
    surge: Option<(u64, u64, f64)>,
    drift: Option<(u64, u64, f64)>,
}

impl Workload {
    pub(super) fn new(scenario: &DicastScenario, regions: &Regions, seed: Seed) -> Self {
        let nodes = scenario.nodes;
        let mut rng = seed.derive("workload", 0).rng();
        let least = STEP_MEAN * (STEP_SHAPE - 1.0) / STEP_SHAPE;
        let pareto = |rng: &mut Rng| {
            let u: f64 = rng.random_range(1e-9..1.0);
            least / libm::pow(u, 1.0 / STEP_SHAPE)
        };
        let factor: Vec<f64> = (0..regions.centres().len())
            .map(|_| libm::exp(normal(&mut rng)))
            .collect();
        let step = (0..nodes).map(|node| pareto(&mut rng) * factor[regions.region(node)]);
        let step = step.collect();
        let load = vec![1.0; nodes];
        let mut surging = vec![false; nodes];
        for node in regions.by_distance(0).into_iter().take(nodes / 10) {
            surging[node] = true;
        }
        let mut workload = Self {
            rng,
            step,
            load,
            past: vec![VecDeque::new(); nodes],
            marks: [vec![0.0; nodes], vec![0.0; nodes]],
            more: vec![vec![1.0; nodes]; scenario.keys - 1],
            more_rng: seed.derive("workload", 1).rng(),
            marked: scenario.marks_s.is_some(),
            spec: load_spec(scenario.eps),
            surging,
            surge: scenario.surge,
            drift: scenario.drift,
        };
        for node in 0..nodes {
            workload.note(node);
        }
        workload
    }

    fn note(&mut self, node: usize) {
        self.load[node] = self.load[node].clamp(RANGE.0, RANGE.1);
        let past = &mut self.past[node];
        past.extend(self.spec.admit(self.load[node]));
        if past.len() > PAST_MAX {
            past.pop_front();
        }
    }

    /// The values of this second.
    pub(super) fn step(&mut self, second: u64) -> Vec<(usize, Command)> {
        let within = |it: Option<(u64, u64, f64)>| {
            it.filter(|(from, to, _)| (*from..*to).contains(&second))
                .map_or(0.0, |it| it.2)
        };
        let (surge, drift) = (within(self.surge), within(self.drift));
        for node in 0..self.load.len() {
            let walk = self.step[node] * normal(&mut self.rng);
            let back = RETURN * (1.0 - self.load[node]);
            let surge = if self.surging[node] { surge } else { 0.0 };
            self.load[node] += walk + back + surge + drift;
            self.note(node);
        }
        for more in &mut self.more {
            for (x, step) in more.iter_mut().zip(&self.step) {
                *x += step * normal(&mut self.more_rng) + RETURN * (1.0 - *x);
                *x = x.clamp(RANGE.0, RANGE.1);
            }
        }
        let nodes = 0..self.load.len();
        let all = nodes.flat_map(|node| self.values_of(node).map(move |value| (node, value)));
        all.collect()
    }

    /// The values of a node of all keys but the marks.
    pub(super) fn values_of(&self, node: usize) -> impl Iterator<Item = Command> {
        let first = std::iter::once((LOAD, self.load[node]));
        let more = (MORE..)
            .map(KeyId)
            .zip(self.more.iter().map(move |of| of[node]));
        first.chain(more).map(|(key, x)| Command::Set {
            id: 3,
            key,
            sample: Sample::Number(x),
        })
    }

    /// What is aggregated, as commands of the first node.
    pub(super) fn specs(&self) -> Vec<Command> {
        let mark = KeySpec::new(Function::Sum, self.spec.range, 0.0);
        let mut keys = vec![(LOAD, self.spec)];
        if self.marked {
            keys.push((MARKS[0], mark.eager()));
            keys.push((MARKS[1], mark));
        }
        let more = (MORE..).map(KeyId).zip(&self.more);
        // Told within their filters, not with each change, in a node's own cluster too.
        let filtered = KeySpec {
            exact_in_cluster: false,
            ..self.spec
        };
        keys.extend(more.map(|(key, _)| (key, filtered)));
        let command = |(key, spec)| Command::Spec { id: 2, key, spec };
        keys.into_iter().map(command).collect()
    }

    pub(super) fn load(&self, node: usize) -> f64 {
        self.load[node]
    }

    /// One more mark of a node.
    pub(super) fn mark(&mut self, node: usize, which: usize) -> Command {
        let marks = &mut self.marks[which][node];
        *marks += 1.0;
        Command::Set {
            id: 3,
            key: MARKS[which],
            sample: Sample::Number(*marks),
        }
    }
}

pub(super) fn load_spec(eps: f32) -> KeySpec {
    KeySpec::new(Function::Mean, RANGE, eps)
}

/// Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random_range(0.0..1.0));
    libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)
}
