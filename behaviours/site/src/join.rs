//! Joining: how a node with local sinks is taken into the tree by its root, and how it leaves.

use std::time::Duration;

use opus_core::{Contact, Lane, NodeId, Offence, OverlayId, Time};
use rand::RngExt;

use crate::{
    command::{Event, MemberState, Role},
    machine::{Interest, Name, Site},
    membership::Phase,
    spec::Kind,
    sync::jitter,
    wire::{Message, ROWS_MAX, RootNote, Why},
};

/// Doublings of the wait between two joins: beyond, the longest wait holds anyway.
const DOUBLINGS_MAX: u32 = 16;

impl Site {
    /// Brings a membership that is not the root in line with the known root note.
    pub(crate) fn follow(&mut self, now: Time, overlay: OverlayId) {
        let me = self.me.id;
        let Some(membership) = self.memberships.get(&overlay).filter(|m| !m.is_rooted()) else {
            return;
        };
        let (follows, sinks) = (membership.follows(me), !membership.sinks.is_empty());
        let note = self
            .directory
            .root(overlay)
            .filter(|note| !note.gone && note.root.id != me)
            .cloned();
        match note {
            Some(note) if sinks && follows != Some((note.root.id, note.epoch)) => {
                self.stop_joining(overlay);
                self.membership(overlay).phase = Phase::Joining {
                    root: note.root,
                    epoch: note.epoch,
                    tries: 0,
                };
                self.ask_root(now, overlay);
            }
            Some(_) => {}
            None => {
                self.stop_joining(overlay);
                self.leave_tree(now, overlay);
                self.membership(overlay).phase = Phase::Waiting;
            }
        }
    }

    /// Asks the root to take us in; again after a wait that doubles.
    pub(crate) fn ask_root(&mut self, now: Time, overlay: OverlayId) {
        let note = self.directory.root(overlay).map(|note| note.root.clone());
        let unit = self.rng.random();
        let (min, max) = (self.config.join_retry_min, self.config.join_retry_max);
        let membership = self.membership(overlay);
        let Phase::Joining { root, tries, .. } = &mut membership.phase else {
            return;
        };
        // A newer address of the same root does not change its epoch.
        if let Some(newer) = note.filter(|newer| newer.id == root.id) {
            *root = newer;
        }
        let wait = backoff(min, max, *tries);
        *tries = tries.saturating_add(1);
        let root = root.clone();
        self.timers
            .set(Name::Join(overlay), now + jitter(wait, unit));
        self.want(&root, overlay, Interest::Join);
        if self.is_connected(root.id) {
            self.send_join(root.id, overlay);
        }
    }

    fn send_join(&mut self, root: NodeId, overlay: OverlayId) {
        let generation = self.fresh_generation();
        self.membership(overlay).generation = generation;
        let join = Message::Join {
            overlay,
            role: Role::Sink,
            contact: self.me.clone(),
            generation,
        };
        self.send(root, Lane::Control, join);
    }

    /// Generations rise over restarts and over attachments to the tree.
    pub(crate) fn fresh_generation(&mut self) -> u64 {
        self.counter += 1;
        (self.boots << 32) | self.counter
    }

    pub(crate) fn continue_joins(&mut self, peer: NodeId) {
        let joining: Vec<OverlayId> = self
            .memberships
            .iter()
            .filter(|(_, membership)| match &membership.phase {
                Phase::Joining { root, .. } => root.id == peer,
                Phase::Waiting | Phase::Member { .. } | Phase::Rooted { .. } => false,
            })
            .map(|(&overlay, _)| overlay)
            .collect();
        for overlay in joining {
            self.send_join(peer, overlay);
        }
    }

    /// A join is repeated by its timer; a claim against an unreachable root is won.
    pub(crate) fn on_dial_failed(&mut self, now: Time, peer: NodeId) {
        for overlay in self.claims_against(peer) {
            self.settle_claim(now, overlay, false);
        }
    }

    /// Loses the interest in the root as far as joining goes.
    pub(crate) fn stop_joining(&mut self, overlay: OverlayId) {
        self.timers.clear(Name::Join(overlay));
        if let Some(Phase::Joining { root, .. }) = self.memberships.get(&overlay).map(|m| &m.phase)
        {
            let root = root.id;
            self.unwant(root, overlay, Interest::Join);
        }
    }

