//! An agent's side: pulses, who is silent, whether the cluster is too large or too small.

use std::collections::BTreeMap;

use opus_core::{NodeId, Time, pack::Few};
use rand::RngExt;

use super::{Dicast, Timer};
use crate::{
    Message,
    aggregate::Roll,
    cluster::{DEPUTIES, Path, Seat, View, nodes_max, path_digest},
    decide,
    label::Marks,
    state::{Child, Membership, Phase, Post, Question, Trial, Why},
    track::{Ages, Track},
    wire::{Beat, Fenced, Pulse},
};

/// How often a member may be found alive without a beat of its own in between.
const ACQUITTED_MAX: u8 = 3;

impl Post {
    /// Whether this node is the agent of a cluster above.
    pub(crate) fn leads_above(&self, id: NodeId) -> bool {
        self.up.as_ref().is_some_and(|up| {
            let mut above = up.path.0.iter();
            up.view.agent.id == id || above.any(|ancestor| ancestor.agent.id == id)
        })
    }

    /// The clusters above this one's members.
    pub(crate) fn path(&self) -> Path {
        let Some(up) = &self.up else {
            return Few(Vec::new());
        };
        let above = up.path.0.iter().cloned();
        let path = std::iter::once(up.view.ancestor()).chain(above);
        let mut path: Vec<_> = path.take(usize::from(crate::cluster::LEVELS_MAX)).collect();
        // Every member keeps it.
        path.shrink_to_fit();
        Few(path)
    }
}

impl Dicast {
    /// Holds the post of `view` from this moment on.
    pub(super) fn take_post(&mut self, now: Time, mut view: View, up: Option<Membership>) {
        let level = view.level;
        view.roster.free_twice();
        let slots = view.roster.iter().map(|(slot, _)| (slot, Child::new(now)));
        let children: BTreeMap<_, _> = slots.collect();
        let track = Track::new(now, &view, &self.keys);
        let post = Post {
            track,
            children,
            up,
            phase: Phase::Acting,
            since: now,
            given: false,
            alone_since: now,
            calm_until: now + self.config.heartbeat,
            busy: None,
            round: 0,
            view_digest: 0,
            path_digest: 0,
            lost: None,
            view,
        };
        self.posts.insert(level, Box::new(post));
        self.seeks.remove(&(level + 1));
        // A seat that was asked for as a member would take us from those whom we lead.
        self.scout.forget();
        if self.timers.get(Timer::Scout).is_none() {
            self.plan_scout(now, true);
        }
        self.rank_deputies(now, level);
        self.on_path_changed(level);
    }

    /// Follows a change of the roster. Chooses the deputies anew: three, and above level 1 all fit
    /// members.
    pub(super) fn rank_deputies(&mut self, now: Time, level: u8) {
        let (proven, me) = (self.config.proven, self.id());
        let Self { posts, audits, .. } = self;
        let Some(post) = posts.get_mut(&level) else {
            return;
        };
        let roster = &post.view.roster;
        let mut ranked = decide::deputies(&post.view.deputies.0, roster, proven);
        let may = |seat: &Seat| seat.id() != me && !audits.is_barred(seat.id());
        ranked.retain(|&slot| roster.get(slot).is_some_and(may));
        // Who leads a cluster above already takes this one only if nobody else can.
        let busy = |slot: &u8| {
            roster
                .get(*slot)
                .is_some_and(|it| post.leads_above(it.id()))
        };
        ranked.sort_by_key(busy);
        if level == 1 {
            ranked.truncate(DEPUTIES);
        }
        post.view.deputies = Few(ranked);
        post.view_digest = post.view.digest();
        post.track.sync(now, &post.view);
    }

    /// The cluster at `level`, or what is above it, changed: those below will ask.
    pub(super) fn on_path_changed(&mut self, level: u8) {
        if let Some(post) = self.posts.get_mut(&level) {
            post.path_digest = path_digest(&post.path());
            post.view_digest = post.view.digest();
        }
    }

