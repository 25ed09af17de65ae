//! The sending end of an attachment.

use bytes::Bytes;
use opus_core::OverlayId;
use opus_relay::SendError as Refused;

use super::Data;

/// Why frames were not taken. None of the batch's remaining frames was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The attachment is not, or no longer, the source of the overlay.
    #[error("this attachment is not the source of its application")]
    NotSource,
    /// A payload is over the limit.
    #[error("a payload is larger than 64 KiB")]
    TooLarge,
}

/// What was taken: `n` frames, the first of them with sequence `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Sequence of the first frame; of the next one to come when `n` is 0.
    pub seq: u64,
    /// Count.
    pub n: usize,
}

impl Data {
    /// Sends `payloads` in order as frames of `flow`, and returns when the node holds them all:
    /// that is the back-pressure. With `at_once` it takes what fits and returns.
    pub async fn send(
        &self,
        overlay: OverlayId,
        flow: u8,
        payloads: &[Bytes],
        last: bool,
        at_once: bool,
    ) -> Result<Taken, SendError> {
        let mut taken = Taken { seq: 0, n: 0 };
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Registered before the try, so that room which comes in between is not missed.
            moved.as_mut().enable();
            let rest = &payloads[taken.n..];
            let sent = self.mutate(|forward, now| {
                // Part of a batch is taken as room comes: the rest follows with the next numbers.
                forward.send(now, overlay, flow, rest, last, true)
            });
            match sent {
                Ok(sent) => {
                    if taken.n == 0 {
                        taken.seq = sent.seq;
                    }
                    taken.n += sent.n;
                    let end = sent.seq + sent.n as u64 - 1;
                    self.lock().sent.insert((overlay, flow), end);
                }
                Err(Refused::Blocked | Refused::Empty) => {}
                Err(Refused::NoSource) => return Err(SendError::NotSource),
                Err(Refused::TooLarge) => return Err(SendError::TooLarge),
            }
            if taken.n == payloads.len() || at_once {
                if taken.n == 0 {
                    let sent = self.lock().sent.get(&(overlay, flow)).copied();
                    taken.seq = sent.map_or(0, |last| last + 1);
                }
                return Ok(taken);
            }
            moved.await;
        }
    }

    /// Returns when every joined sink has acknowledged all frames of `flow` sent so far. At once
    /// for timed flows, which nobody acknowledges, and when nothing was sent.
    pub async fn flush(&self, overlay: OverlayId, flow: u8) -> Result<(), SendError> {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            {
                let inner = self.lock();
                if !inner.sources.contains(&overlay) {
                    return Err(SendError::NotSource);
                }
                let sent = inner.sent.get(&(overlay, flow)).copied().unwrap_or(0);
                let stable = inner.stable.get(&(overlay, flow)).copied().unwrap_or(0);
                if stable >= sent || !inner.complete.contains(&overlay) {
                    return Ok(());
                }
            }
            moved.await;
        }
    }
}
