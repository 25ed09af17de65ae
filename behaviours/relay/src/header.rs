//! The 64 bytes in front of a payload (relay.md section 8), all little endian.
//!
//! Bytes 0 to 19 belong to the hop and are rewritten by each node; 20 to 47 and the payload are
//! under the tag, which the source makes with the overlay's key and each sink's node checks.

use bytes::Bytes;
use opus_core::{NodeId, OverlayId};

use crate::config::Config;

/// A header with its length field.
pub const HEADER_BYTES: usize = 64;
/// A header as the forwarding core sees it: the transport takes the length field away.
pub(crate) const BODY_BYTES: usize = HEADER_BYTES - 4;
/// The largest value of the length field.
pub const FRAME_MAX: usize = BODY_BYTES + Config::PAYLOAD_MAX;

/// The version in byte 20.
const VERSION: u8 = 1;
/// One unit of `left` is 10 us.
pub(crate) const LEFT_UNIT_US: u64 = 10;
/// 6 hours, in units of `left`: complete frames have no deadline, their time left tells their age.
pub(crate) const LEFT_MAX: u32 = 6 * 3_600 * 100_000;

/// The copy was sent by the standby rule.
pub const FLAG_STANDBY: u16 = 1;
/// The receiver answers at once.
pub const FLAG_ACK_NOW: u16 = 2;
/// The flow is of the complete class.
pub const FLAG_COMPLETE: u16 = 4;
/// The last frame of a stream.
pub const FLAG_LAST: u16 = 8;
/// The payload is sealed by the application's ends.
pub const FLAG_SEALED: u16 = 16;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A payload.
    Data = 0,
    /// Kinds 1 to 3 and 6 belong to flows with plans; a tree has no use for them.
    Ack = 1,
    /// A hole in the hop sequence.
    Nack = 2,
    /// The standby rule found no way.
    Cannot = 3,
    /// What a neighbour has of a complete flow, sent towards the source.
    Digest = 4,
    /// What the sender can give of a flow, sent away from the source.
    Top = 5,
    /// Redundancy over several frames.
    Parity = 6,
}

/// The fields that the forwarding core reads. `floor`, `tried` and the plan epoch pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Counts the frames of this link, low 32 bits.
    pub hop_seq: u32,
    /// The sender's clock when the frame was written, microseconds, low 32 bits.
    pub hop_clock: u32,
    /// Time left until the deadline, 10 us.
    pub left: u32,
    /// Hops that the frame may still take.
    pub hop_limit: u8,
    /// What it is for.
    pub kind: Kind,
    /// `FLAG_*`.
    pub flags: u16,
    /// [`flow_tag`].
    pub flow: u64,
    /// Sequence within the flow.
    pub seq: u64,
    /// Milliseconds from the flow's first frame to this one, at the source.
    pub ms: u32,
}

/// Bytes that are no frame of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Shorter than a header or longer than the largest frame.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// Another version.
    #[error("frame version {0}")]
    Version(u8),
    /// A kind that is not defined.
    #[error("frame kind {0}")]
    Kind(u8),
}

impl Header {
    /// Reads the header of `body`, a frame without its length field.
    ///
    /// Errors: `BadFrame`; nothing is kept.
    pub fn read(body: &[u8]) -> Result<Self, BadFrame> {
        let len = body.len();
        let head: &[u8; BODY_BYTES] = match body.first_chunk() {
            Some(head) if len <= FRAME_MAX => head,
            Some(_) | None => return Err(BadFrame::Length(len)),
        };
        if head[16] != VERSION {
            return Err(BadFrame::Version(head[16]));
        }
        Ok(Self {
            hop_seq: u32_at(head, 0),
            hop_clock: u32_at(head, 4),
            left: u32_at(head, 8).min(LEFT_MAX),
            hop_limit: head[12],
            kind: kind_of(head[17])?,
            flags: u16::from_le_bytes([head[18], head[19]]),
            flow: u64_at(head, 20),
            seq: u64_at(head, 28),
            ms: u32_at(head, 40),
        })
    }

    /// Writes the header into a whole frame of `payload` bytes; the frame tag stays zero.
    pub fn write(&self, payload: usize) -> [u8; HEADER_BYTES] {
        let mut head = [0; HEADER_BYTES];
        let length = u32::try_from(BODY_BYTES + payload).unwrap_or(u32::MAX);
        head[0..4].copy_from_slice(&length.to_le_bytes());
        head[4..8].copy_from_slice(&self.hop_seq.to_le_bytes());
        head[8..12].copy_from_slice(&self.hop_clock.to_le_bytes());
        head[12..16].copy_from_slice(&self.left.to_le_bytes());
        head[16] = self.hop_limit;
        head[20] = VERSION;
        head[21] = self.kind as u8;
        head[22..24].copy_from_slice(&self.flags.to_le_bytes());
        head[24..32].copy_from_slice(&self.flow.to_le_bytes());
        head[32..40].copy_from_slice(&self.seq.to_le_bytes());
        head[44..48].copy_from_slice(&self.ms.to_le_bytes());
        head
    }
}

/// The hop fields that a node writes anew on each copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    pub(crate) seq: u64,
    pub(crate) clock_us: u64,
    pub(crate) left: u32,
    pub(crate) limit: u8,
}

