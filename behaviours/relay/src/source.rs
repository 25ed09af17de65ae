//! The local source: what `send` takes, and the window of a complete flow.

use bytes::Bytes;
use opus_core::Time;

use crate::{
    command::{Event, FlowId},
    complete::{Complete, Role},
    flow::{Ctx, Name},
    header::{BODY_BYTES, FLAG_COMPLETE, FLAG_LAST, Header, Kind, LEFT_MAX, sealed},
    ring::Entry,
    segments::epoch,
    sink::Sink,
};

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

/// What the source of a complete flow has outstanding.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    /// Bytes of frames after the stable position.
    bytes: usize,
    /// `send` was refused: the application waits for `Event::Room`.
    starved: bool,
    /// When the first frame was sent.
    started: Option<Time>,
}

/// A batch as `send` got it, already checked.
pub(crate) struct Batch<'a> {
    pub(crate) frames: &'a [Bytes],
    pub(crate) last: bool,
    pub(crate) partial_ok: bool,
}

/// The header of a source's frame; hop fields come with each copy.
pub(crate) fn data_header(name: &Name, seq: u64, left: u32, flags: u16, ms: u32) -> Header {
    Header {
        hop_seq: 0,
        hop_clock: 0,
        left,
        hop_limit: 0,
        kind: Kind::Data,
        flags,
        flow: name.tag,
        seq,
        ms,
    }
}

/// Milliseconds from `started` to `now`, as far as they fit.
pub(crate) fn ms_since(started: Time, now: Time) -> u32 {
    u32::try_from((now - started).as_millis()).unwrap_or(u32::MAX)
}

impl Complete {
    /// The source attached: its frames go on after ours, or begin a later life at `seq_first`.
    pub(crate) fn begin(&mut self, ctx: &mut Ctx<'_>, seq_first: u64) {
        self.role = Role::Source;
        match self.ring.position() {
            None => self.open(seq_first),
            Some(position) if epoch(seq_first) > epoch(position) => self.ring.jump(seq_first),
            Some(_) => {}
        }
        self.want_tops(ctx);
    }

    /// Takes as many frames of `batch` as the window allows.
    ///
    /// Errors: `Blocked`; nothing is taken.
    pub(crate) fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        batch: &Batch<'_>,
        sinks: &mut [Sink],
    ) -> Result<Sent, SendError> {
        let first = self.ring.position().ok_or(SendError::NoSource)?;
        let fit = self.fitting(ctx, batch.frames);
        let n = batch.frames.len();
        if fit == 0 || (fit < n && !batch.partial_ok) {
            self.window.starved = true;
            self.stats.refused += n as u64;
            return Err(SendError::Blocked);
        }
        let started = *self.window.started.get_or_insert(ctx.now);
        let ms = ms_since(started, ctx.now);
        for (seq, payload) in (first..).zip(&batch.frames[..fit]) {
            let is_last = batch.last && seq + 1 == first + n as u64;
            let flags = FLAG_COMPLETE | if is_last { FLAG_LAST } else { 0 };
            let header = data_header(&self.name, seq, LEFT_MAX, flags, ms);
            let frame = sealed(&ctx.key, &header, payload);
            self.window.bytes += frame.len();
            self.stats.bytes += payload.len() as u64;
            let entry = Entry {
                frame,
                arrived: ctx.now,
                left: LEFT_MAX,
                hop_limit: ctx.config.hops_max,
                repaired: false,
                genuine: true,
            };
            self.ring.insert(seq, entry, usize::MAX);
        }
        self.stats.offered += fit as u64;
        if fit < n {
            self.window.starved = true;
            self.stats.refused += (n - fit) as u64;
        }
        self.advance_stable(ctx);
        self.feed(ctx, sinks);
        ctx.arm_tick();
        Ok(Sent { seq: first, n: fit })
    }

    /// How many of `frames` the window takes: one at least when nothing is outstanding.
    fn fitting(&self, ctx: &Ctx<'_>, frames: &[Bytes]) -> usize {
        let ahead = self.ring.outstanding(self.stable);
        let mut bytes = self.window.bytes;
        let mut fit = 0;
        for (count, payload) in (ahead..).zip(frames) {
            let len = payload.len() + BODY_BYTES;
            let full = count >= ctx.config.window_frames || bytes + len > ctx.config.window_bytes;
            if full && count > 0 {
                break;
            }
            bytes += len;
            fit += 1;
        }
        fit
    }

    /// The source's part of an acknowledgement: the stable position rises, the window opens.
    pub(crate) fn advance_stable(&mut self, ctx: &mut Ctx<'_>) {
        let acked = self.acked().unwrap_or(0);
        if acked > self.stable {
            let from = self
                .ring
                .first()
                .unwrap_or(0)
                .max(self.stable.saturating_add(1));
            let mut seq = self.ring.available_from(from);
            let mut was_held = false;
            while seq <= acked {
                let Some(entry) = self.ring.get(seq) else {
                    break;
                };
                was_held = true;
                self.window.bytes = self.window.bytes.saturating_sub(entry.frame.len());
                seq = self.ring.available_from(seq + 1);
            }
            self.stable = acked;
            if was_held {
                let FlowId { overlay, flow, .. } = self.name.id;
                ctx.out.tell(Event::Stable {
                    overlay,
                    flow,
                    seq: acked,
                });
            }
            let behind = ctx.config.window_frames as u64 / 8;
            for index in 0..self.links.len() {
                if self.links[index].stable_told.saturating_add(behind) <= acked {
                    self.want_top(ctx, index);
                }
            }
        }
        self.settle(ctx);
        let open = self.ring.outstanding(self.stable) <= ctx.config.window_frames * 3 / 4
            && self.window.bytes <= ctx.config.window_bytes * 3 / 4;
        if self.window.starved && open {
            self.window.starved = false;
            let overlay = self.name.id.overlay;
            ctx.out.tell(Event::Room { overlay });
        }
    }
}
