//! A cluster that is too small goes into its nearest sibling; a root with one child goes away.

use std::time::Duration;

use opus_core::{Contact, NodeId, Time, pack::Few};
use rand::RngExt;

use super::{Dicast, Timer};
use crate::{
    Message,
    cluster::{ClusterRef, SEATS_MAX, View},
    decide, label,
    state::{Child, LOST, Phase, Post, Request},
    track::DOUBLE_JOINED,
    wire::{Entry, Leave, Merge, Merged, Takeover, Twinned},
};

/// When one who could not merge should try again.
const RETRY: Duration = Duration::from_secs(2);

/// For how long a root that was a part of a tree may have members that are counted in another part
/// too: until agents that stalled when it came off have woken and know who follows them.
const APART: Duration = Duration::from_secs(30);

/// The chance to begin a merge in a heartbeat: the pause before it is 0 to 5 s for most, so that
/// two small siblings rarely ask each other at once.
const MERGE_CHANCE: f64 = 0.4;

impl Dicast {
    /// Splits, merges, drops a level or hands over, if it is time for one of them.
    pub(super) fn look_at_size(&mut self, now: Time, level: u8) {
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        if !matches!(post.phase, Phase::Acting) || now < post.calm_until {
            return;
        }
        let seats = post.view.roster.len();
        let siblings = post.up.as_ref().map_or(0, |up| up.view.roster.len());
        if self.leaving_since.is_some() {
            self.begin_yield(now, level);
        } else if seats >= self.config.size_split() {
            self.begin_split(now, level);
        } else if let Some(away) = self.to_part(level) {
            self.part(now, level, away);
        } else if self.is_root(level) && level > 1 && seats <= 1 {
            self.crown(now, level);
        } else if self.has_to_follow(level) && post.track.is_orderly(now) {
            self.begin_yield(now, level);
        } else if seats < self.config.size_min && siblings > 1 && self.may_go(level) {
            // Who was refused has waited for its turn already.
            let refused = post.busy.is_some();
            // Among members that may be dead the size means nothing yet.
            if self.is_settled(now, level) && (refused || self.rng.random_bool(MERGE_CHANCE)) {
                self.begin_merge(now, level);
            }
        } else if post.track.is_orderly(now)
            && (self.resigns(level)
                || self.has_higher_post(now, level)
                || self.has_better_deputy(now, level))
        {
            self.begin_yield(now, level);
        }
    }

    /// Whether a sibling lets our members in, or our cluster may go below another parent.
    fn may_go(&self, level: u8) -> bool {
        let post = self.posts.get(&level);
        let Some((post, up)) = post.and_then(|post| Some((post, post.up.as_ref()?))) else {
            return false;
        };
        let label = label::common(&post.view.roster);
        level > 1
            || up.siblings().any(|(_, seat)| seat.marks().lets_in(label))
            || self.may_have_another_parent(level)
    }

    /// Whether the first deputy is so much nearer to the members that the post is better with it.
    fn has_better_deputy(&self, now: Time, level: u8) -> bool {
        let Some(post) = self.posts.get(&level).filter(|_| level == 1) else {
            return false;
        };
        let view = &post.view;
        let first = view.deputies.0.first().copied();
        let (Some(first), Some(ours)) = (first, view.roster.find(self.id())) else {
            return false;
        };
        // Who leads a cluster above gives lower posts away: it would come back at once.
        let busy = view
            .roster
            .get(first)
            .is_some_and(|it| post.leads_above(it.id()));
        // Coordinates drift: what was given as to a better one does not go on at once.
        let wait = if post.given {
            self.config.scout
        } else {
            self.config.two_posts
        };
        !busy
            && now.since(post.since) >= wait
            && decide::is_more_central(&view.roster, first, ours)
            && self.is_settled(now, level)
    }

    /// Whether our cluster of this level is at the top of its tree.
    pub(super) fn is_root(&self, level: u8) -> bool {
        let orphan = self.seeks.contains_key(&(level + 1));
        self.posts.get(&level).is_some_and(|post| post.up.is_none()) && !orphan
    }

