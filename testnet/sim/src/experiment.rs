//! A scenario with one seed: whole nodes, programs and faults from the start to the outcome.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use opus_core::{Contact, Seed, Time};
use opus_model::{Matrix, MatrixError};
use opus_net::{BadConditions, BadMembers, BadParameters, FaultError, Network, TransitStub};
use opus_net::{Parameters, Topology};
use opus_site::{Peer, PeerConfig};
use rand::{RngExt, seq::IteratorRandom};
use thiserror::Error;

mod faults;
mod measure;

use self::measure::Measure;
use crate::{
    checks::Broken,
    driver::{Driver, Options, Transport, id_of},
    failure::Failure,
    host::Host,
    outcome::Outcome,
    programs::{Again, Programs, RETRY},
    scenario::{self, Scenario},
};

/// The application is deployed then, and its source attaches a moment later.
const DEPLOY: Time = Time::from_millis(100);
const ATTACH_SOURCE: Time = Time::from_millis(500);
/// Checks each virtual second.
const CHECK: Duration = Duration::from_secs(1);
/// While something is awaited, it is looked for this often.
const WATCH: Duration = Duration::from_millis(100);
/// Broken invariants kept with the history of the node. Overflow: counted.
const BROKEN_MAX: usize = 16;

/// What a scenario's topology is read from.
#[derive(Clone, Debug)]
pub enum Delays {
    /// Nothing: it is generated.
    Generated,
    /// All pairs.
    Matrix(Matrix),
    /// Routers and links.
    Graph(opus_model::Graph),
}

/// How a run is carried out; none of it is part of the claim.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// All messages pass the codec.
    pub encode: bool,
    /// The whole trace is kept.
    pub record: bool,
}

