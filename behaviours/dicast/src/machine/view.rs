//! What our node may ask: a key's value for a part of the tree, with bounds.

use std::{collections::BTreeSet, time::Duration};

use opus_core::Time;

use super::Dicast;
use crate::{
    aggregate::{Answer, Down, KeyId, KeySpec, NODES_MAX, Origin, Record, Summary, budget},
    state::{LOST, Post},
    track::first_8,
};

/// Of which part of the tree an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This node alone.
    Own,
    /// Our cluster of level 1.
    Cluster,
    /// A neighbour of ours, as far as our agents have told us of it. Of level 0 the member of our
    /// cluster in the seat of this number; of a higher one the cluster of that level in this seat
    /// of the one in which ours, or one above it, sits.
    Sibling {
        /// Of the sibling: below [`LEVELS_MAX`](crate::cluster::LEVELS_MAX).
        level: u8,
        /// Its seat.
        slot: u8,
    },
    /// The cluster of this level that we are in.
    Above(u8),
    /// The whole tree.
    Root,
}

/// How far what was told may be from what it stands for, in the unit of the value: for the whole
/// tree what the key's tolerance keeps for the way down, for a part of it a share of the value.
pub(super) fn down_width(told: &Down, spec: &KeySpec) -> f64 {
    if told.origin().is_root() {
        return f64::from(budget::split(spec, told.count() as f64, &[]).down);
    }
    let share = f64::from(spec.sibling);
    share * told.number().unwrap_or(0.0).abs()
}

impl Post {
    /// The cluster's record of a key. `root`: whether it is the whole tree; if it was a part of a
    /// larger one before, the nodes of that which it does not count are missing.
    pub(super) fn record(
        &self,
        now: Time,
        root: bool,
        key: KeyId,
        spec: &KeySpec,
    ) -> Option<Record> {
        let mut record = self.track.record(now, key, spec)?;
        if let Some((whole, _)) = self.lost.filter(|(_, until)| root && now < *until) {
            let members = self.track.record(now, KeyId::MEMBERS, &KeySpec::MEMBERS)?;
            let known = members.count + members.missing;
            record.missing = (record.missing + whole.saturating_sub(known)).min(NODES_MAX);
        }
        Some(record)
    }
}

impl Dicast {
    /// What is known of a key for a part of the tree, with hard bounds. `None`: nothing yet, or
    /// nobody there has a value.
    pub fn view(&self, now: Time, key: KeyId, scope: Scope) -> Option<Answer> {
        let spec = self.keys.spec(key)?;
        let level = match scope {
            Scope::Own => return self.own(key, spec),
            Scope::Sibling { level, slot } => return self.sibling(now, key, spec, (level, slot)),
            Scope::Cluster => Some(1),
            Scope::Above(level) => Some(level),
            Scope::Root => None,
        };
        let mut posts = self.posts.iter();
        let post = match level {
            Some(level) => self.posts.get(&level),
            None => posts
                .next_back()
                .filter(|(level, _)| self.is_root(**level))
                .map(|it| it.1),
        };
        if let Some(post) = post {
            let root = self.is_root(post.view.level);
            let record = post.record(now, root, key, spec)?;
            return Answer::of(&record, 0.0, spec);
        }
        let held = self.leaf.as_ref()?.link.inbox.get(key, level)?;
        let width = down_width(&held.down, spec);
        held.down.answer(now.since(held.at), width, spec)
    }

    /// What is known of one of our siblings: of the members of our cluster, or of a cluster.
    fn sibling(
        &self,
        now: Time,
        key: KeyId,
        spec: &KeySpec,
        (level, slot): (u8, u8),
    ) -> Option<Answer> {
        if let Some(post) = self.posts.get(&level.checked_add(1)?) {
            let record = post.record_of(now, slot, key, spec)?;
            return Answer::of(&record, 0.0, spec);
        }
        let link = &self.leaf.as_ref()?.link;
        if level == 0 {
            return link.roll.answer(now, key, slot, spec);
        }
        let origin = Origin {
            level,
            slot: slot.checked_add(1)?,
            beside: true,
        };
        let down = link.inbox.beside.get(now, key, origin)?;
        let width = down_width(&down, spec);
        down.answer(Duration::ZERO, width, spec)
    }

    /// All siblings of which something is known for the key, with what it is: by level and seat, as
    /// [`Scope::Sibling`] names them.
    pub fn siblings(&self, now: Time, key: KeyId) -> Vec<((u8, u8), Answer)> {
        let Some(spec) = self.keys.spec(key) else {
            return Vec::new();
        };
        let mut named: BTreeSet<(u8, u8)> = BTreeSet::new();
        for (level, post) in &self.posts {
            let slots = post.view.roster.iter();
            named.extend(slots.map(|(slot, _)| (level - 1, slot)));
        }
        if let Some(leaf) = &self.leaf {
            named.extend(leaf.link.roll.slots(key).map(|slot| (0, slot)));
            let beside = leaf
                .link
                .inbox
                .beside
                .iter(now)
                .filter(|it| it.key() == key);
            let origins = beside.map(|down| down.origin());
            named.extend(origins.map(|origin| (origin.level, origin.slot - 1)));
        }
        let answers = named.into_iter().filter_map(|whose| {
            let answer = self.sibling(now, key, spec, whose)?;
            Some((whose, answer))
        });
        answers.collect()
    }

    /// Remembers how large the whole tree is: a new agent of ours may take back what the one before
    /// told us, and lose its parent before it knows any better.
    pub(super) fn note_whole(&mut self, now: Time) {
        self.whole_known = self.whole(now);
    }

    /// How many nodes the whole tree has, with those that are missing, by the latest that we know;
    /// and until when that is worth remembering.
    pub(super) fn whole(&self, now: Time) -> Option<(u64, Time)> {
        let ours = self.posts.last_key_value();
        let root = ours.filter(|(level, _)| self.is_root(**level));
        let record = root.and_then(|(_, post)| {
            let record = post.record(now, true, KeyId::MEMBERS, &KeySpec::MEMBERS)?;
            Some(record.count + record.missing)
        });
        let levels = self.membership_levels().into_iter().rev();
        let mut told = levels.filter_map(|level| {
            let inbox = &self.membership(level)?.link.inbox;
            let held = inbox.get(KeyId::MEMBERS, None)?;
            Some(held.down.count() + held.down.missing())
        });
        let nodes = record.or_else(|| told.next());
        let known = self.whole_known.filter(|(_, until)| now < *until);
        nodes.map(|nodes| (nodes, now + LOST)).or(known)
    }

    /// All keys that this node knows, the built-in count of members first.
    pub fn key_specs(&self) -> impl Iterator<Item = (KeyId, &KeySpec)> {
        self.keys.iter()
    }

    /// What this node knows of the key's definition.
    pub fn spec(&self, key: KeyId) -> Option<&KeySpec> {
        self.keys.spec(key)
    }

    fn own(&self, key: KeyId, spec: &KeySpec) -> Option<Answer> {
        let summary = if key == KeyId::MEMBERS {
            Summary::Count
        } else {
            Summary::of(self.values.get(&key)?, first_8(self.id()), spec)?
        };
        Answer::of(&Record::of_one(summary), 0.0, spec)
    }
}
