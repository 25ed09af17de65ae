//! CBOR with limits: what every byte from outside passes before it becomes a value.
//!
//! Decoding is two steps. [`scan()`] walks the bytes once without allocating values and refuses
//! whatever is not exactly one well-formed item within the [`Limits`]: indefinite lengths, tags,
//! NaN and infinity, duplicate map keys, too deep, too many items, bytes left over. Only then does
//! serde build the value. cbor4ii alone accepts trailing bytes and duplicate keys, and 1 MiB of
//! empty arrays would become a million vectors.
//!
//! Types on the wire use `serde_bytes` for byte strings and avoid `#[serde(flatten)]` and untagged
//! enums, which encode with indefinite lengths or decode ambiguously.

mod scan;

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

pub use self::scan::scan;

/// Bounds on one encoded value. Whatever exceeds one of them is refused whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the encoded value.
    pub bytes: usize,
    /// Most nested arrays and maps; at most [`Limits::DEPTH_MAX`].
    pub depth: usize,
    /// Most data items in all, keys included: bounds what serde may allocate.
    pub items: usize,
    /// Whether every map key must be a text string.
    pub text_keys: bool,
}

impl Limits {
    /// The scanner recurses; this bounds its stack.
    pub const DEPTH_MAX: usize = 32;

    /// For control messages between nodes: 8 KiB, 12 levels, 4,096 items.
    pub const STRICT: Self = Self {
        bytes: 8 << 10,
        depth: 12,
        items: 4_096,
        text_keys: false,
    };
}

/// Why bytes were refused. Nothing was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More bytes than the limit.
    #[error("{bytes} bytes exceed the limit of {limit}")]
    TooLarge {
        /// Bytes offered.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Arrays and maps nested too deeply.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// More data items than the limit.
    #[error("more than {0} data items")]
    TooMany(usize),
    /// The item ends before its time.
    #[error("truncated at byte {0}")]
    Truncated(usize),
    /// Bytes after the item.
    #[error("{0} bytes left over after the item")]
    Trailing(usize),
    /// A construct that this protocol does not use.
    #[error("{what} at byte {at}")]
    Unsupported {
        /// Its name.
        what: &'static str,
        /// Its offset.
        at: usize,
    },
    /// The same key twice in one map.
    #[error("duplicate map key at byte {0}")]
    DuplicateKey(usize),
    /// Well-formed, but not of the expected shape.
    #[error("unexpected shape: {0}")]
    Shape(String),
    /// Of the expected shape, but a value breaks the protocol.
    #[error("invalid value: {0}")]
    Invalid(&'static str),
}

/// A message type: how large it may be, and which of its values are lawful.
pub trait Wire: Serialize + DeserializeOwned + Clone + Debug + Send + 'static {
    /// Bounds on one message.
    const LIMITS: Limits = Limits::STRICT;

    /// Clamps every number that the peer chose, and refuses what no clamp can mend.
    ///
    /// Called once, right after decoding: *check at the edge, trust inside*.
    fn check(&mut self) -> Result<(), Malformed>;
}

/// Encodes any value. Definite lengths as long as the type avoids `#[serde(flatten)]`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    cbor4ii::serde::to_vec(Vec::new(), value).expect("encoding into memory cannot fail")
}

/// Decodes exactly one value within `limits`. Errors: [`Malformed`]; nothing is kept.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, Malformed> {
    scan(bytes, limits)?;
    cbor4ii::serde::from_slice(bytes).map_err(|error| Malformed::Shape(error.to_string()))
}

/// Decodes and checks a message by its own limits.
pub fn decode_wire<M: Wire>(bytes: &[u8]) -> Result<M, Malformed> {
    let mut message: M = decode(bytes, M::LIMITS)?;
    message.check()?;
    Ok(message)
}

#[cfg(test)]
mod tests;
