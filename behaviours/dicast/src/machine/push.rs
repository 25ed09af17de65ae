//! Records on their way down: the agent's own cluster and those above it, told to every member.

use std::time::Duration;

use opus_core::{
    NodeId, Time,
    pack::{Few, to_bytes},
};

use super::{
    Dicast, Timer,
    report::{PATIENCE, RTT_UNKNOWN},
    view::down_width,
};
use crate::{
    Message,
    aggregate::{Down, KeyId, KeySpec, Origin, Record, Up8, Urgency},
    keys::Keys,
    track::{Ages, Uplink},
    wire::{Got, PUSH_MAX, Push},
};

/// How long what came from above is gathered before it goes on.
const GATHER: Duration = Duration::from_millis(20);

/// How often members are told of a cluster that is not the whole tree, if nothing else is told, and
/// along with other things; of the whole tree's count of members, along with other things or if
/// many came or went, and alone; and of its other lazy keys.
pub(super) const SELDOM: Duration = Duration::from_secs(10);
pub(super) const ALONG: Duration = Duration::from_secs(6);
const MEMBERS: Duration = Duration::from_secs(2);
const MEMBERS_ALONE: Duration = Duration::from_secs(10);
const LAZY: Duration = Duration::from_secs(1);

/// One node of so many is a few: in a large tree some come or go at any time.
const FEW: u64 = 256;

/// Bytes of records in one push, so that it fits one datagram; a sketch may be larger and goes
/// alone.
const BYTES_MAX: usize = 1_060;

/// How often a push is said before the member's beats decide.
const TRIES: u8 = 3;

/// How long after the last push a member whose beat shows that it lacks records gets them again.
const AGAIN: Duration = Duration::from_secs(1);

fn is_eager(keys: &Keys, key: KeyId) -> bool {
    keys.spec(key)
        .is_some_and(|spec| spec.urgency == Urgency::Eager)
}

impl Uplink {
    /// How long an answer may take.
    pub(super) fn patience(&self) -> Duration {
        patience(self.rtt)
    }
}

/// Whether what was told holds for the newest record too, within the width kept for it.
pub(super) fn stands(told: &Down, record: &Record, spec: &KeySpec) -> bool {
    told.strays(record, spec) <= down_width(told, spec)
}

/// Whether the value holds, if perhaps for other nodes.
pub(super) fn stands_in_value(told: &Down, record: &Record, spec: &KeySpec) -> bool {
    told.strays_in_value(record, spec) <= down_width(told, spec)
}

/// Whether the whole has but a few nodes more or less than was told lately.
fn few_came(now: Time, (told, at): (&Down, Time), record: &Record) -> bool {
    // As they stand on the wire.
    let rounded = |nodes| Up8::of(nodes).value();
    let few = |a: u64, b: u64| a.abs_diff(b) <= record.count / FEW;
    now.since(at) < MEMBERS_ALONE
        && few(told.count(), record.count)
        && few(told.missing(), rounded(record.missing))
        && few(told.double(), rounded(record.double))
}

fn patience(rtt: Duration) -> Duration {
    let rtt = if rtt.is_zero() { RTT_UNKNOWN } else { rtt };
    2 * rtt + PATIENCE
}

impl Dicast {
    /// Once a heartbeat: what the members should know, and how wide their filters may be.
    pub(super) fn look_at_values(&mut self, now: Time, level: u8) {
        if let Some(post) = self.posts.get_mut(&level) {
            post.track.sweep(now);
        }
        self.plan_widths(now, level);
        if self.refresh_told(now, level) {
            self.timers.set_earliest(Timer::Push(level), now);
        }
    }

    /// Brings what members are told up to date. Tells whether there is anything new.
    fn refresh_told(&mut self, now: Time, level: u8) -> bool {
        let Some(before) = self.posts.get(&level).map(|post| post.track.pushed) else {
            return false;
        };
        let mut lawful = self.pass_on(now, level);
        lawful.extend(self.tell_ours(now, level, before));
        let Self { posts, keys, .. } = self;
        let Some(post) = posts.get_mut(&level) else {
            return false;
        };
        let known = |key| keys.spec(key).is_some();
        let keep = |at: &(KeyId, Origin)| lawful.contains(at) || at.1.beside && known(at.0);
        post.track.retain(keep);
        let along = post.track.pushed != before;
        self.refresh_beside(now, level, along);
        let pushed = self.posts.get(&level).map(|post| post.track.pushed);
        pushed.is_some_and(|pushed| pushed != before)
    }

