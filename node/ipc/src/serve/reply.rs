//! Answers one call.

use std::marker::PhantomData;

use super::ticket::Ticket;
use crate::{
    body::{Body, put},
    message::{Code, Fault},
};

/// Answers one call with a `T` or a fault; dropped unused, it answers `internal`.
///
/// May be kept as long as the answer takes. If the client cancelled, its deadline passed or the
/// connection closed meanwhile, the answer is dropped.
#[derive(Debug)]
pub struct Reply<T> {
    ticket: Ticket,
    body: PhantomData<fn(T)>,
}

impl<T: Body> Reply<T> {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            body: PhantomData,
        }
    }

    /// Ends the call with its result.
    pub fn ok(self, result: &T) {
        self.ticket.res(|out| put(out, result));
    }

    /// Ends the call with a fault.
    #[expect(clippy::needless_pass_by_value, reason = "a fault is made to be sent")]
    pub fn err(self, fault: Fault) {
        self.ticket.err(&fault);
    }

    /// Ends the call either way.
    pub fn end(self, result: Result<T, Fault>) {
        match result {
            Ok(result) => self.ok(&result),
            Err(fault) => self.err(fault),
        }
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_over(&self) -> bool {
        self.ticket.is_over()
    }

    /// Returns when nobody waits for the answer any more.
    pub async fn over(&self) {
        self.ticket.over().await;
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if !self.ticket.is_over() {
            let fault = Fault::new(Code::Internal, "the node gave no answer");
            self.ticket.err(&fault);
        }
    }
}
