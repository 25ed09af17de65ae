//! What a node makes of its own lateness.
//!
//! *Time asleep is nobody's silence.* A process that was stalled has heard nobody, and what they
//! said meanwhile waits to be read. Whether its timers or those inputs come first when it goes on
//! depends on the driver. Who is slow itself waits longer before it suspects others, and holds no
//! posts: see [`Health`](crate::health::Health).

use std::time::Duration;

use opus_core::Time;

use super::{Dicast, Timer};
use crate::state::Membership;

impl Dicast {
    /// Comes before whatever is done at `now`.
    pub(super) fn look_at_clock(&mut self, now: Time) {
        let late_max = self.config.late_max;
        let due = self.timers.next(|_| "").map(|deadline| deadline.at);
        let slept = due.and_then(|due| self.health.overslept(now, due, late_max));
        if let Some(slept) = slept {
            self.excuse_others(now, slept);
        }
    }

    /// *Time asleep is nobody's silence*: nobody could be heard for the last `slept`. Whoever is
    /// awaited has time until what waits was read.
    ///
    /// The dwells that our next pulses tell are too small by that; so ages are too large, never
    /// too small.
    fn excuse_others(&mut self, now: Time, slept: Duration) {
        let later = |at: &mut Time| *at = now.min(*at + slept);
        let excuse_agent = |membership: &mut Membership| later(&mut membership.heard);
        self.leaf.iter_mut().for_each(excuse_agent);
        for post in self.posts.values_mut() {
            post.up.iter_mut().for_each(excuse_agent);
            for child in post.children.values_mut() {
                later(&mut child.heard);
                if let Some(trial) = &mut child.trial {
                    later(&mut trial.began);
                }
            }
        }
        let read = now + self.config.ping_apart;
        self.timers.put_off(read, Timer::awaits_others);
    }

    /// Whether we may hold a post: strangers can dial us, and we are healthy.
    pub(super) const fn is_fit(&self) -> bool {
        self.me.reachable && self.health.is_fit()
    }

    /// Whether the post at `level` is better with a deputy than with us, and there is one.
    pub(super) fn resigns(&self, level: u8) -> bool {
        let post = self.posts.get(&level);
        self.health.resigns() && post.is_some_and(|post| !post.view.deputies.0.is_empty())
    }
}

impl Timer {
    /// What is due, for whoever looks into a machine.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Tick => "beat and pulse",
            Self::Seek(_) => "seek a seat",
            Self::Scout => "look for a nearer cluster",
            Self::Silence(_) => "look whether an agent is silent",
            Self::Judge(_) => "a member has been silent for long enough",
            Self::Doubt(_) => "doubt a silent agent",
            Self::Change(_) => "a split, merge or handover",
            Self::Handover(_) => "repeat an office",
            Self::Check(_) => "a ping is unanswered",
            Self::Question(_) => "a question is unanswered",
            Self::Measure(_) => "a measurement takes too long",
            Self::Report(_) => "values are due to an agent",
            Self::Push(_) => "records are due to members",
            Self::Keys => "a table of keys is due to neighbours",
        }
    }

    /// Whether it says that others have not answered in time.
    const fn awaits_others(self) -> bool {
        match self {
            Self::Seek(_)
            | Self::Silence(_)
            | Self::Judge(_)
            | Self::Doubt(_)
            | Self::Change(_)
            | Self::Handover(_)
            | Self::Check(_)
            | Self::Question(_)
            | Self::Measure(_) => true,
            Self::Tick | Self::Scout | Self::Report(_) | Self::Push(_) | Self::Keys => false,
        }
    }
}