    /// Tells members what came from above. Returns what that is of.
    fn pass_on(&mut self, now: Time, level: u8) -> Vec<(KeyId, Origin)> {
        let Self { posts, keys, .. } = self;
        let mut lawful = Vec::new();
        let Some(post) = posts.get_mut(&level) else {
            return lawful;
        };
        for held in post.up.iter().flat_map(|up| up.link.inbox.iter()) {
            let at = held.whose();
            if at.1.level <= level || keys.spec(at.0).is_none() {
                continue;
            }
            lawful.push(at);
            let told = post.track.told(at);
            if told.is_none_or(|(told, _)| !told.agrees(&held.down)) {
                let mut down = held.down.clone();
                down.freshen(held.age(now));
                post.track.tell(now, down);
            }
        }
        lawful
    }

    /// Tells members what our cluster is, as often as it is due. `before`: the last record that was
    /// told before this round. Returns what there is.
    fn tell_ours(&mut self, now: Time, level: u8, before: u32) -> Vec<(KeyId, Origin)> {
        let root = self.is_root(level);
        let Self { posts, keys, .. } = self;
        let mut lawful = Vec::new();
        let Some(post) = posts.get_mut(&level) else {
            return lawful;
        };
        let slot = match &post.up {
            Some(up) => up.slot.saturating_add(1),
            // One that seeks another parent is not the whole.
            None => u8::from(!root),
        };
        let ours = Origin {
            level,
            slot,
            beside: false,
        };
        // What is not the whole tree's goes along, or seldom.
        let along = post.track.pushed != before;
        let approximate = |spec: &KeySpec| spec.urgency == Urgency::Lazy && spec.is_approximate();
        // Many keys that drift go together, or each would take a push of its own.
        let together = keys.iter().filter(|(_, spec)| approximate(spec));
        let together = together.filter_map(|(key, _)| Some(post.track.told((key, ours))?.1));
        let together = together.max();
        // The members last: they go along with the others.
        let (members, others): (Vec<_>, Vec<_>) =
            keys.iter().partition(|(key, _)| *key == KeyId::MEMBERS);
        for (key, spec) in others.into_iter().chain(members) {
            let every = match (root, spec.urgency) {
                (false, _) if along => ALONG,
                (false, _) => SELDOM,
                (true, _) if key == KeyId::MEMBERS => MEMBERS,
                (true, Urgency::Lazy) => LAZY,
                (true, Urgency::Eager) => Duration::ZERO,
            };
            let told = post.track.told((key, ours));
            let last = told.map(|(_, at)| at);
            let last = last.map(|at| together.filter(|_| approximate(spec)).unwrap_or(at));
            if last.is_some_and(|at| now.since(at) < every) {
                lawful.push((key, ours));
                continue;
            }
            let record = post.record(now, root, key, spec);
            let Some(record) = record.filter(|record| record.count > 0) else {
                continue;
            };
            lawful.push((key, ours));
            let by_itself = root && key == KeyId::MEMBERS && post.track.pushed == before;
            let can_wait = by_itself && told.is_some_and(|told| few_came(now, told, &record));
            let stands = told.is_some_and(|(told, at)| {
                // Whom a value holds for may change with every node that comes; it can wait.
                let recent = now.since(at) < MEMBERS;
                stands(told, &record, spec) || recent && stands_in_value(told, &record, spec)
            });
            if !can_wait
                && !stands
                && let Some(down) = Down::of(key, ours, &record, spec)
            {
                post.track.tell(now, down);
            }
        }
        lawful
    }

    /// No value behind what members were told is older now: of our cluster, and of those above. A
    /// record that stands for the newest one is as old as that; one that is due but not told again
    /// yet is as old as it was, and older.
    pub(super) fn oldest_told(&self, now: Time, level: u8) -> Ages {
        let mut ages = Ages::default();
        let Some(post) = self.posts.get(&level) else {
            return ages;
        };
        let root = self.is_root(level);
        for (told, age) in post.track.all_told(now) {
            let (key, origin) = (told.key(), told.origin());
            if origin.beside {
                if !told.is_gone() {
                    let age = self.age_beside(now, post, told, age);
                    ages.beside = ages.beside.max(age);
                }
            } else if origin.level > level {
                let up = post.up.as_ref();
                let held = up.and_then(|up| up.link.inbox.held((key, origin)));
                let newest = held.filter(|held| held.down.agrees(told));
                ages.above = ages.above.max(newest.map_or(age, |held| held.age(now)));
            } else {
                let spec = self.keys.spec(key);
                let record = spec.and_then(|spec| {
                    let record = post.record(now, root, key, spec)?;
                    stands(told, &record, spec).then_some(record.age)
                });
                ages.own = ages.own.max(record.unwrap_or(age));
            }
        }
        ages
    }

