//! A member's side: what the agent tells, and who it is.

use std::time::Duration;

use opus_core::{NodeId, Time, pack::Few};

use super::{Dicast, Timer};
use crate::{
    Message,
    cluster::{Path, path_digest},
    state::{Doubt, Phase, Post, Scout},
    track::Ages,
    wire::{Compare, Fenced, Pulse, Takeover, Welcome},
};

impl Dicast {
    pub(super) fn on_pulse(&mut self, now: Time, from: NodeId, pulse: &Pulse) {
        let again = self.config.heartbeat;
        let Some(level) = self.level_of_tag(pulse.tag, from) else {
            // It has not heard that we left.
            let left = self.vacated.as_ref().filter(|left| left.agent == from);
            let leave = left.map(|left| left.leave);
            if let Some(leave) = leave.filter(|leave| leave.tag == pulse.tag) {
                self.send(now, from, Message::Leave(leave));
                return;
            }
            // It counts us among its members: it shall say as what.
            if now.since(self.stray_at) >= again {
                self.stray_at = now;
                self.send(now, from, Message::Ask(pulse.tag));
            }
            return;
        };
        let digest = self.keys.digest();
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        membership.hear(now);
        membership.link.sync(&membership.view);
        let transit = membership.link.hear(now, pulse.number, pulse.echo);
        let ages = Ages {
            own: pulse.own_age.saturating_add(transit),
            above: pulse.above_age.saturating_add(transit),
            beside: pulse.beside_age.saturating_add(transit),
        };
        let whole = membership.view.digest() != pulse.view;
        let link = &mut membership.link;
        link.inbox.vouch(now, pulse.pushed, level, ages);
        if let Some(roll) = pulse.roll.as_ref().filter(|_| level == 1) {
            // It names seats and keys. If it builds on one that we lack, our beats say so.
            if whole || roll.keys != digest {
                link.roll.miss();
            } else {
                link.roll.take(now, roll, transit);
            }
        }
        let above = path_digest(&membership.path) != pulse.path;
        let asked = membership.asked_at.is_some_and(|at| now.since(at) < again);
        if (whole || above) && !asked {
            membership.asked_at = Some(now);
            let question = if whole {
                Message::Compare(Compare::of(&membership.view, &membership.path))
            } else {
                Message::AskPath(pulse.tag)
            };
            self.send(now, from, question);
        }
        if pulse.roll.is_some() && level == 1 {
            self.on_roll(now);
        }
    }

    /// What is above one of our clusters changed.
    pub(super) fn on_path(&mut self, now: Time, from: NodeId, tag: u16, path: Path) {
        let Some(level) = self.level_of_tag(tag, from) else {
            return;
        };
        let lowest = path.0.first().map(|ancestor| ancestor.level);
        if lowest.is_some_and(|lowest| lowest != level + 1) {
            return;
        }
        self.note_far(&path);
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        membership.hear(now);
        membership.asked_at = None;
        membership.path = path;
        if level > 1 {
            self.on_path_changed(level - 1);
        }
    }

    /// A newer view of the cluster at `level` from its agent.
    pub(super) fn refresh(&mut self, now: Time, level: u8, welcome: Welcome) {
        self.note_far(&welcome.path);
        // We may have given the seat up for lost: the agent says that it is ours.
        self.seeks.remove(&level);
        self.timers.clear(Timer::Seek(level));
        if level == 1 && self.timers.get(Timer::Scout).is_none() {
            self.plan_scout(now, false);
        }
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        membership.hear(now);
        membership.asked_at = None;
        let before = membership.view.roster.clone();
        membership.view = welcome.view;
        membership.slot = welcome.slot;
        membership.path = welcome.path;
        if level == 1 {
            let after = membership.view.roster.clone();
            for slot in before.changed(&after) {
                membership.link.roll.on_changed(slot);
            }
            self.tell_members(&before, &after);
        } else {
            self.on_path_changed(level - 1);
        }
    }

