//! The way to a seat: ask for the root, walk down to the nearest child on each level, take a seat.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{Contact, NodeId, Time};
use rand::RngExt;

use super::{Dicast, Timer};
use crate::{
    Event, Message, Name, Refusal,
    cluster::{ClusterRef, Path, Place, Roster, Seat, View},
    state::{Doubt, Measurement, Membership, Purpose, Seek, Vacated},
    track::DOUBLE_JOINED,
    wire::{HOPS_MAX, Join, Leave, Places, Sides, Welcome},
};

/// How often the old agent is told again that a seat was left.
const LEAVES_AGAIN: u8 = 2;

/// How long an offer of a seat is remembered.
const DECLINED: Duration = Duration::from_secs(20);

/// Longest random pause before a search begins anew, microseconds.
const PAUSE_US_MAX: u64 = 3_000_000;

/// How long a node with a label waits for what the directory knows of others, before it goes where
/// the way is shortest.
const LABEL_WAIT: Duration = Duration::from_millis(1_500);

/// How often a search goes on for whom others name.
pub(super) const NAMED_MAX: u8 = 4;

/// Contacts that wait to be asked. Overflow: those that the directory names are left out.
const NEXT_MAX: usize = 64;

impl Dicast {
    /// Begins to seek a seat in a cluster of level `target`, if that is not under way.
    pub(super) fn seek(&mut self, now: Time, target: u8) {
        if self.seeks.contains_key(&target) {
            return;
        }
        let seek = Seek {
            silent_since: now,
            led_at: None,
            next: Vec::new(),
            asked: None,
            blindly: None,
            hops: 0,
            named: 0,
            waited: false,
        };
        self.seeks.insert(target, seek);
        self.refill(target);
        // Where others of our label sit the directory may know.
        let label = self.me.label.filter(|_| target == 1).map(Name::Label);
        let waits = label.is_some_and(|label| self.want(now, label));
        let wait = if waits { LABEL_WAIT } else { Duration::ZERO };
        self.timers.set(Timer::Seek(target), now + wait);
    }

    /// Fills the list of whom to ask: our own posts and the clusters above first, then whoever may
    /// know a tree.
    pub(super) fn refill(&mut self, target: u8) {
        let id = self.id();
        let ancestors = self.leaf.iter().flat_map(|leaf| leaf.path.0.iter());
        let above = ancestors.filter(|ancestor| ancestor.level >= target);
        let posts = above.flat_map(|ancestor| {
            let posts = ancestor.posts();
            posts.map(|contact| (contact.clone(), ancestor.level))
        });
        let known = self.seeds.iter().chain(&self.far);
        let seeds = known.map(|seed| (seed.clone(), 0));
        let all = posts.chain(seeds).filter(|(contact, _)| contact.id != id);
        let ours = self.posts.range(target..);
        let ours = ours.map(|(&level, _)| (self.me.contact.clone(), level));
        let mut next: Vec<_> = ours.chain(all).collect();
        next.reverse();
        if let Some(seek) = self.seeks.get_mut(&target) {
            seek.next = next;
            seek.hops = 0;
        }
    }

    /// Asks the next one, or pauses when all were asked.
    pub(super) fn on_seek_due(&mut self, now: Time, target: u8) {
        let Some(seek) = self.seeks.get_mut(&target) else {
            return;
        };
        seek.asked = None;
        let silent = now.since(seek.silent_since);
        let spent = silent >= self.config.seek_max;
        // A post goes on as a root, which greets whomever it knows; a node asks all of them first.
        let goes_on = target == 1 || !spent;
        if let Some((contact, at)) = seek.next.pop().filter(|_| goes_on) {
            self.ask_for_seat(now, target, &contact, at);
            return;
        }
        // Who has just asked the directory waits for what it knows, but once: where others are
        // silent, a round of asking them takes as long as the pause between two such questions.
        let waits = self.want(now, Name::Root) && self.wait_once(target);
        if spent && !waits {
            self.seeks.remove(&target);
            if target == 1 {
                self.found_tree(now);
            }
            return;
        }
        self.tell(Event::WantSeeds);
        self.refill(target);
        self.pause_seek(now, target, self.config.heartbeat);
    }