    /// The root has one child or none: the child is the root.
    fn crown(&mut self, now: Time, level: u8) {
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let cluster = post.view.cluster;
        let child = post.view.roster.iter().next();
        match child.map(|(_, seat)| seat.contact.clone()) {
            Some(child) => self.send_to(now, &child, Message::Crown(cluster)),
            None => self.drop_post(level),
        }
    }

    pub(super) fn on_crown(&mut self, now: Time, from: NodeId, cluster: ClusterRef) {
        let above = |post: &Post| {
            let up = post.up.as_ref().map(|up| &up.view);
            up.is_some_and(|view| view.cluster == cluster && view.agent.id == from)
        };
        let found = self.posts.iter().find(|(_, post)| above(post));
        let Some(level) = found.map(|(&level, _)| level) else {
            return;
        };
        let whole = self.whole(now);
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        // Whom the cluster above missed we miss from now on.
        post.lost = whole;
        if let Some(up) = post.up.take() {
            post.alone_since = now;
            let leave = Leave {
                tag: cluster.tag(),
                slot: up.slot,
                known: true,
            };
            self.send(now, from, Message::Leave(leave));
        }
        self.timers.clear(Timer::Doubt(level + 1));
        self.on_path_changed(level);
        self.rename_without_parent(now, level);
    }

    fn begin_merge(&mut self, now: Time, level: u8) {
        let pause = now + self.config.change_pause;
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let Some(up) = &post.up else {
            return;
        };
        let label = label::common(&post.view.roster).filter(|_| level == 1);
        let free = SEATS_MAX - post.view.roster.len();
        let Some(here) = up.view.roster.get(up.slot).map(|seat| seat.place) else {
            return;
        };
        let open = up
            .siblings()
            .filter(|(_, seat)| level > 1 || seat.marks().lets_in(label));
        let open: Vec<_> = open.collect();
        if open.is_empty() {
            post.calm_until = pause;
            self.flee(now, level);
            return;
        }
        let open = open.into_iter();
        let fitting = open.filter(|(_, seat)| level > 1 || seat.size as usize <= free);
        // One that was busy may be so for long: its turn comes after that of another.
        let busy = post.busy.take();
        let size_split = self.config.size_split();
        let nearest = fitting.min_by_key(|(slot, seat)| {
            let us = seat.place.estimate_us(here);
            let kin = label.is_some() && seat.marks().label == label;
            // One that has to split takes nobody in before it has.
            let splits = level == 1 && seat.size as usize >= size_split;
            (!kin, busy == Some(seat.id()), splits, us, *slot)
        });
        let Some(into) = nearest.map(|(_, seat)| seat.contact.clone()) else {
            return;
        };
        self.merge_into(now, level, &into);
    }

    pub(super) fn merge_into(&mut self, now: Time, level: u8, into: &Contact) {
        let until = now + self.config.change_wait;
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        post.phase = Phase::Merging { into: into.clone() };
        post.calm_until = until;
        let view = post.view.clone();
        let books = self.books_of_all(now, level);
        let missing = self.missing_beside(now, level);
        self.timers.set(Timer::Change(level), until);
        let merge = Merge {
            view,
            missing,
            books,
        };
        self.send_to(now, into, Message::Merge(merge));
    }

