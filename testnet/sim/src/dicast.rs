//! Scenarios of the hierarchy: values that drift, marks, faults, and an oracle that knows all.
//!
//! Every node runs probe and dicast alone ([`Status`]). Each virtual second the oracle compares
//! every live node's answers with what all nodes truly had, and looks at every post and seat from
//! outside; the figures stand in a [`DicastOutcome`].
//!
//! Source: design page dicast, section 9.

mod adversity;
mod directory;
mod expect;
mod history;
mod lies;
mod nearness;
mod oracle;
mod outcome;
mod scenario;
mod sites;
mod watch;
mod workload;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use opus_core::{Contact, Rng, Seed, Time};
use opus_net::{Conditions, Loss, Network, RegionParameters, Regions, Topology};
use opus_site::{
    Status,
    dicast::{Command, Config, Event, Refusal, aggregate::KeyId, label::Label},
    probe,
};
use rand::RngExt;

use self::{
    adversity::{Act, Adversity},
    directory::Directory,
    watch::Watch,
    workload::Workload,
};
pub use self::{
    expect::DicastExpect,
    history::Moment,
    outcome::{Crashed, DicastOutcome, Parted},
    scenario::{
        Comings, Crash, Cut, CutKind, DicastScenario, DicastScenarioError, LyingAgents, Pauses,
        Sites, Small,
    },
};
use crate::{
    driver::{Driver, Options, Transport, id_of},
    hierarchy::Hierarchy,
};

/// The mean of all loads.
const LOAD: KeyId = KeyId(1);
/// Sums of marks that nodes set: eager and lazy.
const MARKS: [KeyId; 2] = [KeyId(2), KeyId(3)];
/// The first of further keys like the load.
const MORE: u16 = 4;

/// Between two looks for marks.
const LOOK: Duration = Duration::from_millis(100);

/// How many bytes are given back while the closure runs.
pub type Weigh<'a> = &'a dyn Fn(&mut dyn FnMut()) -> u64;

/// Runs a scenario with a seed. `weigh` measures what a node's machines take, for who can count
/// allocations. Errors: the scenario is not lawful.
pub fn run_dicast(
    scenario: &DicastScenario,
    seed: u64,
    weigh: Option<Weigh<'_>>,
) -> Result<DicastOutcome, DicastScenarioError> {
    scenario.check()?;
    let named = seed;
    let seed = Seed::new(seed);
    let regions = RegionParameters::default();
    let regions = Regions::new(&regions, scenario.nodes, seed.derive("regions", 0))
        .map_err(|error| DicastScenarioError::new("nodes", error.to_string()))?;
    let conditions = Conditions {
        jitter: scenario.jitter,
        loss: Loss::Bernoulli {
            rate: scenario.loss,
        },
        duplicate: scenario.duplicate,
        reorder: scenario.reorder,
        ..Conditions::default()
    };
    let network = Network::new(Topology::from(regions.clone()), conditions, seed)
        .map_err(|error| DicastScenarioError::new("loss", error.to_string()))?;
    let options = Options {
        transport: Transport::Datagrams,
        recent: 0,
        idle: Duration::from_secs(10),
        // Who lies has to get it past the codec.
        encode: scenario.liars > 0.0 || scenario.lying_agents.is_some(),
        ..Options::default()
    };
    let driver = Driver::new(network, options);
    let adversity = Adversity::new(scenario, &driver, seed)?;
    let labels = scenario.sites.as_ref().map_or_else(
        || vec![None; scenario.nodes],
        |sites| sites::draw(sites, &regions, scenario.nodes, seed),
    );
    let mut config = Config::default();
    config.audit.take_if(|_| !scenario.audits);
    let mut run = Run {
        configs: (Arc::default(), Arc::new(config)),
        workload: Workload::new(scenario, &regions, seed),
        watch: Watch::new(scenario, adversity.liars.clone(), labels.clone()),
        labels,
        scenario,
        seed,
        driver,
        rng: seed.derive("scenario", 0).rng(),
        regions,
        adversity,
        directory: Directory::new(seed),
        boots: vec![0; scenario.nodes],
        starts: Vec::new(),
        agenda: BTreeMap::new(),
    };
    run.all();
    Ok(run.watch.outcome(scenario, named, run.driver, weigh))
}

struct Run<'a> {
    scenario: &'a DicastScenario,
    /// Of all nodes, which share them.
    configs: (Arc<probe::Config>, Arc<Config>),
    seed: Seed,
    driver: Driver<Status>,
    rng: Rng,
    regions: Regions,
    workload: Workload,
    watch: Watch,
    adversity: Adversity,
    directory: Directory,
    /// Of each node.
    labels: Vec<Option<Label>>,
    /// How often each node has started.
    boots: Vec<u64>,
    /// When which node starts first, in this order.
    starts: Vec<(Time, usize)>,
    /// What happens at its time, by time and number.
    agenda: BTreeMap<(Time, usize), Act>,
}

