//! What goes wrong in a scenario: crashes, cuts, stalls, clocks, nodes that come and go, that
//! nobody can dial, or that lie.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{Contact, Rng, Seed, Time};
use opus_net::CutId;
use opus_site::{
    Status,
    dicast::{Command, Name},
};
use rand::{RngExt, seq::IndexedRandom};

use super::{
    Cut, CutKind, DicastScenario, DicastScenarioError, Run,
    lies::{lie, lie_as_agent},
};
use crate::{
    churn::{Change, Churn},
    driver::{Driver, Wake, id_of},
};

/// A node that leaves is stopped after this, also if it has not said its farewell.
const FAREWELL: Duration = Duration::from_secs(4);

/// Clocks differ by at most this.
const CLOCKS_APART_US: u64 = 3_600_000_000;

/// Of how many others one who wants contacts is told.
const NAMED: usize = 2;

/// What happens to one node at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The first start of the node of this rank.
    Start(usize),
    /// It is told to leave.
    Leave(usize),
    /// It ends, whether it has left or not.
    Stop(usize),
    /// It loses its power.
    Crash(usize),
    /// It starts again.
    Return(usize),
    /// The directory answers it.
    Answer(usize, Name),
}

/// All that was drawn, and what is in force.
pub(super) struct Adversity {
    rng: Rng,
    hidden: Vec<usize>,
    /// By node.
    pub(super) liars: Vec<bool>,
    cuts: Vec<(u64, CutId, bool)>,
    leaving: BTreeSet<usize>,
    churn: Vec<(Time, Change)>,
}

impl Adversity {
    pub(super) fn new(
        scenario: &DicastScenario,
        driver: &Driver<Status>,
        seed: Seed,
    ) -> Result<Self, DicastScenarioError> {
        let mut rng = seed.derive("adversity", 0).rng();
        // The first node is the one that all others find: it is honest and can be dialled.
        let others: Vec<usize> = (1..driver.len()).collect();
        let mut draw = |share: f64| {
            let count = share_of(driver.len(), share);
            others.sample(&mut rng, count).copied().collect::<Vec<_>>()
        };
        let hidden = draw(scenario.unreachable);
        let mut liars = vec![false; driver.len()];
        for node in draw(scenario.liars) {
            liars[node] = true;
        }
        let mut churn = Vec::new();
        if let Some(comings) = &scenario.churn {
            let plan = Churn {
                from: Time::from_secs(comings.from_s),
                until: Time::from_secs(comings.until_s),
                crashes_per_min: comings.per_min,
                down: (
                    Duration::from_secs_f64(comings.away_s.0),
                    Duration::from_secs_f64(comings.away_s.1),
                ),
                silent: comings.crash,
                spared: Vec::new(),
                newcomers: Vec::new(),
                up_min: 2,
            };
            let schedule = plan.schedule(driver.len(), seed);
            churn =
                schedule.map_err(|error| DicastScenarioError::new("churn", error.to_string()))?;
        }
        Ok(Self {
            rng,
            hidden,
            liars,
            cuts: Vec::new(),
            leaving: BTreeSet::new(),
            churn,
        })
    }
}

