//! The state of one connection: send buffer, open calls, what lossy streams keep.
//!
//! Plain data; the lock around it and the wake-ups are in `shared`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::BytesMut;
use tokio::{sync::Notify, time::Instant};

use super::Config;
use crate::{
    body::Raw,
    cursor::{MAP, UINT, head, text},
    message::{
        FromNode,
        frame::{ITEM, answer},
    },
    method::Method,
    wire::FRAME_MAX,
};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// What is in the send buffer still goes out, for a short while.
    Flush,
    /// At once.
    Now,
}

/// Whether the reader may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Shut,
    Closing,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Push {
    Done,
    Wait,
    Over,
}

/// All that the lock of a connection guards.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) out: Out,
    pub(super) calls: BTreeMap<u32, Entry>,
    pub(super) deadlines: BTreeSet<(Instant, u32)>,
    /// Calls whose [`Ticket`] lives, streams apart.
    pub(super) inflight: usize,
    /// Streams whose [`Ticket`] lives.
    pub(super) streams: usize,
    /// Somebody waits for the send buffer to shrink.
    pub(super) congested: bool,
    pub(super) closing: Option<Closing>,
}

/// The send buffer.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) buffer: BytesMut,
    /// Bytes that the writer has taken and not written.
    pub(super) writing: usize,
    /// Bytes written since the connection began.
    pub(super) written: u64,
    /// Somebody waits for what is in the buffer to be written.
    pub(super) awaited: bool,
    /// Counts how often everything was sent: dates [`Entry::queued`].
    pub(super) epoch: u64,
    /// The writer waits to be woken.
    pub(super) idle: bool,
}

/// Wakes the holder of a call's handle. Two, because both may be awaited at once.
#[derive(Debug, Default)]
pub(super) struct Wake {
    /// An item may be possible.
    pub(super) ready: Notify,
    /// The call is over.
    pub(super) over: Notify,
}

impl Wake {
    pub(super) fn all(&self) {
        self.ready.notify_one();
        self.over.notify_one();
    }
}

/// A call that is not over.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) method: Method,
    pub(super) wake: Arc<Wake>,
    pub(super) deadline: Option<Instant>,
    pub(super) credit: u32,
    /// Bytes of this stream pushed within the epoch.
    pub(super) queued: (u64, usize),
    pub(super) pending: Pending,
}

/// What a lossy stream keeps while it waits.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The newest item of each key with its place in the order; at most `pending_keys_max`.
    pub(super) newest: BTreeMap<String, (u64, Raw)>,
    pub(super) next: u64,
    pub(super) lost: u64,
}

impl Out {
    pub(super) fn unsent(&self) -> usize {
        self.buffer.len() + self.writing
    }

    /// Where [`Out::written`] will be when all that there is was written.
    pub(super) fn end(&self) -> u64 {
        self.written + self.unsent() as u64
    }

    /// Appends one answer; returns its bytes, or `None` if it is over the frame's limit.
    pub(super) fn push(
        &mut self,
        kind: u64,
        call: u32,
        body: impl FnOnce(&mut BytesMut),
    ) -> Option<usize> {
        let start = self.buffer.len();
        answer(&mut self.buffer, kind, call, body);
        let bytes = self.buffer.len() - start;
        if bytes - 4 > FRAME_MAX {
            self.buffer.truncate(start);
            return None;
        }
        Some(bytes)
    }

    pub(super) fn put(&mut self, frame: &FromNode) -> usize {
        let start = self.buffer.len();
        frame.write(&mut self.buffer);
        self.buffer.len() - start
    }
}

impl Entry {
    pub(super) fn count(&mut self, epoch: u64, bytes: usize) {
        if self.queued.0 != epoch {
            self.queued = (epoch, 0);
        }
        self.queued.1 += bytes;
    }

    /// Sends one item if credit and room allow; returns its bytes.
    pub(super) fn item(
        &mut self,
        call: u32,
        out: &mut Out,
        config: &Config,
        body: impl FnOnce(&mut BytesMut),
    ) -> Result<usize, Push> {
        if self.credit == 0 || out.unsent() >= config.unsent_bytes_max {
            return Err(Push::Wait);
        }
        let bytes = out.push(ITEM, call, body).ok_or(Push::Over)?;
        self.credit -= 1;
        self.count(out.epoch, bytes);
        Ok(bytes)
    }

    /// Sends what a lossy stream kept, as far as credit and room allow; returns the bytes.
    pub(super) fn drain(&mut self, call: u32, out: &mut Out, config: &Config) -> usize {
        let mut bytes = 0;
        loop {
            let lost = self.pending.lost;
            let sent = if lost > 0 {
                self.item(call, out, config, |out| put_lost(out, lost))
            } else {
                let Some((key, raw)) = self.pending.oldest() else {
                    return bytes;
                };
                let sent = self.item(call, out, config, |out| out.extend_from_slice(&raw.0));
                if sent.is_ok() {
                    self.pending.newest.remove(&key);
                }
                sent
            };
            match sent {
                Ok(sent) => {
                    bytes += sent;
                    if lost > 0 {
                        self.pending.lost = 0;
                    }
                }
                Err(_) => return bytes,
            }
        }
    }
}

impl Pending {
    pub(super) fn keep(&mut self, key: &str, item: Raw, keys_max: usize) {
        self.next += 1;
        if self
            .newest
            .insert(key.to_owned(), (self.next, item))
            .is_some()
        {
            self.lost += 1;
        } else if self.newest.len() > keys_max {
            let (key, _) = self.oldest().expect("one was just put in");
            self.newest.remove(&key);
            self.lost += 1;
        }
    }

    fn oldest(&self) -> Option<(String, Raw)> {
        let oldest = self.newest.iter().min_by_key(|(_, (at, _))| *at);
        oldest.map(|(key, (_, raw))| (key.clone(), raw.clone()))
    }
}

impl State {
    pub(super) fn remove(&mut self, call: u32) -> Option<Entry> {
        let entry = self.calls.remove(&call)?;
        if let Some(at) = entry.deadline {
            self.deadlines.remove(&(at, call));
        }
        Some(entry)
    }
}

fn put_lost(out: &mut BytesMut, lost: u64) {
    head(out, MAP, 1);
    text(out, "lost");
    head(out, UINT, lost);
}
