//! The data plane of a node: one forwarding core behind one lock, between the connections' frame
//! channels and the local attachments.
//!
//! Frames go substream -> [`Forward`] -> substream in the tasks of the connections; the swarm task
//! never sees one. A batch of frames takes the lock once. What the core delivers waits in the
//! queue of its attachment, which the core itself bounds (4 MiB a sink); what it tells waits in a
//! bounded queue for the node's loop.

mod sink;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use opus_core::{NodeId, OverlayId, Time};
use opus_relay::{Class, Command, Event, Forward, Verdict};
use opus_swarm::{
    Clock,
    frames::{Plane, Wake},
};
use tokio::sync::Notify;

use self::sink::SinkQueue;
pub use self::{
    sink::{Batch, Deliveries},
    source::SendError,
};

/// Most events that wait for the node's loop. Overflow: the newest is dropped, counted and told by
/// `doctor`.
const EVENTS_MAX: usize = 1_024;

/// The data plane. Shared by the frame handlers, the service and the node's loop.
#[derive(Debug)]
pub struct Data {
    clock: Clock,
    inner: Mutex<Inner>,
    /// The core's next deadline moved.
    rearm: Notify,
    /// Events wait for the node's loop.
    told: Notify,
    /// A source may have room again, or frames became stable.
    moved: Notify,
}

#[derive(Debug)]
struct Inner {
    forward: Forward,
    wakes: BTreeMap<NodeId, Wake>,
    sinks: BTreeMap<u32, SinkQueue>,
    events: VecDeque<Event>,
    events_dropped: u64,
    /// Open overlays of the complete class.
    complete: BTreeSet<OverlayId>,
    /// Overlays with a local source.
    sources: BTreeSet<OverlayId>,
    /// Highest stable sequence by overlay and flow of our own sources.
    stable: BTreeMap<(OverlayId, u8), u64>,
    /// Last sequence sent by overlay and flow of our own sources.
    sent: BTreeMap<(OverlayId, u8), u64>,
    armed: Option<Time>,
}

impl Inner {
    /// Keeps what senders and receivers ask about in step with the core.
    fn note(&mut self, command: &Command) {
        match *command {
            Command::Open {
                overlay,
                class: Class::Complete,
                ..
            } => {
                self.complete.insert(overlay);
            }
            Command::Source { overlay, .. } => {
                self.sources.insert(overlay);
            }
            Command::SourceGone { overlay } | Command::Close { overlay } => {
                self.sources.remove(&overlay);
                self.stable.retain(|(of, _), _| *of != overlay);
                self.sent.retain(|(of, _), _| *of != overlay);
                if matches!(command, Command::Close { .. }) {
                    self.complete.remove(&overlay);
                }
            }
            Command::Open {
                class: Class::Timed { .. },
                ..
            }
            | Command::Root { .. }
            | Command::Delay { .. }
            | Command::Edges { .. }
            | Command::ChildLeft { .. }
            | Command::ChildMoved { .. }
            | Command::Sink { .. }
            | Command::SinkGone { .. }
            | Command::Taken { .. } => {}
        }
    }
}

impl Data {
    /// A data plane around `forward`. [`Data::run`] must be running for its timers to fire.
    pub fn new(forward: Forward, clock: Clock) -> Self {
        Self {
            clock,
            inner: Mutex::new(Inner {
                forward,
                wakes: BTreeMap::new(),
                sinks: BTreeMap::new(),
                events: VecDeque::new(),
                events_dropped: 0,
                complete: BTreeSet::new(),
                sources: BTreeSet::new(),
                stable: BTreeMap::new(),
                sent: BTreeMap::new(),
                armed: None,
            }),
            rearm: Notify::new(),
            told: Notify::new(),
            moved: Notify::new(),
        }
    }