    pub(super) fn on_beat(&mut self, now: Time, from: NodeId, beat: &Beat) {
        let Some(level) = self.post_of_tag(beat.tag) else {
            self.answer_former(now, from, beat.tag, beat.slot);
            return;
        };
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let seat = post.view.roster.get_mut(beat.slot);
        let Some(seat) = seat.filter(|seat| seat.id() == from) else {
            // It sits elsewhere since a merge, or nowhere.
            match post.view.roster.find(from) {
                Some(slot) => self.welcome(now, level, slot),
                None => self.send(now, from, Message::Stranger(beat.tag)),
            }
            return;
        };
        if beat.child.is_some() != (level > 1) {
            return;
        }
        seat.size = beat.size.clamp(1, nodes_max(level));
        if beat.place.is_known() {
            seat.place = beat.place;
        }
        let speaks = seat.child() == beat.child;
        // Which site a node is of it says but once.
        let marks = match level {
            1 => Marks {
                fit: beat.marks.fit,
                ..seat.marks()
            },
            _ => beat.marks,
        };
        let marks_changed = seat.marks() != marks;
        if marks_changed {
            seat.mark(marks);
        }
        let child = post
            .children
            .entry(beat.slot)
            .or_insert_with(|| Child::new(now));
        child.heard = now;
        child.seq = beat.seq;
        child.trial = None;
        child.acquitted = 0;
        child.spared = false;
        if let Some(rtt) = child.words.round_trip(now, beat.echo) {
            child.rtt = rtt;
        }
        let transit = child.words.transit(now, beat.echo);
        child.acked = beat.pushed;
        let known = post.view.roster.get(beat.slot).and_then(Seat::child);
        if let Some(said) = beat.child.filter(|said| Some(*said) != known) {
            self.reconcile(now, level, beat.slot, said);
        }
        if marks_changed {
            self.on_seat_changed(now, level, beat.slot);
        }
        self.on_values(now, from, level, beat, transit, speaks);
    }

    /// A beat for a post that we do not hold any more: tell where it went.
    fn answer_former(&mut self, now: Time, to: NodeId, tag: u16, slot: u8) {
        let me = self.id();
        let holds = |cluster| self.posts.values().any(|post| post.view.cluster == cluster);
        let concerns = |former: &&crate::state::Former| {
            let named = former
                .slots
                .as_ref()
                .is_none_or(|slots| slots.contains(&slot));
            // What was ours again and was lost again leads nowhere.
            let leads = former.agent.id != me || holds(former.cluster);
            former.old.tag() == tag && named && leads && former.until > now
        };
        let answer = match self.formers.iter().rfind(concerns) {
            Some(former) => Message::Fenced(Fenced {
                old: former.old,
                cluster: former.cluster,
                agent: former.agent.clone(),
            }),
            None => Message::Stranger(tag),
        };
        self.send(now, to, answer);
    }

    /// One heartbeat of the post at `level`.
    pub(super) fn round(&mut self, now: Time, level: u8) {
        self.look_at_values(now, level);
        self.pulse(now, level);
        self.look_at_members(now, level);
        self.look_at_size(now, level);
    }

    fn pulse(&mut self, now: Time, level: u8) {
        let leaf_pulse = self.config.leaf_pulse.max(1);
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        post.round = post.round.wrapping_add(1);
        let round = post.round;
        let mut pulsed = Vec::new();
        for (slot, _) in post.view.roster.iter() {
            let often = level > 1 || post.view.rank(slot).is_some_and(|rank| rank < DEPUTIES);
            let turn = (post.round + u32::from(slot)) % leaf_pulse == 0;
            let lacks = level == 1 && !post.track.rolls.is_empty();
            let lacks = lacks && post.children.get(&slot).is_some_and(|it| it.lacks_roll);
            if often || turn || lacks {
                pulsed.push((slot, level == 1 && (turn || lacks)));
            }
        }
        if level == 1 && round % leaf_pulse == 0 {
            self.take_roll(now);
        }
        let ages = self.oldest_told(now, level);
        for (slot, turn) in pulsed {
            let roll = turn.then(|| self.roll_for(now, slot)).flatten();
            self.pulse_one(now, level, slot, ages, roll);
        }
    }

