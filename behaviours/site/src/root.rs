//! Roots: how a source takes the root of its overlay, holds it, and gives it up.
//!
//! A source roots its overlay at its own node, announced by a [`RootNote`]; the highest note wins.
//! Before a source overrides another node's note it asks that node whether its source lives
//! (`Ask`): a yes refuses the newcomer as busy; a no, a failed dial or silence lets it in with an
//! epoch one higher. A root that learns of a higher note asks in the same way before it yields, so
//! that a note left by a dead node never ends a live source.

use opus_core::{Contact, Lane, NodeId, OverlayId, Time};

use crate::{
    command::{Event, Refusal, Role},
    machine::{Interest, Name, Site},
    membership::{Claim, Phase},
    roster::Roster,
    wire::{EPOCH_MAX, Message, RootNote},
};

/// Bits of an epoch below the boot count.
const EPOCH_SHIFT: u32 = 16;
/// Bits of a sequence below the boot count (ipc.md, "Delivery").
const SEQUENCE_SHIFT: u32 = 40;

impl Site {
    /// Becomes the root of the overlay for the local source `att`.
    pub(crate) fn take_root(&mut self, now: Time, overlay: OverlayId, att: u32) {
        let key = self.tag_key(overlay);
        let roster = Roster::new(self.config.members_max);
        let membership = self.membership(overlay);
        membership.source = Some(att);
        membership.roster = roster;
        self.stop_joining(overlay);
        self.announce(now, overlay);
        let root = self.me.id;
        self.carry(overlay, key, root);
        self.carry_source(overlay);
        let me = self.me.clone();
        self.enter_tree(now, overlay, &me);
        self.report_attached(overlay, att);
        self.refresh_self(now, overlay);
    }

    /// A source comes while the overlay still stands from the one before.
    pub(crate) fn resume_root(&mut self, overlay: OverlayId, att: u32) {
        self.timers.clear(Name::Drain(overlay));
        let membership = self.membership(overlay);
        membership.source = Some(att);
        if let Phase::Rooted { draining, .. } = &mut membership.phase {
            *draining = false;
        }
        self.carry_source(overlay);
        self.report_attached(overlay, att);
    }

    fn carry_source(&mut self, overlay: OverlayId) {
        let seq_first = (self.boots << SEQUENCE_SHIFT) | 1;
        self.emit(Event::Relay(opus_relay::Command::Source {
            overlay,
            seq_first,
        }));
    }

    fn report_attached(&mut self, overlay: OverlayId, att: u32) {
        if let Some(spec) = self.spec(overlay).cloned() {
            self.attached(att, overlay, spec);
        }
    }

    /// Says to everybody that the root is here, above any note known so far.
    pub(crate) fn announce(&mut self, now: Time, overlay: OverlayId) {
        self.counter += 1;
        let own = (self.boots << EPOCH_SHIFT) | self.counter;
        let known = self.directory.root(overlay).map_or(0, |note| note.epoch);
        let epoch = own.max(known + 1).min(EPOCH_MAX);
        self.membership(overlay).phase = Phase::Rooted {
            epoch,
            draining: false,
        };
        let note = RootNote {
            overlay,
            root: self.me.clone(),
            epoch,
            gone: false,
            revision: 0,
        };
        self.on_note(now, None, &note);
        let app = self.membership(overlay).app.clone();
        self.tell(
            "info",
            "overlay",
            format!("this node roots {app}, epoch {epoch}"),
        );
    }

    /// Tells the new address of the roots at this node.
    pub(crate) fn readdress(&mut self, now: Time) {
        let rooted: Vec<OverlayId> = self
            .memberships
            .iter()
            .filter(|(_, membership)| membership.is_rooted())
            .map(|(&overlay, _)| overlay)
            .collect();
        for overlay in rooted {
            let note = self
                .directory
                .root(overlay)
                .filter(|note| note.root.id == self.me.id);
            if let Some(mut note) = note.cloned() {
                note.root = self.me.clone();
                note.revision = note.revision.saturating_add(1);
                self.on_note(now, None, &note);
            }
        }
    }

