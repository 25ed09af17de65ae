//! foca: SWIM, with each node's number as a custom broadcast.
//!
//! foca has no sockets and no clock of its own: it says what to send and when to call it again. So
//! it is driven as our machines are, by one queue of what happens when.
//!
//! A number travels as the crate's documentation has it for a set of keys and values: 32 bytes of
//! name, a version of 4, the number of 8; a newer version of a node's number replaces an older
//! one. It goes along with the packets that foca sends anyway ([`Numbers::Along`]), a packet of
//! 1,400 bytes at most, each number as often as an update. Where more numbers come than fit, the
//! newest go first and others are never sent on. [`Numbers::All`] asks foca each second for packets
//! (`Foca::broadcast`) until nothing waits.
//!
//! Once all have started each is handed the list of all (`Foca::apply_many`, which is there for
//! what is known from elsewhere). Left alone, a node finds the last of many others after minutes:
//! with 300 nodes that start within 20 s, three of ten looks between 60 and 120 s later find a list
//! with gaps.

mod node;

use std::{collections::BTreeMap, fmt, num::NonZeroU32, time::Duration};

use foca::{AccumulatingRuntime, Config, Member, OwnedNotification, Timer};
use opus_core::Time;
use opus_net::{Network, link::Fate};
use opus_sim::driver::account::wire_bytes;

use self::node::{Id, Node};
use crate::{
    figures::Lags,
    side::{Look, Side},
    world::{World, node_of},
};

/// Packets that a node may be asked for in one second, against a queue that never gets empty.
const BROADCASTS_MAX: usize = 400;

/// Which of the crate's own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settings {
    /// `Config::new_wan`, for the number of nodes.
    Wan,
    /// `Config::new_lan`, the same.
    Lan,
}

/// How numbers travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// With the packets that are sent anyway.
    Along,
    /// In as many packets as it takes.
    All,
}

/// See the module.
pub struct Swim {
    world: World,
    settings: Settings,
    numbers: Numbers,
    network: Network,
    now: Time,
    /// By time and order.
    queue: BTreeMap<(Time, u64), Happening>,
    scheduled: u64,
    nodes: Vec<Option<Node>>,
    sent: Vec<u64>,
    /// Nodes that some other has called down.
    downed: Vec<usize>,
    runtime: AccumulatingRuntime<Id>,
}

enum Happening {
    Arrival {
        to: usize,
        data: Vec<u8>,
    },
    Timer {
        node: usize,
        timer: Timer<Id>,
    },
    /// Numbers are sent on until none waits.
    Flush {
        node: usize,
    },
}

impl fmt::Debug for Swim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.name())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Swim {
    /// Nobody runs yet.
    pub fn new(world: &World, settings: Settings, numbers: Numbers) -> Self {
        Self {
            network: world.network(),
            settings,
            numbers,
            now: Time::ZERO,
            queue: BTreeMap::new(),
            scheduled: 0,
            nodes: (0..world.nodes).map(|_| None).collect(),
            sent: vec![0; world.nodes],
            downed: Vec::new(),
            runtime: AccumulatingRuntime::new(),
            world: world.clone(),
        }
    }

    fn config(&self) -> Config {
        let nodes = u32::try_from(self.world.nodes).ok();
        let nodes = nodes.and_then(NonZeroU32::new).expect("2 nodes or more");
        match self.settings {
            Settings::Wan => Config::new_wan(nodes),
            Settings::Lan => Config::new_lan(nodes),
        }
    }

    fn schedule(&mut self, at: Time, what: Happening) {
        self.queue.insert((at, self.scheduled), what);
        self.scheduled += 1;
    }

    fn happen(&mut self, what: Happening) {
        let node = match what {
            Happening::Arrival { to, data } => {
                let Some(node) = &mut self.nodes[to] else {
                    return;
                };
                // A packet for an identity that was renewed meanwhile is refused; all is well.
                drop(node.foca.handle_data(&data, &mut self.runtime));
                to
            }
            Happening::Timer { node: at, timer } => {
                let Some(node) = &mut self.nodes[at] else {
                    return;
                };
                drop(node.foca.handle_timer(timer, &mut self.runtime));
                at
            }
            Happening::Flush { node } => {
                self.flush(node);
                node
            }
        };
        self.drain(node);
    }

    /// Does what the runtime was told for `node`.
    fn drain(&mut self, node: usize) {
        while let Some((to, data)) = self.runtime.to_send() {
            self.sent[node] += wire_bytes(data.len());
            let to = node_of(&to.key);
            let arrivals = match self.network.send(self.now, node, to, data.len()) {
                Fate::Lost | Fate::Held => [None, None],
                Fate::Deliver(at) => [Some(at), None],
                Fate::Twice(one, other) => [Some(one), Some(other)],
            };
            for at in arrivals.into_iter().flatten() {
                let data = data.to_vec();
                self.schedule(at, Happening::Arrival { to, data });
            }
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.schedule(self.now + after, Happening::Timer { node, timer });
        }
        while let Some(notification) = self.runtime.to_notify() {
            match notification {
                OwnedNotification::MemberDown(id) => self.downed.push(node_of(&id.key)),
                OwnedNotification::MemberUp(_)
                | OwnedNotification::Rename(..)
                | OwnedNotification::Active
                | OwnedNotification::Idle
                | OwnedNotification::Defunct
                | OwnedNotification::Rejoin(_) => {}
            }
        }
    }

