//! A cluster that is too large becomes two: its members measure how far they are from two poles.
//!
//! Both halves change at once in the parent's eyes: it grants the agent's next epoch and seats the
//! sibling in one step (`Twin`), and only then does anybody move.

use opus_core::{Contact, NodeId, Time, pack::Few};

use super::{Dicast, Timer};
use crate::{
    Message,
    cluster::{ClusterRef, Roster, Seat, Standing, View},
    decide,
    label::{self, Marks},
    state::{FORMER, Former, Membership, Phase, Purpose, Request},
    wire::{Poles, Sides, Twin, Welcome},
};

/// Of so many hundredths of the members the delays are waited for: joiners wait for the split, and
/// where the others stand is known well enough by their coordinates.
const ANSWERED_PERCENT: usize = 80;

impl Dicast {
    /// Asks the members for their delay to two poles.
    pub(super) fn begin_split(&mut self, now: Time, level: u8) {
        let wait = self.config.change_wait / 2;
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let roster = &post.view.roster;
        let Some((one, other)) = decide::poles(roster) else {
            return;
        };
        let contact = |slot| roster.get(slot).map(|seat: &Seat| seat.contact.clone());
        let (Some(one_is), Some(other_is)) = (contact(one), contact(other)) else {
            return;
        };
        let poles = Poles {
            tag: post.view.cluster.tag(),
            one: one_is,
            other: other_is,
        };
        let members: Vec<Contact> = roster
            .iter()
            .map(|(_, seat)| seat.contact.clone())
            .collect();
        post.phase = Phase::Dividing {
            poles: (one, other),
            sides: std::collections::BTreeMap::new(),
        };
        self.timers.set(Timer::Change(level), now + wait);
        for to in members {
            self.send_to(now, &to, Message::Poles(poles.clone()));
        }
    }

    pub(super) fn on_poles(&mut self, now: Time, from: NodeId, poles: Poles) {
        let Some(level) = self.level_of_tag(poles.tag, from) else {
            return;
        };
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        membership.hear(now);
        let slot = membership.slot;
        let me = self.id();
        let purpose = Purpose::Poles {
            agent: from,
            tag: poles.tag,
            slot,
            one: poles.one.id,
            other: poles.other.id,
        };
        let mut targets = vec![poles.one, poles.other];
        targets.retain(|target| target.id != me);
        self.measure(now, targets, purpose);
    }

    pub(super) fn on_sides(&mut self, now: Time, from: NodeId, answer: &Sides) {
        let Some(level) = self.post_of_tag(answer.tag) else {
            return;
        };
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let seat = post.view.roster.get(answer.slot);
        let members = post.view.roster.len();
        let Phase::Dividing { sides, .. } = &mut post.phase else {
            return;
        };
        if seat.is_some_and(|seat| seat.id() == from) {
            sides.insert(answer.slot, (answer.one_us, answer.other_us));
        }
        if sides.len() * 100 >= members * ANSWERED_PERCENT {
            self.divide(now, level);
        }
    }

    /// Decides who goes, and asks the parent.
    pub(super) fn divide(&mut self, now: Time, level: u8) {
        let (me, size_min) = (self.id(), self.config.size_min);
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let Phase::Dividing { poles, sides } = &post.phase else {
            return;
        };
        let roster = &post.view.roster;
        let away = leaving(roster, *poles, sides, size_min, me, self.me.place);
        self.part(now, level, away);
    }

    /// Asks the parent for a sibling in which these seats will be.
    pub(super) fn part(&mut self, now: Time, level: u8, away: Vec<u8>) {
        let (me, proven) = (self.id(), self.config.proven);
        let size_min = self.config.size_min;
        let name = self.new_name();
        let Self { posts, audits, .. } = self;
        let Some(post) = posts.get_mut(&level) else {
            return;
        };
        let side: Roster = seats_of(&post.view.roster, &away);
        let ranked = decide::rank(&side, proven).into_iter();
        let mut seats = ranked.filter_map(|slot| side.get(slot));
        let agent = seats.find(|seat| !audits.is_barred(seat.id())).cloned();
        let Some(agent) = agent.filter(|agent| agent.id() != me) else {
            self.give_up_change(now, level);
            return;
        };
        let label = label::owner(&side, size_min).filter(|_| level == 1);
        let below = side.iter().all(|(_, seat)| seat.marks().closed);
        let marks = Marks {
            label,
            closed: label.is_some() || level > 1 && below,
            ..agent.marks()
        };
        let sibling = Seat {
            standing: Standing::of(marks, Some(name)).after(agent.standing.up_s),
            size: side.size(),
            place: decide::centre(side.iter().map(|(_, seat)| seat.place)),
            ..agent
        };
        post.phase = Phase::Asking(Request::Split { away, sibling });
        post.calm_until = now + self.config.change_wait;
        if post.up.is_none() && !self.seeks.contains_key(&(level + 1)) {
            self.raise(now, level);
        } else {
            self.ask_parent(now, level);
        }
    }

