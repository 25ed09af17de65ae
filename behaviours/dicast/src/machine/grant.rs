//! The parent's side: who may hold the post of a child, under which name and epoch.
//!
//! *A parent grants an epoch once, and only of clusters that have their name from it.* A child that
//! came from elsewhere (with the post, from a merged sibling, after a cut) is renamed at its first
//! grant: whoever granted its epochs before may still be doing so on the other side of a cut. So no
//! two agents ever hold the same cluster and epoch, without any quorum.

use opus_core::{NodeId, Time};

use super::{Dicast, admit::agent_of};
use crate::{
    Message,
    cluster::{ClusterRef, SEATS_MAX, Seat},
    label::Marks,
    state::{Doubt, Membership, Phase},
    track::DOUBLE_JOINED,
    wire::{Claim, Fenced, Grant, Twin, Twinned},
};

impl Dicast {
    /// A deputy, or the agent for its successor, asks for the next epoch of a child.
    pub(super) fn on_claim(&mut self, now: Time, from: NodeId, claim: Claim) {
        if !claim.yields && claim.seat.id() != from {
            return;
        }
        let Some((level, slot)) = self.child_of(claim.cluster) else {
            self.redirect_claim(now, from, &claim);
            return;
        };
        let post = &self.posts[&level];
        let Some(seat) = post.view.roster.get(slot) else {
            return;
        };
        let (Some(current), agent) = (seat.child(), seat.contact.clone()) else {
            return;
        };
        let again = current != claim.cluster && agent.id == claim.seat.id();
        if again {
            self.grant(now, from, level, slot, claim.cluster);
            return;
        }
        let child = post.children.get(&slot);
        let unheard = child.is_none_or(|child| child.seq == 0);
        let patience = if unheard {
            // All beat at once when they hear of a new parent.
            self.config.heartbeat / 2
        } else {
            self.config.heartbeat * self.config.missed_max
        };
        let silent = child.is_none_or(|child| now.since(child.heard) > patience);
        if unheard && !silent && !claim.yields {
            // Whether its agent lives we cannot tell yet: the claim will come again.
            return;
        }
        let lawful = if claim.yields {
            from == agent.id
        } else {
            silent
        };
        if current != claim.cluster
            || !lawful
            || !claim.seat.marks().fit
            || self.audits.is_barred(claim.seat.id())
            || self.is_giving_away(level)
        {
            let fenced = Fenced {
                old: claim.cluster,
                cluster: current,
                agent,
            };
            self.send(now, from, Message::Fenced(fenced));
            return;
        }
        self.install(now, from, (level, slot), claim.cluster, claim.seat);
    }

    /// Gives the child's post to whom `agent` seats, and tells `to`.
    pub(super) fn install(
        &mut self,
        now: Time,
        to: NodeId,
        (level, slot): (u8, u8),
        old: ClusterRef,
        agent: Seat,
    ) {
        let seats = self.posts.get(&level).map(|post| &post.view.roster);
        let Some(mut seat) = seats.and_then(|roster| roster.get(slot)).cloned() else {
            return;
        };
        seat.mark(Marks {
            fit: agent.marks().fit,
            ..seat.marks()
        });
        seat.contact = agent.contact;
        seat.incarnation = agent.incarnation;
        seat.standing.up_s = agent.standing.up_s;
        self.promote(now, level, slot, seat);
        self.grant(now, to, level, slot, old);
    }

    /// A claim that is for the agent of a cluster in which we sit: the claimant knows an older one.
    fn redirect_claim(&mut self, now: Time, to: NodeId, claim: &Claim) {
        let me = self.id();
        let seats_it = |membership: &&Membership| {
            let view = &membership.view;
            let seat = view.roster.find_child(claim.cluster);
            seat.is_some() && view.agent.id != me && membership.doubt == Doubt::None
        };
        let levels = self.membership_levels().into_iter();
        let mut seated = levels.filter_map(|level| self.membership(level));
        if let Some(answer) = seated.find(seats_it).map(|m| agent_of(&m.view)) {
            self.send(now, to, Message::Places(answer));
            return;
        }
        // Where its cluster is known, if by hearsay, somebody will have the post that can grant.
        let levels = self.membership_levels().into_iter();
        let mut seats = levels.filter_map(|level| self.membership(level));
        let known = seats.any(|it| it.view.roster.find_child(claim.cluster).is_some());
        if !known && self.posts.keys().any(|&level| level > 1) {
            self.send(now, to, Message::Stranger(claim.cluster.tag()));
        }
    }

