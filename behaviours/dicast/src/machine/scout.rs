//! The look for a nearer cluster, by a node that has a seat, or for the cluster of its post.
//!
//! Whoever joins a tree that is young, or does not know yet where it stands, is rarely led to the
//! nearest cluster. So it looks again soon after: among the siblings of its cluster, as its own
//! agent knows them, and down from the root. Later it looks seldom, and measures a stranger only if
//! the coordinates promise that it is worth a dial. An agent looks for a nearer parent for its
//! cluster, by the centres of clusters. The new seat is taken before the old one is
//! left, and the new agent counts the node once all may know that it left.
//!
//! Source: Opus 3.3, clusters of nodes that are near each other.

use opus_core::{Contact, NodeId, Time};
use rand::RngExt;

use super::{Dicast, Timer};
use crate::{
    Message,
    cluster::{Place, Seat},
    decide, label,
    state::{Doubt, Membership, Phase, Post, Purpose},
    wire::{Join, Places},
};

/// A cluster is nearer if its agent is at most at so many hundredths of the delay to ours, ...
const NEARER_PERCENT: u64 = 85;

/// ... and nearer by so many microseconds: below, jitter decides.
const NEARER_US: u64 = 1_000;

/// Agents that are measured in one look, each of which may take a dial.
const MEASURED_MAX: usize = 4;

/// One whose coordinate promises so many hundredths of the delay to ours is worth a dial, while we
/// hardly know where we are.
const WORTH_PERCENT: u64 = 95;

/// A coordinate whose relative error is so many thousandths says hardly where we stand.
const LOST_ERROR: u16 = 200;

/// So many times as many looks as those with which a node begins follow soon, at most.
const LOOKS_TIMES: u32 = 3;

/// Between which shares of the pause the real one is drawn.
const PAUSES: (f64, f64) = (0.5, 1.5);

impl Dicast {
    /// Sets when we look next. `anew`: whether we have just taken a seat.
    pub(super) fn plan_scout(&mut self, now: Time, anew: bool) {
        if anew {
            self.scout.forget();
        }
        let config = &self.config;
        let pause = if self.looks_soon() {
            config.scout_soon
        } else {
            config.scout
        };
        let draw = self.rng.random_range(PAUSES.0..PAUSES.1);
        self.timers.set(Timer::Scout, now + pause.mul_f64(draw));
    }

    /// Whether the next look is one of those with which we begin, or follows what a look brought.
    fn looks_soon(&self) -> bool {
        self.scout.looks < self.config.scouts_soon + self.scout.more
    }

    /// We sit where we have not looked around yet, or know of a nearer cluster that had no seat:
    /// a quarter of the looks with which we began follows soon, rounded up.
    pub(super) fn look_again(&mut self, now: Time) {
        let soon = self.config.scouts_soon;
        let until = (self.scout.looks + soon.div_ceil(4)).min(soon * LOOKS_TIMES);
        let more = until.saturating_sub(soon);
        if more > self.scout.more {
            self.scout.more = more;
            let due = now + self.config.scout_soon;
            self.timers.set_earliest(Timer::Scout, due);
        }
    }

    /// Asks for clusters that may be nearer than ours.
    pub(super) fn on_scout_due(&mut self, now: Time) {
        let early = self.looks_soon();
        // Who has a label sits with its like, wherever that is.
        let looks = self.posts.is_empty() && self.me.label.is_none();
        let may = looks && self.may_move();
        let post = self.movable_post();
        let from_root = self.scout.looks % 2 == 1;
        // Who cannot look just now has not looked.
        if may || !looks || !early {
            self.scout.looks = self.scout.looks.saturating_add(1);
        }
        self.scout.is_late = !early;
        self.plan_scout(now, true);
        if let Some(level) = post {
            self.look_above(now, level);
            return;
        }
        let Some(leaf) = self.leaf.as_ref().filter(|_| may) else {
            return;
        };
        let top = leaf.path.0.last().filter(|_| early && from_root);
        let posts: Vec<&Contact> = top.iter().flat_map(|top| top.posts()).collect();
        let (whom, at) = if posts.is_empty() {
            (leaf.view.agent.clone(), 2)
        } else {
            let one = self.rng.random_range(0..posts.len());
            (posts[one].clone(), top.map_or(2, |top| top.level))
        };
        self.ask_for_clusters(now, &whom, (1, at));
    }

    /// The highest of our posts whose cluster might sit below another parent than it does.
    fn movable_post(&self) -> Option<u8> {
        let alone = |post: &Post| post.up.as_ref().is_some_and(|up| !sits_with_kin(up));
        let mut posts = self.posts.iter().rev();
        let movable = |level: u8, post: &Post| alone(post) && self.may_have_another_parent(level);
        let (&level, _) = posts.find(|(level, post)| movable(**level, post))?;
        Some(level)
    }

