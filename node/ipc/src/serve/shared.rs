//! What a connection's reader, writer and answer handles share.
//!
//! Answers are encoded straight into one send buffer under the lock; the writer takes the buffer
//! whole. "Nothing is sent for a call that is over": each push looks its call up first.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use bytes::BytesMut;
use tokio::{sync::Notify, time::Instant};

use super::{
    Budget, Config, Conn, Notice, Service, Slow,
    state::{Closing, Entry, Gate, Pending, State, Wake},
    ticket::{Opening, Ticket},
};
use crate::{
    message::{Code, End, Fault, FromNode, Goaway},
    method::{Method, Shape},
    wire::Refusal,
};

/// See the module.
pub(super) struct Shared {
    pub(super) conn: Arc<Conn>,
    pub(super) config: Config,
    pub(super) budget: Budget,
    pub(super) service: Arc<dyn Service>,
    /// Bytes charged to the budget.
    pub(super) used: AtomicUsize,
    /// Wakes the writer: something to send, or closing.
    pub(super) writer: Notify,
    /// Wakes the reader: the gate may be open again, or closing.
    pub(super) reader: Notify,
    /// Wakes a writer that is stuck in a write: closing.
    pub(super) closing: Notify,
    /// Wakes who waits for the send buffer to be written.
    pub(super) flushed: Notify,
    state: Mutex<State>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("conn", &self.conn)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        conn: Arc<Conn>,
        config: Config,
        budget: Budget,
        service: Arc<dyn Service>,
    ) -> Arc<Self> {
        Arc::new(Self {
            conn,
            config,
            budget,
            service,
            used: AtomicUsize::new(0),
            writer: Notify::new(),
            reader: Notify::new(),
            closing: Notify::new(),
            flushed: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// Opens a call. The limits were checked by [`Shared::gate`] and [`Shared::streams_left`].
    pub(super) fn open(self: &Arc<Self>, call: u32, method: Method, opening: Opening) -> Ticket {
        let wake = Arc::new(Wake::default());
        let mut state = self.state();
        if let Some(at) = opening.deadline {
            state.deadlines.insert((at, call));
        }
        let stream = method.shape() == Shape::Stream;
        if stream {
            state.streams += 1;
        } else {
            state.inflight += 1;
        }
        let entry = Entry {
            method,
            wake: Arc::clone(&wake),
            deadline: opening.deadline,
            credit: opening
                .credit
                .unwrap_or(self.config.credit)
                .min(self.config.credit_max),
            queued: (0, 0),
            pending: Pending::default(),
        };
        state.calls.insert(call, entry);
        drop(state);
        self.budget.charge(&self.used, opening.bytes);
        Ticket {
            shared: Arc::clone(self),
            call,
            stream,
            bytes: opening.bytes,
            wake,
        }
    }

    pub(super) fn streams_left(&self) -> bool {
        self.state().streams < self.config.streams_max
    }

    pub(super) fn gate(&self) -> Gate {
        let mut state = self.state();
        if state.closing.is_some() {
            Gate::Closing
        } else if state.out.unsent() >= self.config.unsent_bytes_max {
            state.congested = true;
            Gate::Shut
        } else if state.inflight > self.config.inflight_max {
            Gate::Shut
        } else {
            Gate::Open
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().closing.is_some()
    }

    /// Appends a frame that belongs to no open call.
    pub(super) fn say(&self, frame: &FromNode) {
        let mut state = self.state();
        if state.closing.is_some() {
            return;
        }
        let bytes = state.out.put(frame);
        self.pushed(state, bytes);
    }

    /// ERR on call 0, then the end.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.service.notice(Notice::Refused {
            app: self.conn.app.clone(),
            pid: self.conn.peer.pid,
            code: refusal.code,
            msg: refusal.msg.clone(),
        });
        self.say(&FromNode::Err {
            call: 0,
            fault: refusal.into(),
        });
        self.close(Closing::Flush);
    }

    pub(super) fn goaway(&self, goaway: &Goaway) {
        self.say(&FromNode::Goaway(goaway.clone()));
    }

    /// Ends all calls; reader and writer stop.
    pub(super) fn close(&self, closing: Closing) {
        let mut state = self.state();
        if state.closing != Some(Closing::Now) {
            state.closing = Some(closing);
        }
        state.deadlines.clear();
        let calls = std::mem::take(&mut state.calls);
        drop(state);
        for entry in calls.values() {
            entry.wake.all();
        }
        self.writer.notify_one();
        self.reader.notify_one();
        self.closing.notify_one();
    }

    /// The writer's verdict: no progress for too long.
    pub(super) fn stuck(&self) {
        let slow = self.slow();
        self.close(Closing::Now);
        self.service.notice(Notice::SlowConsumer(slow));
    }

    /// Who is to blame, and the stream that has most bytes in the send buffer.
    pub(super) fn slow(&self) -> Slow {
        let state = self.state();
        let epoch = state.out.epoch;
        let recent = |(_, entry): &(&u32, &Entry)| entry.queued.0 == epoch && entry.queued.1 > 0;
        let worst = state
            .calls
            .iter()
            .filter(recent)
            .max_by_key(|(_, entry)| entry.queued.1);
        Slow {
            app: self.conn.app.clone(),
            pid: self.conn.peer.pid,
            stream: worst.map(|(&call, entry)| (call, entry.method)),
            bytes: self.used.load(Ordering::Relaxed),
        }
    }

    pub(super) fn credit(&self, call: u32, n: u64) {
        let mut state = self.state();
        let State { calls, out, .. } = &mut *state;
        let Some(entry) = calls.get_mut(&call) else {
            return;
        };
        let more = u32::try_from(n).unwrap_or(u32::MAX);
        entry.credit = entry
            .credit
            .saturating_add(more)
            .min(self.config.credit_max);
        let bytes = entry.drain(call, out, &self.config);
        entry.wake.ready.notify_one();
        self.pushed(state, bytes);
    }

    pub(super) fn cancel(&self, call: u32) {
        self.abort(call, Code::Cancelled, "cancelled by the client");
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.state().deadlines.first().map(|&(at, _)| at)
    }

    pub(super) fn expire(&self, now: Instant) {
        loop {
            let first = self.state().deadlines.first().copied();
            match first {
                Some((at, call)) if at <= now => {
                    self.abort(call, Code::Deadline, "deadline_ms is over");
                }
                _ => return,
            }
        }
    }

    /// Gives the writer all there is, behind what it still has in `chunk`.
    pub(super) fn take(&self, chunk: &mut BytesMut) -> Option<Closing> {
        let mut state = self.state();
        if state.closing == Some(Closing::Now) {
            return state.closing;
        }
        let out = &mut state.out;
        if chunk.is_empty() {
            std::mem::swap(&mut out.buffer, chunk);
        } else {
            chunk.extend_from_slice(&out.buffer.split());
        }
        out.writing = chunk.len();
        if chunk.is_empty() {
            out.epoch += 1;
            out.idle = true;
        }
        state.closing
    }

    /// The writer got rid of `bytes`.
    pub(super) fn wrote(&self, bytes: usize) {
        let mut state = self.state();
        // Less if it was written off meanwhile.
        let bytes = bytes.min(state.out.writing);
        state.out.writing -= bytes;
        state.out.written += bytes as u64;
        if std::mem::take(&mut state.out.awaited) {
            self.flushed.notify_waiters();
        }
        self.budget.release(&self.used, bytes);
        if !state.congested || state.out.unsent() > self.config.unsent_bytes_max / 2 {
            return;
        }
        state.congested = false;
        let State { calls, out, .. } = &mut *state;
        let mut bytes = 0;
        for (&call, entry) in calls.iter_mut() {
            bytes += entry.drain(call, out, &self.config);
            entry.wake.ready.notify_one();
        }
        self.budget.charge(&self.used, bytes);
        drop(state);
        self.reader.notify_one();
    }

    /// Takes back what was charged for bytes that will never be sent.
    pub(super) fn write_off(&self) {
        let mut state = self.state();
        let bytes = state.out.unsent();
        state.out.buffer = BytesMut::new();
        state.out.writing = 0;
        drop(state);
        self.budget.release(&self.used, bytes);
    }

    pub(super) fn abort(&self, call: u32, code: Code, msg: &str) {
        let mut state = self.state();
        let Some(entry) = state.remove(call) else {
            return;
        };
        let frame = match entry.method.shape() {
            Shape::Call => FromNode::Err {
                call,
                fault: Fault::new(code, msg),
            },
            Shape::Stream => FromNode::End {
                call,
                end: End {
                    code: Some(code),
                    msg: Some(msg.to_owned()),
                },
            },
        };
        let bytes = state.out.put(&frame);
        entry.wake.all();
        self.pushed(state, bytes);
    }

    /// After bytes were appended: the account, the lock's end, the writer, the account's limit.
    pub(super) fn pushed(&self, mut state: MutexGuard<'_, State>, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.budget.charge(&self.used, bytes);
        let wake = std::mem::take(&mut state.out.idle);
        drop(state);
        if wake {
            self.writer.notify_one();
        }
        self.budget.settle();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}
