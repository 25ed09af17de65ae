//! A few machines joined by a network with one delay, in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    codec,
    id::NodeId,
    machine::{Input, Machine, Offence, Output},
    testing::contract,
    time::Time,
};

/// What happens to a message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// It arrives once, after the delay.
    Deliver,
    /// It never arrives.
    Lose,
    /// It arrives after the delay and this much more.
    Late(Duration),
    /// It arrives twice.
    Duplicate,
}

/// What a machine handles first when it goes on: real loops differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// All that reached it meanwhile, then the timers that became due.
    InputsFirst,
    /// The timers that became due, then what reached it.
    TimersFirst,
}

enum Arrival<M> {
    Message {
        from: NodeId,
        bytes: Vec<u8>,
        marker: std::marker::PhantomData<fn() -> M>,
    },
    Connected(NodeId),
    Disconnected(NodeId),
    DialFailed(NodeId),
}

type Arrivals<M> = BTreeMap<(Time, u64), (NodeId, Arrival<M>)>;
type Delay = Box<dyn FnMut(NodeId, NodeId) -> Duration>;
type Fault<M> = Box<dyn FnMut(Time, NodeId, NodeId, &M) -> LinkFault>;

/// Machines by identity, a delay per pair, and everything they said.
pub struct Net<M: Machine> {
    now: Time,
    sequence: u64,
    machines: BTreeMap<NodeId, M>,
    links: BTreeSet<(NodeId, NodeId)>,
    arrivals: Arrivals<M::Message>,
    /// Until when these handle nothing.
    stalled: BTreeMap<NodeId, (Time, Wake)>,
    delay: Delay,
    fault: Fault<M::Message>,
    /// Whether a dial connects; otherwise it fails. On by default.
    pub dials_connect: bool,
    /// Every event so far: when, where, what.
    pub events: Vec<(Time, NodeId, M::Event)>,
    /// Every penalty so far: when, by whom, against whom, why.
    pub penalties: Vec<(Time, NodeId, NodeId, Offence)>,
    /// Messages sent so far.
    pub sent: u64,
}

impl<M: Machine> std::fmt::Debug for Net<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net")
            .field("now", &self.now)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

impl<M: Machine> Net<M> {
    /// Machines that are not connected yet; one-way delay 10 ms, no faults.
    pub fn new(machines: impl IntoIterator<Item = (NodeId, M)>) -> Self {
        let mut net = Self {
            now: Time::ZERO,
            sequence: 0,
            machines: machines.into_iter().collect(),
            links: BTreeSet::new(),
            arrivals: BTreeMap::new(),
            stalled: BTreeMap::new(),
            delay: Box::new(|_, _| Duration::from_millis(10)),
            fault: Box::new(|_, _, _, _| LinkFault::Deliver),
            dials_connect: true,
            events: Vec::new(),
            penalties: Vec::new(),
            sent: 0,
        };
        for id in net.ids() {
            net.drain(id);
        }
        net
    }

    /// Sets the one-way delay per ordered pair.
    #[must_use]
    pub fn with_delay(mut self, delay: impl FnMut(NodeId, NodeId) -> Duration + 'static) -> Self {
        self.delay = Box::new(delay);
        self
    }

    /// Sets what happens to each message.
    pub fn set_fault(
        &mut self,
        fault: impl FnMut(Time, NodeId, NodeId, &M::Message) -> LinkFault + 'static,
    ) {
        self.fault = Box::new(fault);
    }

    /// All identities, rising.
    pub fn ids(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The machine of `id`.
    ///
    /// # Panics
    /// If there is none.
    pub fn machine(&self, id: NodeId) -> &M {
        &self.machines[&id]
    }

    /// Whether two nodes are connected.
    pub fn connected(&self, a: NodeId, b: NodeId) -> bool {
        self.links.contains(&pair(a, b))
    }

    /// Connects two nodes; both learn it at once.
    pub fn connect(&mut self, a: NodeId, b: NodeId) {
        if a != b && self.links.insert(pair(a, b)) {
            self.input(a, Input::Connected(b));
            self.input(b, Input::Connected(a));
        }
    }

    /// Connects every pair.
    pub fn connect_all(&mut self) {
        let ids = self.ids();
        for (index, &a) in ids.iter().enumerate() {
            for &b in &ids[index + 1..] {
                self.connect(a, b);
            }
        }
    }

    /// Cuts a connection; both learn it after the delay, what is under way is lost.
    pub fn disconnect(&mut self, a: NodeId, b: NodeId) {
        if self.links.remove(&pair(a, b)) {
            for (at, other) in [(a, b), (b, a)] {
                let delay = (self.delay)(other, at);
                self.schedule(delay, at, Arrival::Disconnected(other));
            }
        }
    }

    /// Takes a machine away as a crash does; its peers see the connection close.
    pub fn crash(&mut self, id: NodeId) -> Option<M> {
        for other in self.ids() {
            self.disconnect(id, other);
        }
        self.machines.remove(&id)
    }

    /// Stalls a machine, as a process that does not run: what reaches it waits in order, and its
    /// timers fire late. What a test itself tells it, it handles at once.
    pub fn stall(&mut self, id: NodeId, lasts: Duration, wake: Wake) {
        self.stalled.insert(id, (self.now + lasts, wake));
    }

    /// Adds a machine, for example after a crash.
    pub fn insert(&mut self, id: NodeId, machine: M) {
        self.machines.insert(id, machine);
        self.drain(id);
    }

    /// Gives a command to `id`.
    pub fn command(&mut self, id: NodeId, command: M::Command) {
        self.input(id, Input::Command(command));
    }

    /// Gives any input to `id`: for hostile messages.
    pub fn input(&mut self, id: NodeId, input: Input<M::Command, M::Message>) {
        let now = self.now;
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.handle(now, input);
            self.drain(id);
        }
    }

