//! `NodeId` and `PeerId` are the same ed25519 key in two coats.

use libp2p::PeerId;
use opus_core::NodeId;

/// Identity multihash (code 0x00) of 0x24 bytes: the protobuf of a public key, type ed25519
/// (0x08 0x01), 0x20 bytes (0x12 0x20). Source: libp2p specs, peer-ids.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The node behind a peer; `None` when its key is not an inlined ed25519 key.
pub fn node_id(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&PREFIX)?;
    key.try_into().ok().map(NodeId)
}

/// The peer that a node is in libp2p. Total: whether the bytes are a valid key shows in the
/// handshake.
pub fn peer_id(node: &NodeId) -> PeerId {
    let mut bytes = [0; 38];
    bytes[..6].copy_from_slice(&PREFIX);
    bytes[6..].copy_from_slice(&node.0);
    PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn a_key_survives_the_round_trip_and_is_the_public_key() {
        let keypair = Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let peer = keypair.public().to_peer_id();
        let node = node_id(&peer).unwrap();
        let key = keypair.public().try_into_ed25519().unwrap();
        assert_eq!(node.0, key.to_bytes());
        assert_eq!(peer_id(&node), peer);
    }

    #[test]
    fn a_hashed_key_is_no_node() {
        let mut bytes = vec![0x12, 0x20];
        bytes.extend([9; 32]);
        let peer = PeerId::from_bytes(&bytes).unwrap();
        assert_eq!(node_id(&peer), None);
    }

    #[test]
    fn an_inlined_key_of_another_kind_is_no_node() {
        // Type secp256k1 (2) in place of ed25519 (1), and the same length.
        let mut bytes = peer_id(&NodeId([9; 32])).to_bytes();
        bytes[3] = 2;
        assert_eq!(node_id(&PeerId::from_bytes(&bytes).unwrap()), None);
    }
}