    /// The root splits: a new root above both halves.
    fn raise(&mut self, now: Time, level: u8) {
        let above = level + 1;
        if above > crate::cluster::LEVELS_MAX {
            self.give_up_change(now, level);
            return;
        }
        let root = self.new_name();
        let Some(mut mine) = self.seat_of_post(now, level) else {
            return;
        };
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let Phase::Asking(Request::Split { sibling, .. }) = &post.phase else {
            return;
        };
        let next = post.view.cluster.next();
        let lost = post.lost;
        mine.stand_for(next);
        mine.size = mine.size.saturating_sub(sibling.size);
        let roster: Roster = [(0, mine), (1, sibling.clone())].into_iter().collect();
        let view = View {
            cluster: root,
            level: above,
            agent: self.me.contact.clone(),
            deputies: Few(Vec::new()),
            roster,
        };
        self.take_post(now, view, None);
        if let Some(post) = self.posts.get_mut(&above) {
            // What was a part of a larger tree still is.
            post.lost = lost;
            for child in post.children.values_mut() {
                child.native = true;
            }
        }
        if let Some(welcome) = self.welcome_for(above, 0)
            && let Some(post) = self.posts.get_mut(&level)
        {
            post.up = Some(Membership::new(now, welcome, self.me.contact.id));
        }
        self.finish_split(now, level, next, 1);
    }

    /// Asks the parent for what the phase says.
    pub(super) fn ask_parent(&mut self, now: Time, level: u8) {
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let (Phase::Asking(request), Some(up)) = (&post.phase, &post.up) else {
            self.give_up_change(now, level);
            return;
        };
        let cluster = post.view.cluster;
        let to = up.view.agent.clone();
        let message = match request {
            Request::Split { sibling, .. } => Message::Twin(Twin {
                cluster,
                add: Some(sibling.clone()),
                absorb: None,
            }),
            Request::Absorb { other, .. } => Message::Twin(Twin {
                cluster,
                add: None,
                absorb: Some(other.view.cluster),
            }),
            Request::Yield { to } => Message::Claim(crate::wire::Claim {
                cluster,
                seat: to.clone(),
                yields: true,
            }),
        };
        self.timers
            .set(Timer::Change(level), now + self.config.claim_wait);
        self.send_to(now, &to, message);
    }

    /// The seats go to the sibling's agent; ours learn our next epoch.
    pub(super) fn finish_split(&mut self, now: Time, level: u8, next: ClusterRef, at: u8) {
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let Phase::Asking(Request::Split { away, sibling }) = &post.phase else {
            return;
        };
        let (away, sibling) = (away.clone(), sibling.clone());
        let Some(cluster) = sibling.child() else {
            return;
        };
        let up = post.up.as_ref().map(|up| {
            let mut view = up.view.clone();
            view.roster.put(at, sibling.clone());
            Welcome {
                view,
                slot: at,
                path: up.path.clone(),
            }
        });
        let leaving = seats_of(&post.view.roster, &away);
        let heir = (cluster, &sibling.contact);
        // Who sits nowhere stays with this half.
        let office = self.office(now, level, heir, leaving, up, (0, 0));
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        for slot in &away {
            post.view.roster.remove(*slot);
            post.children.remove(slot);
        }
        self.formers.push(Former {
            old: post.view.cluster,
            cluster,
            agent: sibling.contact,
            slots: Some(away),
            until: now + FORMER,
        });
        if let Some(office) = office {
            self.hand_over(now, office);
        }
        self.rename(now, level, next);
    }

    /// Our cluster's next epoch, for all who sit in it.
    pub(super) fn rename(&mut self, now: Time, level: u8, next: ClusterRef) {
        let me = self.me.contact.clone();
        let pause = self.config.heartbeat;
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        self.timers.clear(Timer::Change(level));
        let old = std::mem::replace(&mut post.view.cluster, next);
        if let Some(up) = &mut post.up {
            up.link.renew();
        }
        post.phase = Phase::Acting;
        post.calm_until = now + pause;
        let slots = post.view.roster.iter().map(|(slot, _)| slot);
        self.formers.push(Former {
            old,
            cluster: next,
            agent: me,
            slots: Some(slots.collect()),
            until: now + FORMER,
        });
        self.rank_deputies(now, level);
        self.on_path_changed(level);
        self.tell_takeover(now, level, old);
    }
}

fn seats_of(roster: &Roster, slots: &[u8]) -> Roster {
    let seat = |&slot| Some((slot, roster.get(slot)?.clone()));
    slots.iter().filter_map(seat).collect()
}

/// Who goes: the side in which the agent does not sit, or, if it sits in none, is not near.
fn leaving(
    roster: &Roster,
    (one, other): (u8, u8),
    sides: &std::collections::BTreeMap<u8, (u32, u32)>,
    size_min: usize,
    agent: NodeId,
    place: crate::cluster::Place,
) -> Vec<u8> {
    let estimate = |seat: &Seat, pole: u8| {
        let pole = roster.get(pole).map(|pole| pole.place).unwrap_or_default();
        seat.place.estimate_us(pole)
    };
    let measured = roster.iter().map(|(slot, seat)| {
        let (one_us, other_us) = sides
            .get(&slot)
            .copied()
            .unwrap_or_else(|| (estimate(seat, one), estimate(seat, other)));
        (slot, one_us, other_us)
    });
    let label = |slot: u8| roster.get(slot).and_then(|seat| seat.marks().label);
    let to_other = decide::cut(measured.collect(), label, size_min);
    let stays_at_other = if let Some(slot) = roster.find(agent) {
        to_other.contains(&slot)
    } else {
        let us = |pole: u8| roster.get(pole).map(|seat| seat.place.estimate_us(place));
        us(other) < us(one)
    };
    if stays_at_other {
        let all = roster.iter().map(|(slot, _)| slot);
        all.filter(|slot| !to_other.contains(slot)).collect()
    } else {
        to_other
    }
}
