//! Bytes of a substream to whole frames, without copying where it pays.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{FRAME_BYTES_MAX, PREFIX_BYTES};

/// The first chunk: a small frame, or the start of a burst.
const CHUNK_MIN: usize = 4 << 10;
/// The largest: a frame of any size fits.
const CHUNK_MAX: usize = 68 << 10;
/// With less room than this at its end, a chunk counts as full.
const ROOM_MIN: usize = 2 << 10;

/// The peer announced a frame of no bytes, or of more than [`FRAME_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLength(pub(super) usize);

/// One chunk that grows with the traffic: at most [`CHUNK_MAX`] bytes, none while idle.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Initialised to its end; `..filled` was read and is not yet handed out.
    chunk: BytesMut,
    filled: usize,
    /// Size of the next chunk: doubled by a read that fills the chunk, halved by one that leaves
    /// most of it empty.
    size: usize,
}

impl Reader {
    /// Where to read to; never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let size = self.size.clamp(CHUNK_MIN, CHUNK_MAX);
        let needed = self.frame_needs().max(self.filled + ROOM_MIN);
        if self.chunk.len() < needed {
            let mut chunk = BytesMut::zeroed(size.max(needed));
            chunk[..self.filled].copy_from_slice(&self.chunk[..self.filled]);
            self.chunk = chunk;
        }
        &mut self.chunk[self.filled..]
    }

    /// `count` bytes were read; appends the frames that are whole to `frames`.
    ///
    /// Errors: a length out of bounds; frames before it are appended, what follows is lost.
    pub(super) fn advance(
        &mut self,
        count: usize,
        frames: &mut Vec<Bytes>,
    ) -> Result<(), BadLength> {
        self.filled += count;
        debug_assert!(self.filled <= self.chunk.len());
        let size = self.size.clamp(CHUNK_MIN, CHUNK_MAX);
        if self.filled == self.chunk.len() {
            self.size = (size * 2).min(CHUNK_MAX);
        } else if self.filled < self.chunk.len() / 8 {
            self.size = (size / 2).max(CHUNK_MIN);
        }
        if self.filled >= self.chunk.len() / 4 {
            self.share(frames)
        } else {
            self.copy(frames)
        }
    }

    /// Nothing to read for now: an idle reader holds no chunk.
    pub(super) fn idle(&mut self) {
        if self.filled == 0 {
            self.chunk = BytesMut::new();
        }
    }

    /// Frames as slices of the chunk; the rest of the chunk is used on.
    fn share(&mut self, frames: &mut Vec<Bytes>) -> Result<(), BadLength> {
        let (end, bad) = walk(&self.chunk[..self.filled], |_| {});
        let shared = self.chunk.split_to(end).freeze();
        self.filled -= end;
        walk(&shared, |range| frames.push(shared.slice(range)));
        bad.map_or(Ok(()), Err)
    }

    /// Frames as copies; the whole chunk is used again.
    fn copy(&mut self, frames: &mut Vec<Bytes>) -> Result<(), BadLength> {
        let filled = &self.chunk[..self.filled];
        let (end, bad) = walk(filled, |range| {
            frames.push(Bytes::copy_from_slice(&filled[range]));
        });
        self.chunk.copy_within(end..self.filled, 0);
        self.filled -= end;
        bad.map_or(Ok(()), Err)
    }

    /// Bytes that the frame at the front needs, its prefix included.
    fn frame_needs(&self) -> usize {
        let length = length(&self.chunk[..self.filled]).unwrap_or(0);
        PREFIX_BYTES + length.min(FRAME_BYTES_MAX)
    }
}

/// Calls `frame` with the place of each whole frame. Gives where they end, and what stopped it.
fn walk(bytes: &[u8], mut frame: impl FnMut(Range<usize>)) -> (usize, Option<BadLength>) {
    let mut at = 0;
    while let Some(length) = length(&bytes[at..]) {
        if length == 0 || length > FRAME_BYTES_MAX {
            return (at, Some(BadLength(length)));
        }
        let start = at + PREFIX_BYTES;
        if bytes.len() - start < length {
            break;
        }
        frame(start..start + length);
        at = start + length;
    }
    (at, None)
}

/// The length that a frame begins with, if it has arrived.
fn length(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<PREFIX_BYTES>()?;
    Some(u32::from_le_bytes(*prefix) as usize)
}

/// Whole frames in `bytes`, which the plane encoded.
pub(super) fn count(bytes: &[u8]) -> u64 {
    let mut count = 0;
    walk(bytes, |_| count += 1);
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frames::put_frame;

    /// Feeds `bytes` in reads of at most the given sizes.
    fn read(bytes: &[u8], sizes: &[usize]) -> (Vec<Bytes>, Reader, Result<(), BadLength>) {
        let (mut reader, mut frames) = (Reader::default(), Vec::new());
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let room = reader.room();
            let count = room.len().min(*size).min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            if let Err(bad) = reader.advance(count, &mut frames) {
                return (frames, reader, Err(bad));
            }
        }
        (frames, reader, Ok(()))
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            lengths in prop::collection::vec(1..3_000_usize, 1..40),
            large in 1..=FRAME_BYTES_MAX,
            sizes in prop::collection::vec(1..70_000_usize, 1..8),
        ) {
            let mut bytes = BytesMut::new();
            let mut sent = Vec::new();
            for (index, length) in lengths.into_iter().chain([large]).enumerate() {
                let byte = u8::try_from(index).expect("few frames");
                sent.push(Bytes::from(vec![byte; length]));
                put_frame(&mut bytes, &sent[index]);
            }
            let (frames, reader, result) = read(&bytes, &sizes);
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(frames, sent);
            prop_assert_eq!(reader.filled, 0);
            prop_assert!(reader.chunk.len() <= CHUNK_MAX);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_or_of_zero_is_refused_after_the_frames_before_it() {
        for bad in [0, FRAME_BYTES_MAX + 1, u32::MAX as usize] {
            let mut bytes = BytesMut::new();
            put_frame(&mut bytes, b"good");
            bytes.extend_from_slice(&u32::try_from(bad).unwrap().to_le_bytes());
            let (frames, _, result) = read(&bytes, &[5_000]);
            assert_eq!(result, Err(BadLength(bad)));
            assert_eq!(frames, [Bytes::from_static(b"good")]);
        }
    }

    #[test]
    fn a_small_frame_pins_little_and_a_burst_is_not_copied() {
        let mut small = BytesMut::new();
        put_frame(&mut small, &[1; 100]);
        let (frames, mut reader, _) = read(&small, &[5_000]);
        assert!(frames[0].is_unique(), "copied out of a chunk hardly used");
        reader.idle();
        assert_eq!(reader.chunk.capacity(), 0);

        let mut burst = BytesMut::new();
        for _ in 0..4 {
            put_frame(&mut burst, &[1; 1_000]);
        }
        let (frames, _, _) = read(&burst, &[5_000]);
        assert!(!frames[0].is_unique(), "shares its chunk");
    }

    #[test]
    fn chunks_grow_with_the_traffic() {
        let mut bytes = BytesMut::new();
        for _ in 0..1_000 {
            put_frame(&mut bytes, &[1; 1_000]);
        }
        let (frames, reader, _) = read(&bytes, &[usize::MAX]);
        assert_eq!(frames.len(), 1_000);
        assert_eq!(reader.size, CHUNK_MAX);
    }
}
