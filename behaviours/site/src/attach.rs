//! Local programs: how they come to an application, and how they leave it.

use opus_core::{NodeId, OverlayId, Time};

use crate::{
    command::{Event, Refusal, Role},
    machine::{Name, Site},
    membership::{Membership, Phase, is_single_sender},
    spec::{AppRef, Spec},
};

/// One local attachment.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    /// Full reference.
    pub(crate) app: AppRef,
    pub(crate) overlay: OverlayId,
    pub(crate) role: Role,
    /// Complete class, sinks: continue after this sequence of this source.
    pub(crate) resume: Option<(NodeId, u64)>,
}

impl Site {
    pub(crate) fn on_attach(
        &mut self,
        now: Time,
        att: u32,
        app: &AppRef,
        role: Role,
        resume: Option<(NodeId, u64)>,
    ) {
        match self.admit_attachment(att, app, role, resume) {
            Ok((overlay, spec)) => match role {
                Role::Sink => self.attach_sink(now, att, overlay, spec),
                Role::Source => self.attach_source(now, att, overlay),
            },
            Err(reason) => self.emit(Event::Refused {
                id: u64::from(att),
                reason,
            }),
        }
        self.arm_sweep(now);
    }

    /// Enters the attachment into the tables. Errors: nothing is entered.
    fn admit_attachment(
        &mut self,
        att: u32,
        app: &AppRef,
        role: Role,
        resume: Option<(NodeId, u64)>,
    ) -> Result<(OverlayId, Spec), Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        let known = self.directory.find(app)?;
        let (spec, full) = (known.app.spec.clone(), known.app.app.clone());
        let overlay = known.app.overlay;
        if spec.retired {
            return Err(Refusal::Retired(full.to_string()));
        }
        if !is_single_sender(&spec) {
            return Err(Refusal::Role(spec.kind.name()));
        }
        let membership = self.memberships.get(&overlay);
        let taken = membership.is_some_and(|m| m.source.is_some() || m.claim.is_some());
        if role == Role::Source && taken {
            return Err(Refusal::Busy(full.to_string()));
        }
        if self.attachments.contains_key(&att) || self.attachments.is_full() {
            return Err(Refusal::Full("attachments"));
        }
        let members_max = self.config.members_max;
        self.memberships
            .get_or_insert_with(overlay, || Membership::new(full.clone(), members_max))
            .ok_or(Refusal::Full("overlays"))?;
        let attachment = Attachment {
            app: full,
            overlay,
            role,
            resume,
        };
        self.attachments
            .insert(att, attachment)
            .map_err(|_| Refusal::Full("attachments"))?;
        Ok((overlay, spec))
    }

    fn attach_sink(&mut self, now: Time, att: u32, overlay: OverlayId, spec: Spec) {
        self.attached(att, overlay, spec);
        let membership = self.membership(overlay);
        membership.sinks.insert(att);
        let (carried, rooted) = (membership.carried.is_some(), membership.is_rooted());
        if carried {
            self.carry_sink(att, overlay);
        }
        if rooted {
            self.refresh_self(now, overlay);
        } else {
            self.follow(now, overlay);
        }
    }

    fn attach_source(&mut self, now: Time, att: u32, overlay: OverlayId) {
        let other = self
            .directory
            .root(overlay)
            .filter(|note| !note.gone && note.root.id != self.me.id)
            .map(|note| note.root.clone());
        match other {
            _ if self.membership(overlay).is_rooted() => self.resume_root(overlay, att),
            Some(root) => self.start_claim(now, overlay, att, &root),
            None => self.take_root(now, overlay, att),
        }
    }

    pub(crate) fn attached(&mut self, att: u32, overlay: OverlayId, spec: Spec) {
        let attachment = self.attachments.get(&att).expect("entered before");
        let app = attachment.app.clone();
        self.emit(Event::Attached {
            att,
            app,
            overlay,
            spec: Box::new(spec),
        });
    }

    /// The membership of an overlay that an attachment or a claim keeps alive.
    pub(crate) fn membership(&mut self, overlay: OverlayId) -> &mut Membership {
        self.memberships
            .get_mut(&overlay)
            .expect("an attachment keeps its membership")
    }

    pub(crate) fn on_detach(&mut self, now: Time, att: u32) {
        let Some(attachment) = self.attachments.remove(&att) else {
            return;
        };
        let overlay = attachment.overlay;
        match attachment.role {
            Role::Sink => self.detach_sink(now, att, overlay),
            Role::Source => self.detach_source(now, att, overlay),
        }
        self.leave_if_unneeded(now, overlay);
    }

    fn detach_sink(&mut self, now: Time, att: u32, overlay: OverlayId) {
        let membership = self.membership(overlay);
        membership.sinks.remove(&att);
        let (carried, rooted) = (membership.carried.is_some(), membership.is_rooted());
        if carried {
            let gone = opus_relay::Command::SinkGone { overlay, att };
            self.emit(Event::Relay(gone));
        }
        if rooted {
            self.refresh_self(now, overlay);
        }
    }

    fn detach_source(&mut self, now: Time, att: u32, overlay: OverlayId) {
        let membership = self.membership(overlay);
        if membership.claim.is_some_and(|claim| claim.att == att) {
            self.drop_claim(overlay);
        }
        let membership = self.membership(overlay);
        if membership.source != Some(att) {
            return;
        }
        membership.source = None;
        if let Phase::Rooted { draining, .. } = &mut membership.phase {
            *draining = true;
        }
        self.emit(Event::Relay(opus_relay::Command::SourceGone { overlay }));
        let drain_ms = self.spec(overlay).map_or(0, |spec| spec.sla.drain_ms);
        let drain = std::time::Duration::from_millis(u64::from(drain_ms.max(1)));
        self.timers.set(Name::Drain(overlay), now + drain);
    }

    /// Ends an attachment that its program did not end.
    pub(crate) fn end_attachment(&mut self, now: Time, att: u32, why: &str) {
        if self.attachments.contains_key(&att) {
            let why = why.to_owned();
            self.emit(Event::Ended { att, why });
            self.on_detach(now, att);
        }
    }

    /// Ends every attachment of an overlay.
    pub(crate) fn end_all(&mut self, now: Time, overlay: OverlayId, role: Option<Role>, why: &str) {
        let ended: Vec<u32> = self
            .attachments
            .iter()
            .filter(|(_, attachment)| attachment.overlay == overlay)
            .filter(|(_, attachment)| role.is_none_or(|role| role == attachment.role))
            .map(|(&att, _)| att)
            .collect();
        for att in ended {
            self.end_attachment(now, att, why);
        }
    }

    /// The owner ended the application.
    pub(crate) fn retire(&mut self, now: Time, overlay: OverlayId) {
        self.end_all(now, overlay, None, "the application is retired");
        self.withdraw(now, overlay);
    }

    /// This node is about to stop.
    pub(crate) fn on_drain(&mut self, now: Time) {
        self.draining = true;
        let overlays: Vec<OverlayId> = self.memberships.keys().copied().collect();
        for overlay in overlays {
            self.end_all(now, overlay, None, "this node is draining");
            self.withdraw(now, overlay);
        }
    }
}
