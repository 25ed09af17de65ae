//! Anti-entropy: how specs and root notes reach every node.
//!
//! Peers that connect send each other the first page of a digest; who lacks something pulls it, and
//! with the pull the next page, so that the receiver sets the pace. A change is pushed at once to
//! all connected peers but the one it came from, and each pushes it on if it is news there too. A
//! push that a full lane dropped is mended by the digest that a random peer gets each minute.

use std::time::Duration;

use opus_core::{Hint, Lane, NodeId, Offence, OverlayId, Time};
use rand::RngExt;
use serde_bytes::ByteBuf;

use crate::{
    command::{Event, Refusal},
    directory::{Offered, Rejected},
    machine::{Name, Site},
    membership::{Membership, Phase},
    spec::{App, SignedError},
    wire::{Entry, Message, RootNote},
};

impl Site {
    pub(crate) fn on_hint(&mut self, now: Time, hint: Hint) {
        if self.me.hint == hint {
            return;
        }
        self.me.hint = hint.clone();
        self.emit(Event::Overlay(opus_overlay::Command::Hint(hint)));
        self.readdress(now);
    }

    /// Deploys, updates or retires at the wish of our own node.
    pub(crate) fn on_deploy(&mut self, now: Time, id: u64, signed: &[u8], dry_run: bool) {
        let offered = self.directory.offer(signed, dry_run);
        match offered {
            Ok(_) if dry_run => self.answer_dry_run(id, signed),
            Ok(Offered::Known(overlay)) => self.deployed(id, overlay),
            Ok(Offered::Fresh { overlay, replaced }) => {
                self.deployed(id, overlay);
                self.on_fresh_spec(now, overlay, replaced.as_deref(), None);
            }
            Err(rejected) => {
                let reason = Refusal::from(rejected);
                self.emit(Event::Refused { id, reason });
            }
        }
    }

    fn deployed(&mut self, id: u64, overlay: OverlayId) {
        let known = self.directory.get(overlay).expect("just offered");
        let (app, version) = (known.app.app.clone(), known.app.spec.version);
        self.emit(Event::Deployed { id, app, version });
    }

    /// A lawful spec that was not stored: answered from its own bytes.
    fn answer_dry_run(&mut self, id: u64, signed: &[u8]) {
        let verified = crate::spec::SignedApp::decode(signed)
            .and_then(|signed| signed.verify(&self.config.network));
        match verified {
            Ok(App { app, spec, .. }) => self.emit(Event::Deployed {
                id,
                app,
                version: spec.version,
            }),
            Err(error) => {
                let reason = Refusal::Spec(error.to_string());
                self.emit(Event::Refused { id, reason });
            }
        }
    }

    /// The first page of what we know, if we know anything.
    pub(crate) fn greet(&mut self, peer: NodeId) {
        if !self.directory.is_empty() {
            self.send_page(peer, None);
        }
    }

    fn send_page(&mut self, peer: NodeId, after: Option<OverlayId>) {
        let (entries, more) = self.directory.page(after);
        self.send(peer, Lane::Bulk, Message::Digest { entries, more });
    }

    pub(crate) fn on_sync(&mut self, now: Time) {
        let Some(peer) = self.random_peer() else {
            return;
        };
        self.greet(peer);
        let interval = jitter(self.config.sync_interval, self.rng.random());
        self.timers.set(Name::Sync, now + interval);
    }

    pub(crate) fn on_digest(&mut self, from: NodeId, entries: &[Entry], more: bool) {
        let items = self.directory.lacks(entries);
        let after = entries.last().map(|entry| entry.overlay).filter(|_| more);
        if !items.is_empty() || after.is_some() {
            self.send(from, Lane::Bulk, Message::Pull { items, after });
        }
    }

    pub(crate) fn on_pull(&mut self, from: NodeId, items: &[OverlayId], after: Option<OverlayId>) {
        for &overlay in items {
            if let Some(message) = self.have(overlay) {
                self.send(from, Lane::Bulk, message);
            }
        }
        if after.is_some() {
            self.send_page(from, after);
        }
    }

    fn have(&self, overlay: OverlayId) -> Option<Message> {
        self.directory.get(overlay).map(|known| Message::Have {
            signed: Some(ByteBuf::from(known.app.signed.encode())),
            root: known.root.clone(),
        })
    }

