//! What becomes of an agent that its members found to lie: it loses its post, and gets none for an
//! hour.
//!
//! *Two accusers*, as for an agent that is silent: two of those who compared what the agent says to
//! different ears. Whoever knows but that its own value was told wrong may itself have said another
//! one; it takes a quarter of the cluster, and three at least, to be believed by that. An agent
//! that tells fewer values wrong moves its cluster by no more than these members could alone.
//!
//! The parent does not know who sits in a cluster below: *who knows its name and epoch is believed
//! to belong to it*, unless it is an agent among the parent's own members. It grants the next epoch
//! to the first fit accuser in the order of the deputies, as if that had claimed the post of a
//! silent agent. Where there is no parent, the deputies hear each other, and the first of them that
//! is fit takes the post under a new name.

use std::time::Duration;

use opus_core::{NodeId, Time};

use super::{
    Dicast,
    audit::{Audits, Found, Ground},
};
use crate::{
    Event, Message,
    cluster::{ClusterRef, DEPUTIES, Seat},
    wire::Liar,
};

/// How long an accusation counts.
const COUNTS: Duration = Duration::from_secs(60);

/// Accusations that are remembered, in all and of one cluster. Overflow: the oldest is forgotten.
const ACCUSATIONS_MAX: usize = 64;
const OF_CLUSTER_MAX: usize = 16;

/// Of those who compared.
const ACCUSERS: usize = 2;

/// Of those whose own values were told wrong: so many, or a share of the cluster.
const OWN_ACCUSERS: usize = 3;
const OWN_SHARE: usize = 4;

/// How often an accusation is said, once a heartbeat: words are lost.
const TELLS: u8 = 3;

/// Between the revolts of two deputies.
const REVOLT_APART: Duration = Duration::from_secs(2);

/// Who accuses the agent of which cluster.
#[derive(Clone, Debug)]
pub(super) struct Accusation {
    pub(super) cluster: ClusterRef,
    agent: NodeId,
    rank: u8,
    own: bool,
    pub(super) seat: Seat,
    pub(super) at: Time,
}

impl Audits {
    pub(super) fn forget_old(&mut self, now: Time) {
        self.accusations.retain(|it| now.since(it.at) < COUNTS);
        if self.accusations.is_empty() {
            self.accusations = Vec::new();
        }
    }

    fn note_accusation(&mut self, accusation: Accusation) {
        let (cluster, by) = (accusation.cluster, accusation.seat.id());
        self.accusations
            .retain(|it| it.cluster != cluster || it.seat.id() != by);
        let mut of_cluster = self.accusations.iter().filter(|it| it.cluster == cluster);
        let oldest = if of_cluster.clone().count() >= OF_CLUSTER_MAX {
            let oldest = of_cluster.next().map(|it| it.seat.id());
            let is_it = |it: &Accusation| it.cluster == cluster && Some(it.seat.id()) == oldest;
            self.accusations.iter().position(is_it)
        } else {
            (self.accusations.len() >= ACCUSATIONS_MAX).then_some(0)
        };
        if let Some(oldest) = oldest {
            self.accusations.remove(oldest);
        }
        self.accusations.push(accusation);
    }

    /// Who follows the agent of a cluster of `size` nodes, if enough accuse it.
    fn successor(&self, cluster: ClusterRef, agent: NodeId, size: usize) -> Option<&Seat> {
        let all = || {
            let accusations = self.accusations.iter();
            accusations.filter(move |it| it.cluster == cluster && it.agent == agent)
        };
        let compared = all().filter(|it| !it.own).count();
        let enough = compared >= ACCUSERS || all().count() >= OWN_ACCUSERS.max(size / OWN_SHARE);
        let fit = all().filter(|it| it.seat.marks().fit && !self.is_barred(it.seat.id()));
        let first = fit.min_by_key(|it| (it.rank, it.own, it.seat.id()))?;
        enough.then_some(&first.seat)
    }
}

impl Dicast {
    /// Our agent lies.
    pub(super) fn convinced(&mut self, now: Time, ground: Ground) {
        let Some(agent) = self.leaf.as_ref().map(|leaf| leaf.view.agent.id) else {
            return;
        };
        if agent == self.id() {
            return;
        }
        let known = self.audits.found.map(|found| found.ground);
        let known = known.filter(|known| ground == Ground::Own && *known != Ground::Own);
        self.audits.found = Some(Found {
            at: now,
            ground: known.unwrap_or(ground),
            told: 0,
        });
        self.audits.bar(now, agent);
        self.accuse_again(now);
    }

    /// Tells of a lie that we believe in, until it was said often enough.
    pub(super) fn accuse_again(&mut self, now: Time) {
        let found = self.audits.found.as_mut();
        let Some(found) = found.filter(|found| found.told < TELLS) else {
            return;
        };
        found.told += 1;
        let ground = found.ground;
        let Some(liar) = self.accusation(now, ground, true) else {
            return;
        };
        let parent = self.leaf.as_ref().and_then(|leaf| leaf.path.0.first());
        match parent.map(|parent| parent.agent.clone()) {
            Some(parent) => self.send_to(now, &parent, Message::Liar(liar.clone())),
            None => self.note_fellow(now, &liar),
        }
        self.tell_deputies(now, &liar);
    }

