//! A cut that parts the network: what each side is told of itself, and how it becomes one again.

use opus_core::Time;
use opus_site::{
    Status,
    dicast::{
        Scope,
        aggregate::{KeyId, Value},
    },
};

use super::Watch;
use crate::{
    dicast::Parted,
    driver::Driver,
    hierarchy::{Census, Hierarchy},
};

/// See the module.
pub(super) struct Parts {
    at: u64,
    healed: Option<u64>,
    /// By node, whether it was cut off.
    pub(super) sides: Vec<bool>,
    /// Whether all are one tree again: sides mean nothing any more.
    pub(super) over: bool,
    pub(super) told: Parted,
}

impl Watch {
    pub(in crate::dicast) fn parted(&mut self, second: u64, sides: Vec<bool>) {
        self.cut = Some(Parts {
            at: second,
            healed: None,
            sides,
            over: false,
            told: Parted::default(),
        });
    }

    pub(in crate::dicast) fn healed(&mut self, second: u64) {
        if let Some(cut) = &mut self.cut {
            cut.healed = Some(second);
        }
    }

    pub(super) fn look_at_cut(
        &mut self,
        driver: &Driver<Status>,
        hierarchy: &Hierarchy<'_>,
        census: &Census,
        second: u64,
    ) {
        let Some(cut) = self.cut.as_mut().filter(|cut| !cut.over) else {
            return;
        };
        let Some(healed) = cut.healed else {
            let after = second - cut.at;
            if after >= 1 && cut.told.counts_right_s.is_none() {
                let (right, near, alive) = counted(driver, &cut.sides);
                if near * 100 >= alive * 99 {
                    cut.told.counts_near_s.get_or_insert(after);
                }
                if right == alive {
                    cut.told.counts_right_s = Some(after);
                }
            }
            return;
        };
        let after = second - healed;
        if after == 0 || hierarchy.roots != 1 {
            return;
        }
        if census.covered * 100 >= census.alive * 99 {
            cut.told.near_tree_s.get_or_insert(after);
        }
        if census.covered == census.alive {
            cut.told.one_tree_s = Some(after);
            cut.over = true;
            // Each side was in a tree of its own until this second.
            for part in &mut self.parts {
                part.seated_s = part.seated_s.map(|_| 0);
            }
        }
    }
}

/// How many live nodes know the size of their side exactly, how many to 1 %, and how many there
/// are.
fn counted(driver: &Driver<Status>, sides: &[bool]) -> (usize, usize, usize) {
    let (mut right, mut near, mut alive) = (0, 0, 0);
    for side in [false, true] {
        let here = || driver.hosts().filter(|(node, _)| sides[*node] == side);
        let truth = here().count() as f64;
        for (node, host) in here() {
            let now: Time = driver.local_time(node);
            alive += 1;
            let answer = host.dicast().view(now, KeyId::MEMBERS, Scope::Root);
            let Some(Value::Number(told)) = answer.map(|answer| answer.value) else {
                continue;
            };
            right += usize::from((told - truth).abs() < 0.5);
            near += usize::from((told - truth).abs() <= truth / 100.0);
        }
    }
    (right, near, alive)
}
