//! The tick of a member: gossip, probes, and at most one move towards its place.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{Contact, NodeId};
use rand::RngExt;

use crate::{
    Event,
    clip::Interval,
    local::{Local, Timer},
    member::{Member, YIELDS_MAX},
    tree::{self, Candidate, Choice, Seat},
    view::{Peer, Ranked},
    wire::{Body, ENTRIES_MAX, Entry, Gossip, Pressure, Purpose},
};

/// Of ten gossips, so many go to a near member, the rest to any.
const NEAR_OF_TEN: u32 = 8;
/// A standing older than this many ticks is asked for before an offer.
const FRESH_TICKS: u32 = 2;
/// One older than this is taken for unknown.
const KNOWN_TICKS: u32 = 6;
/// While early, one random member is measured each tick, later each tenth.
const RANDOM_EACH: u32 = 10;
/// So many ticks without a move double the ticks between probes, so many times at most.
const IDLE_TICKS: u32 = 6;
const IDLE_DOUBLINGS: u32 = 5;
/// A violator doubts its direct delay sooner: perhaps all delays have changed.
const DIRECT_AGE_VIOLATOR: Duration = Duration::from_secs(60);
/// A minute at rest: the root may ask one more child to yield.
const YIELD_TICKS: u32 = 12;
/// A violator ticks early; so many ticks in vain double the period.
const STRAIN_TICKS: u32 = 8;
/// Own children and strangers that a gossip mentions.
const CHILDREN_TOLD: usize = 4;
const STRANGERS_TOLD: usize = 3;

impl Member {
    /// Time between ticks at present.
    pub(crate) fn tick_period(&self, local: &Local) -> Duration {
        let config = &local.config;
        if self.haste > 0 {
            config.tick_early
        } else if self.violates() {
            let strained = 1 << (self.strain / STRAIN_TICKS).min(16);
            config.tick.min(config.tick_early * strained)
        } else {
            config.tick
        }
    }

    pub(crate) fn on_tick(&mut self, local: &mut Local) {
        let early = self.haste > 0;
        self.haste = self.haste.saturating_sub(1);
        self.ticks = self.ticks.wrapping_add(1);
        self.idle = self.idle.saturating_add(1);
        if self.ticks.is_multiple_of(YIELD_TICKS) {
            self.yields = self.yields.saturating_add(1).min(YIELDS_MAX);
        }
        if self.violates() {
            self.strain = self.strain.saturating_add(1);
        }
        let period = self.tick_period(local);
        let at = local.now + local.jittered(period);
        self.set_timer(local, Timer::Tick, at);
        let age = local.config.tick * local.config.view_age_ticks;
        self.view.expire(local.now, age);
        let ranked = self.prune(local);
        self.probe(local, &ranked, early);
        if self.parent.is_some() {
            self.gossip(local, &ranked);
        }
        self.asks = local.config.asks_per_tick;
        self.drift(local);
        if self.parent.is_none()
            && self.search.is_none()
            && self.pending.is_none()
            && !self.is_root(local)
        {
            self.orphan(local, None);
        }
    }

    /// Rule 4: moves to a better parent, or asks how one stands.
    pub(crate) fn drift(&mut self, local: &mut Local) {
        if self.pending.is_some() || !self.rooted(local) {
            return;
        }
        let (Some(parent), Some(direct_us)) = (&self.parent, self.direct_us) else {
            return;
        };
        let pressure = parent.pressure(local);
        let seat = Seat {
            direct_us,
            delay_us: self.delay_us,
            edge_us: match pressure {
                Pressure::None => parent.rtt_us,
                Pressure::Move | Pressure::Yield => u32::MAX,
            },
            slack_us: match pressure {
                Pressure::None | Pressure::Move => self.slack_us(local),
                Pressure::Yield => i64::MAX,
            },
            alpha_milli: self.alpha_milli,
            gain_milli: local.config.gain_milli,
        };
        let candidates = self.candidates(local);
        match tree::choose(&seat, &candidates) {
            Choice::Stay => {}
            Choice::Stuck => {
                let overlay = self.overlay;
                if self.strain >= STRAIN_TICKS && !std::mem::replace(&mut self.stuck, true) {
                    local.event(Event::BoundMissed { overlay });
                }
            }
            Choice::Ask(id) => self.ask(local, id),
            Choice::Offer(id, kind) => {
                let seen_us = self.view.get(id).and_then(|peer| peer.standing);
                self.offer(local, id, kind, seen_us.map(|seen| seen.delay_us));
            }
        }
    }