    /// Our fellows shall look too.
    pub(super) fn warn_deputies(&mut self, now: Time) {
        if let Some(liar) = self.accusation(now, Ground::Parent, false) {
            self.tell_deputies(now, &liar);
        }
    }

    fn accusation(&self, now: Time, ground: Ground, sure: bool) -> Option<Liar> {
        let view = &self.leaf.as_ref()?.view;
        let rank = self.leaf.as_ref().and_then(|leaf| view.rank(leaf.slot));
        let rank = rank.filter(|rank| *rank < DEPUTIES);
        Some(Liar {
            cluster: view.cluster,
            agent: view.agent.id,
            rank: rank.map_or(u8::MAX, |rank| u8::try_from(rank).unwrap_or(u8::MAX)),
            own: ground == Ground::Own,
            others: ground == Ground::Members,
            sure,
            seat: self.seat(now, Some(view.cluster), 0),
        })
    }

    fn tell_deputies(&mut self, now: Time, liar: &Liar) {
        let me = self.id();
        let Some(view) = self.leaf.as_ref().map(|leaf| &leaf.view) else {
            return;
        };
        let deputies = view.deputies.0.iter().take(DEPUTIES);
        let deputies = deputies.filter_map(|slot| view.roster.get(*slot));
        let others = deputies.filter(|seat| seat.id() != me && seat.id() != liar.agent);
        let others: Vec<_> = others.map(|seat| seat.contact.clone()).collect();
        for to in others {
            self.send_to(now, &to, Message::Liar(liar.clone()));
        }
    }

    pub(super) fn on_liar(&mut self, now: Time, from: NodeId, liar: Liar) {
        if liar.seat.id() != from || liar.agent == from {
            return;
        }
        if let Some((2, slot)) = self.child_of(liar.cluster).filter(|_| liar.sure) {
            self.on_child_accused(now, slot, liar);
            return;
        }
        let leaf = self.leaf.as_ref().map(|leaf| &leaf.view);
        let fellow = leaf.is_some_and(|view| {
            let ours = view.cluster == liar.cluster && view.agent.id == liar.agent;
            ours && view.roster.find(from).is_some()
        });
        if fellow {
            self.audit_soon(now, liar.others);
            if liar.sure {
                self.note_fellow(now, &liar);
            }
        }
    }

    /// A member of the cluster at `slot` accuses its agent, and would follow it.
    fn on_child_accused(&mut self, now: Time, slot: u8, liar: Liar) {
        let level = 2;
        let from = liar.seat.id();
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let Some(seat) = post.view.roster.get(slot) else {
            return;
        };
        if seat.child() != Some(liar.cluster) {
            // It was done already: the answer may be lost.
            if seat.id() != liar.agent {
                let to = seat.id();
                self.grant(now, to, level, slot, liar.cluster);
            }
            return;
        }
        let outsider = post.view.roster.find(from).is_some() || self.audits.is_barred(from);
        if outsider || seat.id() != liar.agent || self.is_giving_away(level) {
            return;
        }
        let size = usize::try_from(seat.size).unwrap_or(usize::MAX);
        let (cluster, agent) = (liar.cluster, liar.agent);
        self.audits.note_accusation(Accusation::of(now, liar));
        let successor = self.audits.successor(cluster, agent, size).cloned();
        if let Some(successor) = successor {
            self.audits.bar(now, agent);
            let to = successor.id();
            self.install(now, to, (level, slot), cluster, successor);
            self.tell(Event::Deposed(agent));
        }
    }

    /// Where no parent hears it, fellows remember who accuses the agent.
    fn note_fellow(&mut self, now: Time, liar: &Liar) {
        let Some(leaf) = self.leaf.as_ref().filter(|leaf| leaf.path.0.is_empty()) else {
            return;
        };
        let (cluster, size) = (leaf.view.cluster, leaf.view.roster.len());
        let rank = leaf.view.rank(leaf.slot).filter(|rank| *rank < DEPUTIES);
        self.audits
            .note_accusation(Accusation::of(now, liar.clone()));
        let enough = self.audits.successor(cluster, liar.agent, size).is_some();
        let (true, Some(rank)) = (enough && self.is_fit(), rank) else {
            return;
        };
        let turn = REVOLT_APART * u32::try_from(rank).unwrap_or(u32::MAX);
        self.audits.revolt_at.get_or_insert(now + turn);
    }

    /// Takes the post, if it is our turn and nobody did before us.
    pub(super) fn look_at_revolt(&mut self, now: Time) {
        let due = self.audits.revolt_at.take_if(|at| *at <= now).is_some();
        let leaf = self.leaf.as_ref().filter(|leaf| leaf.path.0.is_empty());
        let agent = leaf.map(|leaf| leaf.view.agent.id);
        let Some(agent) = agent.filter(|agent| due && *agent != self.id()) else {
            return;
        };
        self.audits.bar(now, agent);
        self.fork(now, 1);
        self.tell(Event::Deposed(agent));
    }
}

impl Accusation {
    fn of(now: Time, liar: Liar) -> Self {
        Self {
            cluster: liar.cluster,
            agent: liar.agent,
            rank: liar.rank,
            own: liar.own,
            seat: liar.seat,
            at: now,
        }
    }
}
