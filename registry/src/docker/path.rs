//! What a path below `/v2` names (OCI distribution specification 1.1, "Endpoints" and "Pulling manifests").
//!
//! A repository's name may have any number of slashes, so a path is read from the right. Nothing but what this module lets
//! through ever becomes part of an artifact id.

use crate::uri::decode_segment;
use pyrsia_ledger::Sha256Digest;
use std::fmt;

/// The longest name: clients reject longer ones together with the host they pull from.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// The longest tag of the distribution specification.
pub(crate) const TAG_BYTES_MAX: usize = 128;
/// Path-prefix mirrors put the host of the mirrored registry in front of the name.
const MIRRORED_HOST: &str = "docker.io";
/// The first component that official images may be written with, and that their canonical name goes without.
const OFFICIAL: &str = "library";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Manifest { name: Name, reference: Reference },
    Blob { name: Name, digest: Digest },
    Tags { name: Name },
    Referrers { name: Name, digest: Digest },
    Upload,
    Catalog,
}

/// The name of an image in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(String),
    Digest(Digest),
}

/// A digest; only those of SHA-256 can name something that is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    Sha256(Sha256Digest),
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error(
        "`{0}` is not an image name: lower-case letters and digits, with single `.`, `_`, `__` or `-` between them, in components separated by `/`"
    )]
    Name(String),
    #[error("`{0}` is not a tag: 1 to {TAG_BYTES_MAX} letters, digits, `_`, `.` and `-`, the first not `.` or `-`")]
    Tag(String),
    #[error("`{0}` is no tag that a page of tags could have ended with")]
    Last(String),
    #[error("`{0}` is not a digest: `sha256:` and 64 lower-case hexadecimal digits")]
    Digest(String),
    #[error("there is nothing at /v2/{0}")]
    Unknown(String),
}

impl Target {
    /// Reads what follows `/v2/`.
    pub(crate) fn parse(path: &str) -> Result<Self, PathError> {
        let unknown = || PathError::Unknown(shown(path));
        let decoded: Option<Vec<String>> = path.split('/').map(decode_segment).collect();
        let segments = decoded.ok_or_else(|| PathError::Name(shown(path)))?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["_catalog"] => Ok(Self::Catalog),
            [name @ .., "manifests", reference] => {
                Ok(Self::Manifest { name: Name::parse(name)?, reference: Reference::parse(reference)? })
            }
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", _] => Name::parse(name).map(|_| Self::Upload),
            [name @ .., "blobs", digest] => Ok(Self::Blob { name: Name::parse(name)?, digest: Digest::parse(digest)? }),
            [name @ .., "tags", "list"] => Ok(Self::Tags { name: Name::parse(name)? }),
            [name @ .., "referrers", digest] => Ok(Self::Referrers { name: Name::parse(name)?, digest: Digest::parse(digest)? }),
            _ => Err(unknown()),
        }
    }
}

