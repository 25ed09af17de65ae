//! What a local source gets back from `send`.

/// Frames taken by [`crate::Forward::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Sequence of the first.
    pub seq: u64,
    /// How many, contiguous.
    pub n: usize,
}

/// Why no frame was taken. State is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The window is full; `Event::Room` follows.
    #[error("the slowest sink is a whole window behind")]
    Blocked,
    /// A payload over 64 KiB, or a batch over its limits.
    #[error("a frame or batch is too large")]
    TooLarge,
    /// No local source is attached to this overlay, or the flow is not 0 to 15.
    #[error("no source of this overlay is attached here")]
    NoSource,
    /// An empty batch.
    #[error("nothing to send")]
    Empty,
}
