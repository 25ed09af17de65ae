//! A change of parent: offer, claim, verdict, commit. Nobody waits for anybody: no locks.
//!
//! *At most one pending change a member, and claims climb by real edges.* The offer's receiver
//! passes a claim up, parent by parent, to the root. A member that has a change pending itself
//! answers busy; the offering one, or one below it, answers loop. Of several changes that together
//! would close a loop, take the one committed last: the others' claims began or passed while it
//! was pending, so one of them met it, or its own claim met a committed one and followed it. A
//! member without children can close no loop; its claim is left out.

use std::time::Duration;

use opus_core::{Contact, NodeId, Time};
use opus_model::Position;
use rand::RngExt;

use crate::{
    local::{Local, Timer},
    member::{Child, Member, Parent},
    wire::{
        Answer, Body, Claim, Down, HINTS_MAX, HOPS_MAX, Leave, Offer, OfferKind, Parting, Pressure,
        Reason, SLACK_US_MAX, Standing, Verdict,
    },
};

/// A claim and its verdict take three times the delay to the root at worst, and this for dials.
const PATIENCE: Duration = Duration::from_secs(1);
/// An orphan does not know the delay; this covers a path of half a second.
const PATIENCE_ORPHAN: Duration = Duration::from_millis(2_500);
/// How long a slot is kept, and a claim remembered, for a verdict: longer than any patience.
const RESERVED: Duration = Duration::from_secs(10);
/// Believed and true delay may differ by a hundredth or a millisecond.
const STALE_SHARE: u32 = 100;
const STALE_US: u32 = 1_000;

/// The change under way.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) target: NodeId,
    pub(crate) serial: u32,
    sent: Time,
}

/// A claim, or an offer to this member, that waits for a verdict from above.
#[derive(Clone, Debug)]
pub(crate) struct Transit {
    /// Where the verdict goes.
    back: NodeId,
    /// From whom it must come.
    asked: NodeId,
    until: Time,
}

impl Member {
    /// Offers this member to `target` as a child. `seen_us`: the target's delay, as far as known.
    pub(crate) fn offer(
        &mut self,
        local: &mut Local,
        target: NodeId,
        kind: OfferKind,
        seen_us: Option<u32>,
    ) {
        assert!(self.pending.is_none(), "one pending change at a time");
        self.serial = self.serial.wrapping_add(1);
        let rtt_us = local.rtt(target);
        let delay_us = seen_us.unwrap_or(0).saturating_add(rtt_us.unwrap_or(0));
        let rise_us = i64::from(delay_us) - i64::from(self.delay_us);
        let slack_us = match seen_us {
            Some(_) if kind != OfferKind::Orphan => self.slack_us(local) - rise_us,
            Some(_) | None => 0,
        };
        let patience = match kind {
            OfferKind::Orphan => PATIENCE_ORPHAN,
            OfferKind::Cheaper | OfferKind::Violator => PATIENCE,
        };
        let deadline = local.now + patience + 3 * Duration::from_micros(delay_us.into());
        self.pending = Some(Pending {
            target,
            serial: self.serial,
            sent: local.now,
        });
        self.set_timer(local, Timer::Pending, deadline);
        let offer = Offer {
            serial: self.serial,
            kind,
            leaf: self.children.is_empty(),
            rtt_us,
            slack_us: slack_us.clamp(-SLACK_US_MAX, SLACK_US_MAX),
            seen_us: seen_us.unwrap_or(0),
            hint: local.hint.clone(),
            position: local.position,
        };
        self.send(local, target, Body::Offer(Box::new(offer)));
    }

