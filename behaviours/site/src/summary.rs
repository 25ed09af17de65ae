//! What a site tells of itself to the whole: the keys of dicast that every node has a value of.
//!
//! Each key is specified here, once. Who holds the post at the top tells the tree what they are, if
//! the tree does not know yet; every node sets its own values and sets them again when they change.
//!
//! - 0, `nodes`: the count of nodes, exact; built into dicast.
//! - 1, `slots.offered`: overlays that a site may carry; the sum, exact.
//! - 2, `slots.used`: overlays that it carries; the sum, to within 8.
//! - 3, `load`: the share of its slots that are used, 0 to 1; the mean, to within .01.
//! - 4, `delivered`: the share of the frames due to its programs that came in time, 0 to 1; the
//!   mean of the nodes with such programs, to within .01.
//!
//! A slot is room for one overlay: until there are leases, a site offers nothing finer. `delivered`
//! is of the frames since the look before; a node has no value once none was due for a minute.

use std::time::Duration;

use opus_dicast::{
    Command, Dicast,
    aggregate::{Function, KeyId, KeySpec, Sample},
};
use opus_relay::FlowStats;

use crate::machine::Site;

/// A key that every node knows by name.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its number in the tree.
    pub id: KeyId,
    /// Its name over IPC.
    pub name: &'static str,
    /// What it is.
    pub spec: KeySpec,
}

/// Overlays that a site may offer at most, for the range of the sums.
const SLOTS_MAX: f64 = 4_096.0;
/// Time between two looks at what is to be published.
pub const LOOK: Duration = Duration::from_secs(5);
/// Looks without a frame due after which there is no share of those delivered.
const QUIET_MAX: u32 = 12;
/// The number of the commands: what they are refused for needs no answer.
const COMMAND: u64 = 0;

const fn key(id: u16, name: &'static str, function: Function, most: f64, eps: f32) -> Key {
    Key {
        id: KeyId(id),
        name,
        spec: KeySpec::new(function, (0.0, most), eps),
    }
}

/// Overlays that the sites may carry.
pub const SLOTS_OFFERED: Key = key(1, "slots.offered", Function::Sum, SLOTS_MAX, 0.0);
/// Overlays that they carry.
pub const SLOTS_USED: Key = key(2, "slots.used", Function::Sum, SLOTS_MAX, 8.0);
/// Share of their slots that are used.
pub const LOAD: Key = key(3, "load", Function::Mean, 1.0, 0.01);
/// Share of the frames due to local programs that came in time.
pub const DELIVERED: Key = key(4, "delivered", Function::Mean, 1.0, 0.01);
/// The count of nodes, which is built into dicast.
pub const NODES: Key = Key {
    id: KeyId::MEMBERS,
    name: "nodes",
    spec: KeySpec::MEMBERS,
};

/// All of them, by number.
pub const KEYS: [Key; 5] = [NODES, SLOTS_OFFERED, SLOTS_USED, LOAD, DELIVERED];

/// The key of this name.
pub fn by_name(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The name of a key.
pub fn name_of(id: KeyId) -> Option<&'static str> {
    let found = KEYS.iter().find(|key| key.id == id);
    found.map(|key| key.name)
}

/// What a site knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Overlays that it may carry.
    pub slots_offered: u64,
    /// Overlays that it carries.
    pub slots_used: u64,
    /// Frames that were due to local programs since the node started.
    pub due: u64,
    /// Of these, in time.
    pub on_time: u64,
}

impl Site {
    /// What this site knows of itself. `flows`: what passed through the node.
    pub fn summary<'a>(&self, flows: impl IntoIterator<Item = &'a FlowStats>) -> Summary {
        let mut summary = Summary {
            slots_offered: self.config.overlays_max as u64,
            slots_used: self.memberships.len() as u64,
            ..Summary::default()
        };
        for flow in flows {
            summary.on_time += flow.on_time;
            summary.due += flow.on_time + flow.late + flow.lost;
        }
        summary
    }
}

/// What was published last.
#[derive(Clone, Debug, Default)]
pub struct Publisher {
    last: Summary,
    /// As set in dicast, by place in [`KEYS`].
    set: [Option<f64>; KEYS.len()],
    delivered: Option<f64>,
    quiet: u32,
}

impl Publisher {
    /// What dicast is to be told, at each [`LOOK`].
    pub fn look(&mut self, summary: Summary, dicast: &Dicast) -> Vec<Command> {
        let mut commands = Vec::new();
        if is_at_the_top(dicast) {
            commands.extend(unknown(dicast));
        }
        self.note_frames(summary);
        let slots = summary.slots_offered.max(1) as f64;
        let values = [
            None,
            Some(summary.slots_offered as f64),
            Some(summary.slots_used as f64),
            Some(summary.slots_used as f64 / slots),
            self.delivered,
        ];
        for ((key, value), set) in KEYS.iter().zip(values).zip(&mut self.set) {
            if *set == value {
                continue;
            }
            *set = value;
            commands.push(value.map_or(
                Command::Unset {
                    id: COMMAND,
                    key: key.id,
                },
                |value| Command::Set {
                    id: COMMAND,
                    key: key.id,
                    sample: Sample::Number(value),
                },
            ));
        }
        commands
    }

