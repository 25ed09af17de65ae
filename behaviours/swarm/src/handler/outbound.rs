//! The outbound substream: when it opens, what it writes, when it closes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncWrite, FutureExt};
use futures_timer::Delay;
use libp2p::{Stream, swarm::ConnectionId};

use crate::{
    counters::{Counters, add},
    mailbox::{Duty, Mailbox},
    retry::Retry,
};

/// Bytes taken from the mailbox at once.
const BATCH_BYTES: usize = 16 << 10;
/// Batches before other work of the connection gets its turn.
const BATCHES_MAX: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Outbound {
    /// How long a substream that is not wanted stays open after its last message.
    linger: Duration,
    retry: Retry,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    /// It failed; opened again after the delay.
    Waiting(Delay),
    Opening,
    Open(Open),
    Closing(Stream),
}

#[derive(Debug)]
struct Open {
    stream: Stream,
    /// At most a batch and one message.
    buffer: Vec<u8>,
    written: usize,
    closes: Option<Delay>,
}

/// What the handler must do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Pending,
    Request,
    Gone,
}

enum Progress {
    /// Wrote something.
    Wrote,
    /// Not needed any longer.
    Finished,
}

impl Outbound {
    pub(super) fn new(linger: Duration) -> Self {
        Self {
            linger,
            retry: Retry::default(),
            state: State::Idle,
        }
    }

    pub(super) fn opened(&mut self, mut stream: Stream) {
        // Our own end is kept by the machine's wish; the other end sees an inbound substream.
        stream.ignore_for_keep_alive();
        self.state = State::Open(Open {
            stream,
            buffer: Vec::new(),
            written: 0,
            closes: None,
        });
    }

    /// It broke or did not open. `None`: not to be tried again.
    pub(super) fn failed(&mut self, counters: &Counters) -> Option<()> {
        add(&counters.broken, 1);
        self.state = State::Idle;
        let delay = self.retry.failed()?;
        self.state = State::Waiting(Delay::new(delay));
        Some(())
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        id: ConnectionId,
        mailbox: &Mailbox,
        counters: &Counters,
    ) -> Step {
        for _ in 0..BATCHES_MAX {
            let duty = mailbox.duty(id, cx);
            match &mut self.state {
                State::Idle if duty.active && (duty.wanted || duty.waiting) => {
                    self.state = State::Opening;
                    return Step::Request;
                }
                State::Idle | State::Opening => return Step::Pending,
                State::Waiting(delay) => match delay.poll_unpin(cx) {
                    Poll::Ready(()) => self.state = State::Idle,
                    Poll::Pending => return Step::Pending,
                },
                State::Open(open) => {
                    let take = |out: &mut Vec<u8>| mailbox.take(id, out, BATCH_BYTES);
                    match open.poll(cx, duty, self.linger, take, counters) {
                        Poll::Pending => return Step::Pending,
                        Poll::Ready(Ok(Progress::Wrote)) => {}
                        Poll::Ready(Ok(Progress::Finished)) => self.close(),
                        Poll::Ready(Err(error)) => {
                            tracing::debug!(%id, %error, "outbound substream broke");
                            if self.failed(counters).is_none() {
                                return Step::Gone;
                            }
                        }
                    }
                }
                State::Closing(stream) => match Pin::new(stream).poll_close(cx) {
                    Poll::Ready(Ok(()) | Err(_)) => self.state = State::Idle,
                    Poll::Pending => return Step::Pending,
                },
            }
        }
        cx.waker().wake_by_ref();
        Step::Pending
    }

    fn close(&mut self) {
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Idle) {
            self.state = State::Closing(open.stream);
        }
    }
}

impl Open {
    /// Writes the batch at hand, or takes the next one; with none, flushes and considers to close.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        duty: Duty,
        linger: Duration,
        take: impl FnOnce(&mut Vec<u8>) -> u64,
        counters: &Counters,
    ) -> Poll<io::Result<Progress>> {
        if self.written == self.buffer.len() {
            self.buffer.clear();
            self.written = 0;
            add(&counters.sent, take(&mut self.buffer));
            add(&counters.bytes_sent, self.buffer.len() as u64);
        }
        if self.buffer.is_empty() {
            // An idle substream holds no buffer.
            self.buffer = Vec::new();
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            return self.poll_idle(cx, duty, linger).map(Ok);
        }
        self.closes = None;
        let rest = &self.buffer[self.written..];
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += count;
        Poll::Ready(Ok(Progress::Wrote))
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>, duty: Duty, linger: Duration) -> Poll<Progress> {
        if !duty.active {
            return Poll::Ready(Progress::Finished);
        }
        if duty.wanted {
            self.closes = None;
            return Poll::Pending;
        }
        let closes = self.closes.get_or_insert_with(|| Delay::new(linger));
        ready!(closes.poll_unpin(cx));
        Poll::Ready(Progress::Finished)
    }
}
