//! `frames.*`: the payload path. Payloads are slices of the read buffer, never copied by serde.

use bytes::Bytes;
use opus_core::{Malformed, NodeId};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess},
    ser::SerializeSeq,
};
use serde_bytes::Bytes as Str;
use std::fmt;

use crate::{
    body::{Body, bodies, maybe_num},
    wire::{BATCH_MAX, PAYLOAD_MAX},
};

/// Highest flow number.
const FLOW_MAX: u8 = 15;

/// Payloads below this many bytes are copied: a slice would pin its whole read buffer (64 KiB).
const SLICE_MIN: usize = 512;

/// `frames.send`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FramesSend {
    /// From `app.attach`.
    pub att: u64,
    /// 1 to 256 payloads of at most 64 KiB; one is a `bstr`, more are an array.
    #[serde(serialize_with = "write_payloads")]
    pub data: Vec<Bytes>,
    /// 0 to 15; 0 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<u8>,
    /// One member only (multi-sender, service).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeId>,
    /// Take what fits instead of waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<bool>,
    /// Feature `last`: the last of `data` ends the stream; delivered as [`Frame::LAST`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<bool>,
}

/// Result of `frames.send`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Sequence number of the first frame.
    pub seq: u64,
    /// How many were taken.
    pub n: u64,
    /// Share in time that the overlay can keep, when that is less than promised.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_num")]
    pub attainable: Option<f64>,
}

/// `frames.recv`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramesRecv {
    /// From `app.attach`.
    pub att: u64,
    /// This flow only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u8>,
    /// Credit to begin with instead of 64; at most 4,096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<u64>,
}

/// `frames.flush`, feature `flush`: answered when every joined sink has acknowledged all frames
/// sent so far (complete class).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramesFlush {
    /// From `app.attach`.
    pub att: u64,
    /// This flow only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u8>,
}

/// Item of `frames.recv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The source's node.
    pub src: NodeId,
    /// Rises by 1 per source and flow.
    pub seq: u64,
    /// [`Frame::REPAIRED`], [`Frame::LOST`], [`Frame::LAST`].
    pub flags: u32,
    /// The payload.
    pub data: Bytes,
}

impl Frame {
    /// It was fetched again after a loss.
    pub const REPAIRED: u32 = 1;
    /// This slow client lost frames before it.
    pub const LOST: u32 = 2;
    /// Feature `last`: the source says that nothing follows.
    pub const LAST: u32 = 4;
}

bodies!(Sent, FramesRecv => recv, FramesFlush => flush);

impl Body for FramesSend {
    fn read(item: &Bytes) -> Result<Self, Malformed> {
        let params: Params = owned_borrowing(item)?;
        flow(params.flow)?;
        if params.data.0.is_empty() || params.data.0.len() > BATCH_MAX {
            return Err(Malformed::Invalid("data is 1 to 256 payloads"));
        }
        for payload in &params.data.0 {
            if payload.len() > PAYLOAD_MAX {
                return Err(Malformed::TooLarge {
                    bytes: payload.len(),
                    limit: PAYLOAD_MAX,
                });
            }
        }
        Ok(Self {
            att: params.att,
            data: params
                .data
                .0
                .iter()
                .map(|bytes| slice(item, bytes))
                .collect(),
            flow: params.flow,
            to: params.to,
            now: params.now,
            last: params.last,
        })
    }
}

impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.src, self.seq, self.flags, Str::new(&self.data)).serialize(serializer)
    }
}

impl Body for Frame {
    fn read(item: &Bytes) -> Result<Self, Malformed> {
        let (src, seq, flags, data): (NodeId, u64, u32, &[u8]) = owned_borrowing(item)?;
        Ok(Self {
            src,
            seq,
            flags,
            data: slice(item, data),
        })
    }
}

fn recv(params: &FramesRecv) -> Result<(), Malformed> {
    flow(params.flow)
}

fn flush(params: &FramesFlush) -> Result<(), Malformed> {
    flow(params.flow)
}

fn flow(flow: Option<u8>) -> Result<(), Malformed> {
    match flow {
        Some(flow) if flow > FLOW_MAX => Err(Malformed::Invalid("flow is 0 to 15")),
        _ => Ok(()),
    }
}

fn slice(item: &Bytes, payload: &[u8]) -> Bytes {
    if payload.len() < SLICE_MIN {
        Bytes::copy_from_slice(payload)
    } else {
        item.slice_ref(payload)
    }
}

fn owned_borrowing<'a, T: Deserialize<'a>>(item: &'a [u8]) -> Result<T, Malformed> {
    cbor4ii::serde::from_slice(item).map_err(|error| Malformed::Shape(error.to_string()))
}

fn write_payloads<S: Serializer>(data: &[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
    if let [one] = data {
        return serializer.serialize_bytes(one);
    }
    let mut list = serializer.serialize_seq(Some(data.len()))?;
    for payload in data {
        list.serialize_element(Str::new(payload))?;
    }
    list.end()
}

/// [`FramesSend`] while its payloads still borrow from the frame.
#[derive(Deserialize)]
struct Params<'a> {
    att: u64,
    #[serde(borrow)]
    data: Payloads<'a>,
    #[serde(default)]
    flow: Option<u8>,
    #[serde(default)]
    to: Option<NodeId>,
    #[serde(default)]
    now: Option<bool>,
    #[serde(default)]
    last: Option<bool>,
}

/// `bstr / [+ bstr]`, borrowed.
struct Payloads<'a>(Vec<&'a [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Payloads<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Payloads<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string or an array of them")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Payloads(vec![bytes]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut payloads = Vec::with_capacity(list.size_hint().unwrap_or(0).min(BATCH_MAX));
                while let Some(bytes) = list.next_element()? {
                    payloads.push(bytes);
                }
                Ok(Payloads(payloads))
            }
        }
        from.deserialize_any(Visitor)
    }
}
