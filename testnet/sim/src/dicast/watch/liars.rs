//! Agents that lie, and whether they are found; and those that were deposed though they did not.

use opus_core::NodeId;
use opus_site::Status;

use super::Watch;
use crate::{dicast::history::percentile, driver::Driver};

/// How long answers may still tell of what a liar said after it lost its post: a record stands
/// until a newer one is told.
const SETTLES: u64 = 60;

/// What becomes of lying agents.
#[derive(Debug, Default)]
pub(super) struct Liars {
    /// Who lied as an agent at some time.
    all: Vec<usize>,
    /// Who holds the post with which it began to lie, and since when it lies.
    acting: Vec<(usize, u64)>,
    /// Seconds until they were found.
    found: Vec<f64>,
    /// Until when answers may be wrong.
    until: u64,
}

impl Watch {
    /// The agent lies from this second on.
    pub(in crate::dicast) fn corrupted(&mut self, node: usize, second: u64) {
        self.lying.all.push(node);
        self.lying.acting.push((node, second));
    }

    /// A machine says that it deposed this agent.
    pub(in crate::dicast) fn deposed(&mut self, agent: NodeId, second: u64) {
        let node = agent.index() as usize;
        if !self.lying.all.contains(&node) {
            self.out.honest_deposed += 1;
        }
        let acting = &mut self.lying.acting;
        if let Some(at) = acting.iter().position(|(liar, _)| *liar == node) {
            let (_, since) = acting.swap_remove(at);
            self.lying.found.push((second - since) as f64);
        }
    }

    /// Who gave its post away before it was found proves nothing.
    pub(super) fn look_at_liars(&mut self, driver: &Driver<Status>, second: u64) {
        let holds = |node: usize| {
            let host = driver.hosts().find(|(other, _)| *other == node);
            host.is_some_and(|(_, host)| host.dicast().seat_above(1).is_some())
        };
        if !self.lying.acting.is_empty() {
            self.lying.until = second + SETTLES;
        }
        self.lying.acting.retain(|(node, _)| holds(*node));
    }

    /// Whether an agent may have told its lie to whom answers now.
    pub(super) fn is_lied_to(&self, second: u64) -> bool {
        second < self.lying.until
    }

    pub(super) fn told_of_liars(&mut self) {
        if self.scenario.lying_agents.is_none() {
            return;
        }
        let end = u64::from(self.scenario.duration_s);
        let mut waits = self.lying.found.clone();
        let free = self
            .lying
            .acting
            .iter()
            .map(|(_, since)| (end - since) as f64);
        waits.extend(free);
        self.out.liar_agents = Some(waits.len());
        self.out.liar_agents_found_s_p99 = percentile(&mut waits, 99);
    }
}
