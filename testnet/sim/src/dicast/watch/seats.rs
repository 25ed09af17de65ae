//! Who sits where: each live node in one cluster of level 1, and none for long without.

use opus_site::Status;

use super::Watch;
use crate::{dicast::Moment, driver::Driver, hierarchy::Hierarchy};

/// How long a node may sit with two agents: for so long whoever joins is told as a possible double.
const TWICE_WITHIN: u64 = 15;

/// See the module. By node, in seconds.
pub(super) struct Seats {
    twice: Vec<u64>,
    orphaned: Vec<u64>,
    pub(super) twice_violations: u64,
    pub(super) orphan_s_max: u64,
    pub(super) posts_hidden: u64,
}

impl Seats {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            twice: vec![0; nodes],
            orphaned: vec![0; nodes],
            twice_violations: 0,
            orphan_s_max: 0,
            posts_hidden: 0,
        }
    }
}

impl Watch {
    /// Who has a seat, and since when; who has two; who was put out though it lives.
    pub(super) fn look_at_seats(
        &mut self,
        driver: &Driver<Status>,
        hierarchy: &Hierarchy<'_>,
        moment: &mut Moment,
    ) {
        let mut rosters = vec![0_u32; self.parts.len()];
        for (node, _) in hierarchy.seats() {
            if let Some(count) = rosters.get_mut(node) {
                *count += 1;
            }
        }
        for (node, part) in self.parts.iter_mut().enumerate() {
            if !driver.is_running(node) {
                part.gone_s = match part.seated_s.take() {
                    Some(_) => 0,
                    None => part.gone_s.saturating_add(1),
                };
                self.seats.orphaned[node] = 0;
                self.seats.twice[node] = 0;
                continue;
            }
            part.gone_s = 0;
            let seated = hierarchy.is_seated(driver, node);
            if part.seated_s.is_some_and(|since| since > 0) && hierarchy.is_put_out(driver, node) {
                self.out.live_expelled += 1;
            }
            part.seated_s = Some(match part.seated_s {
                Some(since) if seated => since + 1,
                Some(_) | None => 0,
            });
            let orphaned = &mut self.seats.orphaned[node];
            *orphaned = if seated { 0 } else { *orphaned + 1 };
            self.seats.orphan_s_max = self.seats.orphan_s_max.max(*orphaned);
            moment.unseated += usize::from(!seated);
            let twice = &mut self.seats.twice[node];
            *twice = if rosters[node] > 1 { *twice + 1 } else { 0 };
            moment.seated_twice += usize::from(rosters[node] > 1);
            self.seats.twice_violations += u64::from(*twice == TWICE_WITHIN + 1);
        }
        let hidden = hierarchy.agents();
        let hidden = hidden.filter(|&(_, agent)| driver.is_hidden(agent));
        self.seats.posts_hidden += hidden.count() as u64;
    }
}