    /// Somebody wants to become a child.
    pub(crate) fn on_offer(&mut self, local: &mut Local, from: NodeId, epoch: u32, offer: &Offer) {
        let serial = offer.serial;
        let contact = Contact {
            id: from,
            hint: offer.hint.clone(),
        };
        self.pool.insert(&mut local.rng, &contact);
        if let Err(reason) = self.judge(local, from, offer) {
            if reason == Reason::Full && offer.kind == OfferKind::Violator {
                self.violator_refused = Some(local.now);
                if self.pressed + local.config.beat_early <= local.now {
                    self.press(local);
                }
            }
            let hints = if reason == Reason::Full {
                self.hints(from, offer.position)
            } else {
                Vec::new()
            };
            self.refuse(local, from, from, serial, reason, hints);
            return;
        }
        let asked = match &self.parent {
            Some(parent) if !(offer.leaf && offer.kind == OfferKind::Orphan) => {
                Some(parent.contact.id)
            }
            Some(_) | None => None,
        };
        if let Some(asked) = asked {
            let transit = Transit {
                back: from,
                asked,
                until: local.now + RESERVED,
            };
            if self.transits.insert((from, serial), transit).is_err() {
                self.refuse(local, from, from, serial, Reason::Busy, Vec::new());
                return;
            }
        }
        let slack_us = offer.slack_us;
        let mut child = Child::new(local, contact, epoch, offer);
        child.reserved = asked.is_some().then_some(local.now + RESERVED);
        self.children.insert(from, child);
        match asked {
            Some(asked) => self.claim(local, asked, from, serial, slack_us),
            None => self.accept(local, from, serial),
        }
    }

    /// A change below wants to pass.
    pub(crate) fn on_claim(&mut self, local: &mut Local, from: NodeId, claim: &Claim) {
        let (of, serial) = (claim.of, claim.serial);
        if let Err(reason) = self.judge_claim(local, from, claim) {
            if reason == Reason::Stale {
                self.send_down(local, from, Pressure::None);
            }
            self.refuse(local, from, of, serial, reason, Vec::new());
            return;
        }
        if let Some(child) = self.children.get_mut(&from) {
            child.slack_us = child.slack_us.min(claim.slack_us);
        }
        let Some(asked) = self.parent.as_ref().map(|parent| parent.contact.id) else {
            self.answer(local, from, of, serial, Answer::Clear);
            return;
        };
        let transit = Transit {
            back: from,
            asked,
            until: local.now + RESERVED,
        };
        if self.transits.insert((of, serial), transit).is_err() {
            self.refuse(local, from, of, serial, Reason::Busy, Vec::new());
        } else {
            self.claim(local, asked, of, serial, claim.slack_us);
        }
    }

    /// The answer to the own offer, or to one that passed here.
    pub(crate) fn on_verdict(
        &mut self,
        local: &mut Local,
        from: NodeId,
        epoch: u32,
        verdict: Verdict,
    ) {
        let Verdict { of, serial, answer } = verdict;
        if of == local.id {
            self.on_own_verdict(local, from, epoch, serial, answer);
            return;
        }
        let awaited = self.transits.get(&(of, serial));
        let Some(transit) = awaited.filter(|transit| transit.asked == from).cloned() else {
            return;
        };
        self.transits.remove(&(of, serial));
        if transit.back != of {
            self.answer(local, transit.back, of, serial, answer);
            return;
        }
        match answer {
            Answer::Clear | Answer::Accept(_) => self.accept(local, of, serial),
            Answer::Refuse { reason, .. } => {
                self.children.remove(&of);
                self.refuse(local, of, of, serial, reason, Vec::new());
            }
        }
    }

    /// The pending change took too long.
    pub(crate) fn on_pending_timeout(&mut self, local: &mut Local) {
        if let Some(pending) = self.pending.take() {
            self.part(local, pending.target, Parting::Moved, None);
            self.after_refusal(local, &pending, Reason::Busy);
        }
    }

    /// The target of the pending change cannot be reached.
    pub(crate) fn on_target_gone(&mut self, local: &mut Local, peer: NodeId) {
        if let Some(pending) = self.pending.take_if(|pending| pending.target == peer) {
            local.timers.clear(Timer::Pending(self.overlay));
            self.after_refusal(local, &pending, Reason::NotMember);
        }
    }

    /// Forgets claims whose verdict never came, and the slots kept for them.
    pub(crate) fn expire_claims(&mut self, now: Time) {
        self.transits.retain(|_, transit| transit.until > now);
        self.children
            .retain(|_, child| child.reserved.is_none_or(|until| until > now));
    }

    pub(crate) fn part(&self, local: &mut Local, to: NodeId, why: Parting, next: Option<Contact>) {
        if local.links.connected(to) {
            self.send(local, to, Body::Leave(Leave { why, to: next }));
        }
    }