impl Name {
    fn parse(components: &[&str]) -> Result<Self, PathError> {
        let written = components.join("/");
        let canonical = match components {
            [MIRRORED_HOST, OFFICIAL, name] | [MIRRORED_HOST | OFFICIAL, name] => vec![*name],
            [MIRRORED_HOST, rest @ ..] => rest.to_vec(),
            _ => components.to_vec(),
        };
        let fits = !canonical.is_empty() && written.len() <= NAME_BYTES_MAX;
        if fits && canonical.iter().all(|component| is_component(component)) {
            return Ok(Self(canonical.join("/")));
        }
        Err(PathError::Name(shown(&written)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Reference {
    fn parse(text: &str) -> Result<Self, PathError> {
        if text.contains(':') {
            return Digest::parse(text).map(Self::Digest);
        }
        if is_tag(text) { Ok(Self::Tag(text.to_owned())) } else { Err(PathError::Tag(shown(text))) }
    }

    /// The id that this reference of `name` has as a package, and as an artifact.
    pub(crate) fn id_in(&self, name: &Name) -> String {
        match self {
            Self::Tag(tag) => format!("{name}:{tag}"),
            Self::Digest(digest) => digest.id_in(name),
        }
    }
}

impl Digest {
    /// The grammar of OCI image specification 1.1, "Digests".
    fn parse(text: &str) -> Result<Self, PathError> {
        let wrong = || PathError::Digest(shown(text));
        let (algorithm, encoded) = text.split_once(':').ok_or_else(wrong)?;
        if algorithm == "sha256" {
            return encoded.parse().map(Self::Sha256).map_err(|_| wrong());
        }
        let named = algorithm
            .split(['+', '.', '_', '-'])
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        let plain = !encoded.is_empty() && encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"=_-".contains(&b));
        if named && plain { Ok(Self::Other(shown(text))) } else { Err(wrong()) }
    }

    pub(crate) fn id_in(&self, name: &Name) -> String {
        match self {
            Self::Sha256(digest) => format!("{name}@{}", digest.to_oci()),
            Self::Other(text) => format!("{name}@{text}"),
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let bounded = bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain);
    let separates = |run: &[u8]| plain(&run[0]) || matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-');
    bounded && bytes.chunk_by(|a, b| plain(a) == plain(b)).all(separates)
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
pub(super) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fits = (1..=TAG_BYTES_MAX).contains(&text.len());
    fits && word(text.as_bytes()[0]) && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// As much of what a client sent as an error repeats.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 200;
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "4ff3ca91275773af45cb4b0834e12b7eb47d1c18f770a0b151381cd227f4c253";

    fn manifest_id(path: &str) -> String {
        match Target::parse(path) {
            Ok(Target::Manifest { name, reference }) => reference.id_in(&name),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_an_image_leads_to_its_one_id() {
        for path in ["alpine/manifests/3.16.0", "library/alpine/manifests/3.16.0", "docker.io/library/alpine/manifests/3.16.0"] {
            assert_eq!(manifest_id(path), "alpine:3.16.0");
        }
        assert_eq!(manifest_id("docker.io/alpine/manifests/3.16.0"), "alpine:3.16.0");
        assert_eq!(manifest_id("a/b/c/d/manifests/1"), "a/b/c/d:1");
        assert_eq!(manifest_id("library/a/b/manifests/1"), "library/a/b:1");
        assert_eq!(manifest_id("manifests/blobs/manifests/manifests"), "manifests/blobs:manifests");
        assert_eq!(manifest_id(&format!("alpine/manifests/sha256%3A{HEX}")), format!("alpine@sha256:{HEX}"));
    }

    #[test]
    fn every_endpoint_of_the_specification_is_told_apart() {
        assert!(matches!(Target::parse(&format!("a/b/blobs/sha256:{HEX}")), Ok(Target::Blob { .. })));
        assert!(matches!(Target::parse("a/b/tags/list"), Ok(Target::Tags { .. })));
        assert_eq!(Target::parse("a/blobs/uploads/"), Ok(Target::Upload));
        assert_eq!(Target::parse("a/blobs/uploads/0-1"), Ok(Target::Upload));
        assert!(matches!(Target::parse(&format!("a/referrers/sha256:{HEX}")), Ok(Target::Referrers { .. })));
        assert!(matches!(Target::parse("a/referrers/1.0"), Err(PathError::Digest(_))));
        assert_eq!(Target::parse("_catalog"), Ok(Target::Catalog));
        assert!(matches!(Target::parse("alpine"), Err(PathError::Unknown(_))));
        assert!(matches!(Target::parse("alpine/tags"), Err(PathError::Unknown(_))));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for name in
            ["", "..", "a/../b", "a//b", "A", "a_-b", "a...b", "-a", "a-", ".a", "a___b", "%2e%2e", "a%2Fb", "a%00", "a\\b", "é"]
        {
            assert!(matches!(Target::parse(&format!("{name}/manifests/1")), Err(PathError::Name(_))), "{name:?}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        assert!(matches!(Target::parse(&format!("{long}/manifests/1")), Err(PathError::Name(_))));
        assert!(matches!(Target::parse("manifests/1"), Err(PathError::Name(_))));
    }

    #[test]
    fn tags_and_digests_that_are_none_are_refused() {
        for tag in ["", ".a", "-a", "a+b", &"a".repeat(TAG_BYTES_MAX + 1)] {
            assert!(matches!(Target::parse(&format!("a/manifests/{tag}")), Err(PathError::Tag(_))), "{tag:?}");
        }
        for digest in ["sha256:", "sha256:ab", &format!("sha256:{}", HEX.to_uppercase()), "SHA256:00", ":00", "md5:", "a b:1"] {
            let found = Target::parse(&format!("a/blobs/{digest}"));
            assert!(matches!(found, Err(PathError::Digest(_) | PathError::Name(_))), "{digest:?}: {found:?}");
        }
        let sha512 = format!("sha512:{}", "ab".repeat(64));
        assert_eq!(Digest::parse(&sha512), Ok(Digest::Other(sha512)));
    }

    proptest! {
        #[test]
        fn every_name_and_tag_of_the_grammar_is_read_back(
            name in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}(/[a-z0-9]{1,8}){0,4}",
            tag in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}",
        ) {
            prop_assume!(!name.starts_with("library/"));
            prop_assert_eq!(manifest_id(&format!("{name}/manifests/{tag}")), format!("{name}:{tag}"));
        }

        #[test]
        fn no_path_makes_it_panic_or_leaves_the_grammar(path in "([a-z.%/:_A-Z0-9-]|manifests|blobs|\\PC){0,60}") {
            if let Ok(Target::Manifest { name, reference }) = Target::parse(&path) {
                let id = reference.id_in(&name);
                prop_assert!(!id.contains("..") || matches!(reference, Reference::Tag(_)));
                prop_assert!(id.bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
}
