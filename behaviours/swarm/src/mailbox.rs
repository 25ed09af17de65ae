//! What waits to be sent to one peer, shared between the behaviour and the peer's handlers.
//!
//! The behaviour posts without waiting; the handler of the active connection takes. When that
//! connection closes, the rest goes out on the next one. Nothing passes through the swarm's command
//! channel, where one slow connection would hold up all others.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard},
    task::{Context, Waker},
};

use libp2p::swarm::ConnectionId;
use opus_core::Lane;

/// Bounds of one lane. Overflow: the oldest message is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox {
    limits: LaneLimits,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    active: Option<ConnectionId>,
    wanted: bool,
    control: Queue,
    bulk: Queue,
    /// Messages taken last, of which some may not be written yet.
    writing: u64,
    /// One per connection that was polled.
    wakers: BTreeMap<ConnectionId, Waker>,
}

/// What a handler needs to know to decide about its outbound substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duty {
    /// This connection carries what we send.
    pub(crate) active: bool,
    /// Our machine wants the peer.
    pub(crate) wanted: bool,
    /// A message waits.
    pub(crate) waiting: bool,
}

impl Mailbox {
    pub(crate) fn new(limits: LaneLimits) -> Self {
        Self {
            limits,
            shared: Mutex::default(),
        }
    }

    /// Appends an encoded message. Gives how many older ones had to go.
    pub(crate) fn post(&self, lane: Lane, message: Vec<u8>) -> u64 {
        let mut shared = self.lock();
        let queue = match lane {
            Lane::Control => &mut shared.control,
            Lane::Bulk => &mut shared.bulk,
        };
        let dropped = queue.push(message, self.limits);
        shared.wake_active();
        dropped
    }

    /// Moves whole messages, urgent ones first, each with its length in front, to `out` until it
    /// holds `budget` bytes. Gives how many. `id`: nothing unless this connection is active. Called
    /// when all that was taken before is written.
    pub(crate) fn take(&self, id: ConnectionId, out: &mut Vec<u8>, budget: usize) -> u64 {
        let mut shared = self.lock();
        let mut taken = 0;
        while shared.active == Some(id) && out.len() < budget {
            let Some(message) = shared.pop() else { break };
            let length = u32::try_from(message.len()).expect("the protocol's limit is below 4 GiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&message);
            taken += 1;
        }
        shared.writing = taken;
        taken
    }

    /// Messages that the active connection has not written yet.
    pub(crate) fn unsent(&self) -> u64 {
        let shared = self.lock();
        let waiting = shared.control.messages.len() + shared.bulk.messages.len();
        shared.writing + waiting as u64
    }

    /// The duty of connection `id`, and the promise to wake `cx` when it changes.
    pub(crate) fn duty(&self, id: ConnectionId, cx: &Context<'_>) -> Duty {
        let mut shared = self.lock();
        let waker = shared
            .wakers
            .entry(id)
            .or_insert_with(|| cx.waker().clone());
        waker.clone_from(cx.waker());
        Duty {
            active: shared.active == Some(id),
            wanted: shared.wanted,
            waiting: !shared.is_empty(),
        }
    }

    /// Whether connection `id` must stay: the machine wants the peer, and this is its connection.
    pub(crate) fn keeps(&self, id: ConnectionId) -> bool {
        let shared = self.lock();
        shared.wanted && shared.active == Some(id)
    }

    pub(crate) fn set_wanted(&self, wanted: bool) {
        let mut shared = self.lock();
        shared.wanted = wanted;
        shared.wake_all();
    }

    /// Names the connection to send on. Without one, all that waits is dropped.
    pub(crate) fn set_active(&self, active: Option<ConnectionId>) {
        let mut shared = self.lock();
        shared.active = active;
        shared.writing = 0;
        if active.is_none() {
            shared.control = Queue::default();
            shared.bulk = Queue::default();
        }
        shared.wake_all();
    }

    /// Forgets a connection that closed.
    pub(crate) fn forget(&self, id: ConnectionId) {
        self.lock().wakers.remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared
            .lock()
            .expect("no panic happens under this lock")
    }
}

impl Shared {
    fn pop(&mut self) -> Option<Vec<u8>> {
        self.control.pop().or_else(|| self.bulk.pop())
    }