    /// News and views from any member.
    pub(crate) fn on_gossip(&mut self, local: &mut Local, from: NodeId, gossip: &Gossip) {
        self.view.on_standing(local, from, &gossip.me);
        if let (Some(rtt_us), Some(peer)) = (gossip.rtt_us, self.view.get_mut(from)) {
            peer.interval = Interval::exactly(rtt_us);
        }
        let near_us = local.rtts.get(from).or(gossip.rtt_us);
        for entry in &gossip.entries {
            if entry.contact.id != local.id {
                self.on_entry(local, entry, near_us);
            }
        }
        let contact = Contact {
            id: from,
            hint: gossip.me.hint.clone(),
        };
        self.pool.insert(&mut local.rng, &contact);
        let ranked = self.prune(local);
        match gossip.purpose {
            Purpose::Exchange => self.send_gossip(local, from, Purpose::Answer, &ranked),
            Purpose::Ask => self.send_gossip(local, from, Purpose::Answer, &[]),
            Purpose::Answer => self.drift(local),
        }
    }

    fn on_entry(&mut self, local: &mut Local, entry: &Entry, near_us: Option<u32>) {
        if local.rtts.unreachable(local.now, entry.contact.id) {
            return;
        }
        self.pool.insert(&mut local.rng, &entry.contact);
        let peer = self.view.heard(local.now, &entry.contact);
        peer.direct_us = entry.direct_us.or(peer.direct_us);
        peer.position = entry.position.or(peer.position);
        if let Some((near_us, far_us)) = near_us.zip(entry.rtt_us) {
            peer.interval = peer.interval.and(Interval::triangle(near_us, far_us));
        }
    }

    fn candidates(&self, local: &Local) -> Vec<Candidate> {
        let parent = self.parent.as_ref().map(|parent| parent.contact.id);
        self.view
            .iter()
            .filter(|&(id, peer)| {
                Some(id) != parent
                    && !self.children.contains_key(&id)
                    && peer.not_before <= local.now
                    && !peer.mute(local.now)
            })
            .filter_map(|(id, peer)| candidate(local, id, peer))
            .collect()
    }

    fn ask(&mut self, local: &mut Local, id: NodeId) {
        if self.asks == 0 {
            return;
        }
        self.asks -= 1;
        if let Some(peer) = self.view.get_mut(id) {
            peer.ask(local.now);
        }
        self.send_gossip(local, id, Purpose::Ask, &[]);
    }

    /// Keeps the views at their capacity; gives what is left, by rising cost.
    fn prune(&mut self, local: &Local) -> Vec<Ranked> {
        let mut ranked = self.view.ranked(local, self.direct_us, self.alpha_milli);
        let capacity = self.view_capacity(local);
        let parent = self.parent.as_ref();
        let grandparent = parent.and_then(|parent| parent.path.first());
        let kin: Vec<NodeId> = parent
            .map(|parent| parent.contact.id)
            .into_iter()
            .chain(grandparent.map(|hop| hop.contact.id))
            .chain([self.root.id])
            .collect();
        self.view.prune(&ranked, capacity, &kin);
        ranked.retain(|ranked| self.view.get(ranked.id).is_some());
        ranked
    }

    /// Rule 3: has the best unmeasured entries of both views measured, and a few others.
    fn probe(&mut self, local: &mut Local, ranked: &[Ranked], early: bool) {
        let age = if self.violates() {
            DIRECT_AGE_VIOLATOR
        } else {
            local.config.rtt_age
        };
        let stale = self.direct_at + age <= local.now;
        if !self.is_root(local) && (self.direct_us.is_none() || stale) {
            local.measure(&self.root);
        }
        if let Some(parent) = &self.parent {
            let grandparent = parent.path.first().map(|hop| &hop.contact);
            for kin in grandparent.into_iter().chain([&parent.contact]) {
                if local.rtt(kin.id).is_none() {
                    local.measure(kin);
                }
            }
        }
        let busy = local.rtts.open_len() >= local.config.probes_open_max;
        if self.parent.is_none() || busy {
            return;
        }
        let learning = early || self.ticks.is_multiple_of(RANDOM_EACH);
        if learning && let Some(stranger) = self.pool.draw(&mut local.rng).cloned() {
            if local.rtts.get(stranger.id).is_none() {
                local.measure(&stranger);
            }
            self.view.heard(local.now, &stranger);
        }
        let rarely = 1 << (self.idle / IDLE_TICKS).min(IDLE_DOUBLINGS);
        if !early && !self.ticks.is_multiple_of(rarely) {
            return;
        }
        // At rest, only who could be the parent: a cheaper one, or any while over the bound.
        let edge_us = self.parent.as_ref().map_or(u32::MAX, |p| p.rtt_us);
        let useful = |ranked: &&Ranked| early || self.violates() || ranked.cost_us < edge_us;
        let unmeasured = |ranked: &&Ranked| !ranked.measured && useful(ranked);
        let near = ranked.iter().filter(unmeasured);
        let mut feasible = ranked.iter().filter(unmeasured).filter(|r| r.feasible);
        let alternating = near.flat_map(|near| [Some(near), feasible.next()]);
        let mut chosen = Vec::new();
        for ranked in alternating.flatten() {
            if chosen.len() < local.config.probes_per_tick && !chosen.contains(&ranked.id) {
                chosen.push(ranked.id);
            }
        }
        for id in chosen {
            if let Some(peer) = self.view.get(id) {
                local.measure(&peer.contact);
            }
        }
    }

