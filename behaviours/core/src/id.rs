//! Identities: a node is its ed25519 public key, an overlay a 64-bit name.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A node: the ed25519 public key behind its libp2p `PeerId`. 32 bytes on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// A name for node `index` of a simulation; not a valid key.
    pub fn from_index(index: u32) -> Self {
        let mut bytes = [0; 32];
        bytes[28..].copy_from_slice(&index.to_be_bytes());
        Self(bytes)
    }

    /// The index that [`NodeId::from_index`] was given.
    pub fn index(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// 64 bits of it, for tables in which two nodes that share them do no harm.
    pub fn folded(&self) -> u64 {
        let words = self.0.as_chunks::<8>().0.iter();
        words.fold(0, |sum, word| sum ^ u64::from_le_bytes(*word))
    }

    /// The first four and last four bytes in hexadecimal: enough to tell nodes apart in a log.
    pub fn short(&self) -> String {
        let part = |at: usize| {
            self.0[at..at + 4]
                .iter()
                .fold(0_u32, |word, &byte| word << 8 | u32::from(byte))
        };
        let (head, tail) = (part(0), part(28));
        format!("{head:08x}..{tail:08x}")
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = NodeId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<NodeId, E> {
                <[u8; 32]>::try_from(bytes)
                    .map(NodeId)
                    .map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// One overlay network: the first 8 bytes of the hash of its application's name and owner.
///
/// Two applications of equal id cannot be hosted by one node; the second is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OverlayId(pub u64);

impl fmt::Debug for OverlayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Limits, decode, encode};

    #[test]
    fn an_index_survives_the_round_trip() {
        assert_eq!(NodeId::from_index(70_000).index(), 70_000);
    }

    #[test]
    fn a_node_id_is_a_byte_string_of_32() {
        let node = NodeId([7; 32]);
        let bytes = encode(&node);
        assert_eq!(bytes[..2], [0x58, 32]);
        assert_eq!(decode::<NodeId>(&bytes, Limits::STRICT).unwrap(), node);
        let short = encode(&serde_bytes::Bytes::new(&[7; 31]));
        assert!(decode::<NodeId>(&short, Limits::STRICT).is_err());
    }
}