    /// Whether the search has not waited for the directory before.
    fn wait_once(&mut self, target: u8) -> bool {
        let seek = self.seeks.get_mut(&target);
        seek.is_some_and(|seek| !std::mem::replace(&mut seek.waited, true))
    }

    /// Whether the search waits for nobody's answer, but for its next round.
    pub(super) fn is_paused(&self, target: u8) -> bool {
        let seek = self.seeks.get(&target);
        seek.is_some_and(|seek| seek.asked.is_none())
            && self.timers.get(Timer::Seek(target)).is_some()
    }

    /// Goes on with a search that pauses.
    pub(super) fn resume_seek(&mut self, now: Time, target: u8) {
        self.timers.set_earliest(Timer::Seek(target), now);
    }

    /// These are asked before all others, as who know a cluster of level `at`; 0 if nobody knows.
    /// The search goes on for them though it was about to end, but not for ever: they may be
    /// invented.
    pub(super) fn ask_first(&mut self, now: Time, target: u8, contacts: &[Contact], at: u8) {
        let seek = self.seeks.get_mut(&target);
        if let Some(seek) = seek.filter(|seek| seek.next.len() < NEXT_MAX) {
            if seek.named < NAMED_MAX {
                seek.named += 1;
                seek.silent_since = now;
            }
            let first = contacts.iter().rev().map(|contact| (contact.clone(), at));
            seek.next.extend(first);
        }
    }

    /// Goes on after `least` and a random time.
    fn pause_seek(&mut self, now: Time, target: u8, least: Duration) {
        let more = self.rng.random_range(0..PAUSE_US_MAX);
        let at = now + least + Duration::from_micros(more);
        self.timers.set(Timer::Seek(target), at);
    }

    fn ask_for_seat(&mut self, now: Time, target: u8, contact: &Contact, at: u8) {
        let seat = if target == 1 {
            Some(self.seat(now, None, 1))
        } else {
            self.seat_of_post(now, target - 1)
        };
        let Some(seat) = seat else {
            self.seeks.remove(&target);
            return;
        };
        let blind = target == 1 && !self.me.place.is_known();
        if let Some(seek) = self.seeks.get_mut(&target) {
            seek.asked = Some(contact.id);
            seek.blindly = blind.then(|| (contact.clone(), at));
        }
        self.timers
            .set(Timer::Seek(target), now + self.config.join_wait);
        let alone = self.posts.get(&(target - 1)).map(|post| post.alone_since);
        let join = Join {
            target,
            at,
            moves: false,
            // Of an earlier life of ours we do not know.
            counted: alone.is_none_or(|since| now.since(since) < DOUBLE_JOINED),
            seat,
        };
        self.send_to(now, contact, Message::Join(join));
    }

    /// The search that waits for this peer's answer.
    pub(super) fn sought_from(&self, from: NodeId) -> Option<u8> {
        let mut seeks = self.seeks.iter();
        let (&target, _) = seeks.find(|(_, seek)| seek.asked == Some(from))?;
        Some(target)
    }

    pub(super) fn on_places(&mut self, now: Time, from: NodeId, places: Places) {
        let Some(target) = self.sought_from(from) else {
            if !self.on_scout_places(now, from, &places) {
                self.on_claim_redirected(now, from, &places);
            }
            return;
        };
        let id = self.id();
        let mut agents = places.agents.0;
        agents.retain(|(contact, _)| contact.id != id);
        let Some(seek) = self.seeks.get_mut(&target) else {
            return;
        };
        if !agents.is_empty() {
            // Else there is a tree, but no place in it: all its clusters may be those of sites.
            seek.silent_since = now;
        }
        seek.led_at = Some(now);
        seek.asked = None;
        seek.hops += 1;
        if seek.hops > HOPS_MAX || agents.is_empty() {
            seek.next.clear();
            self.refill(target);
            self.pause_seek(now, target, self.config.heartbeat);
            return;
        }
        if places.same || agents.len() == 1 {
            let chosen = self.rng.random_range(0..agents.len());
            agents.swap(0, chosen);
            let whom = agents
                .into_iter()
                .map(|(contact, _)| (contact, places.level));
            self.go_on(now, target, whom.collect());
        } else {
            self.measure_places(now, target, places.level, agents);
        }
    }