    fn flush(&mut self, at: usize) {
        for _ in 0..BROADCASTS_MAX {
            let Some(node) = &mut self.nodes[at] else {
                return;
            };
            if node.foca.custom_broadcast_backlog() == 0 {
                return;
            }
            drop(node.foca.broadcast(&mut self.runtime));
            self.drain(at);
        }
    }
}

impl Side for Swim {
    fn name(&self) -> &'static str {
        match self.settings {
            Settings::Wan => "foca, WAN",
            Settings::Lan => "foca, LAN",
        }
    }

    fn promise(&self) -> &'static str {
        match self.settings {
            Settings::Wan => "every member; the mean of the numbers at hand; Config::new_wan",
            Settings::Lan => "the same with Config::new_lan, for networks without long delays",
        }
    }

    fn start(&mut self, node: usize, seeds: &[usize]) {
        let config = self.config();
        let mut fresh = Node::new(&self.world, node, config);
        for &seed in seeds {
            let seed = Id::new(self.world.key_of(seed));
            drop(fresh.foca.announce(seed, &mut self.runtime));
        }
        self.nodes[node] = Some(fresh);
        self.drain(node);
    }

    fn acquaint(&mut self) {
        let ids = (0..self.world.nodes).map(|node| Id::new(self.world.key_of(node)));
        let ids: Vec<Id> = ids.collect();
        for node in 0..self.world.nodes {
            if let Some(running) = &mut self.nodes[node] {
                let members = ids.iter().map(|id| Member::alive(*id));
                let applied = running.foca.apply_many(members, false, &mut self.runtime);
                assert!(applied.is_ok(), "all of them are alive under these names");
            }
            self.drain(node);
        }
    }

    fn set(&mut self, node: usize, value: f64) {
        let Some(running) = &mut self.nodes[node] else {
            return;
        };
        running.set(self.now.as_micros() / 1_000_000, value);
        if self.numbers == Numbers::All {
            // Not all at once: what arrives within the second goes on in the next.
            let share = node as f64 / self.world.nodes as f64;
            let at = self.now + Duration::from_secs_f64(share);
            self.schedule(at, Happening::Flush { node });
        }
    }

    fn run_until(&mut self, at: Time) {
        while let Some(entry) = self.queue.first_entry() {
            let (due, _) = *entry.key();
            if due > at {
                break;
            }
            let what = entry.remove();
            self.now = due;
            self.happen(what);
        }
        self.now = at;
    }

    fn crash(&mut self, node: usize) {
        self.nodes[node] = None;
        self.network.crash(node);
    }

    fn sent(&self, node: usize) -> u64 {
        self.sent[node]
    }

    fn look(&mut self, node: usize, alive: &[bool]) -> Look {
        let Some(running) = &self.nodes[node] else {
            return Look::default();
        };
        let mut listed = vec![false; alive.len()];
        listed[node] = true;
        for member in running.foca.iter_members() {
            listed[node_of(&member.id().key)] = true;
        }
        let pairs = || listed.iter().zip(alive);
        let missing = pairs().filter(|(listed, alive)| !**listed && **alive);
        let dead = pairs().filter(|(listed, alive)| **listed && !**alive);
        let (missing, dead) = (missing.count(), dead.count());
        Look {
            missing,
            dead,
            counts: true,
            mean: running.mean(&listed),
        }
    }

    fn lags(&mut self, node: usize, alive: &[bool], lags: &mut Lags) {
        let Some(running) = &self.nodes[node] else {
            return;
        };
        let now_s = self.now.as_micros() / 1_000_000;
        let others = self.nodes.iter().enumerate();
        for (other, owner) in others.filter(|(other, _)| *other != node && alive[*other]) {
            let held = running.held.borrow().version(other);
            let owner = owner.as_ref().map(|owner| owner.replaced_s(held, now_s));
            lags.add(owner.unwrap_or(0));
        }
    }

    fn wronged(&mut self, alive: &[bool]) -> Vec<usize> {
        let downed = std::mem::take(&mut self.downed);
        downed.into_iter().filter(|&node| alive[node]).collect()
    }

    fn suspected(&mut self, alive: &[bool]) -> Option<Vec<usize>> {
        let running = self.nodes.iter().flatten();
        let members = running.flat_map(|node| node.foca.iter_membership_state());
        let suspects = members.filter(|member| member.state() == foca::State::Suspect);
        let suspects = suspects.map(|member| node_of(&member.id().key));
        Some(suspects.filter(|&node| alive[node]).collect())
    }
}
