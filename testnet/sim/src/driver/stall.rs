//! Pauses: a node that stalls handles nothing; what reaches it waits in order and is handled late.
//!
//! The machine lives: packets to it wait in its buffers, the process does not run. A dial to it is
//! answered when it goes on, or fails after the dial's timeout. If it stalls for as long as the
//! silence timeout, its peers take its connections for broken, and so does it afterwards.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use opus_core::Time;

use super::{
    Driver, Host,
    happening::{Happening, Index},
};

/// Commands and messages that wait at a stalled node. Overflow: the newest is dropped and counted,
/// as from a full buffer. What happened to its connections always waits, some few for each.
pub const STALLED_MAX: usize = 4_096;

/// What a node handles first when it goes on: real loops differ, and a protocol must bear both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wake {
    /// All that waited, then the timers that became due meanwhile.
    #[default]
    InputsFirst,
    /// The timers that became due, then what waited.
    TimersFirst,
}

/// All stalled nodes.
#[derive(Debug)]
pub(super) struct Stalls<C> {
    nodes: BTreeMap<usize, Stall<C>>,
    /// Pauses so far, to tell a pause from an earlier one of the same node.
    pauses: u32,
}

#[derive(Debug)]
struct Stall<C> {
    pause: u32,
    until: Time,
    wake: Wake,
    /// In order. See [`STALLED_MAX`].
    waiting: VecDeque<Waiting<C>>,
    /// Commands and messages among them.
    bounded: usize,
}

#[derive(Debug)]
enum Waiting<C> {
    Command(C),
    Happening(Happening),
}

impl<C> Default for Stalls<C> {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            pauses: 0,
        }
    }
}

impl<H: Host> Driver<H> {
    /// Stalls a running node for a while. Inputs wait in order, at most [`STALLED_MAX`]; timers
    /// fire late. False if it does not run or is stalled already.
    pub fn pause(&mut self, node: usize, lasts: Duration, wake: Wake) -> bool {
        if !self.is_running(node) || self.nodes[node].stalled {
            return false;
        }
        self.nodes[node].stalled = true;
        self.stalls.pauses += 1;
        let (pause, until) = (self.stalls.pauses, self.now + lasts);
        let stall = Stall {
            pause,
            until,
            wake,
            waiting: VecDeque::new(),
            bounded: 0,
        };
        self.stalls.nodes.insert(node, stall);
        self.schedule(
            until,
            Happening::Resume {
                node: Index::of(node),
                pause,
            },
        );
        if lasts >= self.options.silence {
            self.watch_silence_of(node, |_, _, _| true);
        }
        true
    }

    /// Whether a node is stalled.
    pub fn is_paused(&self, node: usize) -> bool {
        self.nodes[node].stalled
    }

    /// Commands and messages that wait at a stalled node.
    pub fn waiting_at(&self, node: usize) -> usize {
        let stall = self.stalls.nodes.get(&node);
        stall.map_or(0, |stall| stall.bounded)
    }

    /// The stalled node that `what` has to wait for, if any.
    pub(super) fn stalled_for(&self, what: &Happening) -> Option<usize> {
        if self.stalls.nodes.is_empty() {
            return None;
        }
        let stalled = |node: Index| self.nodes[node.get()].stalled.then(|| node.get());
        match *what {
            Happening::Arrival { to: node, .. }
            | Happening::DialFailed { from: node, .. }
            | Happening::Closed { node, .. }
            | Happening::Idle { one: node, .. }
            | Happening::Redial { from: node, .. }
            | Happening::Writable { from: node, .. } => stalled(node),
            Happening::Dialled { from, to, .. } => stalled(from).or_else(|| stalled(to)),
            // What is due while it stalls is due when it goes on; a silence is its peer's too.
            Happening::Timeout { .. } | Happening::Silence { .. } | Happening::Resume { .. } => {
                None
            }
        }
    }

    /// Puts `what` off until `node` goes on.
    pub(super) fn put_off(&mut self, node: usize, what: Happening) {
        if let Happening::Dialled {
            from,
            to,
            incarnations,
        } = what
            && !self.nodes[from.get()].stalled
        {
            let begun = self.now.0.saturating_sub(self.round_trip(from, to).0);
            let gives_up = Time(begun) + self.options.dial_timeout;
            if gives_up < self.stalls.nodes.get(&node).map_or(Time::ZERO, |s| s.until) {
                let incarnation = incarnations.0;
                let failed = Happening::DialFailed {
                    from,
                    to,
                    incarnation,
                };
                self.schedule(gives_up.max(self.now), failed);
                return;
            }
        }
        let arrival = if let Happening::Arrival { parcel, .. } = what {
            Some(parcel)
        } else {
            None
        };
        if let Some(parcel) = arrival
            && !self.has_room(node)
        {
            self.counts.overflowed += 1;
            self.parcels.discard(parcel);
            return;
        }
        if let Some(stall) = self.stalls.nodes.get_mut(&node) {
            stall.bounded += usize::from(arrival.is_some());
            stall.waiting.push_back(Waiting::Happening(what));
        }
    }

    /// Puts a command off. False: it was dropped.
    pub(super) fn put_off_command(&mut self, node: usize, command: H::Command) -> bool {
        if !self.has_room(node) {
            self.counts.overflowed += 1;
            return false;
        }
        if let Some(stall) = self.stalls.nodes.get_mut(&node) {
            stall.bounded += 1;
            stall.waiting.push_back(Waiting::Command(command));
        }
        true
    }

    /// The end of a pause: what waited happens.
    pub(super) fn on_resume(&mut self, node: usize, pause: u32) {
        let stall = self.stalls.nodes.get(&node);
        if stall.is_none_or(|stall| stall.pause != pause) {
            return;
        }
        let Some(stall) = self.stalls.nodes.remove(&node) else {
            return;
        };
        self.nodes[node].stalled = false;
        self.forget_silences();
        if stall.wake == Wake::TimersFirst {
            self.fire(node);
        }
        for waiting in stall.waiting {
            match waiting {
                Waiting::Command(command) => {
                    self.command(node, command);
                }
                Waiting::Happening(what) => self.happen(what),
            }
        }
        self.unblock(node);
        self.settle(node);
    }

    /// A stalled node was killed: what waited is lost with it.
    pub(super) fn end_stall(&mut self, node: usize) {
        self.nodes[node].stalled = false;
        let Some(stall) = self.stalls.nodes.remove(&node) else {
            return;
        };
        for waiting in stall.waiting {
            match waiting {
                Waiting::Happening(Happening::Arrival { parcel, .. }) => {
                    self.parcels.discard(parcel);
                }
                // The dead node is the other end of a dial: it happens, and fails.
                Waiting::Happening(what @ Happening::Dialled { .. }) => {
                    self.schedule(self.now, what);
                }
                Waiting::Happening(_) | Waiting::Command(_) => {}
            }
        }
    }

    fn has_room(&self, node: usize) -> bool {
        self.waiting_at(node) < STALLED_MAX
    }

    fn round_trip(&self, from: Index, to: Index) -> Time {
        let (from, to) = (from.get(), to.get());
        Time::ZERO + self.network.one_way(from, to) + self.network.one_way(to, from)
    }
}
