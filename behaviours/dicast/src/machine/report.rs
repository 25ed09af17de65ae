//! Values on their way up: beats carry a member's reports, the agent folds them.

use std::time::Duration;

use opus_core::{NodeId, Time};

use super::{Dicast, Timer};
use crate::{
    Message,
    aggregate::{Item, KeyId, KeySpec, Record, Report, Sample, Source, Urgency, Verdict, budget},
    decide,
    label::Marks,
    machine::widths::senders,
    wire::Beat,
};

/// How long an agent gathers changes before it tells them: of eager keys, and of others that are
/// exact. What is approximate has drifted when it leaves its filter, and goes with the next beat:
/// at once it would be most of what the agents of large clusters hear.
const GATHER_EAGER: Duration = Duration::from_millis(50);
const GATHER_LAZY: Duration = Duration::from_millis(100);

/// How often a beat is said again that was to be answered at once.
const TRIES: u8 = 3;

/// How long a new agent waits for its members before it speaks for its cluster.
const SPEAK_AFTER: Duration = Duration::from_secs(1);

/// How soon after a member was told of all keys it is told again.
const KEYS_AGAIN: Duration = Duration::from_millis(500);

/// Beyond the round trips: how long an answer may take before a word is said again.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// A round trip that was not measured yet.
pub(super) const RTT_UNKNOWN: Duration = Duration::from_millis(300);

/// What we would report of a key.
struct Current {
    key: KeyId,
    spec: KeySpec,
    value: CurrentValue,
    wait: Duration,
}

enum CurrentValue {
    Own(Sample),
    Cluster(Record),
}

impl Current {
    fn item(&self) -> Item<'_> {
        Item {
            key: self.key,
            spec: &self.spec,
            source: match &self.value {
                CurrentValue::Own(sample) => Source::Own(sample),
                CurrentValue::Cluster(record) => Source::Cluster(record),
            },
            wait: self.wait,
        }
    }
}

impl Dicast {
    /// All that we would report to the agent of the cluster at `level`; none while a new post does
    /// not know its members yet, since the parent then knows more.
    fn current(&self, now: Time, level: u8) -> Option<Vec<Current>> {
        let height = self.height().unwrap_or(level);
        let post = self.posts.get(&(level - 1)).filter(|_| level > 1);
        if post.is_some_and(|post| now.since(post.since) < SPEAK_AFTER) {
            return None;
        }
        let senders = senders(height);
        let current = self.keys.iter().filter_map(|(key, spec)| {
            let value = match post {
                None => CurrentValue::Own(self.values.get(&key)?.clone()),
                Some(post) => {
                    let record = post.track.record(now, key, spec)?;
                    #[cfg(test)]
                    let record = self.lie.get().of_cluster(record);
                    let nobody = record.count == 0 && record.missing == 0;
                    (!nobody).then_some(CurrentValue::Cluster(record))?
                }
            };
            let age = spec.age_max.as_secs_f64();
            let waits = budget::waits(age, &senders);
            let wait = waits.get(usize::from(level - 1)).copied()?;
            Some(Current {
                key,
                spec: *spec,
                value,
                wait: Duration::from_secs_f32(wait.max(0.0)),
            })
        });
        Some(current.collect())
    }

    /// Tells the agent of the cluster at `level` that we live, and our values.
    pub(super) fn beat(&mut self, now: Time, level: u8) {
        self.beat_again(now, level, 0);
    }