    pub(super) fn on_merge(&mut self, now: Time, from: NodeId, merge: Merge) {
        let level = merge.view.level;
        let root = self.is_root(level);
        let lets_in = self.lets_in(level, label::common(&merge.view.roster));
        let open = self.posts.get_mut(&level).filter(|post| {
            // A root takes in what another tree has; others only what sits beside them.
            let sibling = post.up.as_ref().and_then(|up| {
                let slot = up.view.roster.find_child(merge.view.cluster)?;
                up.view.roster.get(slot)
            });
            let beside = sibling.is_some_and(|sibling| sibling.id() == from);
            let fits = post.view.roster.len() + merge.view.roster.len() <= SEATS_MAX;
            let other = post.view.cluster.id != merge.view.cluster.id;
            let free = matches!(post.phase, Phase::Acting);
            fits && other && free && lets_in && (beside || root)
        });
        let Some(post) = open.filter(|_| merge.view.agent.id == from) else {
            self.send(now, from, Message::Busy((level, RETRY)));
            self.make_room(now, level, merge.view.roster.len());
            return;
        };
        let other = Box::new(merge);
        post.phase = Phase::Asking(Request::Absorb { other, from });
        post.calm_until = now + self.config.change_wait;
        let next = post.view.cluster.next();
        if root {
            self.finish_absorb(now, level, next);
        } else {
            self.ask_parent(now, level);
        }
    }

    /// Two roots of one height that do not fit into one cluster: ours becomes two below a new root,
    /// below which the other finds a seat when it hears of it.
    fn make_room(&mut self, now: Time, level: u8, others: usize) {
        let root = self.is_root(level);
        let crowded = self.posts.get(&level).is_some_and(|post| {
            let seats = post.view.roster.len();
            let acting = matches!(post.phase, Phase::Acting);
            acting && seats >= 2 * self.config.size_min && seats + others > SEATS_MAX
        });
        if root && crowded {
            self.begin_split(now, level);
        }
    }

    pub(super) fn on_merge_busy(&mut self, now: Time, from: NodeId, level: u8) {
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        if matches!(&post.phase, Phase::Merging { into } if into.id == from) {
            post.busy = Some(from);
            self.give_up_change(now, level);
            if let Some(post) = self.posts.get_mut(&level) {
                post.calm_until = now + RETRY;
            }
        }
    }

    pub(super) fn on_twinned(&mut self, now: Time, from: NodeId, twinned: &Twinned) {
        let asked = self.posts.iter().find(|(_, post)| {
            let up = post.up.as_ref().map(|up| up.view.agent.id);
            post.view.cluster == twinned.old && up == Some(from)
        });
        let Some((&level, post)) = asked else {
            return;
        };
        match (&post.phase, twinned.slot) {
            (Phase::Asking(Request::Split { .. }), Some(slot)) => {
                self.finish_split(now, level, twinned.cluster, slot);
            }
            (Phase::Asking(Request::Absorb { .. }), _) => {
                self.finish_absorb(now, level, twinned.cluster);
            }
            // What was asked for was given up, but is granted.
            (Phase::Acting, _) => self.rename(now, level, twinned.cluster),
            (
                Phase::Asking(_) | Phase::Dividing { .. } | Phase::Merging { .. } | Phase::Leaving,
                _,
            ) => {}
        }
    }

    /// Seats the small cluster's members here.
    fn finish_absorb(&mut self, now: Time, level: u8, next: ClusterRef) {
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let phase = std::mem::replace(&mut post.phase, Phase::Acting);
        let Phase::Asking(Request::Absorb { other, from }) = phase else {
            post.phase = phase;
            return;
        };
        let Merge {
            view: other,
            missing,
            books,
        } = *other;
        let apart = self.may_overlap(now, level);
        self.miss_with(now, level, &other, missing);
        self.rename(now, level, next);
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let (mut seats, mut added) = (Vec::new(), Vec::new());
        for (slot, seat) in other.roster.iter() {
            let roster = &post.view.roster;
            // Its cluster, or the node for a post that it no longer holds or has not told of yet.
            let again = roster.find_seat(seat).or_else(|| roster.find(seat.id()));
            let haunted = |slot| post.track.is_haunted(slot);
            let new = again.or_else(|| post.view.roster.add_but(seat.clone(), haunted));
            if let Some(new) = new {
                post.children.insert(new, Child::new(now));
                seats.push((slot, new));
                added.extend(again.is_none().then_some((slot, new)));
            }
        }
        // All members see by the digest that there is more to know, and ask.
        self.rank_deputies(now, level);
        self.keep_books(now, level, &added, books.0, apart);
        self.on_path_changed(level);
        let merged = Merged {
            old: other.cluster,
            cluster: next,
            seats: Few(seats),
        };
        self.send(now, from, Message::Merged(merged));
    }

