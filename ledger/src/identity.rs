//! Who a node is: its ed25519 public key, shown as the libp2p peer id that people copy and paste.
//!
//! A peer id is the base58btc form of the identity multihash of the protobuf-encoded key (libp2p `peer-ids` specification);
//! for ed25519 that is a fixed prefix of six bytes before the key, so the two name the same thing and convert without loss.

use crate::digest::ordered_by_words;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Identity multihash of 36 bytes (0x00 0x24), key type ed25519 (0x08 0x01), 32 bytes of key (0x12 0x20).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The longest text that is read as a peer id: 38 bytes have 52 digits at most, and reading base58 takes the square of the length.
const PEER_ID_CHARS_MAX: usize = 64;

/// A node of the network. Decoding does not check the key; [`NodeId::check`] does, and is called where a key enters the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct NodeId([u8; 32]);

ordered_by_words!(NodeId);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NodeIdError {
    #[error("PeerId has invalid format: {0}")]
    Format(String),
    #[error("peer id {0} does not hold an ed25519 key")]
    KeyType(String),
    #[error("the key of peer id {0} is weak or not canonical")]
    WeakKey(String),
}

impl NodeId {
    pub const fn from_public_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub const fn public_key(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key as 64 hexadecimal digits.
    pub fn public_key_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Refuses what is no point of the curve, a point of small order, and a second encoding of a point.
    ///
    /// ZIP-215 verification accepts all of these, on purpose: it must be the same everywhere. Keeping such keys out of the
    /// ledger is what makes a signature say something about its author.
    pub fn check(&self) -> Result<(), NodeIdError> {
        let weak = || NodeIdError::WeakKey(self.to_string());
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| weak())?;
        if key.is_weak() || !is_canonical(&self.0) {
            return Err(weak());
        }
        Ok(())
    }
}

/// Whether the y coordinate (the low 255 bits, little-endian) is below p = 2^255 - 19.
fn is_canonical(key: &[u8; 32]) -> bool {
    let top_is_max = key[31] & 0x7f == 0x7f && key[1..31].iter().all(|b| *b == 0xff);
    !(top_is_max && key[0] >= 0xed)
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let invalid = || NodeIdError::Format(text.chars().take(128).collect());
        if text.len() > PEER_ID_CHARS_MAX {
            return Err(invalid());
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| invalid())?;
        let Some(key) = bytes.strip_prefix(&PEER_ID_PREFIX) else {
            // Other multihashes are well-formed peer ids of keys this network does not use.
            return Err(if bytes.len() > 2 && bytes[0] == 0x12 { NodeIdError::KeyType(text.to_owned()) } else { invalid() });
        };
        let node = Self(key.try_into().map_err(|_| invalid())?);
        node.check()?;
        Ok(node)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node:{}", hex::encode(&self.0[..4]))
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_reads_back_what_it_shows() {
        let text = "12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn";
        let node: NodeId = text.parse().expect("the tutorial's peer id");
        assert_eq!(node.to_string(), text);
    }

    #[test]
    fn what_is_no_ed25519_peer_id_is_refused() {
        assert_eq!("notapeer".parse::<NodeId>(), Err(NodeIdError::Format("notapeer".into())));
        assert!(matches!("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse::<NodeId>(), Err(NodeIdError::KeyType(_))));
        // A million digits would take minutes.
        assert!(matches!("z".repeat(1 << 20).parse::<NodeId>(), Err(NodeIdError::Format(text)) if text.len() == 128));
        let padded = format!("{}12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn", "1".repeat(13));
        assert!(matches!(padded.parse::<NodeId>(), Err(NodeIdError::Format(_))));
        let small_order = NodeId::from_public_key([0; 32]).to_string();
        assert!(matches!(small_order.parse::<NodeId>(), Err(NodeIdError::WeakKey(_))));
        let mut not_canonical = [0xff; 32];
        not_canonical[0] = 0xee;
        not_canonical[31] = 0x7f;
        assert!(NodeId::from_public_key(not_canonical).check().is_err());
    }
}
