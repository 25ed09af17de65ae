//! The bytes of the hierarchy at rest, of real nodes and of the simulator beside them.
//!
//! Both have equal nodes, places and links, start all at once from the same contacts, publish the
//! same values of idle sites, come to one tree, settle, and are counted for a while. What the lab
//! counts on its links is all that a node says (Noise, yamux, ping, identify, the mesh of
//! neighbours and the other protocols too); the simulator counts messages and dials of probe and
//! dicast by its own rule (`opus_sim::driver::account`).

use std::{collections::BTreeSet, time::Duration};

use opus_core::{Contact, Time};
use opus_net::Network;
use opus_sim::{
    Driver, Options, Transport,
    driver::{
        account::{DIAL_BYTES, Snapshot},
        id_of,
    },
};
use opus_site::{
    Status, dicast,
    summary::{LOOK, Publisher, Summary},
};
use rand::seq::index;
use serde::Serialize;

use crate::{Counted, Lab, LabBytes, LabConfig, LabError};

/// Overlays that a site may carry, which it publishes: `opus_site::Config`'s default.
fn idle_site() -> Summary {
    Summary {
        slots_offered: opus_site::Config::default().overlays_max as u64,
        ..Summary::default()
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// At most until all nodes count all.
    pub form_max: Duration,
    /// From then until the counting begins.
    pub settle: Duration,
    /// The counting.
    pub window: Duration,
}

/// Per node and second, at rest. Bytes unless named otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LabRate {
    /// Virtual seconds until all nodes counted all.
    pub formed_s: f64,
    /// Over the links, below the upgrade: all that is sent.
    pub links: f64,
    /// Messages of dicast with their lengths, above yamux and Noise.
    pub dicast: f64,
    /// Messages of the probe.
    pub probe: f64,
    /// Messages of overlay and site.
    pub others: f64,
    /// Number of messages of dicast and probe.
    pub messages: f64,
    /// Number of pieces on the links: about the packets with a payload.
    pub writes: f64,
    /// Number of connections that a node dialled.
    pub dials: f64,
    /// Connected peers of a node at the end, the mean.
    pub peers: f64,
}

/// Per node and second, at rest. Bytes unless named otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SimRate {
    /// Virtual seconds until all nodes counted all.
    pub formed_s: f64,
    /// Sent, by the simulator's rule.
    pub sent: f64,
    /// Of it: bodies of messages of dicast and probe.
    pub bodies: f64,
    /// Of it: 28 for each datagram.
    pub headers: f64,
    /// Of it: 2,500 for each side of a dial.
    pub dials: f64,
    /// Number of messages.
    pub messages: f64,
}

/// Both, and how they compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Beside {
    /// Nodes of each.
    pub nodes: usize,
    /// Real nodes.
    pub lab: LabRate,
    /// The simulator.
    pub sim: SimRate,
    /// All bytes on the lab's links over those that the simulator counts.
    pub ratio: f64,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    /// The lab could not start. Nothing runs.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The simulator's network could not be made.
    #[error("the link conditions are not lawful: {0}")]
    Conditions(#[from] opus_net::BadConditions),
    /// Not all nodes counted all in time.
    #[error("after {waited:?} the nodes of the {which} do not all count all: {counted:?}")]
    Form {
        /// `lab` or `simulator`.
        which: &'static str,
        /// What they say.
        counted: Counted,
        /// For how long they were waited for.
        waited: Duration,
    },
}

/// Measures both, one after the other. Needs a runtime with a paused clock.
///
/// Errors: [`BesideError`].
pub async fn beside(config: LabConfig, rest: Rest) -> Result<Beside, BesideError> {
    let nodes = config.topology.len();
    let sim = simulated(&config, rest)?;
    let lab = measured(config, rest).await?;
    Ok(Beside {
        nodes,
        lab,
        sim,
        ratio: lab.links / sim.sent,
    })
}

async fn measured(config: LabConfig, rest: Rest) -> Result<LabRate, BesideError> {
    let nodes = config.topology.len();
    let lab = Lab::start(config)?;
    let begin = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counted = lab.counted(nodes).await;
        if counted.right == nodes {
            break;
        }
        in_time("lab", counted, begin.elapsed(), rest)?;
    }
    let formed = begin.elapsed();
    tokio::time::sleep(rest.settle).await;
    let before = lab.bytes().await;
    tokio::time::sleep(rest.window).await;
    let after = lab.bytes().await;
    Ok(lab_rate(&before, &after, nodes, formed))
}

fn lab_rate(before: &LabBytes, after: &LabBytes, nodes: usize, formed: Duration) -> LabRate {
    let node_seconds = after.at.since(before.at).as_secs_f64() * nodes as f64;
    let rate = |of: fn(&LabBytes) -> u64| (of(after) - of(before)) as f64 / node_seconds;
    LabRate {
        formed_s: formed.as_secs_f64(),
        links: rate(|it| it.links.bytes),
        dicast: rate(|it| it.dicast),
        probe: rate(|it| it.probe),
        others: rate(|it| it.others),
        messages: rate(|it| it.messages),
        writes: rate(|it| it.links.writes),
        dials: rate(|it| it.links.dials),
        peers: after.peers as f64 / nodes as f64,
    }
}