    /// A new agent, or the old one under a new name. Both sit in the cluster; whom we do not know
    /// there will pulse us, and be asked.
    pub(super) fn on_takeover(&mut self, now: Time, from: NodeId, takeover: Takeover) {
        let Some(level) = self.level_of(takeover.old.id) else {
            if self.leaf.is_some() {
                // It will pulse us too, if we do not sit there.
                self.is_offered_again(now, takeover.cluster);
            }
            return;
        };
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        if !membership.knows(from) {
            return;
        }
        let view = &mut membership.view;
        let lawful = from == takeover.agent.id || from == view.agent.id;
        let (now_at, then) = (view.cluster, takeover.cluster);
        let newer = if now_at.id == then.id {
            then.epoch > now_at.epoch
        } else {
            // A cluster under another name ends the one that the sender knew, not a later one.
            takeover.old.epoch >= now_at.epoch
        };
        if !lawful || !newer {
            if now_at.id != then.id || then.epoch < now_at.epoch {
                let fenced = Fenced {
                    old: then,
                    cluster: now_at,
                    agent: view.agent.clone(),
                };
                self.send(now, from, Message::Fenced(fenced));
            }
            return;
        }
        let changed = view.agent.id != takeover.agent.id;
        let merged = changed && view.roster.find(takeover.agent.id).is_none();
        view.cluster = then;
        view.agent = takeover.agent;
        membership.slot = takeover.slot;
        membership.hear(now);
        if merged {
            // Our copy is of a cluster that is no more: nobody shall be its deputy.
            membership.view.deputies = Few(Vec::new());
            membership.asked_at = Some(now);
            let agent = membership.view.agent.id;
            self.send(now, agent, Message::Ask(then.tag()));
        }
        if level > 1 {
            self.on_path_changed(level - 1);
        }
        if changed {
            self.tell_agent(level);
        }
        self.beat(now, level);
    }

    /// The level at which we sit in the cluster with this id.
    pub(super) fn level_of(&self, id: u64) -> Option<u8> {
        let is_it = |level: &u8| {
            let cluster = self.membership(*level).map(|m| m.view.cluster);
            cluster.is_some_and(|cluster| cluster.id == id)
        };
        self.membership_levels().into_iter().find(is_it)
    }

    /// We acted on an epoch that is over.
    pub(super) fn on_fenced(&mut self, now: Time, from: NodeId, fenced: &Fenced) {
        self.on_office_confirmed(now, from, fenced);
        let mut posts = self.posts.iter();
        let fenced_by = |post: &Post| {
            let above = post.up.as_ref().is_some_and(|up| up.knows(from));
            post.view.cluster == fenced.old && (above || post.view.roster.find(from).is_some())
        };
        if let Some((&level, _)) = posts.find(|(_, post)| fenced_by(post))
            && fenced.agent.id != self.id()
            && fenced.cluster != fenced.old
        {
            self.lose_post(now, level, fenced);
        }
        let Some(level) = self.level_of(fenced.old.id) else {
            return;
        };
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        if !membership.knows(from) && !membership.is_above(from) {
            return;
        }
        let later = fenced.cluster.id != membership.view.cluster.id
            || fenced.cluster.epoch > membership.view.cluster.epoch;
        if membership.view.cluster == fenced.old && later {
            membership.view.cluster = fenced.cluster;
            membership.view.agent = fenced.agent.clone();
            membership.hear(now);
            self.tell_agent(level);
            self.beat(now, level);
        } else if membership.doubt != Doubt::None && fenced.agent == membership.view.agent {
            // The parent hears the agent that we do not.
            membership.hear(now);
            self.health.on_refuted();
        }
    }

    /// The agent has no seat for us.
    pub(super) fn on_stranger(&mut self, now: Time, from: NodeId, tag: u16) {
        let Some(level) = self.level_of_tag(tag, from) else {
            self.on_claim_unknown(now, from, tag);
            return;
        };
        // The parent frees the seat of a cluster that merges a moment before that cluster hears.
        let below = self.posts.get(&(level - 1));
        let merging = below.is_some_and(|post| matches!(post.phase, Phase::Merging { .. }));
        if !merging {
            self.lose_seat(now, level);
        }
    }

    /// Seeks another seat. The view is kept for its contacts until there is one.
    pub(super) fn lose_seat(&mut self, now: Time, level: u8) {
        self.timers.clear(Timer::Doubt(level));
        if let Some(membership) = self.membership_mut(level) {
            membership.doubt = Doubt::None;
        }
        if level > 1 {
            self.orphan(now, level - 1);
        } else {
            if let Some(leaf) = &self.leaf {
                let posts: Vec<_> = leaf.view.ancestor().posts().cloned().collect();
                for contact in posts {
                    self.remember(contact);
                }
            }
            self.scout = Scout::default();
            self.timers.clear(Timer::Scout);
            self.seek(now, 1);
        }
    }

    /// Whether the agent of the cluster at `level` has been silent for too long.
    pub(super) fn look_at_agent(&mut self, now: Time, level: u8) {
        let config = &self.config;
        let Some(membership) = self.membership(level) else {
            return;
        };
        let silent = now.since(membership.heard);
        if silent >= config.orphan_silence {
            self.lose_seat(now, level);
            return;
        }
        // Before we seek another cluster we ping in any case.
        let patience = self.health.patience(membership.patience(config));
        let patience = patience.min(config.orphan_silence * 3 / 4);
        if membership.doubt != Doubt::None {
            return;
        }
        if silent > patience {
            self.doubt(now, level);
        } else if silent + config.heartbeat > patience {
            // Not only at the next tick.
            let due = membership.heard + patience + Duration::from_micros(1);
            self.timers.set(Timer::Silence(level), due);
        }
    }
}
