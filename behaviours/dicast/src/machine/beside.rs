//! Records of siblings on their way down: the agent of an upper cluster knows those of its
//! children, tells them to all of these, and they pass them on. So each node knows how the regions
//! near it are, and roughly how those further away are.

use std::time::Duration;

use opus_core::Time;

use super::{
    Dicast,
    push::{ALONG, SELDOM, stands, stands_in_value},
};
use crate::{
    aggregate::{Down, KeyId, KeySpec, Origin, Record},
    state::Post,
};

/// A share for siblings from which on nothing is told of them: any value would do.
const NO_SHARE: f32 = 1.0;

/// How long it may take until members are told that a sibling has a few nodes more or less.
const AFTER_ALL: Duration = Duration::from_secs(300);

/// Whether what was told of a sibling is too far from what it is now. A few nodes more or less are
/// told after a while: in a large network some come or go at any time.
fn is_due(now: Time, (told, at): (&Down, Time), record: &Record, spec: &KeySpec) -> bool {
    if stands(told, record, spec) {
        return false;
    }
    let few = f64::from(spec.sibling) * told.count() as f64;
    let near = |a: u64, b: u64| a.abs_diff(b) as f64 <= few;
    let counts = near(told.count(), record.count)
        && near(told.missing(), record.missing)
        && near(told.double(), record.double);
    !counts || !stands_in_value(told, record, spec) || now.since(at) >= AFTER_ALL
}

impl Post {
    /// The cluster of one of our members, as members are told of it.
    const fn origin_of(&self, slot: u8) -> Origin {
        Origin {
            level: self.view.level.saturating_sub(1),
            slot: slot.saturating_add(1),
            beside: true,
        }
    }

    /// The record of the cluster at `slot`, with the filter that it may use.
    pub(super) fn record_of(
        &self,
        now: Time,
        slot: u8,
        key: KeyId,
        spec: &KeySpec,
    ) -> Option<Record> {
        let mut widths = self.track.grants.all_assumed(key);
        let width = widths.nth(usize::from(slot)).unwrap_or(0.0);
        let slots = &self.track.slots;
        let record = slots.record_of(slot, key, now, spec, width)?;
        (record.count > 0).then_some(record)
    }

    /// What came from above of the siblings of our clusters; of ourselves our members know more.
    fn told_from_above(&self, now: Time) -> impl Iterator<Item = Down> {
        let level = self.view.level;
        let ours = self.up.as_ref().map(|up| up.slot.saturating_add(1));
        let beside = self
            .up
            .iter()
            .flat_map(move |up| up.link.inbox.beside.iter(now));
        beside.filter(move |down| {
            let origin = down.origin();
            origin.level > level || origin.level == level && Some(origin.slot) != ours
        })
    }
}

impl Dicast {
    /// Brings what members are told of siblings up to date, if it is time. `along`: other things
    /// are told now anyway.
    pub(super) fn refresh_beside(&mut self, now: Time, level: u8, along: bool) {
        let Self { posts, keys, .. } = self;
        let Some(post) = posts.get_mut(&level) else {
            return;
        };
        let pause = if along { ALONG } else { SELDOM };
        if now.since(post.track.beside_at) < pause {
            return;
        }
        post.track.beside_at = now;
        let mut fresh: Vec<Down> = Vec::new();
        let mut known: Vec<(KeyId, Origin)> = Vec::new();
        let told = |whose| post.track.told(whose);
        let wanted = |spec: &KeySpec| spec.sibling < NO_SHARE;
        for (key, spec) in keys.iter().filter(|(_, spec)| level > 1 && wanted(spec)) {
            for (slot, _) in post.view.roster.iter() {
                let origin = post.origin_of(slot);
                let Some(record) = post.record_of(now, slot, key, spec) else {
                    continue;
                };
                known.push((key, origin));
                let told = told((key, origin));
                if told.is_none_or(|(told, at)| is_due(now, (told, at), &record, spec)) {
                    fresh.extend(Down::of(key, origin, &record, spec));
                }
            }
        }
        let known_key = |down: &Down| keys.spec(down.key()).is_some();
        for down in post.told_from_above(now).filter(known_key) {
            let whose = (down.key(), down.origin());
            known.push(whose);
            if told(whose).is_none_or(|(told, _)| !told.agrees(&down)) {
                fresh.push(down);
            }
        }
        known.sort_unstable();
        let unknown = post.track.all_beside().filter_map(|told| {
            let whose = (told.key(), told.origin());
            (!told.is_gone() && known.binary_search(&whose).is_err()).then_some(whose)
        });
        let unknown: Vec<_> = unknown.collect();
        // What we know from above is empty for a moment when all of it is told anew.
        let before = std::mem::replace(&mut post.track.unknown, unknown.clone());
        let gone = unknown.iter().filter(|whose| before.contains(whose));
        fresh.extend(gone.map(|(key, origin)| Down::gone(*key, *origin)));
        for down in fresh {
            post.track.tell(now, down);
        }
    }

    /// How old what members were told of siblings is at most: as the newest that it stands for.
    pub(super) fn age_beside(
        &self,
        now: Time,
        post: &Post,
        told: &Down,
        age: Duration,
    ) -> Duration {
        let origin = told.origin();
        let newest = if origin.level < post.view.level {
            let spec = self.keys.spec(told.key());
            spec.and_then(|spec| {
                let record = post.record_of(now, origin.slot - 1, told.key(), spec)?;
                stands(told, &record, spec).then_some(record.age)
            })
        } else {
            let beside = post.up.as_ref().map(|up| &up.link.inbox.beside);
            let newest = beside.and_then(|beside| beside.get(now, told.key(), origin));
            newest
                .filter(|down| down.agrees(told))
                .map(|down| down.age())
        };
        newest.unwrap_or(age)
    }
}
