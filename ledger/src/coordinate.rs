//! The names of packages, artifacts and builds, each a type that checks itself when it is made.
//!
//! The ledger does not know what a coordinate means: the verifier of its package type parses and normalises it. What is
//! checked here is only what every type must keep: printable ASCII without spaces, and a length that fits in an event.

use crate::digest::{Sha256Digest, ordered_by_words};
use crate::signed::NetworkId;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::sync::Arc;

/// The longest package type, in bytes.
pub const PACKAGE_TYPE_BYTES_MAX: usize = 32;
/// The longest package or artifact id, in bytes: an OCI name of 255, a digest of 71, and room.
pub const ID_BYTES_MAX: usize = 512;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CoordinateError {
    #[error("a package type is 1 to {PACKAGE_TYPE_BYTES_MAX} of a-z, 0-9 and -, beginning with a letter, not {0:?}")]
    PackageType(String),
    #[error("an id is 1 to {ID_BYTES_MAX} bytes of printable ASCII without spaces, not {0:?}")]
    Id(String),
}

macro_rules! checked_text {
    ($name:ident, $check:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl Into<String>) -> Result<Self, CoordinateError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                // Rows have the names of others, and searching them is comparing names.
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl BorshSerialize for $name {
            fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
                BorshSerialize::serialize(self.as_str(), writer)
            }
        }

        impl BorshDeserialize for $name {
            fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
                let length = u32::deserialize_reader(reader)? as usize;
                let mut bytes = [0; ID_BYTES_MAX];
                let wrong = |e: &dyn fmt::Display| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
                let bytes = bytes.get_mut(..length).ok_or_else(|| wrong(&"a name is too long"))?;
                reader.read_exact(bytes)?;
                let text = std::str::from_utf8(bytes).map_err(|e| wrong(&e))?;
                $check(text).map_err(|e| wrong(&e))?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = CoordinateError;
            fn try_from(text: String) -> Result<Self, CoordinateError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

checked_text!(PackageType, check_package_type, "An ecosystem, such as `docker` or `maven`.");
checked_text!(PackageId, check_id, "A package as its verifier writes it, such as `alpine:3.16.0`.");
checked_text!(ArtifactId, check_id, "One file of a package, such as `alpine@sha256:…`; unique within its package type.");

impl PackageType {
    /// The name as people read it in logs: `Docker`.
    pub fn capitalised(&self) -> String {
        let (first, rest) = self.0.split_at(1); // Checked: it begins with one of a-z.
        first.to_ascii_uppercase() + rest
    }
}

fn check_package_type(text: &str) -> Result<(), CoordinateError> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = (1..=PACKAGE_TYPE_BYTES_MAX).contains(&text.len());
    if fits && text.bytes().all(known) && text.as_bytes()[0].is_ascii_lowercase() {
        return Ok(());
    }
    Err(CoordinateError::PackageType(text.chars().take(80).collect()))
}

fn check_id(text: &str) -> Result<(), CoordinateError> {
    if (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(CoordinateError::Id(text.chars().take(80).collect()))
}

/// What is built and published: a package of a type, in the canonical form that its verifier gave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PackageCoordinate {
    pub package_type: PackageType,
    pub id: PackageId,
}

impl PackageCoordinate {
    pub fn new(package_type: &str, id: &str) -> Result<Self, CoordinateError> {
        Ok(Self { package_type: PackageType::new(package_type)?, id: PackageId::new(id)? })
    }
}

impl fmt::Display for PackageCoordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package_type, self.id)
    }
}

/// One attempt to build a package. It follows from what is asked, so that the same wish from any number of nodes is one build.
///
/// Shown as a UUID of version 8 (RFC 9562, section 5.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct BuildId([u8; 16]);

ordered_by_words!(BuildId);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a build id is a UUID such as c9ca3e57-aa84-8fab-a8be-381ab31e4916, not {0:?}")]
pub struct BuildIdError(String);

impl BuildId {
    /// The id of the `attempt`th build of `coordinate` on `network`; attempts count from 0.
    pub fn of(network: &NetworkId, coordinate: &PackageCoordinate, attempt: u32) -> Self {
        let bytes = borsh::to_vec(&(network, coordinate, attempt)).expect("writing to memory cannot fail");
        Self(uuid_bytes("pyrsia/build-id/v1", &bytes))
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The first 16 bytes of a prefixed SHA-256, marked as a UUID of version 8.
fn uuid_bytes(purpose: &str, bytes: &[u8]) -> [u8; 16] {
    let digest = Sha256Digest::of_parts(&[purpose.as_bytes(), b"\0", bytes]);
    let mut first = [0; 16];
    first.copy_from_slice(&digest.as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(first).into_uuid().into_bytes()
}

/// A stable UUID for something the ledger names by content, such as a log record or an artifact.
pub fn uuid_of(purpose: &str, bytes: &[u8]) -> String {
    uuid::Uuid::from_bytes(uuid_bytes(purpose, bytes)).to_string()
}

impl std::str::FromStr for BuildId {
    type Err = BuildIdError;

    fn from_str(text: &str) -> Result<Self, BuildIdError> {
        let uuid = uuid::Uuid::try_parse(text).map_err(|_| BuildIdError(text.chars().take(80).collect()))?;
        Ok(Self(uuid.into_bytes()))
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "build:{self}")
    }
}

impl Serialize for BuildId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BuildId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_hide_something_are_refused() {
        for wrong in ["", "Docker", "1docker", "doc ker", "docker/", &"a".repeat(33)] {
            assert!(PackageType::new(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "al pine", "alpine\n", "alpin\u{e9}", "a\0", &"a".repeat(513)] {
            assert!(PackageId::new(wrong).is_err(), "{wrong:?}");
            assert!(borsh::from_slice::<PackageId>(&borsh::to_vec(&wrong).expect("encodes")).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_same_wish_is_the_same_build_and_another_attempt_is_not() {
        let network = NetworkId::new(Sha256Digest::of(b"network"));
        let alpine = PackageCoordinate::new("docker", "alpine:3.16.0").expect("a coordinate");
        let first = BuildId::of(&network, &alpine, 0);
        assert_eq!(first, BuildId::of(&network, &alpine, 0));
        assert_ne!(first, BuildId::of(&network, &alpine, 1));
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!(uuid::Uuid::parse_str(&first.to_string()).expect("a uuid").get_version_num(), 8);
    }
}