    /// A node wants to be a member of an overlay that we root, or that it thinks we root.
    pub(crate) fn on_join(
        &mut self,
        now: Time,
        from: NodeId,
        overlay: OverlayId,
        role: Role,
        contact: Contact,
        generation: u64,
    ) {
        if contact.id != from {
            self.penalise(from, Offence::Forged);
            return;
        }
        match self.take_in(now, overlay, role, contact, generation) {
            Ok(welcome) => self.send(from, Lane::Control, welcome),
            Err(why) => {
                let root = self.directory.root(overlay).cloned();
                self.send(from, Lane::Control, Message::Refuse { overlay, why, root });
            }
        }
    }

    fn take_in(
        &mut self,
        now: Time,
        overlay: OverlayId,
        role: Role,
        contact: Contact,
        generation: u64,
    ) -> Result<Message, Why> {
        let single = self
            .spec(overlay)
            .is_some_and(|spec| spec.kind == Kind::Unicast);
        let membership = self.memberships.get_mut(&overlay).ok_or(Why::NotRoot)?;
        let (Phase::Rooted { epoch, .. }, Some((key, _))) = (&membership.phase, membership.carried)
        else {
            return Err(Why::NotRoot);
        };
        let (id, epoch) = (contact.id, *epoch);
        if single && membership.roster.iter().any(|(other, _)| other != id) {
            return Err(Why::Taken);
        }
        let entered = membership.roster.enter(contact, role, generation, now);
        let changed = entered.ok_or(Why::Full)?;
        if single {
            // The one place is taken: who had it before comes back by joining only.
            membership.roster.forget_missing();
        }
        let members = membership.roster.sample(id, &mut self.rng);
        if changed {
            self.announce_member(overlay, id, role, MemberState::Joining);
        }
        Ok(Message::Welcome {
            overlay,
            epoch,
            key: key.into(),
            members,
        })
    }

    pub(crate) fn on_welcome(
        &mut self,
        now: Time,
        from: NodeId,
        overlay: OverlayId,
        epoch: u64,
        key: [u8; 32],
        members: Vec<Contact>,
    ) {
        let Some(Phase::Joining { root, .. }) = self.memberships.get(&overlay).map(|m| &m.phase)
        else {
            return;
        };
        if root.id != from {
            return;
        }
        let root = root.clone();
        self.stop_joining(overlay);
        self.membership(overlay).phase = Phase::Member {
            root: root.clone(),
            epoch,
        };
        self.carry(overlay, key, from);
        self.enter_tree(now, overlay, &root);
        self.introduce(overlay, members);
        // The root may have restarted under a standing tree: it hears of us again at once.
        if self.membership(overlay).edges.parent.is_some() {
            self.report_self_soon(now, overlay);
        }
    }

    pub(crate) fn on_refuse(
        &mut self,
        now: Time,
        from: NodeId,
        overlay: OverlayId,
        why: Why,
        root: Option<RootNote>,
    ) {
        let Some(Phase::Joining { root: asked, .. }) =
            self.memberships.get(&overlay).map(|m| &m.phase)
        else {
            return;
        };
        if asked.id != from {
            return;
        }
        match why {
            // The timer asks again; a note that is news leads elsewhere.
            Why::NotRoot => {
                if let Some(note) = root.filter(|note| note.overlay == overlay) {
                    self.on_note(now, Some(from), &note);
                }
            }
            Why::Full => {
                let why = "the root has as many members as it may";
                self.end_all(now, overlay, Some(Role::Sink), why);
            }
            Why::Taken => {
                let why = "this unicast application has a sink already";
                self.end_all(now, overlay, Some(Role::Sink), why);
            }
        }
    }

    /// Makes the relay carry the overlay under this key, for the source at `root`.
    pub(crate) fn carry(&mut self, overlay: OverlayId, key: [u8; 32], root: NodeId) {
        let Some(class) = self.spec(overlay).map(crate::Spec::class) else {
            return;
        };
        let membership = self.membership(overlay);
        let before = membership.carried.replace((key, class));
        let sinks: Vec<u32> = membership.sinks.iter().copied().collect();
        // A key can change under what is carried, a class cannot.
        let kept = before.is_some_and(|(_, before)| before == class);
        if before.is_some() && !kept {
            self.emit(Event::Relay(opus_relay::Command::Close { overlay }));
        }
        if before != Some((key, class)) {
            self.emit(Event::Relay(opus_relay::Command::Open {
                overlay,
                class,
                key,
            }));
        }
        if root != self.me.id {
            let source = root;
            self.emit(Event::Relay(opus_relay::Command::Root { overlay, source }));
        }
        if !kept {
            self.carry_edges(overlay);
            for att in sinks {
                self.carry_sink(att, overlay);
            }
        }
    }

