//! How wide filters may be: an agent splits its part of a key's budget among its members.
//!
//! Nobody knows how many senders each level has, so all reckon with the same tree, whose clusters
//! have [`FAN`] members each and whose leaves are as many as the root counts. A cluster's part of a
//! level's budget is its part of the nodes. So the parts add up to the whole, whatever the tree
//! looks like.

use std::time::Duration;

use opus_core::{NodeId, Time, pack::Few};

use super::{Dicast, Scope};
use crate::{
    Message,
    aggregate::{Adds, Function, KeyId, NODES_MAX, budget},
    cluster::LEVELS_MAX,
    wire::Widths,
};

/// Members of a cluster, on the whole: half way between d and 3d - 1 by the size.
const FAN: u64 = 24;

/// Between two plans.
const PLAN: Duration = Duration::from_secs(10);

/// From taking a post to the first plan.
pub(crate) const PLAN_FIRST: Duration = Duration::from_secs(3);

/// How many report at each level of a tree of this height with as many nodes as fit, leaves first.
pub(super) fn senders(height: u8) -> [u64; LEVELS_MAX as usize] {
    let mut senders = [0; LEVELS_MAX as usize];
    let mut nodes = 1;
    for level in (0..usize::from(height.min(LEVELS_MAX))).rev() {
        nodes *= FAN;
        senders[level] = nodes;
    }
    senders
}

impl Dicast {
    /// Plans the widths of the members of our post at `level`, if it is time, and tells those that
    /// have not confirmed theirs.
    pub(super) fn plan_widths(&mut self, now: Time, level: u8) {
        let due = self
            .posts
            .get(&level)
            .is_some_and(|post| post.track.plan_at <= now);
        if due {
            let keys: Vec<KeyId> = self.keys.iter().map(|(key, _)| key).collect();
            for key in keys {
                self.plan_key(now, level, key);
            }
            if let Some(post) = self.posts.get_mut(&level) {
                post.track.plan_at = now + PLAN;
            }
        }
        self.tell_widths(now, level);
    }

    fn plan_key(&mut self, now: Time, level: u8, key: KeyId) {
        let Some(whole) = self.view(now, key, Scope::Root) else {
            return;
        };
        let Some(height) = self.height() else {
            return;
        };
        let beats = u32::try_from(PLAN.as_secs()).unwrap_or(u32::MAX);
        let Self { posts, keys, .. } = self;
        let (Some(post), Some(spec)) = (posts.get_mut(&level), keys.spec(key)) else {
            return;
        };
        let Some(record) = post.track.record(now, key, spec) else {
            return;
        };
        let steps = post.track.slots.steps(key, beats);
        let child_level = usize::from(level - 1);
        let exact = level == 1 && spec.exact_in_cluster;
        let nodes = whole.count.max(1) as f64;
        // Those that a tree of the size of the real one has, in the form of the full one.
        let full = senders(height);
        let count = whole.count.clamp(1, NODES_MAX);
        let real = full.map(|n| (n * count).div_ceil(full[0].max(1)));
        // The sum of weights is not known below: without it there is no filter.
        let mass = if spec.function == Function::WeightedMean {
            0.0
        } else {
            nodes
        };
        let width = budget::split(spec, mass, &real).widths[child_level];
        let (targets, budget) = match spec.adds() {
            Adds::Nowhere => (Vec::new(), 0.0),
            _ if exact => (Vec::new(), 0.0),
            Adds::AlongPath => {
                let widths = steps.iter().map(|(slot, _)| (*slot, width));
                (widths.collect(), f64::MAX)
            }
            Adds::OverSenders => {
                let share = record.count as f64 / nodes;
                let budget = f64::from(width) * real[child_level] as f64 * share;
                let moved: Vec<f32> = steps.iter().map(|(_, step)| *step).collect();
                let widths = budget::within_cluster(budget, &moved);
                let slots = steps.iter().map(|(slot, _)| *slot);
                (slots.zip(widths).collect(), budget)
            }
        };
        post.track.grants.plan(key, &targets, budget);
    }

    fn tell_widths(&mut self, now: Time, level: u8) {
        let Some(post) = self.posts.get(&level) else {
            return;
        };
        let tag = post.view.cluster.tag();
        let told = post.view.roster.iter().filter_map(|(slot, seat)| {
            let (round, widths) = post.track.grants.to_tell(slot)?;
            let widths = Few(widths);
            Some((seat.id(), Widths { tag, round, widths }))
        });
        for (to, widths) in told.collect::<Vec<_>>() {
            self.send(now, to, Message::Widths(widths));
        }
    }

    pub(super) fn on_widths(&mut self, from: NodeId, widths: &Widths) {
        let level = self.level_of_tag(widths.tag, from);
        if let Some(membership) = level.and_then(|level| self.membership_mut(level)) {
            membership.link.sync(&membership.view);
            let reporter = &mut membership.link.reporter;
            reporter.on_granted(widths.round, &widths.widths.0);
        }
    }
}