impl Run<'_> {
    fn all(&mut self) {
        self.draw_starts();
        self.prepare();
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
        for (rank, (at, _)) in self.starts.iter().enumerate() {
            self.agenda.insert((*at, rank), Act::Start(rank));
        }
    }

    fn second(&mut self, second: u64) {
        let now = Time::from_secs(second);
        self.begin_faults(second);
        for (node, command) in self.workload.step(second) {
            if self.driver.is_running(node) {
                self.driver.command(node, command);
            }
        }
        self.mark(second);
        let end = Time::from_secs(second + 1);
        self.act_until(end);
        if self.scenario.is_marked_soon(second) {
            let mut at = now;
            while at < end {
                at = at + LOOK;
                self.driver.run_until(at.min(end));
                self.watch.look_for_marks(&self.driver, at.min(end));
            }
        }
        self.driver.run_until(end);
        while let Some((node, event)) = self.driver.poll_event() {
            let late = Refusal::UnknownMeasurement;
            match event {
                Event::Refused { reason, .. } if reason != late => self.watch.refused += 1,
                Event::WantSeeds if self.scenario.neighbours => self.introduce_others(node),
                Event::Want(name) => self.look_up(node, name),
                Event::Publish { name, contacts } => {
                    let now = self.driver.now();
                    self.directory.publish(now, name, contacts);
                }
                Event::Left => self.on_left(node),
                Event::Deposed(agent) => self.watch.deposed(agent, second),
                Event::Refused { .. }
                | Event::Joined(_)
                | Event::Measure { .. }
                | Event::Address(_)
                | Event::WantSeeds
                | Event::MemberUp(_)
                | Event::MemberDown(_)
                | Event::AgentChanged(_)
                | Event::RootChanged(_) => {}
            }
        }
        let hierarchy = Hierarchy::of(&self.driver);
        self.watch.look(
            &self.driver,
            &hierarchy,
            second + 1,
            &self.workload,
            &self.regions,
        );
    }

    /// What is on the agenda before `end`, each at its time.
    fn act_until(&mut self, end: Time) {
        while let Some(entry) = self.agenda.first_entry() {
            let (at, _) = *entry.key();
            if at >= end {
                return;
            }
            let act = entry.remove();
            self.driver.run_until(at);
            match act {
                Act::Start(rank) => self.start(rank),
                Act::Leave(node) => self.leave(node),
                Act::Stop(node) => self.stop(node),
                Act::Crash(node) => {
                    self.driver.crash(node, true);
                }
                Act::Return(node) => self.return_of(node),
                Act::Answer(node, name) => self.answer(node, name),
            }
        }
    }

    /// Starts a node, with up to three that have started as its seeds, or none if it knows nobody.
    fn start(&mut self, rank: usize) {
        let (_, node) = self.starts[rank];
        let host = self.host(node);
        self.driver.start(node, host);
        let mut seeds = Vec::new();
        let known = if self.scenario.strangers { 0 } else { rank };
        while seeds.len() < known.min(3) {
            let (_, seed) = self.starts[self.rng.random_range(0..rank)];
            // The first node can be dialled, so this ends.
            if !self.driver.is_hidden(seed) {
                seeds.push(seed);
            }
        }
        self.introduce(node, seeds);
        if rank == 0 {
            for command in self.workload.specs() {
                self.driver.command(node, command);
            }
        }
        self.give_values(node);
    }

    fn host(&mut self, node: usize) -> Status {
        self.boots[node] += 1;
        let (probe, dicast) = &self.configs;
        Status::new(
            Arc::clone(probe),
            Arc::clone(dicast),
            Contact::bare(id_of(node)),
            &self.seed.derive("node", node as u64),
            self.boots[node],
        )
    }

    fn introduce(&mut self, node: usize, seeds: Vec<usize>) {
        if self.driver.is_hidden(node) {
            self.driver.command(node, Command::Reachable(false));
        }
        let label = self.labels[node];
        if label.is_some() {
            self.driver.command(node, Command::Label { id: 2, label });
        }
        let seeds = seeds.into_iter().map(|seed| Contact::bare(id_of(seed)));
        let seeds = seeds.collect();
        self.driver.command(node, Command::Start { id: 1, seeds });
    }

    fn give_values(&mut self, node: usize) {
        let values: Vec<Command> = self.workload.values_of(node).collect();
        for command in values {
            self.driver.command(node, command);
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