    fn measure_places(
        &mut self,
        now: Time,
        target: u8,
        level: u8,
        mut agents: Vec<(Contact, Place)>,
    ) {
        agents.truncate(self.config.measured_max);
        for (contact, _) in agents.iter().take(1) {
            self.remember(contact.clone());
        }
        let targets = agents.iter().map(|(contact, _)| contact.clone()).collect();
        self.timers.clear(Timer::Seek(target));
        let purpose = Purpose::Seek {
            target,
            level,
            agents,
        };
        self.measure(now, targets, purpose);
    }

    /// Asks these in order: the first now, the others if it is busy or silent.
    fn go_on(&mut self, now: Time, target: u8, mut whom: Vec<(Contact, u8)>) {
        whom.reverse();
        if let Some(seek) = self.seeks.get_mut(&target) {
            seek.next = whom;
        }
        self.on_seek_due(now, target);
    }

    /// Has our node measure the delay to `targets`.
    pub(super) fn measure(&mut self, now: Time, targets: Vec<Contact>, purpose: Purpose) {
        if self.measures.len() >= super::ASKED_MAX
            && let Some((id, _)) = self.measures.pop_first()
        {
            self.timers.clear(Timer::Measure(id));
        }
        let id = self.next_number();
        let measurement = Measurement {
            purpose,
            left: targets.iter().map(|target| target.id).collect(),
            rtts: Vec::new(),
        };
        self.measures.insert(id, measurement);
        self.timers
            .set(Timer::Measure(id), now + self.config.measure_wait);
        self.tell(Event::Measure { id, targets });
    }

    pub(super) fn on_measured(&mut self, now: Time, id: u64, peer: NodeId, rtt_us: Option<u32>) {
        let Some(measurement) = self.measures.get_mut(&id) else {
            self.refuse(id, Refusal::UnknownMeasurement);
            return;
        };
        measurement.left.retain(|target| *target != peer);
        measurement.rtts.extend(rtt_us.map(|rtt| (peer, rtt)));
        if measurement.left.is_empty() {
            self.end_measure(now, id);
        }
    }

    /// Goes on with what was measured.
    pub(super) fn end_measure(&mut self, now: Time, id: u64) {
        self.timers.clear(Timer::Measure(id));
        let Some(Measurement { purpose, rtts, .. }) = self.measures.remove(&id) else {
            return;
        };
        let rtt = |peer: NodeId| {
            let found = rtts.iter().find(|(of, _)| *of == peer);
            found.map(|&(_, rtt)| rtt)
        };
        match purpose {
            Purpose::Seek {
                target,
                level,
                agents,
            } => {
                let here = self.me.place;
                let mut ranked: Vec<_> = agents
                    .into_iter()
                    .map(|(contact, place)| {
                        let us = rtt(contact.id);
                        // Whoever did not answer comes last, by estimate.
                        (
                            us.is_none(),
                            us.unwrap_or_else(|| here.estimate_us(place)),
                            contact,
                        )
                    })
                    .collect();
                ranked.sort();
                let whom = ranked.into_iter().map(|(_, _, contact)| (contact, level));
                let seek = self.seeks.get_mut(&target);
                let again = seek.and_then(|seek| seek.blindly.take());
                let again = again.filter(|_| here.is_known());
                self.go_on(now, target, again.into_iter().chain(whom).collect());
            }
            Purpose::Scout { level, agents } => self.on_scouted(now, level, &agents, &rtts),
            Purpose::Poles {
                agent,
                tag,
                slot,
                one,
                other,
            } => {
                let us = |pole| {
                    if pole == self.id() {
                        Some(0)
                    } else {
                        rtt(pole)
                    }
                };
                if let (Some(one_us), Some(other_us)) = (us(one), us(other)) {
                    let sides = Sides {
                        tag,
                        slot,
                        one_us,
                        other_us,
                    };
                    self.send(now, agent, Message::Sides(sides));
                }
            }
        }
    }

    pub(super) fn on_busy(&mut self, now: Time, from: NodeId, level: u8, retry: Duration) {
        let asked = self.seeks.get_mut(&level);
        if let Some(seek) = asked.filter(|seek| seek.asked == Some(from)) {
            seek.asked = None;
            if retry == super::admit::NEVER {
                self.timers.set(Timer::Seek(level), now);
                return;
            }
            seek.silent_since = now;
            if seek.next.is_empty() {
                self.refill(level);
                self.pause_seek(now, level, retry.min(self.config.seek_max));
            } else {
                self.timers.set(Timer::Seek(level), now);
            }
            return;
        }
        self.on_scout_refused(now, from);
        self.on_merge_busy(now, from, level);
    }

