//! A client's end of a stream.

use std::sync::Arc;

use bytes::Bytes;
use opus_core::Malformed;

use super::{
    CallError, Client,
    link::{Link, Opened, StreamEvent},
};

/// The items of one stream. Gives credit back as they are taken; dropping it cancels the stream.
#[derive(Debug)]
pub struct Items<T> {
    link: Arc<Link>,
    opened: Opened,
    read: fn(&Bytes) -> Result<T, Malformed>,
    /// Items taken since credit was last given.
    taken: u32,
    over: bool,
    /// Keeps the connection open.
    client: Option<Client>,
}

impl<T> Items<T> {
    pub(super) fn new(
        link: Arc<Link>,
        opened: Opened,
        read: fn(&Bytes) -> Result<T, Malformed>,
    ) -> Self {
        Self {
            link,
            opened,
            read,
            taken: 0,
            over: false,
            client: None,
        }
    }

    pub(super) fn keeping(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// The next item; `None` after the stream's natural end. Cancel safe.
    ///
    /// Errors: the stream's fault, or [`CallError::Lost`]; then `None`.
    pub async fn next(&mut self) -> Option<Result<T, CallError>> {
        if self.over {
            return None;
        }
        match self.opened.events.recv().await {
            Some(StreamEvent::Item(item)) => {
                self.taken += 1;
                if self.taken * 2 >= self.opened.window {
                    self.link.credit(self.opened.call, self.taken);
                    self.taken = 0;
                }
                Some((self.read)(&item.0).map_err(CallError::Malformed))
            }
            Some(StreamEvent::End(fault)) => {
                self.over = true;
                fault.map(|fault| Err(CallError::Fault(fault)))
            }
            None => {
                self.over = true;
                Some(Err(self.link.lost()))
            }
        }
    }
}

impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        if !self.over {
            self.link.cancel(self.opened.call);
        }
    }
}