    /// Tells the member at `slot` that we live, and what we vouch for.
    /// `ages`: of the oldest values behind what members were told; `roll`: of the other members.
    pub(super) fn pulse_one(
        &mut self,
        now: Time,
        level: u8,
        slot: u8,
        ages: Ages,
        roll: Option<Roll>,
    ) {
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let seat = post.view.roster.get(slot);
        let (Some(seat), Some(child)) = (seat, post.children.get_mut(&slot)) else {
            return;
        };
        let pulse = Pulse {
            tag: post.view.cluster.tag(),
            view: post.view_digest,
            path: post.path_digest,
            number: child.words.say(now),
            echo: child.echo(now),
            pushed: post.track.pushed,
            own_age: ages.own,
            above_age: ages.above,
            beside_age: ages.beside,
            roll,
        };
        let to = seat.contact.clone();
        self.send_to(now, &to, Message::Pulse(pulse));
    }

    pub(super) fn on_ask(&mut self, now: Time, from: NodeId, tag: u16) {
        let Some(level) = self.post_of_tag(tag) else {
            self.send(now, from, Message::Stranger(tag));
            return;
        };
        match self.posts[&level].view.roster.find(from) {
            Some(slot) => self.welcome(now, level, slot),
            None => self.send(now, from, Message::Stranger(tag)),
        }
    }

    pub(super) fn on_ask_path(&mut self, now: Time, from: NodeId, tag: u16) {
        let post = self
            .post_of_tag(tag)
            .and_then(|level| self.posts.get(&level));
        let answer = match post.filter(|post| post.view.roster.find(from).is_some()) {
            Some(post) => Message::Path((tag, post.path())),
            None => Message::Stranger(tag),
        };
        self.send(now, from, answer);
    }

    /// Members that are silent for too long are looked after.
    fn look_at_members(&mut self, now: Time, level: u8) {
        let trial = self.config.trial;
        let silences = self.config.silences(level);
        let (me, health) = (self.id(), &self.health);
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let (mut suspects, mut tried) = (Vec::new(), Vec::new());
        for (slot, seat) in post.view.roster.iter() {
            let Some(child) = post.children.get_mut(&slot) else {
                continue;
            };
            let patience = health.patience(child.patience(silences));
            // A trial without a verdict is held again.
            let under_way = |trial: Trial| now.since(trial.began) < patience;
            if child.trial.is_some_and(under_way) {
                tried.push(slot);
            } else if seat.id() != me && now.since(child.heard) + trial > patience {
                child.trial = Some(Trial {
                    began: now,
                    unanswered: false,
                    confirmed: false,
                });
                suspects.push((slot, seat.contact.clone()));
            }
        }
        for slot in tried {
            self.judge(now, level, slot);
        }
        for (slot, contact) in suspects {
            self.check(now, contact, Why::Member(level, slot));
            self.call_witness(now, level, slot);
        }
        self.look_at_late(now, level);
    }

    /// Pings members of level 1 whose beat did not come. *Who has just answered stalls at most*: a
    /// stall that begins while beats are lost, or their way is cut, must not add up with that.
    fn look_at_late(&mut self, now: Time, level: u8) {
        let (late, me) = (self.config.heartbeat + self.config.grace, self.id());
        let Some(post) = self.posts.get_mut(&level).filter(|_| level == 1) else {
            return;
        };
        let (mut pinged, mut next) = (Vec::new(), now + self.config.heartbeat);
        for (slot, seat) in post.view.roster.iter().filter(|(_, seat)| seat.id() != me) {
            let child = post.children.get_mut(&slot);
            let Some(child) = child.filter(|child| child.trial.is_none()) else {
                continue;
            };
            let due = child.lived().max(child.probed) + late;
            if due <= now {
                child.probed = now;
                pinged.push((slot, seat.contact.clone()));
            } else {
                next = next.min(due);
            }
        }
        self.timers.set_earliest(Timer::Judge(level), next);
        for (slot, contact) in pinged {
            self.check(now, contact, Why::Member(level, slot));
        }
    }

