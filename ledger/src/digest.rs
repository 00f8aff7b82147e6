//! SHA-256 digests as a type: parsed once at the edge, shown as 64 lower-case hexadecimal digits.

mod pair;
mod running;

pub use running::RunningSha256;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A SHA-256 digest (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Sha256Digest([u8; 32]);

/// The order of bytes, eight at a time: of two keys that are hashes the first eight mostly tell it, and searching the state's maps
/// is comparing keys.
pub(crate) fn compare<const N: usize>(one: &[u8; N], other: &[u8; N]) -> Ordering {
    const { assert!(N.is_multiple_of(8), "no byte is left over") };
    let words = |bytes| <[u8]>::as_chunks::<8>(bytes).0.iter().map(|word| u64::from_be_bytes(*word));
    words(one).cmp(words(other))
}

/// The order of a type that is bytes, by [`compare`].
macro_rules! ordered_by_words {
    ($name:ident) => {
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                $crate::digest::compare(&self.0, &other.0)
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}
pub(crate) use ordered_by_words;

ordered_by_words!(Sha256Digest);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a sha256 digest is 64 lower-case hexadecimal digits, not {text:?}")]
pub struct DigestError {
    pub text: String,
}

impl Sha256Digest {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of all `parts`, one after the other.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The digests of two messages, each in two parts, in less time than one after the other.
    pub(crate) fn of_both(messages: [[&[u8]; 2]; 2]) -> [Self; 2] {
        pair::digests(messages).map_or_else(|| messages.map(|parts| Self::of_parts(&parts)), |digests| digests.map(Self))
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The form `sha256:<hex>` of the OCI image specification.
    pub fn to_oci(&self) -> String {
        format!("sha256:{self}")
    }

    /// Reads the form `sha256:<hex>`.
    pub fn from_oci(text: &str) -> Result<Self, DigestError> {
        text.strip_prefix("sha256:").ok_or_else(|| DigestError { text: text.to_owned() })?.parse()
    }
}

impl FromStr for Sha256Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refused = || DigestError { text: text.chars().take(80).collect() };
        let lower = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        if text.len() != 64 || !text.as_bytes().iter().all(lower) {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| refused())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(&self.0[..6]))
    }
}

impl Serialize for Sha256Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_have_the_order_of_bytes(mut bytes in any::<[[u8; 32]; 2]>(), same in 0usize..=32) {
            let beginning = bytes[0];
            bytes[1][..same].copy_from_slice(&beginning[..same]);
            prop_assert_eq!(compare(&bytes[0], &bytes[1]), bytes[0].cmp(&bytes[1]));
        }

        #[test]
        fn two_digests_in_step_are_those_of_each_alone(bytes in prop::collection::vec(any::<u8>(), 0..700), cuts in any::<[prop::sample::Index; 4]>()) {
            let cut = |at: usize, bytes| -> (&[u8], &[u8]) { <[u8]>::split_at(bytes, cuts[at].index(bytes.len() + 1)) };
            let (one, other) = cut(0, &bytes);
            let messages = [cut(1, one), cut(2, other)].map(|(beginning, rest)| [beginning, rest]);
            prop_assert_eq!(Sha256Digest::of_both(messages), messages.map(|parts| Sha256Digest::of_parts(&parts)));
        }
    }

    #[test]
    fn a_digest_reads_back_what_it_shows_and_nothing_else() {
        let digest = Sha256Digest::of(b"pyrsia");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(Sha256Digest::from_oci(&digest.to_oci()), Ok(digest));
        for wrong in
            ["", "ab", &digest.to_string().to_uppercase(), &format!("{digest}0"), &format!("0x{}", &digest.to_string()[2..])]
        {
            assert!(wrong.parse::<Sha256Digest>().is_err(), "{wrong}");
        }
        assert!(Sha256Digest::from_oci(&digest.to_string()).is_err());
    }
}