/// Why a run could not take place.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// The topology's numbers.
    #[error("topology: {0}")]
    Parameters(#[from] BadParameters),
    /// The members.
    #[error("nodes: {0}")]
    Members(#[from] BadMembers),
    /// The matrix of all members.
    #[error("topology: {0}")]
    Matrix(#[from] MatrixError),
    /// Conditions of links.
    #[error("conditions: {0}")]
    Conditions(#[from] BadConditions),
    /// A fault that cannot be.
    #[error("faults: {0}")]
    Fault(#[from] FaultError),
    /// A value out of its range.
    #[error("{field} {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// Something that is due at a moment.
#[derive(Clone, Debug)]
enum Due {
    Deploy,
    AttachSource,
    AttachSink(usize),
    Publish,
    /// Fault number so and so of the scenario begins.
    Fault(usize),
    /// Drawn or named nodes start again.
    Restart(Vec<usize>),
    /// A cut is repaired.
    Repair(Vec<opus_net::CutId>),
    /// One node is killed, to start again.
    Churn,
    Check,
    Watch,
}

/// A run between start and outcome.
#[derive(Debug)]
pub struct Experiment<'a> {
    scenario: &'a Scenario,
    seed: Seed,
    seed_number: u64,
    driver: Driver<Peer>,
    programs: Programs,
    measure: Measure,
    /// What is due, by (time, sequence).
    agenda: BTreeMap<(Time, u64), Due>,
    sequence: u64,
    publish_from: Time,
    broken: Vec<Failure>,
    broken_total: u64,
    /// Nodes that were killed and not started again, in order of their death.
    dead: VecDeque<usize>,
    watching: bool,
}

/// The topology of a scenario for a seed. Errors: [`ExperimentError`].
pub fn topology(
    scenario: &Scenario,
    delays: &Delays,
    seed: u64,
) -> Result<Topology, ExperimentError> {
    let seed = Seed::new(seed);
    Ok(match delays {
        Delays::Generated => {
            let nodes = scenario.nodes.unwrap_or(2);
            let parameters = Parameters::for_members(nodes);
            let network = TransitStub::new(&parameters, seed.derive("topology", 0))?;
            Topology::of_transit_stub(network, nodes, seed.derive("members", 0))?
        }
        Delays::Matrix(matrix) => {
            let rows: Vec<usize> = (0..scenario.nodes.unwrap_or(matrix.len())).collect();
            if rows.len() > matrix.len() {
                let places = matrix.len();
                return Err(BadMembers::Number {
                    asked: rows.len(),
                    places,
                }
                .into());
            }
            Topology::from(matrix.restricted_to(&rows)?)
        }
        Delays::Graph(graph) => {
            let nodes = scenario.nodes.unwrap_or(2);
            Topology::of_graph(graph, nodes, seed.derive("members", 0))?
        }
    })
}

/// Runs a scenario with one seed. Errors: [`ExperimentError`]; a claim that does not hold is no
/// error but in the outcome.
pub fn run(
    scenario: &Scenario,
    delays: &Delays,
    seed: u64,
    manner: Manner,
) -> Result<(Outcome, Option<Vec<u8>>), ExperimentError> {
    let mut experiment = Experiment::new(scenario, delays, seed, manner)?;
    experiment.finish()?;
    let recorded = experiment.driver.trace.recorded().map(<[u8]>::to_vec);
    Ok((experiment.into_outcome(), recorded))
}

impl<'a> Experiment<'a> {
    /// All nodes running, nothing due yet.
    pub fn new(
        scenario: &'a Scenario,
        delays: &Delays,
        seed_number: u64,
        manner: Manner,
    ) -> Result<Self, ExperimentError> {
        if let Err((field, problem)) = scenario.check() {
            return Err(ExperimentError::Field { field, problem });
        }
        let seed = Seed::new(seed_number);
        let topology = topology(scenario, delays, seed_number)?;
        let nodes = topology.len();
        let measure = Measure::new(&topology, scenario)?;
        let network = Network::new(topology, scenario.conditions, seed)?;
        let options = Options {
            transport: match scenario.transport {
                scenario::Transport::Streams => Transport::Streams,
                scenario::Transport::Datagrams => Transport::Datagrams,
            },
            encode: manner.encode,
            record: manner.record,
            ..Options::default()
        };
        let mut experiment = Self {
            scenario,
            seed,
            seed_number,
            driver: Driver::new(network, options),
            programs: Programs::new(&scenario.app, nodes, &seed),
            measure,
            agenda: BTreeMap::new(),
            sequence: 0,
            publish_from: at(scenario.app.publish_s.0),
            broken: Vec::new(),
            broken_total: 0,
            dead: VecDeque::new(),
            watching: false,
        };
        experiment.begin(nodes);
        Ok(experiment)
    }

    fn begin(&mut self, nodes: usize) {
        let mut rng = self.seed.derive("contacts", 0).rng();
        for node in 1..nodes {
            for contact in (0..node).sample(&mut rng, self.scenario.contacts) {
                self.driver.keep(node, contact);
            }
        }
        for node in 0..nodes {
            let host = self.host(node, 0);
            self.driver.start(node, host);
        }
        self.plan(DEPLOY, Due::Deploy);
        self.plan(ATTACH_SOURCE, Due::AttachSource);
        let app = &self.scenario.app;
        let mut rng = self.seed.derive("attach", 0).rng();
        for node in 1..nodes {
            let attaches = rng.random_bool(app.sinks);
            let (from, until) = app.attach_s;
            let when = at(from + (until - from) * rng.random::<f64>());
            if attaches {
                self.measure.wanted[node] = true;
                self.plan(when, Due::AttachSink(node));
            }
        }
        if app.rate > 0.0 {
            self.plan(self.publish_from, Due::Publish);
        }
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            self.plan(at(fault.at_s), Due::Fault(index));
        }
        self.plan(Time::ZERO + CHECK, Due::Check);
        self.await_attached(at(app.attach_s.1));
    }

    fn host(&self, node: usize, boots: u64) -> Peer {
        let seed = self.seed.derive("node", node as u64);
        let mut config = PeerConfig::default();
        config.site.cap = self.scenario.app.cap;
        config.site.secret = seed.derive("secret", 0).bytes();
        Peer::new(config, Contact::bare(id_of(node)), &seed, boots)
    }

    /// Runs to the end of the scenario. Errors: a fault that cannot be.
    pub fn finish(&mut self) -> Result<(), ExperimentError> {
        let end = Time::from_secs(u64::from(self.scenario.duration_s));
        while let Some((&(when, _), _)) = self.agenda.first_key_value() {
            if when > end {
                break;
            }
            self.run_until(when);
            if let Some((_, due)) = self.agenda.pop_first() {
                self.on_due(due)?;
                self.hear();
            }
        }
        self.run_until(end);
        self.final_checks();
        Ok(())
    }

    fn run_until(&mut self, until: Time) {
        while self.driver.step(until) {
            self.hear();
        }
    }

    /// Hands what nodes told to their programs.
    fn hear(&mut self) {
        let mut broken = Vec::new();
        while let Some((node, event)) = self.driver.poll_event() {
            let again = self
                .programs
                .on_event(&mut self.driver, node, event, &mut broken);
            let when = self.driver.now() + RETRY;
            match again {
                Some(Again::Source) => self.plan(when, Due::AttachSource),
                Some(Again::Sink(node)) => self.plan(when, Due::AttachSink(node)),
                None => {}
            }
        }
        self.tell_broken(broken);
    }

    fn plan(&mut self, when: Time, due: Due) {
        self.sequence += 1;
        self.agenda.insert((when, self.sequence), due);
    }

    fn on_due(&mut self, due: Due) -> Result<(), ExperimentError> {
        match due {
            Due::Deploy => self.programs.deploy(&mut self.driver),
            Due::AttachSource => self.programs.attach_source(&mut self.driver),
            Due::AttachSink(node) => {
                if self.measure.wanted[node] {
                    self.programs.attach_sink(&mut self.driver, node);
                }
            }
            Due::Publish => self.on_publish(),
            Due::Fault(index) => self.on_fault(index)?,
            Due::Restart(nodes) => self.restart(&nodes),
            Due::Repair(cuts) => {
                for cut in cuts {
                    self.driver.repair(cut);
                }
                self.await_attached(self.driver.now());
            }
            Due::Churn => self.churn(),
            Due::Check => self.on_check(),
            Due::Watch => self.on_watch(),
        }
        Ok(())
    }

    /// Frame n is due n / rate seconds after the beginning.
    fn on_publish(&mut self) {
        let app = &self.scenario.app;
        let now = self.driver.now();
        let passed = now.since(self.publish_from);
        let lasts = app.publish_s.1 - app.publish_s.0;
        let due = whole(passed.as_secs_f64().min(lasts) * app.rate) + 1;
        let all = whole(lasts * app.rate).max(1);
        self.programs.publish(&mut self.driver, due.min(all));
        if self.programs.sent < all {
            let pause = Duration::from_secs_f64(1.0 / app.rate).max(Duration::from_millis(1));
            self.plan(now + pause, Due::Publish);
        }
    }

    fn on_check(&mut self) {
        let now = self.driver.now();
        let sent = (self.programs.sent, self.programs.given());
        let broken = self.measure.look(&self.driver, self.programs.overlay, sent);
        self.tell_broken(broken);
        self.plan(now + CHECK, Due::Check);
    }

    /// From `since` on, until all members hang on the root.
    fn await_attached(&mut self, since: Time) {
        self.measure.await_attached(since);
        if !self.watching {
            self.watching = true;
            self.plan(since, Due::Watch);
        }
    }

    fn on_watch(&mut self) {
        let overlay = self.programs.overlay;
        self.watching = self.measure.watch(&self.driver, overlay);
        if self.watching {
            self.plan(self.driver.now() + WATCH, Due::Watch);
        }
    }

    /// What the driver itself saw; the last look of the checks was at this very moment.
    fn final_checks(&mut self) {
        let defects: Vec<Broken> = self
            .driver
            .defects()
            .iter()
            .map(|defect| Broken {
                node: defect.node,
                sentence: defect.sentence,
                expected: format!("no breach at {:?}", defect.at),
                got: defect.got.clone(),
            })
            .collect();
        self.tell_broken(defects);
    }

    fn tell_broken(&mut self, broken: Vec<Broken>) {
        for broken in broken {
            self.broken_total += 1;
            if self.broken.len() >= BROKEN_MAX {
                continue;
            }
            let show = |bytes: &[u8]| match Peer::decode(bytes) {
                Ok(message) => format!("{message:?}"),
                Err(error) => error.to_string(),
            };
            let (name, seed) = (&self.scenario.name, self.seed_number);
            self.broken.push(Failure {
                test: name.clone(),
                seed,
                at: self.driver.now(),
                node: broken.node,
                sentence: broken.sentence.to_owned(),
                expected: broken.expected,
                got: broken.got,
                recent: self.driver.trace.recent(broken.node, show),
                replay: format!(
                    "opus-testnet run testnet/scenarios/{name}.toml --seed {seed} --out out/"
                ),
            });
        }
    }

    /// The outcome of a finished run.
    pub fn into_outcome(self) -> Outcome {
        let mut outcome = self.measure.outcome(&self.driver, &self.programs);
        outcome.schema = 1;
        outcome.scenario.clone_from(&self.scenario.name);
        outcome.seed = self.seed_number;
        outcome.virtual_s = self.scenario.duration_s;
        outcome.broken = self.broken;
        outcome.broken_total = self.broken_total;
        outcome.failed = self.scenario.expect.failed(&outcome);
        outcome.expect_failed = outcome.failed.iter().map(|failed| failed.name).collect();
        outcome
    }

    /// The driver, to look at.
    pub const fn driver(&self) -> &Driver<Peer> {
        &self.driver
    }
}

/// The moment `seconds` after the start.
fn at(seconds: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(seconds.max(0.0))
}

/// Rounded to a whole number; negative is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a scenario sends at most 1e4 frames a second for a day"
)]
fn whole(value: f64) -> u64 {
    (value + 1e-9).floor().max(0.0) as u64
}

#[cfg(test)]
mod tests;
