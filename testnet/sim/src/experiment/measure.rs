//! What is measured while a scenario runs: the truth each second, and how long things took.

use opus_core::{NodeId, OverlayId, Time};
use opus_model::{Matrix, MatrixError, mst};
use opus_net::{Loss, Topology};
use opus_site::Peer;

use crate::{
    checks::{Broken, TreeChecks},
    driver::Driver,
    outcome::{Figures, Outcome, Row},
    programs::{Programs, ROOT},
    scenario::Scenario,
    tree::{self, Claim, Truth},
};

/// Checks a tick: a row of the history every five seconds, as often as a member ticks at rest.
const CHECKS_PER_TICK: u32 = 5;

/// Bytes before a frame's payload, its length field included.
const HEADER_BYTES: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Measure {
    matrix: Matrix,
    alpha: f64,
    checks: TreeChecks,
    /// Nodes with a receiving program, as the scenario has it.
    pub(super) wanted: Vec<bool>,
    /// Nodes that were killed and not started again.
    pub(super) down: Vec<bool>,
    looks: u32,
    history: Vec<Row>,
    /// Since when all members are awaited at the root.
    awaited_since: Option<Time>,
    attached_at: Option<Time>,
    repair_us_max: Option<u64>,
    loss: f64,
}

/// What every node claims of its place at present.
pub(super) fn claims(driver: &Driver<Peer>, overlay: OverlayId) -> Vec<Option<Claim>> {
    let index = |id: NodeId| usize::try_from(id.index()).unwrap_or(usize::MAX);
    let claim = |node| {
        let status = driver.host(node)?.overlay().status(overlay)?;
        Some(Claim {
            parent: status.parent.map(index),
            path: status.path.iter().copied().map(index).collect(),
            children: status
                .children
                .iter()
                .map(|&(child, _)| index(child))
                .collect(),
            delay_us: status.delay_us,
            direct_us: status.direct_us,
        })
    };
    (0..driver.len()).map(claim).collect()
}

impl Measure {
    pub(super) fn new(topology: &Topology, scenario: &Scenario) -> Result<Self, MatrixError> {
        let nodes = topology.len();
        let loss = match scenario.conditions.loss {
            Loss::None => 0.0,
            Loss::Bernoulli { rate } | Loss::Gilbert { rate, .. } => rate,
        };
        Ok(Self {
            matrix: topology.to_matrix()?,
            alpha: scenario.app.alpha,
            checks: TreeChecks::new(nodes, ROOT, usize::from(scenario.app.cap)),
            wanted: vec![false; nodes],
            down: vec![false; nodes],
            looks: 0,
            history: Vec::new(),
            awaited_since: None,
            attached_at: None,
            repair_us_max: None,
            loss,
        })
    }

    /// The look of each second. `(sent, given)`: frames so far.
    pub(super) fn look(
        &mut self,
        driver: &Driver<Peer>,
        overlay: OverlayId,
        (sent, given): (u64, u64),
    ) -> Vec<Broken> {
        let claims = claims(driver, overlay);
        let meets = |one: usize, other: usize| {
            let both = driver.is_running(one) && other < driver.len() && driver.is_running(other);
            both && !driver.is_cut(one, other)
        };
        let broken = self.checks.look(driver.now(), &claims, meets);
        self.looks += 1;
        if self.looks.is_multiple_of(CHECKS_PER_TICK) {
            let truth = self.truth(driver, &claims);
            self.history.push(Row {
                tick: self.looks / CHECKS_PER_TICK,
                at_s: self.looks,
                violators: truth.violators,
                unattached: truth.unattached,
                cost: truth.cost_ms,
                max_rdp: truth.rdp_max,
                mean_rdp: truth.rdp_mean,
                sent,
                delivered: given,
            });
        }
        broken
    }

    /// A fault, or the beginning: from `since` on all members are awaited at the root.
    pub(super) fn await_attached(&mut self, since: Time) {
        self.awaited_since = Some(since);
    }

    /// Looks whether all members hang on the root. True: not yet, look again.
    pub(super) fn watch(&mut self, driver: &Driver<Peer>, overlay: OverlayId) -> bool {
        let Some(since) = self.awaited_since else {
            return false;
        };
        let now = driver.now();
        if now < since {
            return true;
        }
        let claims = claims(driver, overlay);
        if self.truth(driver, &claims).unattached > 0 {
            return true;
        }
        self.awaited_since = None;
        if self.attached_at.is_none() {
            self.attached_at = Some(now);
        } else {
            let us = now.as_micros() - since.as_micros();
            self.repair_us_max = self.repair_us_max.max(Some(us));
        }
        false
    }