fn simulated(config: &LabConfig, rest: Rest) -> Result<SimRate, BesideError> {
    let mut run = Simulated::new(config)?;
    let formed = loop {
        run.second();
        let (counted, waited) = (run.counted(), run.driver.now().since(Time::ZERO));
        if counted.right == run.driver.len() {
            break waited;
        }
        in_time("simulator", counted, waited, rest)?;
    };
    (0..rest.settle.as_secs()).for_each(|_| run.second());
    let before = run.driver.traffic();
    (0..rest.window.as_secs()).for_each(|_| run.second());
    Ok(sim_rate(&before, &run.driver.traffic(), formed))
}

fn in_time(
    which: &'static str,
    counted: Counted,
    waited: Duration,
    rest: Rest,
) -> Result<(), BesideError> {
    if waited < rest.form_max {
        return Ok(());
    }
    Err(BesideError::Form {
        which,
        counted,
        waited,
    })
}

fn sim_rate(before: &Snapshot, after: &Snapshot, formed: Duration) -> SimRate {
    let nodes = after.nodes.len();
    let node_seconds = after.at.since(before.at).as_secs_f64() * nodes as f64;
    let both = after.nodes.iter().zip(&before.nodes);
    let passed: Vec<_> = both.map(|(after, before)| after.since(before)).collect();
    let messages: u64 = passed.iter().map(|of| of.messages_sent).sum();
    let dials: u64 = passed.iter().map(|of| of.dials).sum();
    let rate = |of: u64| of as f64 / node_seconds;
    let sent = after.usage(before, 0..nodes).sent_mean;
    // At rest no message fills a packet.
    let headers = rate(messages * opus_sim::driver::account::HEADER_BYTES);
    let dials = rate(dials * DIAL_BYTES);
    SimRate {
        formed_s: formed.as_secs_f64(),
        sent,
        bodies: sent - headers - dials,
        headers,
        dials,
        messages: rate(messages),
    }
}

/// The lab's nodes as the simulator has them: probe and dicast alone.
struct Simulated {
    driver: Driver<Status>,
    publishers: Vec<Publisher>,
    rng: opus_core::Rng,
    seconds: u64,
}

impl Simulated {
    fn new(config: &LabConfig) -> Result<Self, BesideError> {
        let nodes = config.topology.len();
        let network = Network::new(config.topology.clone(), config.conditions, config.seed)?;
        let options = Options {
            transport: Transport::Streams,
            recent: 0,
            idle: Lab::IDLE,
            ..Options::default()
        };
        let mut run = Self {
            driver: Driver::new(network, options),
            publishers: vec![Publisher::default(); nodes],
            rng: config.seed.derive("simulated", 0).rng(),
            seconds: 0,
        };
        for node in 0..nodes {
            let host = Status::new(
                config.machines.probe.clone(),
                config.machines.dicast.clone(),
                Contact::bare(id_of(node)),
                &config.seed.derive("simulated", node as u64),
                1,
            );
            run.driver.start(node, host);
        }
        for node in 0..nodes {
            let seeds = run.contacts(node, config.bootstraps.min(nodes - 1));
            let start = dicast::Command::Start { id: 0, seeds };
            run.driver.command(node, start);
        }
        Ok(run)
    }

    /// Other nodes, by chance.
    fn contacts(&mut self, node: usize, count: usize) -> Vec<Contact> {
        let others = index::sample(&mut self.rng, self.driver.len() - 1, count).into_iter();
        let others = others.map(|other| if other >= node { other + 1 } else { other });
        others.map(|other| Contact::bare(id_of(other))).collect()
    }

    fn counted(&self) -> Counted {
        let mut roots = BTreeSet::new();
        let nodes = self.driver.len() as u64;
        let mut counted = Counted {
            least: u64::MAX,
            ..Counted::default()
        };
        for (node, host) in self.driver.hosts() {
            let now = self.driver.local_time(node);
            let key = dicast::aggregate::KeyId::MEMBERS;
            let answer = host.dicast().view(now, key, dicast::Scope::Root);
            let count = answer.map_or(0, |answer| answer.count);
            roots.extend(host.dicast().root().map(|root| root.cluster.id));
            counted.right += usize::from(count == nodes);
            counted.least = counted.least.min(count);
            counted.most = counted.most.max(count);
        }
        counted.roots = roots.len();
        counted
    }

    fn second(&mut self) {
        self.seconds += 1;
        self.driver.run_until(Time::from_secs(self.seconds));
        if self.seconds.is_multiple_of(LOOK.as_secs()) {
            self.publish();
        }
        while let Some((node, event)) = self.driver.poll_event() {
            if matches!(event, dicast::Event::WantSeeds) {
                let contacts = self.contacts(node, 1);
                let found = dicast::Command::Found {
                    id: 0,
                    name: None,
                    contacts,
                };
                self.driver.command(node, found);
            }
        }
    }

    /// As each node of the lab tells what has changed of its site.
    fn publish(&mut self) {
        for node in 0..self.publishers.len() {
            let Some(host) = self.driver.host(node) else {
                continue;
            };
            if host.dicast().leaf().is_none() {
                continue;
            }
            let commands = self.publishers[node].look(idle_site(), host.dicast());
            for command in commands {
                self.driver.command(node, command);
            }
        }
    }
}