    /// Fires the core's timers until dropped.
    pub async fn run(&self) {
        loop {
            let armed = self.lock().armed;
            let rearmed = self.rearm.notified();
            match armed {
                None => rearmed.await,
                Some(at) => {
                    let wait = at - self.clock.now();
                    tokio::select! {
                        () = rearmed => continue,
                        () = tokio::time::sleep(wait) => {}
                    }
                    self.mutate(Forward::handle_timeout);
                }
            }
        }
    }

    /// Gives the core a command of the site manager.
    pub fn command(&self, command: Command) {
        let ends = matches!(command, Command::SourceGone { .. } | Command::Close { .. });
        self.lock().note(&command);
        self.mutate(|forward, now| forward.command(now, command));
        if ends {
            // Senders that wait for room learn that there is none to come.
            self.moved.notify_waiters();
        }
    }

    /// Waits for the next event of the core.
    pub async fn next_event(&self) -> Event {
        loop {
            let told = self.told.notified();
            if let Some(event) = self.lock().events.pop_front() {
                return event;
            }
            told.await;
        }
    }

    /// Reads the core, for status and reports.
    pub fn inspect<T>(&self, read: impl FnOnce(&Forward) -> T) -> T {
        read(&self.lock().forward)
    }

    /// Events that the node's loop never saw because it was too slow.
    pub fn events_dropped(&self) -> u64 {
        self.lock().events_dropped
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding the lock leaves counters half-updated at worst; frames of others
        // must go on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One mutation of the core, then drain.
    fn mutate<T>(&self, change: impl FnOnce(&mut Forward, Time) -> T) -> T {
        let now = self.clock.now();
        let mut inner = self.lock();
        let result = change(&mut inner.forward, now);
        self.settle(&mut inner);
        result
    }

    /// Hands out everything the core has to say after a mutation.
    fn settle(&self, inner: &mut Inner) {
        while let Some(peer) = inner.forward.poll_wake() {
            if let Some(wake) = inner.wakes.get(&peer) {
                wake.wake();
            }
        }
        while let Some(delivery) = inner.forward.poll_deliver() {
            if let Some(queue) = inner.sinks.get_mut(&delivery.att) {
                queue.push(delivery);
            }
        }
        while let Some(event) = inner.forward.poll_event() {
            self.on_event(inner, event);
        }
        let next = inner.forward.poll_timeout().map(|deadline| deadline.at);
        if next != inner.armed {
            inner.armed = next;
            self.rearm.notify_one();
        }
    }

    fn on_event(&self, inner: &mut Inner, event: Event) {
        match event {
            Event::Stable { overlay, flow, seq } => {
                inner.stable.insert((overlay, flow), seq);
                self.moved.notify_waiters();
            }
            Event::Room { .. } => self.moved.notify_waiters(),
            Event::SlowSink { .. }
            | Event::SlowBranch { .. }
            | Event::Lost { .. }
            | Event::Refused { .. }
            | Event::Offence { .. } => {
                if inner.events.len() >= EVENTS_MAX {
                    inner.events_dropped += 1;
                } else {
                    inner.events.push_back(event);
                    self.told.notify_one();
                }
            }
        }
    }
}

impl Plane for Data {
    fn up(&self, peer: NodeId, wake: Wake) {
        self.lock().wakes.insert(peer, wake);
        self.mutate(|forward, now| forward.link_up(now, peer));
    }

    fn down(&self, peer: NodeId) {
        self.lock().wakes.remove(&peer);
        self.mutate(|forward, now| forward.link_down(now, peer));
    }

    fn received(&self, peer: NodeId, frames: &mut Vec<Bytes>) -> bool {
        self.mutate(|forward, now| {
            let mut lawful = true;
            for frame in frames.drain(..) {
                lawful &= forward.on_frame(now, peer, frame) != Verdict::Offence;
            }
            lawful
        })
    }

    fn fill(&self, peer: NodeId, out: &mut BytesMut, budget: usize) -> bool {
        self.mutate(|forward, now| forward.poll_send(now, peer, out, budget))
    }
}
