//! The discrete-event simulator: whole nodes in virtual time, faults, and checks of what holds.
//!
//! A [`Driver`] holds one [`host::Host`] a node, [`opus_site::Peer`] or another machine, the
//! connections between them and an [`opus_net::Network`]; a wheel of times decides what is next.
//! The code of the protocols is that of the real node, the network is not: a message takes the
//! delay of the topology, a lost one of a stream is late, a connection takes one round trip.
//!
//! Faults: killed nodes and restarts as a new incarnation, cuts one way or both, clogs, links worse
//! than others, nodes that stall, clocks that are off, and [`churn`] as a seeded schedule. Bytes
//! are counted by node ([`driver::account`]). 10,000 nodes at two messages a second each take
//! about a second of CPU a virtual minute, and some 5 kB a node beside the host
//! (`examples/load.rs`, `docs/performance.md`).
//!
//! An [`Experiment`] runs a [`Scenario`] with a seed: programs that attach,
//! publish and receive, faults at their times, invariants each virtual second ([`checks`]), and
//! figures at the end ([`Outcome`]).
//!
//! Equal scenario and seed give equal traces ([`trace`]), byte for byte, on any machine: all
//! randomness is drawn from sub-seeds named by purpose and index.
//!
//! What it deliberately does not do: run libp2p, measure CPU, read files or a clock.
//!
//! Weaknesses. Hosts take no time to compute. A dial costs one round trip, where Noise and
//! negotiation cost three. All bytes of a pair share one stream: lanes do not overtake, and a large
//! frame delays a ping only by the capacity of the link. A connection that was replaced is told as
//! lost and made; the adapter of the real node hides some such changes.
//!
//! Source: Opus 5.

#![forbid(unsafe_code)]

pub mod checks;
pub mod churn;
mod dicast;
pub mod driver;
pub mod expect;
pub mod experiment;
pub mod failure;
mod hierarchy;
pub mod host;
pub mod outcome;
mod programs;
mod queue;
pub mod scenario;
mod sink;
pub mod trace;
pub mod tree;

pub use crate::{
    dicast::{
        Comings, Crash, Crashed, Cut, CutKind, DicastExpect, DicastOutcome, DicastScenario,
        DicastScenarioError, LyingAgents, Moment, Parted, Pauses, Sites, Small, Weigh, run_dicast,
    },
    driver::{Driver, Options, Transport},
    expect::Expect,
    experiment::{Delays, Experiment, ExperimentError, Manner, run, topology},
    failure::Failure,
    hierarchy::{Census, Hierarchy},
    outcome::{Outcome, Spread, spreads},
    scenario::{Scenario, ScenarioError},
};