    /// Whether our cluster of this level may go below another parent for which it asked.
    fn may_move_post(&self, level: u8) -> bool {
        let forced = self.scout.forced == Some(level) && self.may_have_another_parent(level);
        forced || self.movable_post() == Some(level)
    }

    pub(super) fn may_have_another_parent(&self, level: u8) -> bool {
        let stays = self.leaving_since.is_none() && !self.seeks.contains_key(&(level + 1));
        let post = self.posts.get(&level);
        let up = post.and_then(|post| post.up.as_ref());
        let beside = up.is_some_and(|up| !up.path.0.is_empty() && up.doubt == Doubt::None);
        stays && beside && post.is_some_and(|post| matches!(post.phase, Phase::Acting))
    }

    /// Our cluster of level 1, which is a label's own, goes below the parent of others of that
    /// label.
    pub(super) fn follow(&mut self, now: Time, parent: &Contact) {
        if self.may_have_another_parent(1) {
            self.scout.wanted = Some(parent.id);
            self.scout.forced = Some(1);
            self.ask_to_move(now, parent, (2, 2));
        }
    }

    /// Our cluster of this level is too small, and none of its siblings lets its members in: it
    /// goes below the nearest other parent who has children that do.
    pub(super) fn flee(&mut self, now: Time, level: u8) {
        if self.may_have_another_parent(level) {
            self.scout.forced = Some(level);
            self.look_above(now, level);
        }
    }

    /// Asks our parent which siblings it has: they may be nearer to our cluster of this level.
    fn look_above(&mut self, now: Time, level: u8) {
        let up = self.posts.get(&level).and_then(|post| post.up.as_ref());
        if let Some(parent) = up.map(|up| up.view.agent.clone()) {
            self.ask_for_clusters(now, &parent, (level + 1, level + 2));
        }
    }

    /// Where clusters are we know by their centres alone, so nobody is measured.
    fn move_post(&mut self, now: Time, target: u8, places: &Places) {
        let post = self.posts.get(&(target - 1));
        let Some((post, up)) = post.and_then(|post| Some((post, post.up.as_ref()?))) else {
            return;
        };
        let here = decide::centre(post.view.roster.iter().map(|(_, seat)| seat.place));
        let around = decide::centre(up.view.roster.iter().map(|(_, seat)| seat.place));
        let ours = up.view.agent.id;
        let agents = places.agents.0.iter();
        let others = agents.filter(|(contact, _)| contact.id != ours);
        let nearest = others.min_by_key(|(contact, place)| (here.estimate_us(*place), contact.id));
        let own_us = u64::from(here.estimate_us(around));
        let Some((nearest, place)) = nearest.cloned() else {
            return;
        };
        let flees = self.scout.forced == Some(target - 1);
        if flees || here.is_known() && is_nearer(here.estimate_us(place), own_us) {
            self.scout.wanted = Some(nearest.id);
            self.ask_to_move(now, &nearest, (target, target));
        }
    }

    /// Whether nothing speaks against another seat: agents stay, and so does who doubts or leaves.
    fn may_move(&self) -> bool {
        let settled = self
            .leaf
            .as_ref()
            .is_some_and(|leaf| leaf.doubt == Doubt::None && !leaf.path.0.is_empty());
        settled
            && self.posts.is_empty()
            && !self.seeks.contains_key(&1)
            && self.leaving_since.is_none()
    }

    /// Whether we still may move to a seat at `level` that we asked for: we may have become an
    /// agent in between, whom its members would lose, or our cluster may be about to change.
    pub(super) fn may_take(&self, level: u8) -> bool {
        match level {
            1 => self.may_move() || self.may_follow(),
            _ => self.may_move_post(level - 1),
        }
    }

    /// `target`, `at`: the level of the clusters that are meant, and of the one that is asked.
    fn ask_for_clusters(&mut self, now: Time, whom: &Contact, (target, at): (u8, u8)) {
        if whom.id != self.id() {
            self.scout.asked = Some((whom.id, target, at));
            self.ask_to_move(now, whom, (target, at));
        }
    }

    pub(super) fn ask_to_move(&mut self, now: Time, whom: &Contact, (target, at): (u8, u8)) {
        // Whoever had us before may give us a seat again.
        self.vacated.take_if(|left| left.agent == whom.id);
        let mut seat = match target {
            1 => Some(self.seat(now, None, 1)),
            _ => self.seat_of_post(now, target - 1),
        };
        if target == 1 && at > 2 && self.is_lost() {
            // Whom we are told of then tells best where we are: they are far apart.
            seat = seat.map(|seat| Seat {
                place: Place::default(),
                ..seat
            });
        }
        if let Some(seat) = seat {
            let join = Join {
                target,
                at,
                moves: true,
                counted: true,
                seat,
            };
            self.send_to(now, whom, Message::Join(join));
        }
    }

