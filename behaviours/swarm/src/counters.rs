//! What a behaviour and its handlers, in their own tasks, count together.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the behaviour was made, over all peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages written to a substream.
    pub sent: u64,
    /// Messages received, decoded and checked.
    pub received: u64,
    /// Bytes of the messages written to a substream, each with its length in front. What Noise,
    /// yamux and the transport add is not among them.
    pub bytes_sent: u64,
    /// Bytes read from substreams: messages with their lengths, refused ones too.
    pub bytes_received: u64,
    /// Messages dropped because their lane was full, the oldest first.
    pub dropped: u64,
    /// Messages of our own that exceed the protocol's limit, or that go to no connected peer.
    pub unsendable: u64,
    /// Messages from peers that were refused.
    pub malformed: u64,
    /// Inbound substreams refused because the peer opened too many.
    pub refused: u64,
    /// Outbound substreams that broke or failed to open.
    pub broken: u64,
}

/// [`Stats`] while they are being counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) unsendable: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) broken: AtomicU64,
}

impl Counters {
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            unsendable: self.unsendable.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
            refused: self.refused.load(Relaxed),
            broken: self.broken.load(Relaxed),
        }
    }
}

/// Adds to a counter. They order nothing, so relaxed will do.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