    /// How the seats that came from another cluster (old, new) count, by the books of that.
    /// `held`: they are missing for a while, whatever the books say.
    fn keep_books(
        &mut self,
        now: Time,
        level: u8,
        seats: &[(u8, u8)],
        books: Vec<Entry>,
        held: bool,
    ) {
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let here = |entry: Entry| {
            let (_, slot) = *seats.iter().find(|(old, _)| *old == entry.slot)?;
            Some(Entry { slot, ..entry })
        };
        let books: Vec<Entry> = books.into_iter().filter_map(here).collect();
        post.track.take_books(now, &books);
        for (_, slot) in seats.iter().filter(|_| held) {
            post.track.hold(now, *slot);
        }
    }

    /// How our seats count for whoever takes in all of them.
    fn books_of_all(&self, now: Time, level: u8) -> Few<Entry, SEATS_MAX> {
        let Some(post) = self.posts.get(&level) else {
            return Few(Vec::new());
        };
        let roster = &post.view.roster;
        if !self.may_overlap(now, level) {
            return Few(post.track.books(now, roster));
        }
        let held = roster.iter().map(|(slot, _)| Entry {
            slot,
            double: 0,
            left: DOUBLE_JOINED,
        });
        Few(held.collect())
    }

    /// How many nodes our post at `level` misses beside those in its seats; of a root, of the whole
    /// that it was a part of.
    fn missing_beside(&self, now: Time, level: u8) -> u32 {
        let Some(post) = self.posts.get(&level) else {
            return 0;
        };
        let unseated = post.track.unseated(now).0;
        let whole = self.whole(now).filter(|_| self.is_root(level));
        whole.map_or(unseated, |(whole, _)| {
            let whole = u32::try_from(whole).unwrap_or(u32::MAX);
            unseated.max(whole.saturating_sub(post.view.roster.size()))
        })
    }

    /// Whether our root's members may be in another tree too, of which ours or which was a part of
    /// ours: a part that came off lately has taken in members of the rest, and the other way round.
    fn may_overlap(&self, now: Time, level: u8) -> bool {
        let post = self.posts.get(&level).filter(|_| self.is_root(level));
        post.is_some_and(|it| it.lost.is_some() && now.since(it.alone_since) < APART)
    }

    /// Whom the other cluster misses, we miss from now on.
    fn miss_with(&mut self, now: Time, level: u8, other: &View, missing: u32) {
        let root = self.is_root(level);
        let ours = self.whole(now).filter(|_| root);
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let theirs = u64::from(other.roster.size()) + u64::from(missing);
        if !root {
            post.track.slots.miss(now, u64::from(missing));
        } else if ours.is_none_or(|(ours, _)| ours < theirs) {
            // Two trees may have been parts of one: what one misses may be the other.
            post.lost = Some((theirs, now + LOST));
        }
    }

    /// Our members sit in the sibling: tell them, and hold the post no more.
    pub(super) fn on_merged(&mut self, now: Time, from: NodeId, merged: &Merged) {
        let found = self.posts.iter().find(|(_, post)| {
            let into = matches!(&post.phase, Phase::Merging { into } if into.id == from);
            into && post.view.cluster == merged.old
        });
        let Some((&level, post)) = found else {
            return;
        };
        let Phase::Merging { into } = &post.phase else {
            return;
        };
        let into = into.clone();
        let view = post.view.clone();
        for &(old, slot) in &merged.seats.0 {
            let Some(seat) = view.roster.get(old) else {
                continue;
            };
            let takeover = Takeover {
                old: merged.old,
                cluster: merged.cluster,
                agent: into.clone(),
                slot,
            };
            let to = seat.contact.clone();
            self.send_to(now, &to, Message::Takeover(takeover));
        }
        self.remember_former(now, view.cluster, merged.cluster, into);
        self.drop_post(level);
    }
}
