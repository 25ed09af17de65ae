//! The values of a cluster's members, told to each of them: a node knows its own cluster exactly.

use std::time::Duration;

use opus_core::Time;

use super::Dicast;
use crate::aggregate::{Roll, Values, is_told};

impl Dicast {
    /// Notes what all members have now: the next pulse to each tells it. Who has not reported of
    /// late is left out, for one age stands for all.
    pub(super) fn take_roll(&mut self, now: Time) {
        let lately = self.config.often();
        #[cfg(test)]
        let lie = self.lie.get();
        let Self { posts, keys, .. } = self;
        let Some(post) = posts.get_mut(&1) else {
            return;
        };
        let slots = &post.track.slots;
        let mut values = Values::default();
        let mut oldest = Duration::ZERO;
        for (slot, _) in post.view.roster.iter() {
            let Some(age) = slots.age(slot, now).filter(|age| *age <= lately) else {
                continue;
            };
            for (key, spec) in keys.iter().filter(|(_, spec)| is_told(spec)) {
                let held = slots.held(slot, key);
                if let Some(x) = held.and_then(|record| record.summary.number()) {
                    #[cfg(test)]
                    let x = lie.of_member(slot, x);
                    values.put(key, slot, x, spec);
                    oldest = oldest.max(age);
                }
            }
        }
        post.track.rolls.take(now, values, keys.digest(), oldest);
    }

    /// What the member at `slot` has not been told of the others; nothing if it was.
    pub(super) fn roll_for(&mut self, now: Time, slot: u8) -> Option<Roll> {
        let post = self.posts.get_mut(&1)?;
        let child = post.children.get_mut(&slot)?;
        let rolls = &post.track.rolls;
        if rolls.is_empty() || !child.lacks_roll && child.roll == rolls.number() {
            return None;
        }
        let has = if child.lacks_roll { 0 } else { child.roll };
        child.roll = rolls.number();
        #[cfg(test)]
        if self.lie.get() == super::tests::Lie::Others {
            return Some(rolls.lying_but_of(now, slot));
        }
        Some(rolls.since(now, has))
    }
}