    pub(crate) fn on_have(
        &mut self,
        now: Time,
        from: NodeId,
        signed: Option<ByteBuf>,
        root: Option<RootNote>,
    ) {
        if let Some(signed) = signed {
            match self.directory.offer(&signed, false) {
                Ok(Offered::Fresh { overlay, replaced }) => {
                    self.on_fresh_spec(now, overlay, replaced.as_deref(), Some(from));
                }
                Err(Rejected::Bad(SignedError::Malformed(_))) => {
                    self.penalise(from, Offence::Malformed);
                }
                Err(Rejected::Bad(SignedError::Signature)) => {
                    self.penalise(from, Offence::Forged);
                }
                // A spec that only a newer release understands is nobody's fault.
                Ok(Offered::Known(_))
                | Err(
                    Rejected::Bad(SignedError::Spec(_)) | Rejected::Stale { .. } | Rejected::Full,
                ) => {}
            }
        }
        if let Some(note) = root {
            self.on_note(now, Some(from), &note);
        }
    }

    /// A spec came into force: spread it, and let our own part in it follow.
    fn on_fresh_spec(
        &mut self,
        now: Time,
        overlay: OverlayId,
        replaced: Option<&App>,
        from: Option<NodeId>,
    ) {
        if let Some(message) = self.have(overlay) {
            self.push(from, &message);
        }
        let known = self.directory.get(overlay).expect("just taken");
        let (app, spec) = (known.app.app.clone(), &known.app.spec);
        let (retired, version, knob) = (spec.retired, spec.version, spec.knob_milli());
        let what = if retired { "is retired" } else { "is known" };
        self.tell("info", "app", format!("{app} version {version} {what}"));
        if retired {
            self.retire(now, overlay);
        } else if replaced.is_some_and(|old| old.spec.knob_milli() != knob) {
            self.turn_knob(overlay, knob);
        }
    }

    fn turn_knob(&mut self, overlay: OverlayId, alpha_milli: u32) {
        if self
            .memberships
            .get(&overlay)
            .is_some_and(Membership::is_rooted)
        {
            let id = self.fresh_id();
            self.emit(Event::Overlay(opus_overlay::Command::SetKnob {
                id,
                overlay,
                alpha_milli,
            }));
        }
    }

    /// A root note, from a peer or our own: spread it if it is news, and follow it.
    pub(crate) fn on_note(&mut self, now: Time, from: Option<NodeId>, note: &RootNote) {
        if !self.directory.learn_root(note) {
            return;
        }
        let message = Message::Have {
            signed: None,
            root: Some(note.clone()),
        };
        self.push(from, &message);
        if from.is_some() {
            self.follow_note(now, note);
        }
    }

    fn follow_note(&mut self, now: Time, note: &RootNote) {
        let overlay = note.overlay;
        let Some(membership) = self.memberships.get(&overlay) else {
            return;
        };
        let (claim, source) = (membership.claim, membership.source);
        match &membership.phase {
            Phase::Rooted { .. } if note.root.id == self.me.id => self.announce(now, overlay),
            Phase::Rooted { .. } => match source {
                // Two sources: the lower note asks whether the higher one is still true.
                Some(att) if !note.gone => self.start_claim(now, overlay, att, &note.root),
                Some(_) => self.announce(now, overlay),
                None => self.step_down(now, overlay),
            },
            Phase::Waiting | Phase::Joining { .. } | Phase::Member { .. } => {
                if let Some(claim) = claim
                    && !note.gone
                    && note.root.id != claim.against
                {
                    self.drop_claim(overlay);
                    self.start_claim(now, overlay, claim.att, &note.root);
                }
                self.follow(now, overlay);
            }
        }
    }

    fn push(&mut self, except: Option<NodeId>, message: &Message) {
        for peer in self.peers() {
            if Some(peer) != except {
                self.send(peer, Lane::Bulk, message.clone());
            }
        }
    }
}

/// `interval` with a random fifth taken or added, so that nodes do not march in step.
pub(crate) fn jitter(interval: Duration, unit: f64) -> Duration {
    interval.mul_f64(0.8 + 0.4 * unit)
}
