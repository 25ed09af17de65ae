//! The node's end of a stream.

use std::marker::PhantomData;

use super::{state::Push, ticket::Ticket};
use crate::{
    body::{Body, Raw, put},
    message::{Code, End, Fault, Lossy},
};

/// Sends the items of one stream, as far as the client gave credit.
///
/// Two ways, one per stream: [`Sink::send`] and [`Sink::try_send`] never leave an item out and so
/// may have to wait; [`Sink::publish`] never waits and so may leave items out. Dropped without
/// [`Sink::finish`], [`Sink::end`] or [`Sink::err`], the stream ends with `unavailable`.
#[derive(Debug)]
pub struct Sink<T> {
    ticket: Ticket,
    body: PhantomData<fn(T)>,
}

/// The stream is over: cancelled, past its deadline, or its connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is over")]
pub struct Over;

/// Why an item was not taken. It was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// No credit, or too much unsent: wait for [`Sink::ready`].
    #[error("no credit, or too much unsent")]
    Wait,
    /// The stream is over.
    #[error("the stream is over")]
    Over,
}

impl<T: Body> Sink<T> {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            body: PhantomData,
        }
    }

    /// Waits until at least one item can be sent; returns how many the credit allows.
    pub async fn ready(&self) -> Result<usize, Over> {
        self.ticket.ready().await.ok_or(Over)
    }

    /// Sends one item if that is possible at once.
    pub fn try_send(&self, item: &T) -> Result<(), Full> {
        match self.ticket.item(|out| put(out, item)) {
            Push::Done => Ok(()),
            Push::Wait => Err(Full::Wait),
            Push::Over => Err(Full::Over),
        }
    }

    /// Sends one item when that is possible. Cancel safe: then nothing was sent.
    pub async fn send(&self, item: &T) -> Result<(), Over> {
        loop {
            match self.try_send(item) {
                Ok(()) => return Ok(()),
                Err(Full::Over) => return Err(Over),
                Err(Full::Wait) => self.ready().await?,
            };
        }
    }

    /// Ends the stream naturally.
    pub fn finish(self) {
        self.ticket.end(&End::default());
    }

    /// Ends the stream early.
    pub fn end(self, code: Code, msg: impl Into<String>) {
        self.ticket.end(&End {
            code: Some(code),
            msg: Some(msg.into()),
        });
    }

    /// Ends the call by ERR: for parameters that the service refuses.
    #[expect(clippy::needless_pass_by_value, reason = "a fault is made to be sent")]
    pub fn err(self, fault: Fault) {
        self.ticket.err(&fault);
    }

    /// Whether the client does not want it any more.
    pub fn is_over(&self) -> bool {
        self.ticket.is_over()
    }

    /// Waits until all that was sent has left for the client's socket. Cancel safe.
    pub async fn flushed(&self) -> Result<(), Over> {
        self.ticket.flushed().await.ok_or(Over)
    }

    /// Whether the connection itself is gone or going.
    pub fn is_lost(&self) -> bool {
        self.ticket.shared.is_closing()
    }

    /// Returns when the client does not want it any more.
    pub async fn over(&self) {
        self.ticket.over().await;
    }
}

impl<T: Lossy> Sink<T> {
    /// Sends `item`, or keeps it as the newest of `key` until the client gives credit. What is
    /// replaced or given up is counted, and told as `{lost: n}` first. Errors: [`Over`].
    pub fn publish(&self, key: &str, item: &T) -> Result<(), Over> {
        if self.ticket.publish(key, Raw::of(item)) {
            Ok(())
        } else {
            Err(Over)
        }
    }
}

impl<T> Drop for Sink<T> {
    fn drop(&mut self) {
        if !self.ticket.is_over() {
            self.ticket.end(&End {
                code: Some(Code::Unavailable),
                msg: Some("the node ended the stream".to_owned()),
            });
        }
    }
}