/// The head of a copy of `body` with other hop fields; the payload follows as it is.
pub(crate) fn rewrite(body: &[u8], hop: Hop) -> [u8; HEADER_BYTES] {
    let mut head = [0; HEADER_BYTES];
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    head[0..4].copy_from_slice(&length.to_le_bytes());
    head[4..64].copy_from_slice(&body[..BODY_BYTES]);
    head[4..8].copy_from_slice(&low(hop.seq).to_le_bytes());
    head[8..12].copy_from_slice(&low(hop.clock_us).to_le_bytes());
    head[12..16].copy_from_slice(&hop.left.to_le_bytes());
    head[16] = hop.limit;
    head
}

/// The name of a flow on the wire: the first 8 bytes of a hash of overlay, source and number.
pub fn flow_tag(overlay: OverlayId, source: NodeId, flow: u8) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"opus/flow/1\0");
    hasher.update(&overlay.0.to_le_bytes());
    hasher.update(&source.0);
    hasher.update(&[flow]);
    u64_at(hasher.finalize().as_bytes(), 0)
}

/// The tag over bytes 20 to 47 of the header and the payload, 128 bits of keyed BLAKE3.
fn frame_tag(key: &[u8; 32], body: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&body[16..44]);
    hasher.update(&body[BODY_BYTES..]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    tag
}

/// Whether the tag of `body`, at least a header long, was made with `key`.
pub(crate) fn is_genuine(key: &[u8; 32], body: &[u8]) -> bool {
    // Compared without an early end: the time tells nothing about the right tag.
    let differing = frame_tag(key, body)
        .iter()
        .zip(&body[44..60])
        .fold(0, |acc, (a, b)| acc | (a ^ b));
    differing == 0
}

/// A tagged frame of the source, without length field.
pub(crate) fn sealed(key: &[u8; 32], header: &Header, payload: &[u8]) -> Bytes {
    let mut body = Vec::with_capacity(BODY_BYTES + payload.len());
    body.extend_from_slice(&header.write(payload.len())[4..]);
    body.extend_from_slice(payload);
    let tag = frame_tag(key, &body);
    body[44..60].copy_from_slice(&tag);
    Bytes::from(body)
}

/// The low half: hop sequence and clock wrap on the wire.
pub(crate) const fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn kind_of(byte: u8) -> Result<Kind, BadFrame> {
    Ok(match byte {
        0 => Kind::Data,
        1 => Kind::Ack,
        2 => Kind::Nack,
        3 => Kind::Cannot,
        4 => Kind::Digest,
        5 => Kind::Top,
        6 => Kind::Parity,
        other => return Err(BadFrame::Kind(other)),
    })
}

/// Four bytes from `at`, which the caller knows to be inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// Eight bytes from `at`, which the caller knows to be inside.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            hop_seq: 7,
            hop_clock: 9,
            left: 40_000,
            hop_limit: 64,
            kind: Kind::Data,
            flags: FLAG_LAST,
            flow: 0x0102_0304_0506_0708,
            seq: 3 << 40 | 1,
            ms: 77,
        }
    }

    #[test]
    fn the_layout_is_that_of_the_design_page() {
        let head = header().write(2);
        assert_eq!(head[0..4], 62_u32.to_le_bytes());
        assert_eq!(head[4], 7);
        assert_eq!(head[8], 9);
        assert_eq!(head[12..16], 40_000_u32.to_le_bytes());
        assert_eq!((head[16], head[17], head[18], head[19]), (64, 0, 0, 0));
        assert_eq!((head[20], head[21], head[22]), (1, 0, 8));
        assert_eq!(head[24..32], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(head[32..40], (3_u64 << 40 | 1).to_le_bytes());
        assert_eq!(head[40..44], [0; 4]);
        assert_eq!(head[44], 77);
        assert_eq!(Header::read(&head[4..]), Ok(header()));
    }

    #[test]
    fn a_copy_with_other_hop_fields_stays_genuine_and_a_changed_one_does_not() {
        let key = [5; 32];
        let body = sealed(&key, &header(), b"payload");
        let hop = Hop {
            seq: 1 << 32 | 5,
            clock_us: 6,
            left: 3,
            limit: 9,
        };
        let head = rewrite(&body, hop);
        let mut copy = head[4..].to_vec();
        copy.extend_from_slice(&body[BODY_BYTES..]);
        assert!(is_genuine(&key, &copy));
        assert_eq!(Header::read(&copy).unwrap().hop_seq, 5);
        for at in [16, 20, 28, 40, 43, 44, 59, 60, 66] {
            let mut changed = copy.clone();
            changed[at] ^= 1;
            assert!(
                !is_genuine(&key, &changed),
                "byte {at} is not under the tag"
            );
        }
        assert!(!is_genuine(&[6; 32], &copy));
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused() {
        let body = sealed(&[0; 32], &header(), &[0; 10]);
        assert_eq!(Header::read(&body[..59]), Err(BadFrame::Length(59)));
        let long = vec![0; FRAME_MAX + 1];
        assert_eq!(Header::read(&long), Err(BadFrame::Length(FRAME_MAX + 1)));
        let mut other = body.to_vec();
        other[16] = 2;
        assert_eq!(Header::read(&other), Err(BadFrame::Version(2)));
        other[16] = 1;
        other[17] = 7;
        assert_eq!(Header::read(&other), Err(BadFrame::Kind(7)));
    }

    #[test]
    fn time_left_from_a_peer_is_clamped() {
        let mut body = sealed(&[0; 32], &header(), &[]).to_vec();
        body[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Header::read(&body).unwrap().left, LEFT_MAX);
    }
}