    fn is_empty(&self) -> bool {
        self.control.messages.is_empty() && self.bulk.messages.is_empty()
    }

    fn wake_active(&self) {
        let waker = self.active.and_then(|id| self.wakers.get(&id));
        if let Some(waker) = waker {
            waker.wake_by_ref();
        }
    }

    fn wake_all(&self) {
        self.wakers.values().for_each(Waker::wake_by_ref);
    }
}

/// One lane: encoded messages and how many bytes they are.
#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Queue {
    /// The newest message always stays, so that a lane of few bytes still carries a large one.
    fn push(&mut self, message: Vec<u8>, limits: LaneLimits) -> u64 {
        self.bytes += message.len();
        self.messages.push_back(message);
        let mut dropped = 0;
        while self.messages.len() > 1
            && (self.messages.len() > limits.messages || self.bytes > limits.bytes)
        {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LaneLimits = LaneLimits {
        messages: 3,
        bytes: 100,
    };

    fn id(id: usize) -> ConnectionId {
        ConnectionId::new_unchecked(id)
    }

    #[test]
    fn control_goes_first_and_only_the_active_connection_takes() {
        let mailbox = Mailbox::new(LIMITS);
        mailbox.set_active(Some(id(1)));
        mailbox.post(Lane::Bulk, vec![1]);
        mailbox.post(Lane::Control, vec![2]);
        let mut out = Vec::new();
        assert_eq!(mailbox.take(id(2), &mut out, 1_000), 0);
        assert_eq!(mailbox.take(id(1), &mut out, 1_000), 2);
        assert_eq!(out, [0, 0, 0, 1, 2, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn a_message_is_unsent_until_its_connection_asks_for_more() {
        let mailbox = Mailbox::new(LIMITS);
        mailbox.set_active(Some(id(1)));
        mailbox.post(Lane::Bulk, vec![1]);
        mailbox.post(Lane::Control, vec![2]);
        assert_eq!(mailbox.unsent(), 2);
        let mut out = Vec::new();
        mailbox.take(id(1), &mut out, 1);
        assert_eq!(mailbox.unsent(), 2, "one is being written");
        mailbox.take(id(1), &mut out, 1_000);
        mailbox.take(id(1), &mut out, 1_000);
        assert_eq!(mailbox.unsent(), 0);
        mailbox.post(Lane::Bulk, vec![3]);
        mailbox.set_active(None);
        assert_eq!(mailbox.unsent(), 0, "nobody is left to send to");
    }

    #[test]
    fn a_full_lane_drops_its_oldest_by_count_and_by_bytes() {
        let mailbox = Mailbox::new(LIMITS);
        mailbox.set_active(Some(id(1)));
        let dropped: u64 = (0..5).map(|n| mailbox.post(Lane::Bulk, vec![n])).sum();
        assert_eq!(dropped, 2);
        assert_eq!(mailbox.post(Lane::Bulk, vec![9; 99]), 2);
        assert_eq!(
            mailbox.post(Lane::Control, vec![7; 500]),
            0,
            "the other lane"
        );
        let mut out = Vec::new();
        assert_eq!(mailbox.take(id(1), &mut out, 10_000), 3);
        assert_eq!(out.len(), 4 + 500 + 4 + 1 + 4 + 99);
    }

    #[test]
    fn what_waits_moves_on_to_the_next_connection_and_goes_with_the_last() {
        let mailbox = Mailbox::new(LIMITS);
        mailbox.set_active(Some(id(1)));
        mailbox.post(Lane::Control, vec![1]);
        mailbox.set_active(Some(id(2)));
        let mut out = Vec::new();
        assert_eq!(mailbox.take(id(2), &mut out, 1_000), 1);
        mailbox.post(Lane::Control, vec![2]);
        mailbox.set_active(None);
        mailbox.set_active(Some(id(3)));
        assert_eq!(mailbox.take(id(3), &mut out, 1_000), 0);
    }
}
