//! Local health: how much a node's own sense of time is worth.
//!
//! Who is slow itself takes others for silent. Each heartbeat in which a timer fired late, or a
//! suspicion of ours was refuted, makes the node less healthy by one, up to eight; each other one
//! makes it healthier. The less healthy, the longer it waits before it suspects anybody; an
//! unhealthy node takes no post, and one that is worse gives its posts away.
//!
//! Source: Dadgar, Phillips, Currey 2018, "Lifeguard: local health awareness for more accurate
//! failure detection"; numbers of the levels from the design of dicast, sections 3 and 4.

use std::time::Duration;

use opus_core::Time;

/// 8: all waits are nine times as long as those of a healthy node, as in Lifeguard.
const LEVEL_MAX: u8 = 8;

/// Up to this level a node may take posts. It is healthy again only at zero: each change is told to
/// all members of its cluster.
const FIT_MAX: u8 = 2;

/// From this level on it gives its posts away.
const RESIGN_MIN: u8 = 4;

/// How healthy one node is; at first entirely.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// 0 is healthy.
    level: u8,
    /// Whether something was amiss since the last heartbeat.
    amiss: bool,
    /// From more than [`FIT_MAX`] down to zero.
    unfit: bool,
    /// When we last found that we had overslept: time before that was accounted for.
    awake_since: Time,
}

impl Health {
    /// For how long we have certainly slept at `now`, if what was due at `due` is late by more than
    /// `late_max`. Something is amiss then. Each moment of sleep is told once.
    pub(crate) fn overslept(
        &mut self,
        now: Time,
        due: Time,
        late_max: Duration,
    ) -> Option<Duration> {
        let slept = now.since(due.max(self.awake_since));
        (slept > late_max).then(|| {
            self.awake_since = now;
            self.amiss = true;
            slept
        })
    }

    /// Whom we suspected lives, and that was for others to say.
    pub(crate) const fn on_refuted(&mut self) {
        self.amiss = true;
    }

    /// A heartbeat is over.
    pub(crate) fn end_round(&mut self) {
        self.level = if std::mem::take(&mut self.amiss) {
            LEVEL_MAX.min(self.level + 1)
        } else {
            self.level.saturating_sub(1)
        };
        self.unfit = self.level > FIT_MAX || self.unfit && self.level > 0;
    }

    /// How long we wait for what a healthy node waits for so long.
    pub(crate) fn patience(&self, healthy: Duration) -> Duration {
        healthy.saturating_mul(1 + u32::from(self.level))
    }

    /// Whether we may take a post.
    pub(crate) const fn is_fit(&self) -> bool {
        !self.unfit
    }

    /// Whether our posts are better with others.
    pub(crate) const fn resigns(&self) -> bool {
        self.level >= RESIGN_MIN
    }

    /// 0 if nothing was amiss for long, 8 at worst.
    #[cfg(test)]
    pub(crate) const fn level(&self) -> u8 {
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE_MAX: Duration = Duration::from_millis(250);

    /// `amiss` and clean rounds, one a character: `x` and `.`.
    fn after(rounds: &str) -> Health {
        let mut health = Health::default();
        for round in rounds.chars() {
            if round == 'x' {
                health.on_refuted();
            }
            health.end_round();
        }
        health
    }

    #[test]
    fn it_counts_up_and_down_within_its_bounds() {
        assert_eq!(after("").level(), 0);
        assert_eq!(after("...").level(), 0);
        assert_eq!(after("xx.x").level(), 2);
        assert_eq!(after("xxxxxxxxxxxx").level(), 8);
        assert_eq!(after("xxxxxxxxxxxx.").level(), 7);
    }

    #[test]
    fn many_refutations_in_one_heartbeat_count_once() {
        let mut health = Health::default();
        health.on_refuted();
        health.on_refuted();
        health.end_round();
        assert_eq!(health.level(), 1);
    }

    #[test]
    fn who_became_unfit_is_fit_again_only_when_it_is_healthy() {
        assert!(after("xx").is_fit());
        assert!(!after("xxx").is_fit());
        assert!(!after("xxx..").is_fit());
        assert!(!after("xxx..x.").is_fit());
        assert!(after("xxx...").is_fit());
        assert!(after("xxx...xx").is_fit());
    }

    #[test]
    fn waits_grow_with_each_level() {
        let second = Duration::from_secs(1);
        assert_eq!(after("").patience(second), second);
        assert_eq!(after("xx").patience(second), 3 * second);
        assert!(!after("xxx").resigns());
        assert!(after("xxxx").resigns());
    }

    #[test]
    fn a_timer_may_be_a_little_late() {
        let mut health = Health::default();
        let due = Time::from_millis(1_000);
        assert_eq!(
            health.overslept(Time::from_millis(1_250), due, LATE_MAX),
            None
        );
        health.end_round();
        assert_eq!(health.level(), 0);
    }

    #[test]
    fn sleep_is_told_once_though_the_timer_is_still_due() {
        let mut health = Health::default();
        let due = Time::from_millis(1_000);
        let slept = health.overslept(Time::from_millis(5_000), due, LATE_MAX);
        assert_eq!(slept, Some(Duration::from_secs(4)));
        assert_eq!(
            health.overslept(Time::from_millis(5_100), due, LATE_MAX),
            None
        );
        let slept = health.overslept(Time::from_millis(6_000), due, LATE_MAX);
        assert_eq!(slept, Some(Duration::from_secs(1)));
    }
}