    /// Records may be due to the members of our post at `level`.
    pub(super) fn on_push_due(&mut self, now: Time, level: u8) {
        self.refresh_told(now, level);
        let Self { posts, keys, .. } = self;
        let Some(post) = posts.get_mut(&level) else {
            return;
        };
        let urgent = post.track.newest(|key| is_eager(keys, key));
        let mut pushes = Vec::new();
        let mut next: Option<Time> = None;
        let newest = post.track.pushed;
        for (&slot, child) in &mut post.children {
            if child.acked >= newest {
                continue;
            }
            let (said, tries) = match child.push {
                Some((last, at, tries)) if last == newest => (Some(at), tries),
                Some(_) | None => (None, 0),
            };
            let due = said.map_or(now, |at| at + patience(child.rtt));
            // Beats say what came of a push that does not ask for an answer.
            if tries >= TRIES || (tries > 0 && child.acked >= urgent) {
                continue;
            }
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            child.push = Some((newest, now, tries + 1));
            if child.acked < urgent {
                let again = now + patience(child.rtt);
                next = Some(next.map_or(again, |next| next.min(again)));
            }
            pushes.push(slot);
        }
        if let Some(next) = next {
            self.timers.set_earliest(Timer::Push(level), next);
        }
        for slot in pushes {
            self.push(now, level, slot);
        }
    }

    /// Sends the member what it is not known to have, as much as fits.
    fn push(&mut self, now: Time, level: u8, slot: u8) {
        let Self { posts, keys, .. } = self;
        let Some(post) = posts.get_mut(&level) else {
            return;
        };
        let seat = post.view.roster.get(slot);
        let (Some(seat), Some(child)) = (seat, post.children.get_mut(&slot)) else {
            return;
        };
        let (to, base) = (seat.contact.clone(), post.track.base(child.acked));
        let urgent = post.track.newest(|key| is_eager(keys, key)) > base;
        let mut fitting = post.track.since(now, base);
        let due = fitting.len();
        let mut bytes = 0;
        let mut fits = |(_, down): &(u32, Down)| {
            let first = bytes == 0;
            bytes += to_bytes(down).len();
            first || bytes <= BYTES_MAX
        };
        let fit = fitting
            .iter()
            .take(PUSH_MAX)
            .take_while(|it| fits(it))
            .count();
        fitting.truncate(fit);
        let all = fit == due;
        let last = fitting
            .last()
            .filter(|_| !all)
            .map_or(post.track.pushed, |(number, _)| *number);
        let push = Push {
            tag: post.view.cluster.tag(),
            number: child.words.say(now),
            echo: child.echo(now),
            urgent,
            base,
            last,
            records: Few(fitting.into_iter().map(|(_, down)| down).collect()),
        };
        self.send_to(now, &to, Message::Push(push));
    }

    /// A member's beat says which records it knows.
    pub(super) fn look_at_push(&mut self, now: Time, level: u8, slot: u8) {
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let pushed = post.track.pushed;
        let Some(child) = post.children.get_mut(&slot) else {
            return;
        };
        if child.acked > pushed {
            // It speaks of a term that is over.
            child.acked = 0;
        }
        let lacks = child.acked < pushed;
        if lacks && child.push.is_none_or(|(_, at, _)| now.since(at) >= AGAIN) {
            child.push = None;
            self.timers.set_earliest(Timer::Push(level), now);
        }
    }

    pub(super) fn on_push(&mut self, now: Time, from: NodeId, push: Push) {
        let Some(level) = self.level_of_tag(push.tag, from) else {
            return;
        };
        let Some(membership) = self.membership_mut(level) else {
            return;
        };
        membership.hear(now);
        let link = &mut membership.link;
        link.sync(&membership.view);
        let transit = link.hear(now, push.number, push.echo);
        let Few(records) = push.records;
        link.inbox
            .take(now, (push.base, push.last), records, transit);
        if !push.urgent {
            self.forward(now, level);
            return;
        }
        let got = Got {
            tag: push.tag,
            slot: membership.slot,
            pushed: link.inbox.pushed,
        };
        self.send(now, from, Message::Got(got));
        self.forward(now, level);
    }

    /// What came down at `level` goes on to the members of our post below.
    fn forward(&mut self, now: Time, level: u8) {
        if level > 1 {
            self.timers
                .set_earliest(Timer::Push(level - 1), now + GATHER);
        }
    }

    pub(super) fn on_got(&mut self, now: Time, from: NodeId, got: &Got) {
        let Some(level) = self.post_of_tag(got.tag) else {
            return;
        };
        let Some(post) = self.posts.get_mut(&level) else {
            return;
        };
        let seat = post.view.roster.get(got.slot);
        if seat.is_none_or(|seat| seat.id() != from) {
            return;
        }
        let pushed = post.track.pushed;
        let Some(child) = post.children.get_mut(&got.slot) else {
            return;
        };
        if got.pushed <= pushed && got.pushed > child.acked {
            child.acked = got.pushed;
            if got.pushed < pushed {
                // There was more than fitted.
                child.push = None;
                self.timers.set_earliest(Timer::Push(level), now);
            }
        }
    }
}