    /// Asks another member about a silent one; if all are silent, our own pings decide.
    pub(super) fn call_witness(&mut self, now: Time, level: u8, slot: u8) {
        let me = self.id();
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let Some(about) = post.view.roster.get(slot).map(|seat| seat.contact.clone()) else {
            return;
        };
        let silence = self.config.member_silence;
        let heard = post
            .children
            .iter()
            .filter(|(_, child)| now.since(child.heard) < silence);
        let heard: Vec<u8> = heard.map(|(&slot, _)| slot).collect();
        let witnesses = post.view.roster.iter().filter(|(other, seat)| {
            heard.contains(other) && *other != slot && seat.id() != me && seat.id() != about.id
        });
        // Those that spoke last are the likeliest to answer.
        let mut witnesses: Vec<_> = witnesses
            .map(|(slot, seat)| (slot, seat.contact.clone()))
            .collect();
        if witnesses.is_empty() {
            let child = post.children.get_mut(&slot);
            if let Some(trial) = child.and_then(|child| child.trial.as_mut()) {
                trial.confirmed = true;
            }
            self.judge(now, level, slot);
            return;
        }
        witnesses.sort_by_key(|(slot, _)| {
            std::cmp::Reverse(post.children.get(slot).map(|child| child.heard))
        });
        witnesses.truncate(4);
        let chosen = self.rng.random_range(0..witnesses.len());
        let whom = witnesses.swap_remove(chosen).1;
        self.question(now, &whom, about, Question::Member(level, slot));
    }

    /// The member answers, to us or to another. One that reaches us and does not beat sits
    /// elsewhere.
    pub(super) fn acquit(&mut self, now: Time, level: u8, slot: u8, to_us: bool) {
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let Some(child) = post.children.get_mut(&slot) else {
            return;
        };
        if child.trial.is_none() {
            // It was not accused: one beat is late.
            child.reached = now;
            child.spared |= !to_us;
            return;
        }
        child.trial = None;
        child.heard = now;
        child.acquitted += u8::from(to_us);
        child.spared = true;
        self.health.on_refuted();
        if child.acquitted >= ACQUITTED_MAX {
            if level > 1 {
                // Its cluster may be below another root, of which we do not know.
                post.track.lose(now, slot);
            }
            self.remove_seat(now, level, slot);
        }
    }

    /// Expels a member that neither we nor another member reach, once it has been silent for long
    /// enough.
    pub(super) fn judge(&mut self, now: Time, level: u8, slot: u8) {
        let silences = self.config.silences(level);
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let Some(child) = post.children.get_mut(&slot) else {
            return;
        };
        let trial = child.trial;
        if !trial.is_some_and(|trial| trial.unanswered && trial.confirmed) {
            return;
        }
        let until = child.lived() + self.health.patience(child.patience(silences));
        if now < until {
            self.timers.set_earliest(Timer::Judge(level), until);
            return;
        }
        if std::mem::take(&mut child.spared) {
            // It lived though we did not hear it, and may have stalled for as long as the trial.
            child.trial = None;
            child.heard = now;
            return;
        }
        post.track.lose(now, slot);
        let expelled = self.remove_seat(now, level, slot);
        if let Some(seat) = expelled.filter(|_| self.is_root(level)) {
            // It may live beyond a cut, in a tree that only we may find.
            self.remember(seat.contact);
        }
    }

    /// Judges all that are on trial, and pings who is late.
    pub(super) fn judge_all(&mut self, now: Time, level: u8) {
        let post = self.posts.get(&level);
        let children = post.into_iter().flat_map(|post| &post.children);
        let tried = children.filter(|(_, child)| child.trial.is_some());
        let tried: Vec<u8> = tried.map(|(slot, _)| *slot).collect();
        for slot in tried {
            self.judge(now, level, slot);
        }
        self.look_at_late(now, level);
    }

    /// Whether all members were heard lately: none of them may be dead already.
    pub(super) fn is_settled(&self, now: Time, level: u8) -> bool {
        let lately = self.config.often();
        let post = self.posts.get(&level);
        post.is_some_and(|post| {
            let mut children = post.children.values();
            children.all(|child| child.seq > 0 && now.since(child.heard) <= lately)
        })
    }
}
