//! Framing: `u32` big-endian N, then N bytes that are exactly one CBOR item.
//!
//! "Check at the edge": whatever leaves this module has passed `opus_core::codec::scan` with the
//! limits below; what does not pass ends the connection.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use opus_core::{Limits, Malformed, codec};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Duration, Instant, timeout_at},
};

use crate::message::{Code, Fault};

/// Most bytes of a frame's item after HELLO.
pub const FRAME_MAX: usize = 1 << 20;

/// Most bytes of HELLO.
pub const HELLO_MAX: usize = 4 << 10;

/// Most bytes of one payload: 16 of them fill a frame.
pub const PAYLOAD_MAX: usize = 64 << 10;

/// Most payloads of one `frames.send`.
pub const BATCH_MAX: usize = 256;

/// A started frame is complete within this time.
pub const STARTED: Duration = Duration::from_secs(30);

/// HELLO is complete within this time.
pub const HELLO: Duration = Duration::from_secs(5);

/// Deepest nesting.
const DEPTH_MAX: usize = 16;

/// Most items of one frame: room for 7,000 overlay edges; serde builds at most about 4 MiB.
const ITEMS_MAX: usize = 1 << 16;

/// Spare room of the read buffer: small while a connection is idle (1,024 of them: 8 MiB), and so
/// much while reads fill it.
const SPARE: std::ops::RangeInclusive<usize> = 8 << 10..=64 << 10;

/// Why the node ends a connection: goes out as ERR on call 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{msg} ({code})")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub msg: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.msg)
    }
}

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The other side closed between two frames.
    #[error("closed")]
    Closed,
    /// The transport failed, or closed within a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not lawful.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The codec's limits for an item of at most `bytes`.
pub fn limits(bytes: usize) -> Limits {
    Limits {
        bytes,
        depth: DEPTH_MAX,
        items: ITEMS_MAX,
        text_keys: true,
    }
}

/// Splits the first whole frame off `buffer`; `None` until it is complete.
///
/// The returned item is scanned and shares the buffer's memory. Errors: the length is 0 or over
/// `max` (known as soon as 4 bytes are there), or the item is malformed.
pub fn split(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, Refusal> {
    let Some(length) = announced(buffer, max)? else {
        return Ok(None);
    };
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    let item = buffer.split_to(length).freeze();
    codec::scan(&item, limits(max))
        .map_err(|error| Refusal::new(code_of(&error), error.to_string()))?;
    Ok(Some(item))
}

/// The code that a malformed item is answered with.
pub(crate) fn code_of(error: &Malformed) -> Code {
    match error {
        Malformed::TooLarge { .. } => Code::TooLarge,
        Malformed::TooDeep(_)
        | Malformed::TooMany(_)
        | Malformed::Truncated(_)
        | Malformed::Trailing(_)
        | Malformed::Unsupported { .. }
        | Malformed::DuplicateKey(_)
        | Malformed::Shape(_)
        | Malformed::Invalid(_) => Code::BadRequest,
    }
}

fn announced(buffer: &BytesMut, max: usize) -> Result<Option<usize>, Refusal> {
    let Some(length) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length);
    match usize::try_from(length) {
        Ok(0) => Err(Refusal::new(Code::BadRequest, "a frame of length 0")),
        Ok(length) if length <= max => Ok(Some(length)),
        _ => Err(Refusal::new(
            Code::TooLarge,
            format!("a frame of {length} bytes; at most {max} here"),
        )),
    }
}

/// Frames out of a byte stream. `next` may be dropped and called again: nothing is lost.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    buffer: BytesMut,
    max: usize,
    spare: usize,
    /// When the frame in the buffer must be complete.
    due: Option<Instant>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads frames of at most `max` bytes.
    pub fn new(inner: R, max: usize) -> Self {
        Self {
            inner,
            buffer: BytesMut::new(),
            max,
            spare: *SPARE.start(),
            due: None,
        }
    }

    /// From the next frame on: another limit.
    pub fn limit(&mut self, max: usize) {
        self.max = max;
    }

    /// Reading stops for a while by our own wish: the frame's time begins anew afterwards.
    pub fn pause(&mut self) {
        self.due = None;
    }

    /// Bytes of a frame that is not complete.
    pub fn unfinished(&self) -> usize {
        self.buffer.len()
    }

    /// A frame that is complete already, without reading.
    pub fn buffered(&mut self) -> Result<Option<Bytes>, Refusal> {
        let frame = split(&mut self.buffer, self.max)?;
        if frame.is_some() {
            self.due = None;
        }
        Ok(frame)
    }

    /// The next frame. Errors: [`ReadError`]; the connection is then of no further use.
    pub async fn next(&mut self) -> Result<Bytes, ReadError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Reads once. Errors: as [`Reader::next`].
    pub async fn fill(&mut self) -> Result<(), ReadError> {
        let missing = match announced(&self.buffer, self.max)? {
            Some(length) => 4 + length - self.buffer.len().min(4 + length),
            None => 0,
        };
        // Room grows with what came, not with what was announced.
        let grown = self.buffer.len().max(self.spare);
        self.buffer.reserve(missing.clamp(self.spare, grown));
        if !self.buffer.is_empty() && self.due.is_none() {
            self.due = Some(Instant::now() + STARTED);
        }
        let spare = self.buffer.capacity() - self.buffer.len();
        let read = self.inner.read_buf(&mut self.buffer);
        let count = match self.due {
            None => read.await?,
            Some(due) => {
                let late = "a started frame is complete within 30 s";
                let late = |_| Refusal::new(Code::Deadline, late);
                timeout_at(due, read).await.map_err(late)??
            }
        };
        self.adapt(count, spare);
        match count {
            0 if self.buffer.is_empty() => Err(ReadError::Closed),
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }

    fn adapt(&mut self, count: usize, spare: usize) {
        if count >= spare {
            self.spare = (self.spare * 2).min(*SPARE.end());
        } else if count * 8 < self.spare {
            self.spare = (self.spare / 2).max(*SPARE.start());
        }
    }
}

#[cfg(test)]
mod tests;