    /// The tag key of an overlay rooted here: the same after a restart, a secret of this node.
    fn tag_key(&self, overlay: OverlayId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.config.secret);
        hasher.update(b"opus/site/1 tag key");
        hasher.update(&overlay.0.to_le_bytes());
        *hasher.finalize().as_bytes()
    }

    /// The source left for good: says so, and leaves unless local sinks wait for the next one.
    /// A no-op where this node is not the root.
    pub(crate) fn withdraw(&mut self, now: Time, overlay: OverlayId) {
        let Some(Phase::Rooted { epoch, .. }) = self.memberships.get(&overlay).map(|m| &m.phase)
        else {
            return;
        };
        let note = RootNote {
            overlay,
            root: self.me.clone(),
            epoch: *epoch,
            gone: true,
            revision: 0,
        };
        self.on_note(now, None, &note);
        self.step_down(now, overlay);
    }

    /// Is no longer the root; follows the one that is, if sinks want it.
    pub(crate) fn step_down(&mut self, now: Time, overlay: OverlayId) {
        self.timers.clear(Name::Drain(overlay));
        self.leave_tree(now, overlay);
        self.membership(overlay).phase = Phase::Waiting;
        self.follow(now, overlay);
        self.leave_if_unneeded(now, overlay);
    }

    /// Asks `against` whether it has a live source, on behalf of our own source `att`.
    pub(crate) fn start_claim(&mut self, now: Time, overlay: OverlayId, att: u32, root: &Contact) {
        let membership = self.membership(overlay);
        if membership.claim.is_some() {
            return;
        }
        membership.claim = Some(Claim {
            att,
            against: root.id,
        });
        self.want(root, overlay, Interest::Claim);
        let timeout = self.config.claim_timeout;
        self.timers.set(Name::Claim(overlay), now + timeout);
        if self.is_connected(root.id) {
            self.send(root.id, Lane::Control, Message::Ask { overlay });
        }
    }

    /// Stops asking.
    pub(crate) fn drop_claim(&mut self, overlay: OverlayId) -> Option<Claim> {
        let claim = self.memberships.get_mut(&overlay)?.claim.take()?;
        self.timers.clear(Name::Claim(overlay));
        self.unwant(claim.against, overlay, Interest::Claim);
        Some(claim)
    }

    pub(crate) fn continue_claims(&mut self, peer: NodeId) {
        for overlay in self.claims_against(peer) {
            self.send(peer, Lane::Control, Message::Ask { overlay });
        }
    }

    pub(crate) fn claims_against(&self, peer: NodeId) -> Vec<OverlayId> {
        self.memberships
            .iter()
            .filter(|(_, membership)| membership.claim.is_some_and(|claim| claim.against == peer))
            .map(|(&overlay, _)| overlay)
            .collect()
    }

    pub(crate) fn on_ask(&mut self, from: NodeId, overlay: OverlayId) {
        let held = self
            .memberships
            .get(&overlay)
            .is_some_and(|membership| membership.is_rooted() && membership.source.is_some());
        self.send(from, Lane::Control, Message::Answer { overlay, held });
    }

    pub(crate) fn on_answer(&mut self, now: Time, from: NodeId, overlay: OverlayId, held: bool) {
        if self.claims_against(from).contains(&overlay) {
            self.settle_claim(now, overlay, held);
        }
    }

    /// The asked root has a live source, or has not: silence counts as none.
    pub(crate) fn settle_claim(&mut self, now: Time, overlay: OverlayId, held: bool) {
        let Some(claim) = self.drop_claim(overlay) else {
            return;
        };
        let holds = self.membership(overlay).source == Some(claim.att);
        match (holds, held) {
            (true, true) => {
                self.end_attachment(
                    now,
                    claim.att,
                    "another node has a source with a higher epoch",
                );
                if self.memberships.contains_key(&overlay) {
                    self.step_down(now, overlay);
                }
            }
            (true, false) => self.announce(now, overlay),
            (false, true) => self.refuse_source(now, overlay, claim.att),
            (false, false) => self.take_root(now, overlay, claim.att),
        }
    }

    fn refuse_source(&mut self, now: Time, overlay: OverlayId, att: u32) {
        let app = self.membership(overlay).app.to_string();
        self.emit(Event::Refused {
            id: u64::from(att),
            reason: Refusal::Busy(app),
        });
        self.attachments.remove(&att);
        self.leave_if_unneeded(now, overlay);
    }

    /// Lists this node among its own members while it has sinks.
    pub(crate) fn refresh_self(&mut self, now: Time, overlay: OverlayId) {
        let me = self.me.clone();
        let membership = self.membership(overlay);
        if membership.sinks.is_empty() {
            if membership.roster.remove(me.id).is_some() {
                self.announce_member(overlay, me.id, Role::Sink, crate::MemberState::Gone);
            }
            return;
        }
        let row = crate::wire::Row {
            member: me.id,
            role: Role::Sink,
            state: crate::MemberState::Joined,
            generation: 0,
        };
        let entered = membership.roster.enter(me, Role::Sink, 0, now);
        if entered.is_some()
            && let Some(state) = membership.roster.apply(&row, now)
        {
            self.announce_member(overlay, row.member, Role::Sink, state);
        }
    }
}
