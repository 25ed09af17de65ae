//! Deaths: what a word of dicast about a node means for the overlays that it is in.
//!
//! dicast says that a node has gone from our cell, and not whether it died: it may have taken a
//! seat elsewhere, or the cell may have split. So its word is a suspicion. The overlay machine
//! takes a suspect out of its views at once, where nothing hangs on it. If anything does, because
//! it is our parent or child, or a member of an overlay that we root, the probe measures it anew at
//! once. Who does not answer that is missed by two witnesses, and is dead: its edges end, at the
//! root it is no longer listed, and its parent reports it gone without waiting for the hold. Who
//! answers is left alone.
//!
//! Weakness: a node that both witnesses miss may live behind a broken path. Then it finds other
//! neighbours as an orphan does, and its next report lists it again.

use std::time::Duration;

use opus_core::{NodeId, OverlayId, Time};

use crate::{
    command::{Event, MemberState},
    machine::Site,
    membership::Membership,
    wire::Row,
};

impl Site {
    /// A member of our cell has gone; why is not known.
    pub(crate) fn suspect(&mut self, peer: NodeId) {
        if self.memberships.is_empty() {
            return;
        }
        self.emit(Event::Overlay(opus_overlay::Command::Suspect(peer)));
        if self.memberships.values().any(|m| m.concerns(peer)) {
            self.check(peer);
        }
    }

    /// Asks the probe whether a suspect answers now, whatever it measured before.
    pub(crate) fn check(&mut self, peer: NodeId) {
        // Overflow as written at the field.
        if self.suspects.is_full() && !self.suspects.contains_key(&peer) {
            return;
        }
        let id = self.measure(vec![peer], Duration::ZERO);
        self.suspects.insert(peer, id).ok();
    }

    /// A suspect is back in our cell: the answer of the probe does not matter any more.
    pub(crate) fn acquit(&mut self, peer: NodeId) {
        self.suspects.remove(&peer);
    }

    /// The probe's answer to measurement `id`, which may have been a check.
    pub(crate) fn judge(&mut self, now: Time, id: u64, peer: NodeId, answers: bool) {
        if self.suspects.get(&peer) != Some(&id) {
            return;
        }
        self.suspects.remove(&peer);
        if !answers {
            self.on_dead(now, peer);
        }
    }

    fn on_dead(&mut self, now: Time, peer: NodeId) {
        let concerned: Vec<OverlayId> = self
            .memberships
            .iter()
            .filter(|(_, membership)| membership.concerns(peer))
            .map(|(&overlay, _)| overlay)
            .collect();
        for &overlay in &concerned {
            self.strike_out(now, overlay, peer);
        }
        self.emit(Event::Overlay(opus_overlay::Command::Retire(peer)));
        if !concerned.is_empty() {
            let count = concerned.len();
            let msg = format!("{peer:?} is dead; overlays that it is out of: {count}");
            self.tell("info", "member", msg);
        }
    }

    /// Lists a dead node no longer: at the root by itself, elsewhere by a report.
    fn strike_out(&mut self, now: Time, overlay: OverlayId, peer: NodeId) {
        let membership = self.membership(overlay);
        let below = membership.below.remove(&peer);
        if membership.is_rooted() {
            if let Some(role) = membership.roster.retire(peer, now) {
                self.announce_member(overlay, peer, role, MemberState::Gone);
            }
        } else if let Some(below) = below {
            let gone = Row {
                state: MemberState::Gone,
                ..below.row
            };
            self.pass_up(now, overlay, &gone);
        }
    }
}

impl Membership {
    /// Whether anything here hangs on `peer`.
    fn concerns(&self, peer: NodeId) -> bool {
        let children = &self.edges.children;
        self.edges.parent == Some(peer)
            || children.contains(&peer)
            || self.below.contains_key(&peer)
            || (self.is_rooted() && self.roster.lists(peer))
    }
}
