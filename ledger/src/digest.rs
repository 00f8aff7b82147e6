//! SHA-256 digests as a type: parsed once at the edge, shown as 64 lower-case hexadecimal digits.

mod pair;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// A SHA-256 digest (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Sha256Digest([u8; 32]);

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
