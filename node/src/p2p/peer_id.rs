//! Node ids and libp2p's peer ids: two names of the same key.

use libp2p::PeerId;
use pyrsia_ledger::NodeId;

/// Identity multihash of 36 bytes, key type ed25519, 32 bytes of key (libp2p peer ids specification).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

pub(crate) fn peer_of(node: &NodeId) -> PeerId {
    let bytes = [&PEER_ID_PREFIX[..], node.public_key()].concat();
    PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

/// None for a peer whose key is not ed25519, which cannot be a node.
pub(crate) fn node_of(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&PEER_ID_PREFIX)?;
    Some(NodeId::from_public_key(key.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_shown_alike_and_convert_without_loss() {
        let node = NodeId::from_public_key([7; 32]);
        assert_eq!(peer_of(&node).to_string(), node.to_string());
        assert_eq!(node_of(&peer_of(&node)), Some(node));
        let other = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().expect("an RSA peer id");
        assert_eq!(node_of(&other), None);
    }
}