    /// Runs until the virtual time has moved on by `duration`.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Runs every arrival and timer up to and including `end`.
    pub fn run_until(&mut self, end: Time) {
        while let Some(at) = self.next_at().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = self.now.max(end);
    }

    fn next_at(&self) -> Option<Time> {
        let arrival = self.arrivals.keys().next().map(|&(at, _)| at);
        let timers = self.machines.iter().filter_map(|(id, machine)| {
            let at = machine.poll_timeout()?.at;
            let stalled = self.stalled.get(id);
            Some(stalled.map_or(at, |&(until, _)| at.max(until)))
        });
        arrival.into_iter().chain(timers).min()
    }

    fn step(&mut self) {
        self.wake();
        let arrived = self
            .arrivals
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now);
        if let Some((to, arrival)) = arrived.map(std::collections::btree_map::OccupiedEntry::remove)
        {
            if let Some(&(until, _)) = self.stalled.get(&to) {
                self.sequence += 1;
                self.arrivals.insert((until, self.sequence), (to, arrival));
            } else {
                self.arrive(to, arrival);
            }
            return;
        }
        for id in self.ids() {
            if !self.stalled.contains_key(&id) {
                self.fire(id);
            }
        }
    }

    /// Those whose stall is over go on.
    fn wake(&mut self) {
        let now = self.now;
        let over = self.stalled.iter().filter(|(_, (until, _))| *until <= now);
        let over: Vec<_> = over.map(|(&id, &(_, wake))| (id, wake)).collect();
        for (id, wake) in over {
            self.stalled.remove(&id);
            if wake == Wake::TimersFirst {
                self.fire(id);
            }
        }
    }

    /// Fires what is due at a machine.
    fn fire(&mut self, id: NodeId) {
        let now = self.now;
        let due = |machine: &M| machine.poll_timeout().is_some_and(|due| due.at <= now);
        if let Some(machine) = self.machines.get_mut(&id)
            && due(machine)
        {
            contract::timeout(machine, now);
            self.drain(id);
        }
    }

    fn arrive(&mut self, to: NodeId, arrival: Arrival<M::Message>) {
        match arrival {
            Arrival::Connected(peer) => {
                if self.links.contains(&pair(to, peer)) {
                    self.input(to, Input::Connected(peer));
                }
            }
            Arrival::Disconnected(peer) => self.input(to, Input::Disconnected(peer)),
            Arrival::DialFailed(peer) => self.input(to, Input::DialFailed(peer)),
            Arrival::Message { from, bytes, .. } => {
                if self.links.contains(&pair(from, to)) {
                    let message = codec::decode_wire(&bytes)
                        .unwrap_or_else(|e| panic!("{from:?} sent {to:?} what it refuses: {e}"));
                    self.input(to, Input::Received { from, message });
                }
            }
        }
    }

    fn drain(&mut self, id: NodeId) {
        loop {
            let Some(machine) = self.machines.get_mut(&id) else {
                return;
            };
            let Some(output) = machine.poll_output() else {
                return;
            };
            match output {
                Output::Event(event) => self.events.push((self.now, id, event)),
                Output::Penalise(peer, why) => self.penalties.push((self.now, id, peer, why)),
                Output::Release(_) => {}
                Output::Dial(peer) => self.dial(id, peer),
                Output::Send { to, message, .. } => self.send(id, to, &message),
            }
        }
    }

    fn dial(&mut self, id: NodeId, peer: NodeId) {
        if self.links.contains(&pair(id, peer)) {
            return;
        }
        let delay = (self.delay)(id, peer) + (self.delay)(peer, id);
        if self.dials_connect && self.machines.contains_key(&peer) && peer != id {
            self.links.insert(pair(id, peer));
            self.schedule(delay, id, Arrival::Connected(peer));
            self.schedule(delay, peer, Arrival::Connected(id));
        } else {
            self.schedule(delay, id, Arrival::DialFailed(peer));
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: &M::Message) {
        self.sent += 1;
        if !self.links.contains(&pair(from, to)) {
            return;
        }
        let fault = (self.fault)(self.now, from, to, message);
        let delay = (self.delay)(from, to);
        let copy = || Arrival::Message {
            from,
            bytes: codec::encode(message),
            marker: std::marker::PhantomData,
        };
        match fault {
            LinkFault::Lose => {}
            LinkFault::Deliver => self.schedule(delay, to, copy()),
            LinkFault::Late(more) => self.schedule(delay + more, to, copy()),
            LinkFault::Duplicate => {
                self.schedule(delay, to, copy());
                self.schedule(delay, to, copy());
            }
        }
    }

    fn schedule(&mut self, delay: Duration, to: NodeId, arrival: Arrival<M::Message>) {
        self.sequence += 1;
        self.arrivals
            .insert((self.now + delay, self.sequence), (to, arrival));
    }
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}