    fn truth(&self, driver: &Driver<Peer>, claims: &[Option<Claim>]) -> Truth {
        let wanted: Vec<bool> = self.present().collect();
        tree::truth(
            driver.network().topology(),
            claims,
            &wanted,
            ROOT,
            self.alpha,
        )
    }

    /// Whether each node has a receiving program and runs.
    fn present(&self) -> impl Iterator<Item = bool> {
        self.wanted
            .iter()
            .zip(&self.down)
            .map(|(&wanted, &down)| wanted && !down)
    }

    /// All but what only the experiment knows.
    pub(super) fn outcome(&self, driver: &Driver<Peer>, programs: &Programs) -> Outcome {
        let claims = claims(driver, programs.overlay);
        let nodes = driver.len();
        let believed = |claim: &Claim| {
            let direct = claim.direct_us.filter(|&us| us > 0)?;
            claim
                .parent
                .map(|_| f64::from(claim.delay_us) / f64::from(direct))
        };
        let tallies = (0..nodes).map(|node| driver.tallies_of(node));
        let truth = self.truth(driver, &claims);
        Outcome {
            nodes,
            loss: self.loss,
            events: driver.trace.events(),
            trace_hash: driver.trace.hash(),
            kind: "last",
            root: ROOT,
            alpha: Some(self.alpha),
            parent: claims.iter().map(|claim| claim.as_ref()?.parent).collect(),
            rdp: claims
                .iter()
                .map(|claim| claim.as_ref().and_then(believed))
                .collect(),
            cost: truth.cost_ms,
            alive: (0..nodes).map(|node| driver.is_running(node)).collect(),
            probes: tallies.clone().map(|tallies| tallies.probes).collect(),
            messages: tallies.map(|tallies| tallies.overlay).collect(),
            history: self.history.clone(),
            figures: self.figures(driver, programs, &truth),
            ..Outcome::default()
        }
    }

    fn figures(&self, driver: &Driver<Peer>, programs: &Programs, truth: &Truth) -> Figures {
        let nodes = driver.len();
        let mean = |sum: u64| sum as f64 / nodes as f64;
        let seconds = driver.now().as_micros() as f64 / 1e6;
        let (mut probes, mut overlay) = (0, 0);
        for node in 0..nodes {
            probes += driver.tallies_of(node).probes;
            overlay += driver.tallies_of(node).overlay;
        }
        let degrees = || (0..nodes).map(|node| driver.peers_of(node).count());
        let members: Vec<usize> = std::iter::once(ROOT)
            .chain(
                self.present()
                    .enumerate()
                    .filter_map(|(node, here)| here.then_some(node)),
            )
            .collect();
        let last_cost = tree::last_cost_ms(&self.matrix, &members, ROOT, self.alpha);
        let among = self.matrix.restricted_to(&members).ok();
        let (mut due, mut given, mut stall_us) = (0, 0, None);
        for sink in programs.sinks.iter().flatten() {
            let (due_here, given_here) = sink.due_and_given(programs.sent);
            due += due_here;
            given += given_here;
            stall_us = stall_us.max(sink.stall_us);
        }
        let counts = driver.counts();
        Figures {
            violators_end: truth.violators,
            unattached_end: truth.unattached,
            last_cost,
            cost_over_last: last_cost.map(|last| truth.cost_ms / last),
            mst_cost: among.map(|among| mst(&among, 0).cost(&among)),
            rdp_max: truth.rdp_max,
            rdp_mean: truth.rdp_mean,
            attached_s: self.attached_at.map(|at| at.as_micros() as f64 / 1e6),
            frames_sent: programs.sent,
            frames_blocked: programs.blocked,
            frames_due: due,
            frames_delivered: programs.given(),
            delivered: (due > 0).then(|| given as f64 / due as f64),
            duplicates: programs.duplicates,
            gaps_told: programs.gaps_told,
            repair_s: self.repair_us_max.map(|us| us as f64 / 1e6),
            stall_s: stall_us.map(|us: u64| us as f64 / 1e6),
            probes_mean: mean(probes),
            overlay_messages_per_s: mean(overlay) / seconds,
            control_bytes_per_s: mean(counts.message_bytes) / seconds,
            connections_mean: mean(degrees().sum::<usize>() as u64),
            connections_max: degrees().max().unwrap_or(0),
            control_messages: counts.messages,
            frame_bytes: counts.frame_bytes,
            frame_overhead: (programs.given() > 0).then(|| {
                let least = programs.given() * (programs.payload + HEADER_BYTES) as u64;
                counts.frame_bytes as f64 / least as f64
            }),
        }
    }
}
