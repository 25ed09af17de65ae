//! Scenarios of the hierarchy: values that drift, marks, crashes, and an oracle that knows all.
//!
//! Every node runs probe and dicast alone ([`Status`]). Each virtual second the oracle compares
//! every live node's answers with what all nodes truly had, and looks at every post and seat from
//! outside; the figures stand in a [`DicastOutcome`].
//!
//! Source: design page dicast, section 9.

mod oracle;
mod outcome;
mod scenario;
mod watch;
mod workload;

use std::time::Duration;

use opus_core::{Contact, Rng, Seed, Time};
use opus_net::{Conditions, Loss, Network, RegionParameters, Regions, Topology};
use opus_site::{
    Status,
    dicast::{Command, Config, Event, Refusal, aggregate::KeyId},
    probe,
};
use rand::RngExt;

pub use self::{
    outcome::{Crashed, DicastExpect, DicastOutcome},
    scenario::{Crash, DicastScenario, DicastScenarioError},
};
use self::{watch::Watch, workload::Workload};
use crate::{
    driver::{Driver, Options, Transport, id_of},
    hierarchy::Hierarchy,
};

/// The mean of all loads.
const LOAD: KeyId = KeyId(1);
/// Sums of marks that nodes set: eager and lazy.
const MARKS: [KeyId; 2] = [KeyId(2), KeyId(3)];

/// Between two looks for marks.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a scenario with a seed. Errors: the scenario is not lawful.
pub fn run_dicast(
    scenario: &DicastScenario,
    seed: u64,
) -> Result<DicastOutcome, DicastScenarioError> {
    scenario.check()?;
    let named = seed;
    let seed = Seed::new(seed);
    let regions = RegionParameters::default();
    let regions = Regions::new(&regions, scenario.nodes, seed.derive("regions", 0))
        .map_err(|error| DicastScenarioError::new("nodes", error.to_string()))?;
    let workload = Workload::new(scenario, &regions, seed);
    let conditions = Conditions {
        jitter: scenario.jitter,
        loss: Loss::Bernoulli {
            rate: scenario.loss,
        },
        ..Conditions::default()
    };
    let network = Network::new(Topology::from(regions), conditions, seed)
        .map_err(|error| DicastScenarioError::new("loss", error.to_string()))?;
    let options = Options {
        transport: Transport::Datagrams,
        recent: 0,
        idle: Duration::from_secs(10),
        ..Options::default()
    };
    let mut run = Run {
        scenario,
        seed,
        driver: Driver::new(network, options),
        rng: seed.derive("scenario", 0).rng(),
        workload,
        watch: Watch::new(scenario),
        starts: Vec::new(),
    };
    run.all();
    Ok(run.watch.outcome(scenario, named, &run.driver))
}

struct Run<'a> {
    scenario: &'a DicastScenario,
    seed: Seed,
    driver: Driver<Status>,
    rng: Rng,
    workload: Workload,
    watch: Watch,
    /// When which node starts, in this order.
    starts: Vec<(Time, usize)>,
}

impl Run<'_> {
    fn all(&mut self) {
        self.draw_starts();
        for second in 0..u64::from(self.scenario.duration_s) {
            self.second(second);
        }
    }

    fn draw_starts(&mut self) {
        let all = Duration::from_secs_f64(self.scenario.start_s);
        let all_us = u64::try_from(all.as_micros()).unwrap_or(u64::MAX);
        let at = |node: usize, rng: &mut Rng| match node {
            0 => Time::ZERO,
            _ => Time::ZERO + Duration::from_micros(rng.random_range(1..all_us.max(2))),
        };
        let nodes = 0..self.scenario.nodes;
        self.starts = nodes.map(|node| (at(node, &mut self.rng), node)).collect();
        self.starts.sort_unstable();
    }

    fn second(&mut self, second: u64) {
        let now = Time::from_secs(second);
        self.crash(second);
        for (node, command) in self.workload.step(second) {
            if self.driver.is_running(node) {
                self.driver.command(node, command);
            }
        }
        self.mark(second);
        let end = Time::from_secs(second + 1);
        self.start_until(second, end);
        if self.scenario.is_marked_soon(second) {
            let mut at = now;
            while at < end {
                at = at + LOOK;
                self.driver.run_until(at.min(end));
                self.watch.look_for_marks(&self.driver, at.min(end));
            }
        }
        self.driver.run_until(end);
        while let Some((_, event)) = self.driver.poll_event() {
            let late = Refusal::UnknownMeasurement;
            if matches!(event, Event::Refused { reason, .. } if reason != late) {
                self.watch.refused += 1;
            }
        }
        let hierarchy = Hierarchy::of(&self.driver);
        self.watch
            .look(&self.driver, &hierarchy, second + 1, &self.workload);
    }

    /// Starts those whose time has come, each with up to three that have started as its seeds.
    fn start_until(&mut self, second: u64, end: Time) {
        let from = Time::from_secs(second);
        let due: Vec<(usize, (Time, usize))> = self
            .starts
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, (at, _))| (from..end).contains(at))
            .collect();
        for (rank, (at, node)) in due {
            self.driver.run_until(at);
            let host = Status::new(
                probe::Config::default(),
                Config::default(),
                Contact::bare(id_of(node)),
                &self.seed.derive("node", node as u64),
                1,
            );
            self.driver.start(node, host);
            let seeds = (0..rank.min(3)).map(|_| self.starts[self.rng.random_range(0..rank)].1);
            let seeds = seeds.map(|seed| Contact::bare(id_of(seed))).collect();
            self.driver.command(node, Command::Start { id: 1, seeds });
            if rank == 0 {
                for command in workload::specs() {
                    self.driver.command(node, command);
                }
            }
            let command = self.workload.value_of(node);
            self.driver.command(node, command);
        }
    }

    fn crash(&mut self, second: u64) {
        let crashes = self.scenario.crashes.iter();
        for crash in crashes.filter(|crash| crash.at_s == second) {
            for node in 0..self.scenario.nodes {
                if self.driver.is_running(node) && self.rng.random_bool(crash.share) {
                    self.driver.crash(node, true);
                }
            }
            self.watch.crashed(second, crash.share);
        }
    }

    fn mark(&mut self, second: u64) {
        if !self.scenario.is_marked(second) {
            return;
        }
        for which in 0..MARKS.len() {
            let alive: Vec<usize> = self.driver.hosts().map(|(node, _)| node).collect();
            let node = alive[self.rng.random_range(0..alive.len())];
            let command = self.workload.mark(node, which);
            self.driver.command(node, command);
            self.watch.marked(which, Time::from_secs(second));
        }
    }
}
