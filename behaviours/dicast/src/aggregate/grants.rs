//! The parent's side of the filters: which width each child may use, and which it may still use.
//!
//! *What is assumed of a child is never below what it uses, and the assumed widths never exceed the
//! budget.* A narrower width is told first and believed once confirmed; a wider one is assumed
//! first and told after, and only from what is free. A message names all widths of a child that it
//! has not confirmed, under one rising number, the round; the child ignores rounds that are not
//! newer than its last and names that one in each report. A confirmation counts only in a report
//! that freshens the slot, since only then the changes that the narrower width brought are known.

use std::collections::BTreeMap;

use super::key::KeyId;
use crate::cluster::SEATS_MAX;

/// Widths of all children for all keys.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    round: u32,
    keys: BTreeMap<KeyId, Vec<Grant>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Grant {
    assumed: f32,
    told: f32,
    /// Round in which `told` was set.
    round: u32,
    confirmed: bool,
}

impl Grants {
    /// The greatest widths that the children may use of a key, by slot, in the unit of the slack;
    /// slots at the end may be left out.
    pub fn all_assumed(&self, key: KeyId) -> impl Iterator<Item = f32> {
        let grants = self.keys.get(&key).map_or(&[][..], |grants| grants);
        grants.iter().map(|grant| grant.assumed)
    }

    /// Sets out for new widths. `targets`: (slot, width) by rising slot, in sum within `budget`;
    /// slots that are not named aim at 0, as all have that were never planned. Growth is given in
    /// slot order as far as the budget is free; call again when narrower ones were confirmed.
    pub fn plan(&mut self, key: KeyId, targets: &[(u8, f32)], budget: f64) {
        if targets.is_empty() && !self.keys.contains_key(&key) {
            return;
        }
        self.round = self.round.saturating_add(1);
        let round = self.round;
        let grants = self
            .keys
            .entry(key)
            .or_insert_with(|| vec![Grant::default(); SEATS_MAX]);
        let target_of = |slot: usize| {
            let named = targets.iter().find(|it| usize::from(it.0) == slot);
            named.map_or(0.0, |it| it.1.clamp(0.0, f32::MAX))
        };
        for (slot, grant) in grants.iter_mut().enumerate() {
            let target = target_of(slot);
            if target < grant.assumed && target.to_bits() != grant.told.to_bits() {
                grant.tell(target, round);
            }
        }
        let assumed: f64 = grants.iter().map(|grant| f64::from(grant.assumed)).sum();
        let mut free = budget - assumed;
        for (slot, grant) in grants.iter_mut().enumerate() {
            let target = target_of(slot);
            let growth = f64::from(target) - f64::from(grant.assumed);
            if growth > 0.0 && growth <= free {
                free -= growth;
                grant.assumed = target;
                grant.tell(target, round);
            }
        }
    }

    /// What to tell a child: the round, and all widths that it has not confirmed. `None`: nothing.
    pub fn to_tell(&self, slot: u8) -> Option<(u32, Vec<(KeyId, f32)>)> {
        let widths: Vec<_> = self
            .keys
            .iter()
            .filter_map(|(key, grants)| Some((*key, grants.get(usize::from(slot))?)))
            .filter(|(_, grant)| grant.round > 0 && !grant.confirmed)
            .map(|(key, grant)| (key, grant.told))
            .collect();
        (!widths.is_empty()).then_some((self.round, widths))
    }

    /// A report that freshened the slot named `round` as the child's last.
    pub fn on_confirmed(&mut self, slot: u8, round: u32) {
        let round = round.min(self.round);
        for grant in self.of_slot(slot) {
            if grant.round > 0 && round >= grant.round && !grant.confirmed {
                grant.confirmed = true;
                grant.assumed = grant.told;
            }
        }
    }

    /// The slot has another occupant, or the same one in a new term, which begins at 0.
    pub fn on_new_term(&mut self, slot: u8) {
        for grant in self.of_slot(slot) {
            *grant = Grant::default();
        }
    }

    /// The key is no more.
    pub fn forget(&mut self, key: KeyId) {
        self.keys.remove(&key);
    }