    /// A seat, granted to our search; or a newer view of a cluster in which we sit.
    pub(super) fn on_welcome(&mut self, now: Time, from: NodeId, welcome: Welcome) {
        let level = welcome.view.level;
        let mine = welcome.view.roster.get(welcome.slot);
        if welcome.view.agent.id != from || mine.is_none_or(|seat| seat.id() != self.id()) {
            return;
        }
        let cluster = welcome.view.cluster;
        // We may have missed a word of a newer agent that we know.
        let ours = self.membership(level).is_some_and(|membership| {
            let known = membership.view.cluster;
            let newer = known.epoch < cluster.epoch && membership.knows(from);
            known.id == cluster.id && (known.epoch == cluster.epoch || newer)
        });
        if ours {
            self.refresh(now, level, welcome);
            return;
        }
        if let Some(grant) = self.as_grant(from, &welcome) {
            self.on_grant(now, from, grant);
            return;
        }
        let seek = self.seeks.get(&level);
        let sought = seek.is_some_and(|seek| seek.asked == Some(from))
            || self.scout.wants_seat_of(from) && self.may_take(level);
        if self.is_seat_for_us(&welcome) && (sought || self.is_adrift(now, level)) {
            self.take_seat(now, welcome);
        } else if !sought {
            // It leads to a tree, perhaps to another one than ours.
            self.remember(welcome.view.agent.clone());
            self.decline(now, from, (cluster, welcome.slot));
        }
    }

    /// We hold another seat. Whoever has just been merged hears of it from its old agent, so only
    /// the second offer of a seat is declined.
    fn decline(&mut self, now: Time, from: NodeId, (cluster, slot): (ClusterRef, u8)) {
        if self.is_offered_again(now, cluster) {
            let leave = Leave {
                tag: cluster.tag(),
                slot,
                known: false,
            };
            self.send(now, from, Message::Leave(leave));
        }
    }

    /// Notes that this cluster takes us for its member. Whether it did so a heartbeat ago, and not
    /// long ago.
    pub(super) fn is_offered_again(&mut self, now: Time, cluster: ClusterRef) -> bool {
        let mut offers = self.offers.iter().rev();
        let last = offers.find(|(id, _)| *id == cluster.id);
        let before = last.map(|(_, first)| now.since(*first));
        if let Some(before) = before.filter(|before| *before < DECLINED) {
            return before >= self.config.heartbeat;
        }
        self.offers.push((cluster.id, now));
        false
    }

    /// Says again that we left, to one who may not have heard it.
    pub(super) fn repeat_leave(&mut self, now: Time) {
        let Some(left) = &mut self.vacated else {
            return;
        };
        let (agent, leave) = (left.agent, left.leave);
        // Our clusters may have merged since.
        let back = self.leaf.as_ref().is_some_and(|leaf| leaf.knows(agent));
        if left.repeats > 0 && !back && self.links.is_connected(agent) {
            left.repeats -= 1;
            self.send(now, agent, Message::Leave(leave));
        }
    }

    /// Whether what the seat stands for is ours: this node, or a post that we hold.
    fn is_seat_for_us(&self, welcome: &Welcome) -> bool {
        let seat = welcome.view.roster.get(welcome.slot);
        let child = seat.and_then(Seat::child);
        match welcome.view.level {
            1 => child.is_none(),
            level => self
                .posts
                .get(&(level - 1))
                .is_some_and(|post| child.is_some_and(|child| child.id == post.view.cluster.id)),
        }
    }

    /// Whether we have no seat at `level` whose agent is known to live.
    fn is_adrift(&self, now: Time, level: u8) -> bool {
        let patience = self.config.often();
        match self.membership(level) {
            None => !self.is_root(level - 1),
            Some(membership) => {
                let silent = now.since(membership.heard) > patience;
                membership.doubt != Doubt::None || (level > 1 && silent)
            }
        }
    }