    /// Tells the relay of a local sink, which continues where its program said if the source is
    /// the same.
    pub(crate) fn carry_sink(&mut self, att: u32, overlay: OverlayId) {
        let me = self.me.id;
        let root = self.membership(overlay).follows(me).map(|(root, _)| root);
        let resume = self
            .attachments
            .get(&att)
            .and_then(|attachment| attachment.resume)
            .filter(|&(source, _)| Some(source) == root)
            .map(|(_, seq)| seq);
        self.emit(Event::Relay(opus_relay::Command::Sink {
            overlay,
            att,
            resume,
        }));
    }

    /// Makes the overlay machine a member, or points it to another root.
    pub(crate) fn enter_tree(&mut self, now: Time, overlay: OverlayId, root: &Contact) {
        let id = self.fresh_id();
        let alpha_milli = self.spec(overlay).map_or(1_500, crate::Spec::knob_milli);
        let cap = self.config.cap;
        let membership = self.membership(overlay);
        let before = membership.told_root.replace(root.clone());
        let command = if before.is_none() {
            membership.join_id = id;
            opus_overlay::Command::Join {
                id,
                overlay,
                root: root.clone(),
                alpha_milli,
                cap,
            }
        } else {
            opus_overlay::Command::Reroot {
                overlay,
                root: root.clone(),
            }
        };
        self.emit(Event::Contact(root.clone()));
        self.emit(Event::Overlay(command));
        self.plan_cell(now);
    }

    /// Leaves the tree but keeps the membership: its programs wait for the next root.
    pub(crate) fn leave_tree(&mut self, now: Time, overlay: OverlayId) {
        self.say_goodbye(overlay);
        let id = self.fresh_id();
        let membership = self.membership(overlay);
        let told = membership.told_root.take().is_some();
        let carried = membership.carried.take().is_some();
        let edges = std::mem::take(&mut membership.edges);
        membership.pending = opus_core::BoundedMap::new(membership.pending.capacity());
        membership.below = opus_core::BoundedMap::new(membership.below.capacity());
        self.timers.clear(Name::Report(overlay));
        self.timers.clear(Name::Flush(overlay));
        if told {
            self.emit(Event::Overlay(opus_overlay::Command::Leave { id, overlay }));
            self.plan_cell(now);
        }
        if carried {
            self.emit(Event::Relay(opus_relay::Command::Close { overlay }));
        }
        self.unwatch_all(&edges);
    }

    /// Sends what waits to be reported, and that we are leaving, to the parent.
    fn say_goodbye(&mut self, overlay: OverlayId) {
        let me = self.me.id;
        let membership = self.membership(overlay);
        let Some(parent) = membership.edges.parent else {
            return;
        };
        let mut rows = vec![crate::wire::Row {
            member: me,
            role: Role::Sink,
            state: MemberState::Leaving,
            generation: membership.generation,
        }];
        rows.extend(membership.pending.values().take(ROWS_MAX - 1));
        self.send(parent, Lane::Control, Message::Report { overlay, rows });
    }

    /// Leaves the overlay when no local program needs it and it is not rooted here.
    pub(crate) fn leave_if_unneeded(&mut self, now: Time, overlay: OverlayId) {
        let unneeded = self
            .memberships
            .get(&overlay)
            .is_some_and(|membership| !membership.is_needed() && !membership.is_rooted());
        if unneeded {
            self.stop_joining(overlay);
            self.leave_tree(now, overlay);
            self.memberships.remove(&overlay);
        } else {
            self.arm_sweep(now);
        }
    }
}

/// `min` doubled `tries` times, at most `max`.
fn backoff(min: Duration, max: Duration, tries: u32) -> Duration {
    min.saturating_mul(1 << tries.min(DOUBLINGS_MAX)).min(max)
}
