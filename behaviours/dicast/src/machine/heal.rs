//! Trees that find each other become one: the smaller yields.

use std::{collections::BTreeSet, time::Duration};

use opus_core::{Contact, NodeId, Time, pack::Few};
use rand::{
    RngExt,
    seq::{IndexedRandom, SliceRandom},
};

use super::{Dicast, Scope, Timer, seek::NAMED_MAX};
use crate::{
    Event, Message,
    aggregate::KeyId,
    cluster::{Ancestor, DEPUTIES, nodes_max},
    state::{Phase, Seek},
    wire::Hello,
};

/// While much of the tree is missing, an agent that is not near the root looks for other trees once
/// in so many times, ...
const OTHERS_SELDOM: u32 = 6;

/// ... and at other times once in so many: whom all of them know are the few at the top, and each
/// greeting takes a dial.
const OTHERS_RARELY: u32 = 60;

/// Between which shares of the pause the real one is drawn.
pub(super) const PAUSES: (f64, f64) = (0.75, 1.25);

/// How long a root is young, and greets many at once: it may have found none but the dead.
const YOUNG: Duration = Duration::from_secs(15);

/// Contacts that a post greets at once when it loses its parent, the posts of two clusters; and a
/// young root of those that it knows.
const CALLED: usize = 8;

/// Contacts that are greeted at once by a root that has lost a part of the tree: most may be dead.
const GREETED: usize = 3;

impl Dicast {
    /// The post at `level` has no parent any more: another one is sought.
    pub(super) fn orphan(&mut self, now: Time, level: u8) {
        let whole = self.whole(now);
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        post.lost = whole.or(post.lost);
        let up = post.up.take();
        if up.is_some() {
            post.alone_since = now;
        }
        let above = up.iter().flat_map(|up| {
            let near = up.view.ancestor();
            std::iter::once(near).chain(up.path.0.iter().cloned())
        });
        let posts = above.flat_map(|ancestor| ancestor.posts().cloned().collect::<Vec<_>>());
        // The siblings last: they are asked first, and the likeliest to be there.
        let siblings = up.iter().flat_map(|up| up.view.roster.iter());
        let siblings = siblings.map(|(_, seat)| seat.contact.clone());
        let contacts: Vec<Contact> = posts.chain(siblings).collect();
        for contact in contacts {
            self.remember(contact);
        }
        self.seek(now, level + 1);
        let above = self.all_above(level);
        self.on_path_changed(level);
        self.rename_without_parent(now, level);
        // All at once, which tree they are in now: a search asks one after the other, and most may
        // be dead.
        for to in above {
            self.greet_one(now, level, &to);
        }
    }

    /// Whom our post at `level` may ask at once which tree they are in, the nearest first.
    fn all_above(&self, level: u8) -> Vec<Contact> {
        let me = self.id();
        let ancestors = self.leaf.iter().flat_map(|leaf| &leaf.path.0);
        let above = ancestors.filter(|ancestor| ancestor.level > level);
        let mut all: Vec<Contact> = Vec::new();
        for contact in above.flat_map(Ancestor::posts) {
            let known = contact.id == me || all.iter().any(|it| it.id == contact.id);
            if !known && all.len() < CALLED {
                all.push(contact.clone());
            }
        }
        all
    }

    /// A post of ours that seeks a parent hears of a tree that may have one: that is asked first.
    /// Tells whether there is such a post.
    fn follow_hello(&mut self, now: Time, hello: &Hello) -> bool {
        let join_wait = self.config.join_wait;
        let mut orphans = self.seeks.iter_mut();
        let orphan = orphans.find(|(target, _)| **target > 1 && **target <= hello.height);
        let Some((&target, seek)) = orphan else {
            return false;
        };
        let Some(agent) = hello.posts.0.first() else {
            return true;
        };
        // Several name the same one at once, who may have told us the way by then; and strangers
        // shall not lead us about.
        let led = seek.led_at.is_some_and(|at| now.since(at) < join_wait);
        if seek.asked != Some(agent.id) && !led && seek.named < NAMED_MAX {
            self.ask_first(now, target, std::slice::from_ref(agent), hello.height);
            self.on_seek_due(now, target);
        }
        true
    }

