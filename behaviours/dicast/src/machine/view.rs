//! What our node may ask: a key's value for a part of the tree, with bounds.

use opus_core::Time;

use super::Dicast;
use crate::{
    aggregate::{Answer, Down, KeyId, KeySpec, Record, Summary, budget},
    track::first_8,
};

/// Of which part of the tree an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This node alone.
    Own,
    /// Our cluster of level 1.
    Cluster,
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

impl Dicast {
    /// What is known of a key for a part of the tree, with hard bounds. `None`: nothing yet, or
    /// nobody there has a value.
    pub fn view(&self, now: Time, key: KeyId, scope: Scope) -> Option<Answer> {
        let spec = self.keys.spec(key)?;
        let level = match scope {
            Scope::Own => return self.own(key, spec),
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
            let record = post.track.record(now, key, spec)?;
            return Answer::of(&record, 0.0, spec);
        }
        let held = self.leaf.as_ref()?.link.inbox.get(key, level)?;
        let width = down_width(&held.down, spec);
        held.down.answer(now.since(held.at), width, spec)
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
