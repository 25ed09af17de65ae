//! How to reach a node: an identity and an opaque hint that only the driver can read.

use serde::{Deserialize, Serialize};

use crate::{codec::Malformed, id::NodeId};

/// An opaque address hint: the node writes up to two multiaddrs into it, the simulator nothing.
///
/// At most [`Hint::BYTES_MAX`] bytes; [`Contact::check`] refuses a longer one from a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hint(#[serde(with = "serde_bytes")] pub Box<[u8]>);

impl Hint {
    /// 128: two multiaddrs of QUIC or TCP over IPv6 take 2 x 30 bytes, DNS names somewhat more.
    pub const BYTES_MAX: usize = 128;
}

/// A node and how to reach it. Whoever mentions a stranger to a peer passes its contact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Contact {
    /// Who.
    pub id: NodeId,
    /// Where, for the driver; may be empty when the driver knows already.
    pub hint: Hint,
}

impl Contact {
    /// A contact without a hint.
    pub fn bare(id: NodeId) -> Self {
        Self {
            id,
            hint: Hint::default(),
        }
    }

    /// Refuses a hint that is too long. For `Wire::check` of messages that carry contacts.
    pub fn check(&self) -> Result<(), Malformed> {
        if self.hint.0.len() > Hint::BYTES_MAX {
            return Err(Malformed::Invalid("address hint longer than 128 bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_over_its_limit_is_refused() {
        let mut contact = Contact::bare(NodeId([1; 32]));
        contact.hint.0 = vec![0; Hint::BYTES_MAX].into();
        assert_eq!(contact.check(), Ok(()));
        contact.hint.0 = vec![0; Hint::BYTES_MAX + 1].into();
        assert!(contact.check().is_err());
    }
}