impl Run<'_> {
    /// What holds from the beginning: who is hidden, who lies, whose clock is off, and who goes
    /// when.
    pub(super) fn prepare(&mut self) {
        for &node in &self.adversity.hidden {
            self.driver.hide(node);
        }
        for node in 0..self.driver.len() {
            if self.adversity.liars[node] {
                let rng = self.seed.derive("lies", node as u64).rng();
                self.driver.tamper(node, lie, rng);
            }
        }
        let ppm = i32::try_from(self.scenario.skew_ppm).unwrap_or(i32::MAX);
        if ppm > 0 {
            for node in 0..self.driver.len() {
                let rng = &mut self.adversity.rng;
                let ahead = Duration::from_micros(rng.random_range(0..CLOCKS_APART_US));
                let ppm = rng.random_range(-ppm..=ppm);
                self.driver.skew(node, ahead, ppm);
            }
        }
        for (at, change) in std::mem::take(&mut self.adversity.churn) {
            let act = match change {
                Change::Crash { node, silent: true } => Act::Crash(node),
                Change::Crash {
                    node,
                    silent: false,
                } => Act::Leave(node),
                Change::Join { node } => Act::Return(node),
            };
            self.put(at, act);
        }
    }

    fn put(&mut self, at: Time, act: Act) {
        let after = self.agenda.range((at, 0)..=(at, usize::MAX)).next_back();
        let number = after.map_or(self.starts.len(), |((_, number), _)| number + 1);
        self.agenda.insert((at, number), act);
    }

    /// The faults that begin or end with this second.
    pub(super) fn begin_faults(&mut self, second: u64) {
        self.crash(second);
        let due = |cut: &&(u64, CutId, bool)| cut.0 == second;
        let over: Vec<_> = self.adversity.cuts.iter().filter(due).copied().collect();
        for (_, cut, parts) in over {
            self.driver.repair(cut);
            if parts {
                self.watch.healed(second);
            }
        }
        self.adversity.cuts.retain(|cut| cut.0 != second);
        let cuts: Vec<Cut> = self.scenario.cuts.clone();
        for cut in cuts.iter().filter(|cut| cut.begins(second)) {
            self.cut(second, cut);
        }
        self.pause(second);
        self.corrupt(second);
    }

    /// Some agents begin to lie.
    fn corrupt(&mut self, second: u64) {
        let Some(corrupt) = self.scenario.lying_agents.filter(|it| it.at_s == second) else {
            return;
        };
        let has_other_above = |host: &Status| {
            let above = host.dicast().seat_above(1);
            above.is_some_and(|(view, _)| view.agent.id != host.dicast().id())
        };
        let agents = self
            .driver
            .hosts()
            .filter(|(node, host)| !self.adversity.liars[*node] && has_other_above(host));
        let agents: Vec<usize> = agents.map(|(node, _)| node).collect();
        let count = share_of(agents.len(), corrupt.share).max(1);
        let drawn: Vec<usize> = agents
            .sample(&mut self.adversity.rng, count)
            .copied()
            .collect();
        for node in drawn {
            let rng = self.seed.derive("lies", node as u64).rng();
            self.driver.tamper(node, lie_as_agent, rng);
            self.watch.corrupted(node, second);
        }
    }

    fn crash(&mut self, second: u64) {
        let crashes = self.scenario.crashes.iter();
        for crash in crashes.filter(|crash| crash.at_s == second) {
            if crash.by_region {
                for node in self.near_one_place(crash.share) {
                    self.driver.crash(node, true);
                }
            } else {
                for node in 0..self.scenario.nodes {
                    if self.driver.is_running(node) && self.rng.random_bool(crash.share) {
                        self.driver.crash(node, true);
                    }
                }
            }
            self.watch.crashed(second, crash.share);
        }
    }

    /// A share of those that run, those nearest to a centre that is drawn.
    fn near_one_place(&mut self, share: f64) -> Vec<usize> {
        let centre = self
            .adversity
            .rng
            .random_range(0..self.regions.centres().len());
        let near = self.regions.by_distance(centre).into_iter();
        let mut near: Vec<usize> = near.filter(|&node| self.driver.is_running(node)).collect();
        near.truncate(share_of(near.len(), share));
        near
    }

    fn some(&mut self, share: f64) -> Vec<usize> {
        let running: Vec<usize> = self.driver.hosts().map(|(node, _)| node).collect();
        let count = share_of(running.len(), share);
        let drawn = running.sample(&mut self.adversity.rng, count);
        drawn.copied().collect()
    }

    fn cut(&mut self, second: u64, cut: &Cut) {
        let parts = cut.kind != CutKind::OneWay;
        let made = match cut.kind {
            CutKind::Side | CutKind::Region => {
                let side = if cut.kind == CutKind::Region {
                    self.near_one_place(cut.share)
                } else {
                    self.some(cut.share)
                };
                let mut sides = vec![false; self.driver.len()];
                for &node in &side {
                    sides[node] = true;
                }
                self.watch.parted(second, sides);
                self.driver.partition(&side)
            }
            CutKind::OneWay => {
                let mut ways = Vec::new();
                for node in self.some(cut.share) {
                    let peers: Vec<usize> = self.driver.peers_of(node).collect();
                    let peer = peers.choose(&mut self.adversity.rng);
                    ways.extend(peer.map(|&peer| (node, peer)));
                }
                self.driver.cut_ways(&ways)
            }
        };
        let until = second + cut.for_s;
        // Nodes are of this network; a cut beyond the limit of cuts is none.
        self.adversity
            .cuts
            .extend(made.ok().map(|cut| (until, cut, parts)));
    }

    fn pause(&mut self, second: u64) {
        let Some(pauses) = self.scenario.pauses.filter(|it| it.begin(second)) else {
            return;
        };
        let lasts = Duration::from_secs_f64(pauses.for_s);
        for node in self.some(pauses.share) {
            let wake = if self.adversity.rng.random_bool(0.5) {
                Wake::InputsFirst
            } else {
                Wake::TimersFirst
            };
            self.driver.pause(node, lasts, wake);
        }
    }

    pub(super) fn leave(&mut self, node: usize) {
        if self.driver.command(node, Command::Leave) {
            self.adversity.leaving.insert(node);
            let at = self.driver.now() + FAREWELL;
            self.put(at, Act::Stop(node));
        }
    }

    /// A node says that it has no seat: it ends, if it was told to leave.
    pub(super) fn on_left(&mut self, node: usize) {
        self.stop(node);
    }

    pub(super) fn stop(&mut self, node: usize) {
        if self.adversity.leaving.remove(&node) {
            self.driver.crash(node, false);
        }
    }

    pub(super) fn return_of(&mut self, node: usize) {
        self.stop(node);
        if self.driver.is_running(node) {
            return;
        }
        let host = self.host(node);
        self.driver.restart(node, host);
        let seeds = self.reachable(3, node);
        self.introduce(node, seeds);
        self.give_values(node);
    }

    /// Tells one who wants contacts of some, as those whom it is connected to would be.
    pub(super) fn introduce_others(&mut self, node: usize) {
        let named = self.reachable(NAMED, node).into_iter();
        let contacts = named.map(|node| Contact::bare(id_of(node))).collect();
        self.driver.command(node, found(None, contacts));
    }

    /// A node asks the directory, and is answered after a while.
    pub(super) fn look_up(&mut self, node: usize, name: Name) {
        let at = self.driver.now() + self.directory.wait();
        self.put(at, Act::Answer(node, name));
    }

    /// The directory answers, if it knows anything.
    pub(super) fn answer(&mut self, node: usize, name: Name) {
        let contacts = self.directory.contacts(self.driver.now(), name);
        if !contacts.is_empty() {
            self.driver.command(node, found(Some(name), contacts));
        }
    }

    /// Some nodes that run and can be dialled, but not `node`.
    fn reachable(&mut self, count: usize, node: usize) -> Vec<usize> {
        let running = self.driver.hosts().map(|(other, _)| other);
        let fit = running.filter(|&other| other != node && !self.driver.is_hidden(other));
        let fit: Vec<usize> = fit.collect();
        let drawn = fit.sample(&mut self.adversity.rng, count);
        drawn.copied().collect()
    }
}

const fn found(name: Option<Name>, contacts: Vec<Contact>) -> Command {
    let id = 4;
    Command::Found { id, name, contacts }
}

/// How many of `all` a share within 0 and 1 is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number of nodes is a number of nodes"
)]
fn share_of(all: usize, share: f64) -> usize {
    ((all as f64 * share).round() as usize).min(all)
}
