//! What goes wrong in a scenario, and to whom.

use std::time::Duration;

use opus_net::FaultError;
use rand::{RngExt, seq::SliceRandom};

use super::{Due, Experiment, ExperimentError, at, measure};
use crate::{
    programs::{RETRY, ROOT},
    scenario::{Fault, FaultKind},
    tree,
};

/// How long a node of a churn stays down.
const CHURN_DOWN: Duration = Duration::from_secs(10);

impl Experiment<'_> {
    pub(super) fn on_fault(&mut self, index: usize) -> Result<(), ExperimentError> {
        let fault = self.scenario.faults[index].clone();
        let now = self.driver.now();
        let over = (fault.for_s > 0.0).then(|| now + Duration::from_secs_f64(fault.for_s));
        let nodes = self.nodes_of(&fault, index);
        match fault.kind {
            FaultKind::Crash => {
                for &node in &nodes {
                    self.crash(node, fault.silent);
                }
                self.await_attached(now);
                if let Some(over) = over {
                    self.plan(over, Due::Restart(nodes));
                }
            }
            FaultKind::Restart => {
                let named = if nodes.is_empty() {
                    self.dead.iter().copied().collect()
                } else {
                    nodes
                };
                self.restart(&named);
            }
            FaultKind::Partition => {
                let cut = self.driver.partition(&nodes)?;
                if let Some(over) = over {
                    self.plan(over, Due::Repair(vec![cut]));
                }
            }
            FaultKind::Heal => {
                self.driver.repair_all();
                self.await_attached(now);
            }
            FaultKind::CutParents => {
                let cuts = self.cut_parents(&nodes)?;
                self.await_attached(now);
                if let Some(over) = over {
                    self.plan(over, Due::Repair(cuts));
                }
            }
            FaultKind::Churn => self.plan_churn(&fault, index),
            FaultKind::Detach => {
                for &node in &nodes {
                    self.measure.wanted[node] = false;
                    self.programs.detach_sink(&mut self.driver, node);
                }
                self.await_attached(now);
            }
            FaultKind::Conditions => {
                if let Some(conditions) = fault.conditions {
                    self.driver.set_conditions(conditions)?;
                }
            }
        }
        Ok(())
    }

    /// The nodes that a fault names, or those it draws: running ones, never the source.
    fn nodes_of(&self, fault: &Fault, index: usize) -> Vec<usize> {
        if fault.share <= 0.0 {
            return fault.nodes.clone();
        }
        let all = self.driver.len();
        let mut nodes: Vec<usize> = (0..all)
            .filter(|&node| node != ROOT && self.driver.is_running(node))
            .collect();
        nodes.shuffle(&mut self.seed.derive("fault", index as u64).rng());
        if fault.inner {
            let claims = measure::claims(&self.driver, self.programs.overlay);
            let below = tree::below(&claims, ROOT);
            // Stable: equal ones stay in the order drawn.
            nodes.sort_by_key(|&node| std::cmp::Reverse(below[node]));
        }
        nodes.truncate(count(fault.share, all));
        nodes.sort_unstable();
        nodes
    }

    fn crash(&mut self, node: usize, silent: bool) {
        if self.driver.crash(node, silent) {
            self.measure.down[node] = true;
            self.programs.forget(node);
            self.dead.push_back(node);
        }
    }

    pub(super) fn restart(&mut self, nodes: &[usize]) {
        let now = self.driver.now();
        for &node in nodes {
            if self.driver.is_running(node) {
                continue;
            }
            let boots = u64::from(self.driver.network().incarnation(node)) + 1;
            let host = self.host(node, boots);
            self.driver.restart(node, host);
            self.measure.down[node] = false;
            self.dead.retain(|&dead| dead != node);
            if self.measure.wanted[node] {
                self.plan(now + RETRY, Due::AttachSink(node));
            }
        }
        self.await_attached(now);
    }

    /// Cuts each node from its present parent, both ways.
    fn cut_parents(&mut self, nodes: &[usize]) -> Result<Vec<opus_net::CutId>, FaultError> {
        let claims = measure::claims(&self.driver, self.programs.overlay);
        let mut cuts = Vec::new();
        for &node in nodes {
            if let Some(parent) = claims[node].as_ref().and_then(|claim| claim.parent) {
                cuts.push(self.driver.cut(&[node], &[parent])?);
            }
        }
        Ok(cuts)
    }

    fn plan_churn(&mut self, fault: &Fault, index: usize) {
        let mut rng = self.seed.derive("churn", index as u64).rng();
        let deaths = count(fault.share * fault.for_s / 60.0, self.driver.len());
        for _ in 0..deaths {
            let when = at(fault.at_s + fault.for_s * rng.random::<f64>());
            self.plan(when, Due::Churn);
        }
    }

    pub(super) fn churn(&mut self) {
        let running: Vec<usize> = (0..self.driver.len())
            .filter(|&node| node != ROOT && self.driver.is_running(node))
            .collect();
        if running.is_empty() {
            return;
        }
        let mut rng = self.seed.derive("churned", self.sequence).rng();
        let node = running[rng.random_range(0..running.len())];
        self.crash(node, false);
        self.plan(self.driver.now() + CHURN_DOWN, Due::Restart(vec![node]));
    }
}

/// So many of `all` that a share is reached.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of some thousand nodes"
)]
fn count(share: f64, all: usize) -> usize {
    (share * all as f64 - 1e-9).ceil().max(0.0) as usize
}
