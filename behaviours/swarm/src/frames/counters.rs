//! What the frame handlers of a node count together.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since the behaviour was made, over all peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames handed to the plane.
    pub frames_in: u64,
    /// Their bytes, with prefixes.
    pub bytes_in: u64,
    /// Frames taken from the plane.
    pub frames_out: u64,
    /// Their bytes, with prefixes.
    pub bytes_out: u64,
    /// Channels that broke, or failed to open.
    pub broken: u64,
    /// Substreams closed or refused because the peer broke the protocol.
    pub violations: u64,
}

/// [`Stats`] while they are being counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) frames_in: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) frames_out: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) violations: AtomicU64,
}

impl Counters {
    pub(super) fn stats(&self) -> Stats {
        Stats {
            frames_in: self.frames_in.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            frames_out: self.frames_out.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            broken: self.broken.load(Relaxed),
            violations: self.violations.load(Relaxed),
        }
    }
}
