//! Keys and our own values: what our node sets, and how all nodes come to the same table.

use std::collections::BTreeMap;

use opus_core::{NodeId, Time, pack::Few};

use super::{Dicast, Timer};
use crate::{
    Definition, Message, Refusal,
    aggregate::{KEYS_MAX, KeyId, KeySpec, Sample, Summary, Urgency},
    track::first_8,
    wire::Specs,
};

/// Numbers below this are well known, and stay whether somebody has a value or not.
const KEPT: u16 = 64;

/// When what was done last for the table of keys.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyCare {
    /// At the top: since when nobody has a value of which key.
    unused: BTreeMap<KeyId, Time>,
    /// When all neighbours were told of it last.
    told: Option<Time>,
}

impl Dicast {
    pub(super) fn on_set(&mut self, now: Time, id: u64, key: KeyId, sample: Sample) {
        let room = self.values.len() < KEYS_MAX || self.values.contains_key(&key);
        let spec = self.keys.spec(key);
        let fits = spec.is_none_or(|spec| Summary::of(&sample, first_8(self.id()), spec).is_some());
        let refusal = match key {
            KeyId::MEMBERS => Some(Refusal::BuiltIn),
            _ if !room => Some(Refusal::KeysFull),
            _ if !fits => Some(Refusal::Sample),
            _ => None,
        };
        if let Some(reason) = refusal {
            self.refuse(id, reason);
            return;
        }
        let eager = spec.is_some_and(|spec| spec.urgency == Urgency::Eager);
        match sample {
            Sample::Number(x) => self.audits.past.note(now, key, x),
            Sample::Weighted(..) | Sample::Items(_) => self.audits.past.forget(key),
        }
        self.values.insert(key, sample);
        if eager && self.leaf.is_some() {
            self.timers.set_earliest(Timer::Report(1), now);
        }
    }

    pub(super) fn on_unset(&mut self, now: Time, id: u64, key: KeyId) {
        if self.values.remove(&key).is_none() {
            self.refuse(id, Refusal::NoValue);
            return;
        }
        self.audits.past.forget(key);
        let spec = self.keys.spec(key);
        if spec.is_some_and(|spec| spec.urgency == Urgency::Eager) && self.leaf.is_some() {
            self.timers.set_earliest(Timer::Report(1), now);
        }
    }

    pub(super) fn on_spec(&mut self, now: Time, id: u64, key: KeyId, spec: KeySpec) {
        let me = self.id();
        let known = self.keys.get(key).copied();
        let refusal = match (spec.checked(), known) {
            _ if key == KeyId::MEMBERS => Refusal::BuiltIn,
            (Err(error), _) => Refusal::Spec(error),
            (Ok(_), Some(known)) if known.owner != me && !known.gone => Refusal::Owned(known.owner),
            (Ok(_), known) if known.is_none_or(|it| it.gone) && !self.keys.has_room() => {
                Refusal::KeysFull
            }
            (Ok(spec), known) => {
                let version = known.map_or(1, |known| known.version.saturating_add(1));
                let definition = Definition {
                    spec,
                    version,
                    owner: me,
                    gone: false,
                };
                self.learn(now, vec![(key, definition)], None);
                if self.keys.get(key) == Some(&definition) {
                    return;
                }
                // There is no later version than the one that stands.
                Refusal::Owned(known.map_or(me, |known| known.owner))
            }
        };
        self.refuse(id, refusal);
    }

    /// Takes what is newer, and tells all neighbours but the one it comes from.
    fn learn(&mut self, now: Time, table: Vec<(KeyId, Definition)>, from: Option<NodeId>) {
        let mut changed = Vec::new();
        for (key, definition) in table {
            changed.extend(self.keys.learn(now, key, definition));
        }
        if changed.is_empty() {
            return;
        }
        self.audits.past.change(now, &changed);
        for post in self.posts.values_mut() {
            for &key in &changed {
                post.track.change_key(key, self.keys.spec(key).is_some());
            }
        }
        for level in self.membership_levels() {
            if let Some(membership) = self.membership_mut(level) {
                membership.link.change_keys(&changed);
            }
        }
        let next = self.key_care.told.map(|at| at + self.config.heartbeat);
        match next.filter(|next| *next > now) {
            Some(next) => self.timers.set_earliest(Timer::Keys, next),
            None => self.spread_keys(now, from),
        }
    }

    /// Tells all neighbours of the table but the one from whom it comes: once a heartbeat at most,
    /// however often somebody changes it.
    pub(super) fn spread_keys(&mut self, now: Time, from: Option<NodeId>) {
        self.key_care.told = Some(now);
        self.timers.clear(Timer::Keys);
        let (me, specs) = (self.id(), self.specs());
        for to in self.neighbours() {
            if to != me && Some(to) != from {
                self.send(now, to, specs.clone());
            }
        }
    }

    fn specs(&self) -> Message {
        let table = Few(self.keys.table());
        Message::Specs(Specs { table })
    }

    /// Our agents and our members.
    fn neighbours(&self) -> Vec<NodeId> {
        let levels = self.membership_levels().into_iter();
        let agents = levels.filter_map(|level| Some(self.membership(level)?.view.agent.id));
        let seats = self.posts.values().flat_map(|post| post.view.roster.iter());
        let mut ids: Vec<NodeId> = agents.chain(seats.map(|(_, seat)| seat.id())).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    pub(super) fn on_specs(&mut self, now: Time, from: NodeId, specs: Specs) {
        if !self.neighbours().contains(&from) {
            return;
        }
        let Few(table) = specs.table;
        self.learn(now, table.clone(), Some(from));
        // Only the member answers: the agent, who speaks first, will see by the next beat.
        if self.keys.table() != table && self.has_agent(from) {
            let specs = self.specs();
            self.send(now, from, specs);
        }
    }

    /// As who holds the post at the top: a key of which nobody has a value for long is gone. And
    /// all forget what was gone for long enough.
    pub(super) fn look_for_unused(&mut self, now: Time) {
        self.keys.sweep(now);
        let top = self.posts.last_key_value();
        let top = top.filter(|(level, _)| self.is_root(**level));
        let Some((_, post)) = top else {
            self.key_care.unused.clear();
            return;
        };
        let nobody = |(key, spec): &(KeyId, &KeySpec)| {
            let record = post.record(now, true, *key, spec);
            key.0 >= KEPT && record.is_none_or(|record| record.count + record.missing == 0)
        };
        let unused: Vec<KeyId> = self.keys.iter().filter(nobody).map(|it| it.0).collect();
        self.key_care.unused.retain(|key, _| unused.contains(key));
        for key in unused {
            let since = *self.key_care.unused.entry(key).or_insert(now);
            let known = self.keys.get(key).copied();
            if let Some(known) = known.filter(|_| now.since(since) >= self.config.key_unused) {
                let version = known.version.saturating_add(1);
                let gone = Definition {
                    version,
                    gone: true,
                    ..known
                };
                self.learn(now, vec![(key, gone)], None);
            }
        }
    }

    fn has_agent(&self, id: NodeId) -> bool {
        let levels = self.membership_levels().into_iter();
        let mut memberships = levels.filter_map(|level| self.membership(level));
        memberships.any(|membership| membership.view.agent.id == id)
    }

    /// A member's table is another than ours.
    pub(super) fn tell_keys(&mut self, now: Time, to: NodeId) {
        let specs = self.specs();
        self.send(now, to, specs);
    }
}