    /// `tries`: how often it was said before and not answered.
    fn beat_again(&mut self, now: Time, level: u8, tries: u8) {
        let below = self.posts.get(&(level - 1)).map(|post| &post.view);
        let size = below.map_or(1, |view| view.roster.size());
        let child = below.map(|view| view.cluster);
        let marks = match level {
            1 => Marks::of(self.is_fit()),
            _ => self.marks_of_post(level - 1),
        };
        let place = below.map_or(self.me.place, |view| {
            decide::centre(view.roster.iter().map(|(_, seat)| seat.place))
        });
        let keys = self.keys.digest();
        let current = self.current(now, level);
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        let link = &mut membership.link;
        link.sync(&membership.view);
        let current = current.as_deref().map(|current| {
            let items = current.iter().map(Current::item);
            items.collect::<Vec<_>>()
        });
        let due = |item: &Item<'_>| {
            item.spec.urgency == Urgency::Eager && link.reporter.is_due(now, item)
        };
        let urgent = tries > 0 || current.iter().flatten().any(due);
        let seq = link.words.say(now);
        let report = current.map(|items| Report {
            beat: seq,
            ..link.reporter.compose(now, &items)
        });
        if urgent {
            link.unheard = Some((seq, tries + 1));
        }
        let beat = Beat {
            tag: membership.view.cluster.tag(),
            slot: membership.slot,
            seq,
            size,
            marks,
            place: link.place_to_tell(place),
            child,
            keys,
            echo: link.echo(now),
            pushed: link.inbox.pushed,
            urgent,
            lacks_roll: level == 1 && link.roll.number() == 0,
            report,
        };
        let rtt = link.patience();
        let agent = membership.view.agent.clone();
        if urgent {
            self.timers.set_earliest(Timer::Report(level), now + rtt);
        }
        self.send_to(now, &agent, Message::Beat(beat));
    }

    /// Values of ours, as a node or for our post below, may be due to the agent at `level`.
    pub(super) fn on_report_due(&mut self, now: Time, level: u8) {
        let Some(membership) = self.membership(level) else {
            return;
        };
        match membership.link.unheard {
            Some((_, tries)) if tries < TRIES => return self.beat_again(now, level, tries),
            Some(_) => {
                if let Some(membership) = self.membership_mut(level) {
                    membership.link.unheard = None;
                }
            }
            None => {}
        }
        let current = self.current(now, level).unwrap_or_default();
        let reporter = self.membership(level).map(|it| &it.link.reporter);
        let due = |current: &Current| {
            reporter.is_some_and(|reporter| reporter.is_due(now, &current.item()))
        };
        let withdrawn = |reporter: &crate::aggregate::Reporter| {
            let named = |key: KeyId| current.iter().any(|current| current.key == key);
            self.keys
                .iter()
                .any(|(key, _)| reporter.filter(key).is_some() && !named(key))
        };
        if current.iter().any(due) || reporter.is_some_and(withdrawn) {
            self.beat(now, level);
        }
    }

    /// What a beat says beside that the member lives. `speaks`: whether it speaks for the cluster
    /// that sits there.
    pub(super) fn on_values(
        &mut self,
        now: Time,
        from: NodeId,
        level: u8,
        beat: &Beat,
        transit: Duration,
        speaks: bool,
    ) {
        if let Some(report) = beat.report.as_ref().filter(|_| speaks) {
            self.on_report(now, from, (level, beat.slot), report, transit);
        }
        let post = self.posts.get_mut(&level);
        if let Some(child) = post.and_then(|post| post.children.get_mut(&beat.slot)) {
            child.lacks_roll = beat.lacks_roll;
            let recent = child.keys_at.is_some_and(|at| now.since(at) < KEYS_AGAIN);
            if beat.keys != self.keys.digest() && !recent {
                child.keys_at = Some(now);
                self.tell_keys(now, from);
            }
        }
        if beat.urgent {
            let ages = self.oldest_told(now, level);
            self.pulse_one(now, level, beat.slot, ages, None);
        }
        self.look_at_push(now, level, beat.slot);
    }

    fn on_report(
        &mut self,
        now: Time,
        from: NodeId,
        (level, slot): (u8, u8),
        report: &Report,
        transit: Duration,
    ) {
        let Self { posts, keys, .. } = self;
        let Some(post) = posts.get_mut(&level) else {
            return;
        };
        let Some(seat) = post.view.roster.get(slot) else {
            return;
        };
        let track = &mut post.track;
        let term = track.term(seat);
        let spec_of = |key| keys.spec(key);
        let outcome = track.slots.apply(slot, now, term, report, transit, spec_of);
        if outcome.new_term {
            track.grants.on_new_term(slot);
        }
        if outcome.verdict == Verdict::Fresh {
            track.grants.on_confirmed(slot, report.round);
            track.on_reported(now, slot, from, term);
        }
        let lacks = outcome.verdict == Verdict::Gap
            || outcome.verdict != Verdict::Ignored && track.slots.is_awaited(slot);
        let tag = post.view.cluster.tag();
        if lacks {
            self.send(now, from, Message::Full(tag));
        }
        self.on_changed(now, level, &outcome.changed);
    }

    /// Records of our post at `level` have other values: some may be due above and below.
    fn on_changed(&mut self, now: Time, level: u8, changed: &[KeyId]) {
        if changed.is_empty() {
            return;
        }
        let specs = || changed.iter().filter_map(|key| self.keys.spec(*key));
        let eager = specs().any(|spec| spec.urgency == Urgency::Eager);
        let exact = specs().any(|spec| !spec.is_approximate());
        let gather = if eager { GATHER_EAGER } else { GATHER_LAZY };
        let top = self.posts.get(&level).is_some_and(|post| post.up.is_none());
        if !top && (eager || exact) {
            self.timers
                .set_earliest(Timer::Report(level + 1), now + gather);
        }
        // What is not the whole tree's goes down with the next round.
        if top || eager {
            self.timers.set_earliest(Timer::Push(level), now + gather);
        }
    }

    /// The agent lacks some of our values.
    pub(super) fn on_full(&mut self, now: Time, from: NodeId, tag: u16) {
        let Some(level) = self.level_of_tag(tag, from) else {
            return;
        };
        if let Some(membership) = self.membership_mut(level) {
            membership.link.reporter.on_asked();
            self.beat(now, level);
        }
    }
}