    /// The post at `level` has no parent any more. The one that it had may grant this name to
    /// another: on the other side of a cut, or before it hears that it is the parent no more.
    pub(super) fn rename_without_parent(&mut self, now: Time, level: u8) {
        let post = self.posts.get(&level);
        if post.is_some_and(|post| !matches!(post.phase, Phase::Leaving)) {
            let cluster = self.new_name();
            self.rename(now, level, cluster);
        }
    }

    /// The level of our post at the top of a tree, if we hold it.
    pub(super) fn crowned(&self) -> Option<u8> {
        let (&level, _) = self.posts.last_key_value()?;
        self.is_root(level).then_some(level)
    }

    fn hello(root: &Ancestor, size: u32) -> Hello {
        let posts = root.posts().cloned();
        Hello {
            root: root.cluster,
            height: root.level,
            size,
            posts: Few(posts.take(DEPUTIES + 1).collect()),
            relayed: false,
        }
    }

    /// Agents look for other trees: the root often, the others now and then, since they know
    /// others.
    pub(super) fn greet(&mut self, now: Time) {
        let Some((&level, _)) = self.posts.last_key_value() else {
            self.greet_connected(now);
            return;
        };
        let root = self.is_root(level);
        let lower = self.posts.range(..level).map(|(&it, _)| it);
        let alone: Vec<u8> = lower.filter(|&it| self.is_root(it)).collect();
        // Who sits at the top looks harder; if all did, the strangers would have much to answer.
        let lost = self.has_lost_many(now) || !alone.is_empty();
        let many = (root || self.sits_at_top(level)) && lost;
        let pause = match (root || many, lost) {
            (true, _) => 1,
            (false, true) => OTHERS_SELDOM,
            (false, false) => OTHERS_RARELY,
        };
        let wait = self.config.hello * pause;
        if now < self.hello_at {
            if self.hello_at <= now + wait.mul_f64(PAUSES.1) {
                return;
            }
            // What was planned is too late now. Whoever has just become a root greets at once, the
            // others not all at once.
            if !root {
                self.hello_at = now + wait.mul_f64(self.rng.random_range(0.0..PAUSES.1));
                return;
            }
        }
        // A lower one of ours that found no parent in time has one here.
        for lower in alone {
            self.seek(now, lower + 1);
        }
        let post = &self.posts[&level];
        let young = now.since(post.alone_since) < YOUNG;
        let roster = &post.view.roster;
        let known = self.seeds.iter().chain(&self.far);
        let above = post.up.iter().flat_map(|up| &up.path.0);
        let above: BTreeSet<NodeId> = above.flat_map(Ancestor::posts).map(|it| it.id).collect();
        let ours = |id: NodeId| roster.find(id).is_some() || above.contains(&id);
        let seeds = known.filter(|seed| !ours(seed.id));
        let mut seeds: Vec<Contact> = seeds.cloned().collect();
        // Not all at once after a cut.
        self.hello_at = now + wait.mul_f64(self.rng.random_range(PAUSES.0..PAUSES.1));
        if root {
            self.tell(Event::WantSeeds);
        }
        let count = match (root && many, young) {
            (true, true) => CALLED,
            (true, false) => GREETED,
            (false, _) => 1,
        };
        let (chosen, _) = seeds.partial_shuffle(&mut self.rng, count);
        for to in chosen {
            if root {
                self.greet_one(now, level, to);
            } else if let Some(root) = self.root() {
                let hint = Self::hello(&root, 0);
                self.send_to(now, to, Message::Hello(hint));
            }
        }
    }