    /// The seat's cluster under the next name or epoch.
    fn promote(&mut self, now: Time, level: u8, slot: u8, mut seat: Seat) {
        let Some(before) = seat.child() else {
            return;
        };
        let post = self.posts.get(&level);
        let child = post.and_then(|post| post.children.get(&slot));
        let native = child.is_some_and(|child| child.native);
        let next = if native {
            before.next()
        } else {
            self.new_name()
        };
        seat.stand_for(next);
        self.reseat(now, level, slot, seat);
        let post = self.posts.get_mut(&level);
        if let Some(child) = post.and_then(|post| post.children.get_mut(&slot)) {
            child.native = true;
            child.before = Some(before);
        }
    }

    pub(super) fn grant(&mut self, now: Time, to: NodeId, level: u8, slot: u8, old: ClusterRef) {
        let Some(up) = self.welcome_for(level, slot) else {
            return;
        };
        let Some(cluster) = up.view.roster.get(slot).and_then(Seat::child) else {
            return;
        };
        let grant = Grant { old, cluster, up };
        self.send(now, to, Message::Grant(grant));
    }

    /// Our post and seat under which this cluster is, or was before our last grant.
    pub(super) fn child_of(&self, cluster: ClusterRef) -> Option<(u8, u8)> {
        self.posts.iter().find_map(|(&level, post)| {
            let by_name = post.view.roster.find_child(cluster);
            let before = || {
                let mut children = post.children.iter();
                children.find(|(_, child)| child.before == Some(cluster))
            };
            let slot = by_name.or_else(|| before().map(|(&slot, _)| slot))?;
            Some((level, slot))
        })
    }

    /// Whether the post itself is about to go to another, who will grant from then on.
    pub(super) fn is_giving_away(&self, level: u8) -> bool {
        let post = self.posts.get(&level);
        post.is_none_or(|post| matches!(post.phase, Phase::Merging { .. } | Phase::Leaving))
    }

    /// A child splits, or takes in a sibling: it needs its next epoch, and both change at once.
    pub(super) fn on_twin(&mut self, now: Time, from: NodeId, twin: Twin) {
        let Some((level, slot)) = self.child_of(twin.cluster) else {
            return;
        };
        let post = &self.posts[&level];
        let Some(seat) = post.view.roster.get(slot).filter(|seat| seat.id() == from) else {
            return;
        };
        let added = twin.add.as_ref().and_then(Seat::child);
        let added_at = added.and_then(|child| post.view.roster.find_child(child));
        let full = twin.add.is_some() && post.view.roster.len() >= SEATS_MAX;
        if seat.child() != Some(twin.cluster) {
            // Asked again: the answer was lost.
            if added.is_some() == added_at.is_some() {
                self.answer_twin(now, from, level, slot, (twin.cluster, added_at));
            }
            return;
        }
        if full || self.is_giving_away(level) {
            return;
        }
        let seat = seat.clone();
        self.promote(now, level, slot, seat);
        let nodes = twin.add.as_ref().map_or(0, |seat| seat.size);
        let added_at = twin
            .add
            .and_then(|seat| self.add_seat(now, level, seat, false));
        if let (Some(post), Some(at)) = (self.posts.get_mut(&level), added_at) {
            post.track.suspect(now, at, nodes, DOUBLE_JOINED);
            if let Some(child) = post.children.get_mut(&at) {
                child.native = true;
            }
            post.track.until_reported(slot, &post.view, at);
        }
        if let Some(absorbed) = twin.absorb {
            let at = self.posts[&level].view.roster.find_child(absorbed);
            if let Some(at) = at {
                if let Some(post) = self.posts.get_mut(&level) {
                    post.track.haunt(now, at);
                    post.track.until_reported(slot, &post.view, at);
                }
                self.remove_seat(now, level, at);
            }
        }
        self.answer_twin(now, from, level, slot, (twin.cluster, added_at));
    }

    fn answer_twin(
        &mut self,
        now: Time,
        to: NodeId,
        level: u8,
        slot: u8,
        (old, added): (ClusterRef, Option<u8>),
    ) {
        let seat = self.posts[&level].view.roster.get(slot);
        if let Some(cluster) = seat.and_then(Seat::child) {
            let answer = Twinned {
                old,
                cluster,
                slot: added,
            };
            self.send(now, to, Message::Twinned(answer));
        }
    }

    /// What a child says of its cluster differs from what we know.
    pub(super) fn reconcile(&mut self, now: Time, level: u8, slot: u8, child: ClusterRef) {
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let Some(seat) = post.view.roster.get(slot) else {
            return;
        };
        let before = post.children.get(&slot).and_then(|child| child.before);
        if before == Some(child) {
            let to = seat.id();
            self.answer_twin(now, to, level, slot, (child, None));
            return;
        }
        let mut seat = seat.clone();
        seat.stand_for(child);
        self.reseat(now, level, slot, seat);
        let post = self.posts.get_mut(&level);
        if let Some(child) = post.and_then(|post| post.children.get_mut(&slot)) {
            child.native = false;
            child.before = None;
        }
    }
}