    /// Clusters below the one that we asked about. False if we did not.
    pub(super) fn on_scout_places(&mut self, now: Time, from: NodeId, places: &Places) -> bool {
        let Some((_, target, at)) = self.scout.asked.filter(|(asked, ..)| *asked == from) else {
            return false;
        };
        self.scout.asked = None;
        if target > 1 {
            if !places.same && places.level == target && self.may_move_post(target - 1) {
                self.move_post(now, target, places);
            }
            return true;
        }
        let Some(leaf) = self.leaf.as_ref().filter(|_| self.may_move()) else {
            return true;
        };
        // Each answer leads further down, or a liar could lead us in circles.
        if places.same || places.level >= at {
            return true;
        }
        let (me, ours) = (self.id(), leaf.view.agent.clone());
        let here = self.me.place;
        if places.level > 1 && here.is_known() && !self.is_lost() {
            // Centres say enough to choose among large clusters, and take no dial.
            let all = places.agents.0.iter();
            let nearest = all.min_by_key(|(contact, place)| (here.estimate_us(*place), contact.id));
            if let Some((contact, _)) = nearest.cloned() {
                self.ask_for_clusters(now, &contact, (1, places.level));
            }
            return true;
        }
        let others = places.agents.0.iter();
        let others = others.filter(|(contact, _)| contact.id != me && contact.id != ours.id);
        let mut agents: Vec<(Contact, Place)> = others.cloned().collect();
        agents.truncate(MEASURED_MAX);
        let own_us = leaf.link.rtt.as_micros();
        let own_us = u64::try_from(own_us).unwrap_or(u64::MAX);
        if self.scout.is_late {
            agents.truncate(1);
            agents.retain(|(_, place)| is_nearer(here.estimate_us(*place), own_us));
        } else if here.is_known() && own_us > 0 && !self.is_lost() {
            // A dial for nothing costs more than all beats of a minute.
            let limit_us = own_us / 100 * WORTH_PERCENT;
            agents.retain(|(_, place)| u64::from(here.estimate_us(*place)) < limit_us);
        }
        if agents.is_empty() {
            return true;
        }
        if places.level == 1 {
            agents.push((ours, Place::default()));
        }
        let targets = agents.iter().map(|(contact, _)| contact.clone()).collect();
        let level = places.level;
        self.measure(now, targets, Purpose::Scout { level, agents });
        true
    }

    /// Whether we hardly know where we stand.
    fn is_lost(&self) -> bool {
        self.me
            .place
            .position()
            .is_none_or(|place| place.2 > LOST_ERROR)
    }

    /// The nearest of some clusters is asked for a seat, or for those below it.
    pub(super) fn on_scouted(
        &mut self,
        now: Time,
        level: u8,
        agents: &[(Contact, Place)],
        rtts: &[(NodeId, u32)],
    ) {
        let Some(leaf) = self.leaf.as_ref().filter(|_| self.may_move()) else {
            return;
        };
        let ours = leaf.view.agent.id;
        let us = |id: NodeId| rtts.iter().find(|(of, _)| *of == id).map(|it| it.1);
        let others = agents.iter().filter(|(contact, _)| contact.id != ours);
        let measured = others.filter_map(|(contact, _)| Some((us(contact.id)?, contact)));
        let mut measured: Vec<_> = measured.collect();
        measured.sort_unstable();
        if level > 1 {
            if let Some((_, nearest)) = measured.first() {
                let nearest = (*nearest).clone();
                self.ask_for_clusters(now, &nearest, (1, level));
            }
            return;
        }
        let Some(own_us) = us(ours).map(u64::from) else {
            return;
        };
        let nearer = measured.iter().filter(|(us, _)| is_nearer(*us, own_us));
        self.scout.nearer = nearer
            .rev()
            .map(|(_, contact)| (*contact).clone())
            .collect();
        self.ask_nearest(now);
    }

    /// Asks the nearest of those that were found nearer than ours for a seat.
    fn ask_nearest(&mut self, now: Time) {
        if let Some(nearest) = self.scout.nearer.pop() {
            self.scout.wanted = Some(nearest.id);
            self.ask_to_move(now, &nearest, (1, 1));
        }
    }

    /// `peer` has nothing for us: while a tree forms two of five are about to split, and the next
    /// nearest may have a seat.
    pub(super) fn on_scout_refused(&mut self, now: Time, peer: NodeId) {
        let refused = self.scout.wants_seat_of(peer);
        self.scout.give_up(peer);
        if refused && self.may_move() {
            self.ask_nearest(now);
            if self.scout.wanted.is_none() {
                self.look_again(now);
            }
        }
    }
}

/// Whether a sibling is of the label whose own our cluster is.
fn sits_with_kin(up: &Membership) -> bool {
    let roster = &up.view.roster;
    let label = roster.get(up.slot).and_then(|seat| seat.marks().label);
    label.is_some_and(|label| label::count(roster, label) > 1)
}

fn is_nearer(us: u32, than_us: u64) -> bool {
    let us = u64::from(us);
    us * 100 <= than_us.saturating_mul(NEARER_PERCENT) && us + NEARER_US <= than_us
}