    /// The share in time of the frames since the last look. Flows are forgotten now and then, so
    /// that the counts may fall: then nothing is known of this look.
    fn note_frames(&mut self, summary: Summary) {
        let before = std::mem::replace(&mut self.last, summary);
        let due = summary.due.saturating_sub(before.due);
        if due == 0 {
            self.quiet += 1;
            if self.quiet >= QUIET_MAX {
                self.delivered = None;
            }
            return;
        }
        self.quiet = 0;
        let on_time = summary.on_time.saturating_sub(before.on_time).min(due);
        self.delivered = Some(on_time as f64 / due as f64);
    }
}

/// Whether this node is the agent of the cluster at the top.
fn is_at_the_top(dicast: &Dicast) -> bool {
    let highest = dicast.posts().last();
    highest.is_some_and(|view| dicast.seat_above(view.level).is_none())
}

/// Commands that tell the tree of the keys which it does not know.
fn unknown(dicast: &Dicast) -> impl Iterator<Item = Command> {
    let keys = KEYS.iter().filter(|key| dicast.spec(key.id).is_none());
    keys.map(|key| Command::Spec {
        id: COMMAND,
        key: key.id,
        spec: key.spec,
    })
}

#[cfg(test)]
mod tests {
    use opus_core::{Contact, Input, Machine, NodeId, Seed, Time};
    use opus_dicast::{Scope, aggregate::Value};

    use super::*;

    fn alone() -> Dicast {
        let me = Contact::bare(NodeId::from_index(1));
        let rng = Seed::new(1).rng();
        let mut dicast = Dicast::new(opus_dicast::Config::default(), me, 1, rng);
        let seeds = Vec::new();
        let start = Command::Start { id: 1, seeds };
        dicast.handle(Time::ZERO, Input::Command(start));
        dicast
    }

    fn publish(publisher: &mut Publisher, summary: Summary, dicast: &mut Dicast) -> usize {
        let commands = publisher.look(summary, dicast);
        let count = commands.len();
        for command in commands {
            dicast.handle(Time::from_secs(1), Input::Command(command));
        }
        count
    }

    fn own(dicast: &Dicast, key: &Key) -> Option<f64> {
        let answer = dicast.view(Time::from_secs(1), key.id, Scope::Own)?;
        match answer.value {
            Value::Number(number) => Some(number),
            other @ (Value::Top(_) | Value::Quantiles(_)) => panic!("{other:?} is no number"),
        }
    }

    #[test]
    fn every_spec_is_lawful_and_every_name_its_own() {
        for (number, key) in KEYS.iter().enumerate() {
            assert!(key.spec.checked().is_ok(), "{}", key.name);
            assert_eq!(usize::from(key.id.0), number);
            assert_eq!(by_name(key.name).map(|found| found.id), Some(key.id));
            assert_eq!(name_of(key.id), Some(key.name));
        }
    }

    #[test]
    fn what_changed_is_published_and_nothing_else() {
        let (mut publisher, mut dicast) = (Publisher::default(), alone());
        let mut summary = Summary {
            slots_offered: 64,
            slots_used: 16,
            ..Summary::default()
        };
        let first = publish(&mut publisher, summary, &mut dicast);
        assert_eq!(first, 4 + 3, "four specs, three values");
        assert_eq!(own(&dicast, &SLOTS_OFFERED), Some(64.0));
        assert_eq!(own(&dicast, &LOAD), Some(0.25));
        assert_eq!(own(&dicast, &DELIVERED), None);
        assert_eq!(publish(&mut publisher, summary, &mut dicast), 0);
        summary.slots_used = 32;
        assert_eq!(publish(&mut publisher, summary, &mut dicast), 2);
        assert_eq!(own(&dicast, &SLOTS_USED), Some(32.0));
        assert_eq!(own(&dicast, &LOAD), Some(0.5));
    }

    #[test]
    fn the_share_delivered_is_of_the_last_look_and_ends_when_no_frames_are_due() {
        let (mut publisher, mut dicast) = (Publisher::default(), alone());
        let mut summary = Summary {
            due: 100,
            on_time: 100,
            ..Summary::default()
        };
        publish(&mut publisher, summary, &mut dicast);
        assert_eq!(own(&dicast, &DELIVERED), Some(1.0));
        (summary.due, summary.on_time) = (200, 175);
        publish(&mut publisher, summary, &mut dicast);
        assert_eq!(own(&dicast, &DELIVERED), Some(0.75));
        for _ in 1..QUIET_MAX {
            assert_eq!(publish(&mut publisher, summary, &mut dicast), 0);
        }
        publish(&mut publisher, summary, &mut dicast);
        assert_eq!(own(&dicast, &DELIVERED), None);
    }
}