    fn judge(&self, local: &Local, from: NodeId, offer: &Offer) -> Result<(), Reason> {
        let orphan = offer.kind == OfferKind::Orphan;
        let delay_us = self.delay_us;
        let spare = offer.kind != OfferKind::Cheaper;
        if self.path().any(|ancestor| ancestor == from) {
            Err(Reason::Loop)
        } else if !self.rooted(local) {
            Err(Reason::NoRoot)
        } else if self.pending.is_some() {
            Err(Reason::Busy)
        } else if !self.children.contains_key(&from) && self.slots(spare) == 0 {
            Err(Reason::Full)
        } else if self.path().count() + 1 >= HOPS_MAX {
            Err(Reason::Depth)
        } else if !orphan && delay_us > offer.seen_us && stale(delay_us, offer.seen_us) {
            Err(Reason::Stale)
        } else {
            Ok(())
        }
    }

    fn judge_claim(&self, local: &Local, from: NodeId, claim: &Claim) -> Result<(), Reason> {
        let child = self.children.get(&from);
        if child.is_none_or(|child| child.reserved.is_some()) {
            Err(Reason::NotMember)
        } else if claim.of == local.id || self.path().any(|ancestor| ancestor == claim.of) {
            Err(Reason::Loop)
        } else if self.pending.is_some() {
            Err(Reason::Busy)
        } else if !self.rooted(local) {
            Err(Reason::NoRoot)
        } else if stale(self.delay_us, claim.seen_us) {
            Err(Reason::Stale)
        } else {
            Ok(())
        }
    }

    fn claim(&self, local: &mut Local, to: NodeId, of: NodeId, serial: u32, slack_us: i64) {
        let seen_us = self.parent.as_ref().map_or(0, |parent| parent.delay_us);
        let claim = Claim {
            of,
            serial,
            slack_us,
            seen_us,
        };
        self.send(local, to, Body::Claim(claim));
    }

    /// From here on `child` is one.
    fn accept(&mut self, local: &mut Local, child: NodeId, serial: u32) {
        let Some(record) = self.children.get_mut(&child) else {
            return;
        };
        record.reserved = None;
        record.heard = local.now;
        local.hold(child);
        let mut down = self.down(local, Pressure::None);
        down.path = Some(self.hops());
        self.answer(local, child, child, serial, Answer::Accept(Box::new(down)));
        self.send_up_if_tighter(local);
    }

    fn refuse(
        &self,
        local: &mut Local,
        to: NodeId,
        of: NodeId,
        serial: u32,
        reason: Reason,
        hints: Vec<Contact>,
    ) {
        let standing = (to == of).then(|| Box::new(self.standing(local)));
        let answer = Answer::Refuse {
            reason,
            hints,
            standing,
        };
        self.answer(local, to, of, serial, answer);
    }

    fn answer(&self, local: &mut Local, to: NodeId, of: NodeId, serial: u32, answer: Answer) {
        let verdict = Verdict { of, serial, answer };
        self.send(local, to, Body::Verdict(Box::new(verdict)));
    }

    /// Children that a refused newcomer may try: with room first, then the nearest.
    fn hints(&self, of: NodeId, position: Option<Position>) -> Vec<Contact> {
        let mut children: Vec<(bool, u32, &Contact)> = self
            .live_children()
            .filter(|&(id, _)| id != of)
            .map(|(_, child)| {
                let both = position.zip(child.position);
                let estimate_us = both.map_or(child.rtt_us, |(a, b)| a.estimate_us(b));
                (child.slots == 0, estimate_us, &child.contact)
            })
            .collect();
        children.sort_unstable();
        let nearest = children.into_iter().take(HINTS_MAX);
        nearest.map(|(_, _, contact)| contact.clone()).collect()
    }