    fn take_seat(&mut self, now: Time, welcome: Welcome) {
        let level = welcome.view.level;
        self.seeks.remove(&level);
        self.timers.clear(Timer::Seek(level));
        self.timers.clear(Timer::Doubt(level));
        self.note_far(&welcome.path);
        let before = self.membership(level).cloned();
        let agent = welcome.view.agent.id;
        let mut membership = Membership::new(now, welcome, self.id());
        let again = before.as_ref().filter(|before| {
            let (old, new) = (&before.view, &membership.view);
            old.cluster == new.cluster && before.slot == membership.slot
        });
        if let Some(before) = again {
            // The agent may not know that we were gone: its numbers of our reports go on.
            membership.link = before.link.clone();
        }
        let moved = again.is_none();
        if level == 1 {
            self.tell(Event::Joined(membership.view.cluster));
            let had = before.as_ref().map(|before| before.view.roster.clone());
            self.tell_members(&had.unwrap_or_default(), &membership.view.roster);
            self.tell(Event::AgentChanged(membership.view.agent.clone()));
            self.leaf = Some(membership);
            self.plan_scout(now, moved);
            if moved && before.is_some() {
                self.look_again(now);
            }
        } else if let Some(post) = self.posts.get_mut(&(level - 1)) {
            post.up = Some(membership);
            post.lost = None;
            self.scout.give_up(agent);
            self.on_path_changed(level - 1);
        }
        // From one agent a node has one seat, whatever its cluster was called before.
        let elsewhere = |before: &Membership| before.view.agent.id != agent;
        if let Some(before) = before.filter(|before| moved && elsewhere(before)) {
            let root = |path: &Path| path.0.last().map(|top| top.cluster.id);
            let leave = Leave {
                tag: before.view.cluster.tag(),
                slot: before.slot,
                known: root(&before.path).is_some_and(|old| self.is_below(level, old)),
            };
            self.vacated = Some(Box::new(Vacated {
                agent: before.view.agent.id,
                leave,
                repeats: LEAVES_AGAIN,
            }));
            self.send(now, before.view.agent.id, Message::Leave(leave));
        }
        self.beat(now, level);
    }

    /// Whether the cluster with this id is at the top of those in which we sit from `level` on.
    fn is_below(&self, level: u8, root: u64) -> bool {
        let path = self.membership(level).map(|it| &it.path.0);
        let top = path.and_then(|path| path.last());
        top.is_some_and(|top| top.cluster.id == root)
    }

    /// A tree of our own: one cluster, one seat.
    pub(super) fn found_tree(&mut self, now: Time) {
        let whole = self.whole(now);
        if let Some(leaf) = self.leaf.take() {
            self.tell_members(&leaf.view.roster, &Roster::default());
        }
        let mut roster = Roster::default();
        let slot = roster.add(self.seat(now, None, 1)).expect("it is empty");
        let view = View {
            cluster: self.new_name(),
            level: 1,
            agent: self.me.contact.clone(),
            deputies: opus_core::pack::Few(Vec::new()),
            roster,
        };
        let welcome = Welcome {
            view: view.clone(),
            slot,
            path: opus_core::pack::Few(Vec::new()),
        };
        self.tell(Event::Joined(view.cluster));
        self.leaf = Some(Membership::new(now, welcome, self.id()));
        self.plan_scout(now, true);
        self.take_post(now, view, None);
        if let Some(post) = self.posts.get_mut(&1) {
            post.lost = whole;
        }
    }

    /// Tells our node who came and who went.
    pub(super) fn tell_members(&mut self, before: &Roster, after: &Roster) {
        let me = self.id();
        let others = |roster: &Roster| {
            let seats = roster.iter().map(|(_, seat)| seat.contact.clone());
            seats.filter(|contact| contact.id != me).collect::<Vec<_>>()
        };
        let ids = |roster: &Roster| {
            let ids = roster.iter().map(|(_, seat)| seat.id());
            ids.collect::<BTreeSet<NodeId>>()
        };
        let (had, has) = (ids(before), ids(after));
        for contact in others(after) {
            if !had.contains(&contact.id) {
                self.tell(Event::MemberUp(contact));
            }
        }
        for contact in others(before) {
            if !has.contains(&contact.id) {
                self.tell(Event::MemberDown(contact.id));
            }
        }
    }
}