    /// Rule 1: exchanges views with a near member, or with any.
    fn gossip(&mut self, local: &mut Local, ranked: &[Ranked]) {
        let near = ranked
            .get(..self.view_capacity(local).min(ranked.len()))
            .unwrap_or(ranked);
        let to_near = local.rng.random_ratio(NEAR_OF_TEN, 10) && !near.is_empty();
        let partner = if to_near {
            let index = local.rng.random_range(0..near.len());
            near.get(index).and_then(|ranked| self.view.get(ranked.id))
        } else {
            None
        };
        let contact = match partner {
            Some(peer) => Some(peer.contact.clone()),
            None => self.pool.draw(&mut local.rng).cloned(),
        };
        let Some(contact) = contact.filter(|contact| contact.id != local.id) else {
            return;
        };
        if local.rtts.unreachable(local.now, contact.id) {
            self.forget(contact.id);
        } else if local.rtts.get(contact.id).is_none() && !local.links.connected(contact.id) {
            // A stranger is measured first: the node then knows how to reach it.
            local.measure(&contact);
            self.view.heard(local.now, &contact);
        } else {
            if local.rtts.get(contact.id).is_none() {
                local.measure(&contact);
            }
            self.send_gossip(local, contact.id, Purpose::Exchange, ranked);
        }
    }

    /// A peer that cannot be reached is in no view.
    pub(crate) fn forget(&mut self, id: NodeId) {
        if id != self.root.id {
            self.view.remove(id);
        }
        self.pool.remove(id);
    }

    fn send_gossip(&self, local: &mut Local, to: NodeId, purpose: Purpose, ranked: &[Ranked]) {
        let entries = if ranked.is_empty() {
            Vec::new()
        } else {
            self.entries(local, to, ranked)
        };
        let gossip = Gossip {
            purpose,
            rtt_us: local.rtts.get(to),
            me: self.standing(local),
            entries,
        };
        self.send(local, to, Body::Gossip(Box::new(gossip)));
    }

    /// What `to` is told: relatives and strangers, then both views by rising cost, in turn.
    fn entries(&self, local: &mut Local, to: NodeId, ranked: &[Ranked]) -> Vec<Entry> {
        let mut told = BTreeSet::from([to, local.id]);
        let mut entries = Vec::new();
        let mut push = |local: &Local, contact: &Contact, direct_us, position, rtt_us| {
            if entries.len() < ENTRIES_MAX && told.insert(contact.id) {
                entries.push(Entry {
                    contact: contact.clone(),
                    rtt_us: local.rtts.get(contact.id).or(rtt_us),
                    direct_us,
                    position,
                });
            }
        };
        if let Some(parent) = &self.parent {
            let known = self.view.get(parent.contact.id);
            let direct_us = known.and_then(|peer| peer.direct_us);
            let position = known.and_then(|peer| peer.position);
            push(
                local,
                &parent.contact,
                direct_us,
                position,
                Some(parent.rtt_us),
            );
        }
        for _ in 0..STRANGERS_TOLD {
            if let Some(contact) = self.pool.draw(&mut local.rng) {
                let known = self.view.get(contact.id);
                let position = known.and_then(|peer| peer.position);
                let position = position.or_else(|| local.rtts.position(contact.id));
                let direct_us = known.and_then(|peer| peer.direct_us);
                push(local, contact, direct_us, position, None);
            }
        }
        for (_, child) in self.live_children().take(CHILDREN_TOLD) {
            let rtt_us = (child.rtt_us > 0).then_some(child.rtt_us);
            push(
                local,
                &child.contact,
                child.direct_us,
                child.position,
                rtt_us,
            );
        }
        let mut feasible = ranked.iter().filter(|ranked| ranked.feasible);
        let alternating = ranked.iter().flat_map(|near| [Some(near), feasible.next()]);
        for ranked in alternating.flatten() {
            if let Some(peer) = self.view.get(ranked.id) {
                push(local, &peer.contact, peer.direct_us, peer.position, None);
            }
        }
        entries
    }
}

/// `peer` as a candidate, if its round trip is measured and its standing does not forbid it.
fn candidate(local: &Local, id: NodeId, peer: &Peer) -> Option<Candidate> {
    let rtt_us = local.rtt(id)?;
    let period = local.config.tick;
    let known = peer
        .standing
        .filter(|seen| seen.at + period * KNOWN_TICKS > local.now);
    let Some(seen) = known else {
        return Some(Candidate {
            id,
            rtt_us,
            delay_us: peer.direct_us.unwrap_or(0),
            fresh: false,
            roomy: true,
        });
    };
    (seen.rooted && !seen.below).then_some(Candidate {
        id,
        rtt_us,
        delay_us: seen.delay_us,
        fresh: seen.at + period * FRESH_TICKS > local.now,
        roomy: seen.slots > 0,
    })
}
