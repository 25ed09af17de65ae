//! The right to answer one call.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    shared::Shared,
    state::{Out, Push, State, Wake},
};
use crate::{
    body::{Raw, put},
    message::{
        Code, End, Fault, FromNode,
        frame::{END, ERR, RES},
    },
};

/// How a call begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) deadline: Option<Instant>,
    pub(super) credit: Option<u32>,
    /// Bytes of its parameters: charged while the ticket lives.
    pub(super) bytes: usize,
}

/// Held by `Reply` and `Sink`; frees the call's place when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) shared: Arc<Shared>,
    pub(super) call: u32,
    pub(super) stream: bool,
    pub(super) bytes: usize,
    pub(super) wake: Arc<Wake>,
}

impl Ticket {
    pub(super) fn res(&self, body: impl FnOnce(&mut BytesMut)) {
        let mut state = self.shared.state();
        if state.remove(self.call).is_none() {
            return;
        }
        let pushed = state.out.push(RES, self.call, body);
        let bytes = pushed.unwrap_or_else(|| {
            let fault = Fault::new(Code::TooLarge, "the result is over limits.frame");
            state.out.put(&FromNode::Err {
                call: self.call,
                fault,
            })
        });
        self.shared.pushed(state, bytes);
    }

    pub(super) fn err(&self, fault: &Fault) {
        self.last(|out| out.push(ERR, self.call, |out| put(out, fault)));
    }

    pub(super) fn end(&self, end: &End) {
        self.last(|out| out.push(END, self.call, |out| put(out, end)));
    }

    fn last(&self, push: impl FnOnce(&mut Out) -> Option<usize>) {
        let mut state = self.shared.state();
        if state.remove(self.call).is_some() {
            let bytes = push(&mut state.out).unwrap_or(0);
            self.shared.pushed(state, bytes);
        }
    }

    pub(super) fn item(&self, body: impl FnOnce(&mut BytesMut)) -> Push {
        let mut state = self.shared.state();
        let State { calls, out, .. } = &mut *state;
        let Some(entry) = calls.get_mut(&self.call) else {
            return Push::Over;
        };
        match entry.item(self.call, out, &self.shared.config, body) {
            Ok(bytes) => {
                self.shared.pushed(state, bytes);
                Push::Done
            }
            Err(Push::Over) => {
                drop(state);
                self.shared
                    .abort(self.call, Code::TooLarge, "an item is over limits.frame");
                Push::Over
            }
            Err(push) => {
                state.congested |= state.out.unsent() >= self.shared.config.unsent_bytes_max;
                push
            }
        }
    }

    /// False when the stream is over.
    pub(super) fn publish(&self, key: &str, item: Raw) -> bool {
        let mut state = self.shared.state();
        let State { calls, out, .. } = &mut *state;
        let Some(entry) = calls.get_mut(&self.call) else {
            return false;
        };
        entry
            .pending
            .keep(key, item, self.shared.config.pending_keys_max);
        let bytes = entry.drain(self.call, out, &self.shared.config);
        state.congested |= state.out.unsent() >= self.shared.config.unsent_bytes_max;
        self.shared.pushed(state, bytes);
        true
    }

    /// Items that can be sent; waits for the first. `None`: the stream is over.
    pub(super) async fn ready(&self) -> Option<usize> {
        loop {
            {
                let mut state = self.shared.state();
                let credit = state.calls.get(&self.call)?.credit;
                let full = state.out.unsent() >= self.shared.config.unsent_bytes_max;
                state.congested |= full;
                if credit > 0 && !full {
                    return usize::try_from(credit).ok();
                }
            }
            self.wake.ready.notified().await;
        }
    }

    /// Waits until everything in the send buffer was written. `None`: the stream is over.
    pub(super) async fn flushed(&self) -> Option<()> {
        let mark = {
            let state = self.shared.state();
            state.calls.get(&self.call)?;
            state.out.end()
        };
        loop {
            let wrote = self.shared.flushed.notified();
            tokio::pin!(wrote);
            // Registered before the look, so that a write which comes in between is not missed.
            wrote.as_mut().enable();
            {
                let mut state = self.shared.state();
                if state.out.written >= mark {
                    return Some(());
                }
                state.calls.get(&self.call)?;
                state.out.awaited = true;
            }
            tokio::select! {
                () = wrote => {}
                () = self.wake.over.notified() => {}
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        !self.shared.state().calls.contains_key(&self.call)
    }

    pub(super) async fn over(&self) {
        while !self.is_over() {
            self.wake.over.notified().await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.budget.release(&self.shared.used, self.bytes);
        let mut state = self.shared.state();
        if self.stream {
            state.streams -= 1;
            return;
        }
        state.inflight -= 1;
        let opens = state.inflight == self.shared.config.inflight_max;
        drop(state);
        if opens {
            self.shared.reader.notify_one();
        }
    }
}