    fn on_own_verdict(
        &mut self,
        local: &mut Local,
        from: NodeId,
        epoch: u32,
        serial: u32,
        answer: Answer,
    ) {
        let awaited = |pending: &mut Pending| pending.target == from && pending.serial == serial;
        let Some(pending) = self.pending.take_if(awaited) else {
            let edge = self.parent.as_ref().is_some_and(|p| p.contact.id == from);
            if matches!(answer, Answer::Accept(_)) && !edge {
                self.part(local, from, Parting::Moved, None);
            }
            return;
        };
        local.timers.clear(Timer::Pending(self.overlay));
        match answer {
            Answer::Accept(down) => self.commit(local, &pending, epoch, &down),
            Answer::Refuse {
                reason,
                hints,
                standing,
            } => self.on_refused(local, &pending, reason, &hints, standing.as_deref()),
            Answer::Clear => self.after_refusal(local, &pending, Reason::NotMember),
        }
    }

    /// The change happens: one new edge, one old edge less.
    fn commit(&mut self, local: &mut Local, pending: &Pending, epoch: u32, down: &Down) {
        let target = pending.target;
        let path = down.path.clone().unwrap_or_default();
        let looped = path.iter().any(|hop| hop.contact.id == local.id);
        if looped || path.len() + 1 >= HOPS_MAX {
            self.part(local, target, Parting::Moved, None);
            self.after_refusal(local, pending, Reason::Loop);
            return;
        }
        let turnaround = u32::try_from(local.now.since(pending.sent).as_micros());
        let rtt_us = local
            .rtts
            .get(target)
            .unwrap_or_else(|| turnaround.unwrap_or(u32::MAX));
        let contact = match self.view.get(target) {
            Some(peer) => peer.contact.clone(),
            None => Contact::bare(target),
        };
        let old = self.parent.take();
        if let Some(old) = old.filter(|old| old.contact.id != target) {
            self.part(local, old.contact.id, Parting::Moved, None);
        }
        local.hold(target);
        local.timers.clear(Timer::Search(self.overlay));
        self.search = None;
        self.version = self.version.wrapping_add(1);
        self.idle = 0;
        self.parent = Some(Parent {
            contact,
            rtt_us,
            delay_us: down.delay_us,
            version: down.version,
            rooted: down.rooted,
            pressure: down.pressure,
            pressed: local.now,
            path,
            path_serial: down.path_serial,
            heard: local.now,
        });
        self.on_path_changed(local);
        self.adopt_knob(local, epoch, down);
        self.settle_delay(local);
        self.send_up(local);
        self.beat_children(local);
    }

    fn on_refused(
        &mut self,
        local: &mut Local,
        pending: &Pending,
        reason: Reason,
        hints: &[Contact],
        standing: Option<&Standing>,
    ) {
        if let Some(standing) = standing {
            self.view.on_standing(local, pending.target, standing);
        }
        for hint in hints.iter().filter(|hint| hint.id != local.id) {
            self.view.heard(local.now, hint);
        }
        if let Some(search) = &mut self.search {
            search.follow(hints);
        }
        self.after_refusal(local, pending, reason);
    }

    /// Leaves the refusing member alone for a while; an orphan goes on to the next.
    pub(crate) fn after_refusal(&mut self, local: &mut Local, pending: &Pending, reason: Reason) {
        let tick = self.tick_period(local);
        let ticks = match reason {
            Reason::Full if self.violates() => 1_000,
            Reason::Stale => 0,
            Reason::Busy => local.rng.random_range(500..=2_000),
            Reason::Full | Reason::NoRoot => 3_000,
            Reason::Loop | Reason::NotMember => 6_000,
            Reason::Depth => 12_000,
        };
        if let Some(peer) = self.view.get_mut(pending.target) {
            peer.not_before = local.now + tick * ticks / 1_000;
        }
        if self.parent.is_none() {
            self.search_on(local, Some((pending.target, reason)));
        }
    }
}

impl Child {
    fn new(local: &Local, contact: Contact, epoch: u32, offer: &Offer) -> Self {
        Self {
            contact,
            rtt_us: offer.rtt_us.unwrap_or(0),
            direct_us: None,
            position: offer.position,
            slack_us: offer.slack_us,
            epoch,
            sums: crate::Sums::default(),
            slots: 0,
            asked: 0,
            path_serial: None,
            heard: local.now,
            reserved: None,
        }
    }
}

fn stale(true_us: u32, believed_us: u32) -> bool {
    let off_us = true_us.abs_diff(believed_us);
    off_us > STALE_US.max(true_us / STALE_SHARE)
}