    /// A leaf tells now and then one of whom it is connected to, for whatever reason, which tree it
    /// is in: the roots of two trees may know nobody of each other. Nobody is dialled for that.
    fn greet_connected(&mut self, now: Time) {
        if now < self.hello_at {
            return;
        }
        let wait = self.config.hello * OTHERS_SELDOM;
        let drawn = wait.mul_f64(self.rng.random_range(PAUSES.0..PAUSES.1));
        let first = self.hello_at == Time::ZERO;
        self.hello_at = now + drawn;
        let (Some(leaf), Some(root)) = (&self.leaf, self.root()) else {
            return;
        };
        let others = self.links.connected().filter(|peer| !leaf.knows(*peer));
        let others: Vec<NodeId> = others.collect();
        if let Some(to) = others.choose(&mut self.rng).filter(|_| !first) {
            self.send(now, *to, Message::Hello(Self::hello(&root, 0)));
        }
    }

    /// Whether our post at `level` has its seat in the root's cluster.
    fn sits_at_top(&self, level: u8) -> bool {
        let up = self.posts.get(&level).and_then(|post| post.up.as_ref());
        up.is_some_and(|up| up.path.0.is_empty())
    }

    /// Whether more than a twentieth of the tree is missing: there may be another.
    fn has_lost_many(&self, now: Time) -> bool {
        let members = self.view(now, KeyId::MEMBERS, Scope::Root);
        members.is_some_and(|it| it.missing_max > it.count / 20)
    }

    pub(super) fn greet_one(&mut self, now: Time, level: u8, to: &Contact) {
        let view = &self.posts[&level].view;
        let hello = Self::hello(&view.ancestor(), view.roster.size().max(1));
        self.send_to(now, to, Message::Hello(hello));
    }

    pub(super) fn on_hello(&mut self, now: Time, from: NodeId, hello: Hello) {
        let Some(root) = self.root().filter(|root| root.cluster.id != hello.root.id) else {
            return;
        };
        let Some(level) = self.crowned() else {
            if self.follow_hello(now, &hello) {
                return;
            }
            // A size of 0 says that the sender speaks for a root which it is not.
            let hint = Self::hello(&root, 0);
            if hello.size > 0 && root.agent.id != self.id() {
                self.send(now, from, Message::Hello(hint));
            } else if hello.size == 0
                && !hello.relayed
                && root.agent.id != self.id()
                && now.since(self.hint_at) >= self.config.heartbeat
            {
                self.hint_at = now;
                let relayed = Hello {
                    relayed: true,
                    ..hello
                };
                self.send_to(now, &root.agent, Message::Hello(relayed));
            }
            return;
        };
        let Some(their) = hello.posts.0.first().cloned() else {
            return;
        };
        let size = self.posts[&level].view.roster.size().max(1);
        let ours = (level, size, root.cluster.id);
        let most = nodes_max(hello.height.saturating_add(1));
        let theirs = (hello.height, hello.size.min(most), hello.root.id);
        if hello.size == 0 || ours > theirs {
            if their.id != self.id() {
                self.greet_one(now, level, &their);
            }
        } else {
            self.yield_to(now, level, &hello);
        }
    }

    /// Our whole tree goes below, or beside, a larger one.
    fn yield_to(&mut self, now: Time, level: u8, hello: &Hello) {
        let acting = matches!(self.posts[&level].phase, Phase::Acting);
        if !acting {
            return;
        }
        if hello.height == level {
            if let Some(into) = hello.posts.0.first().cloned() {
                self.merge_into(now, level, &into);
            }
            return;
        }
        let target = level + 1;
        let posts = hello.posts.0.iter().cloned();
        let seek = Seek {
            silent_since: now,
            led_at: None,
            next: posts.map(|contact| (contact, hello.height)).collect(),
            asked: None,
            blindly: None,
            hops: 0,
            named: 0,
            waited: false,
        };
        self.seeks.insert(target, seek);
        self.timers.set(Timer::Seek(target), now);
    }
}
