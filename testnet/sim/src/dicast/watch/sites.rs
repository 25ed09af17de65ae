//! Whether the nodes of each site sit together as they shall.

use std::collections::BTreeMap;

use opus_site::{Status, dicast::label::Label};

use super::Watch;
use crate::{driver::Driver, hierarchy::Hierarchy};

/// From this second on the nodes of a site have to sit together, ...
const FROM: u64 = 30;
/// ... but for so long.
const WITHIN: u64 = 20;

/// See the module.
pub(super) struct Together {
    /// Of each node.
    labels: Vec<Option<Label>>,
    /// Since when which sites do not.
    since: BTreeMap<Label, u64>,
    pub(super) violations: u64,
}

impl Together {
    pub(super) fn new(labels: Vec<Option<Label>>) -> Self {
        Self {
            labels,
            since: BTreeMap::new(),
            violations: 0,
        }
    }

    /// None if there are no sites.
    pub(super) fn told(&self) -> Option<u64> {
        let any = self.labels.iter().any(Option::is_some);
        any.then_some(self.violations)
    }
}

impl Watch {
    pub(super) fn look_at_sites(
        &mut self,
        driver: &Driver<Status>,
        hierarchy: &Hierarchy<'_>,
        second: u64,
        size_min: usize,
    ) {
        let sites = &mut self.together;
        if sites.told().is_none() {
            return;
        }
        let now = hierarchy.misplaced(driver, &sites.labels, size_min);
        sites.since.retain(|label, _| now.contains(label));
        for label in now {
            let since = *sites.since.entry(label).or_insert(second);
            if second > FROM && second - since.max(FROM) == WITHIN + 1 {
                sites.violations += 1;
            }
        }
    }
}