    fn of_slot(&mut self, slot: u8) -> impl Iterator<Item = &mut Grant> {
        let grants = self.keys.values_mut();
        grants.filter_map(move |grants| grants.get_mut(usize::from(slot)))
    }
}

impl Grant {
    fn tell(&mut self, width: f32, round: u32) {
        self.told = width;
        self.round = round;
        self.confirmed = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: KeyId = KeyId(1);

    fn width(grants: &Grants, slot: u8) -> f32 {
        let mut widths = grants.all_assumed(KEY).skip(usize::from(slot));
        widths.next().unwrap_or_default()
    }

    #[test]
    fn a_child_grows_only_once_another_has_confirmed_that_it_shrank() {
        let mut grants = Grants::default();
        grants.plan(KEY, &[(0, 3.0), (1, 1.0)], 4.0);
        let (round, told) = grants.to_tell(0).unwrap();
        assert_eq!((round, told), (1, vec![(KEY, 3.0)]));
        grants.on_confirmed(0, 1);
        assert_eq!(grants.to_tell(0), None);
        let targets = [(0, 1.0), (1, 3.0)];
        grants.plan(KEY, &targets, 4.0);
        assert_eq!(grants.to_tell(0), Some((2, vec![(KEY, 1.0)])));
        assert_eq!(
            grants.all_assumed(KEY).take(2).collect::<Vec<_>>(),
            [3.0, 1.0]
        );
        grants.on_confirmed(0, 1);
        grants.plan(KEY, &targets, 4.0);
        assert!(
            (width(&grants, 1) - 1.0).abs() < f32::EPSILON,
            "an old round confirms nothing"
        );
        grants.on_confirmed(0, 2);
        grants.plan(KEY, &targets, 4.0);
        assert_eq!(
            grants.all_assumed(KEY).take(2).collect::<Vec<_>>(),
            [1.0, 3.0]
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Plan(Vec<f32>),
        /// The child of a slot hears what it is told; or a message of earlier.
        Tell(u8, prop::sample::Index),
        Confirm(u8),
        NewTerm(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let slot = 0..4_u8;
        prop_oneof![
            proptest::collection::vec(0.0..3.0_f32, 4).prop_map(Step::Plan),
            (slot.clone(), any::<prop::sample::Index>()).prop_map(|(a, b)| Step::Tell(a, b)),
            slot.clone().prop_map(Step::Confirm),
            slot.prop_map(Step::NewTerm),
        ]
    }

    proptest! {
        #[test]
        fn what_is_assumed_covers_what_is_used_and_stays_within_the_budget(
            steps in proptest::collection::vec(step(), 1..60),
        ) {
            let mut grants = Grants::default();
            let mut children = [(0_u32, 0.0_f32); 4];
            let mut wire: [Vec<(u32, f32)>; 4] = Default::default();
            for step in steps {
                match step {
                    Step::Plan(widths) => {
                        let targets: Vec<_> = (0..).zip(widths).collect();
                        grants.plan(KEY, &targets, 8.0);
                    }
                    Step::Tell(slot, which) => {
                        let sent = &mut wire[usize::from(slot)];
                        if let Some((round, widths)) = grants.to_tell(slot) {
                            sent.push((round, widths[0].1));
                        }
                        if !sent.is_empty() {
                            let (round, width) = sent[which.index(sent.len())];
                            let child = &mut children[usize::from(slot)];
                            if round > child.0 {
                                *child = (round, width);
                            }
                        }
                    }
                    Step::Confirm(slot) => {
                        grants.on_confirmed(slot, children[usize::from(slot)].0);
                    }
                    Step::NewTerm(slot) => {
                        // Messages of the old term are not heard in the new one.
                        wire[usize::from(slot)].clear();
                        children[usize::from(slot)] = (0, 0.0);
                        grants.on_new_term(slot);
                    }
                }
                let all: f64 = grants.all_assumed(KEY).map(f64::from).sum();
                prop_assert!(all <= 8.0 + 1e-9);
                for (slot, child) in (0..).zip(&children) {
                    prop_assert!(width(&grants, slot) >= child.1);
                }
            }
        }
    }
}
