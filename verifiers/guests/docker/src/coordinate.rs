//! The coordinate of a container image: `NAME:TAG` or `NAME@DIGEST`.
//!
//! Owns the grammar of names, tags and digests (OCI distribution specification, "Pulling manifests", and OCI image
//! specification, "Digests") and the canonical form. Never knows a registry: a coordinate names what is built, not where it comes from.

use std::fmt;

use pyrsia_verifier_kit::Refusal;

/// The longest name; clients and registries reject longer ones together with their host part.
pub const NAME_BYTES_MAX: usize = 255;
/// The longest tag of the distribution specification.
pub const TAG_BYTES_MAX: usize = 128;
/// The tag that is meant when none is given.
const TAG_DEFAULT: &str = "latest";
/// The first component that official images may be written with, and that their canonical name goes without.
const OFFICIAL: &str = "library";
const DIGEST_PREFIX: &str = "sha256:";
const DIGEST_HEX_LEN: usize = 64;

/// One sentence for a person who wrote a coordinate that is not one.
pub const SYNTAX: &str = "NAME, NAME:TAG or NAME@sha256:DIGEST, where NAME is one or more lower-case components separated by `/`, without a registry's host, \
    and a missing TAG means `latest`";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinate {
    name: String,
    reference: Reference,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Tag(String),
    Digest(String),
}

impl Coordinate {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |code, sentence: String| Err(Refusal::new(code, text, sentence));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // The host is looked at first: its port would otherwise be read as a tag.
        if let Some((first, _)) = rest.split_once('/')
            && (first == "localhost" || first.starts_with(|c: char| c.is_ascii_alphanumeric()) && first.contains(['.', ':']))
        {
            return refuse("registry-host", format!("`{first}` is the host of a registry; give the image's name without it."));
        }
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (rest, None),
        };
        if let Err(fault) = check_name(name) {
            return refuse("malformed-name", format!("`{name}` is not an image name: {fault}."));
        }
        let reference = match (tag, digest) {
            (Some(_), Some(_)) => {
                return refuse("tag-and-digest", "Give either a tag or a digest, not both.".into());
            }
            (tag, None) => {
                let tag = tag.unwrap_or(TAG_DEFAULT);
                if !is_tag(tag) {
                    return refuse(
                        "malformed-tag",
                        format!(
                            "`{tag}` is not a tag: 1 to {TAG_BYTES_MAX} letters, digits, `_`, `.` and `-`, the first not `.` or `-`."
                        ),
                    );
                }
                Reference::Tag(tag.into())
            }
            (None, Some(digest)) => {
                if !is_digest(digest) {
                    return refuse(
                        "malformed-digest",
                        format!("`{digest}` is not a digest: `sha256:` and {DIGEST_HEX_LEN} lower-case hexadecimal digits."),
                    );
                }
                Reference::Digest(digest.into())
            }
        };
        Ok(Self { name: canonical_name(name).into(), reference })
    }

    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The id of the object with this digest within the image.
    pub fn object(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name)
    }
}

impl fmt::Display for Coordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Reference::Tag(tag) => write!(f, "{}:{tag}", self.name),
            Reference::Digest(digest) => write!(f, "{}@{digest}", self.name),
        }
    }
}

/// Whether `text` is a digest this contract can check: sha256, lower-case.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix(DIGEST_PREFIX)
        .is_some_and(|hex| hex.len() == DIGEST_HEX_LEN && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// `library/alpine` and `alpine` are one image; `library/a/b` is an image of its own.
fn canonical_name(name: &str) -> &str {
    match name.split_once('/') {
        Some((OFFICIAL, rest)) if !rest.contains('/') => rest,
        _ => name,
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= TAG_BYTES_MAX && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

fn check_name(name: &str) -> Result<(), String> {
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("it is {} bytes long, {NAME_BYTES_MAX} are allowed", name.len()));
    }
    match name.split('/').find(|component| !is_component(component)) {
        None => Ok(()),
        Some("") => Err("a component of it is empty".into()),
        Some(component) => Err(format!(
            "its component `{component}` is not lower-case letters and digits, with `.`, `_`, `__` or dashes between them"
        )),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let mut at = 0;
    loop {
        let word = bytes[at..].iter().take_while(|b| alphanumeric(**b)).count();
        if word == 0 {
            return false;
        }
        at += word;
        if at == bytes.len() {
            return true;
        }
        let separator = bytes[at..].iter().take_while(|b| !alphanumeric(**b)).count();
        match &bytes[at..at + separator] {
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|b| *b == b'-') => {}
            _ => return false,
        }
        at += separator;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[track_caller]
    fn check(text: &str, canonical: &str) {
        let parsed = Coordinate::parse(text).unwrap();
        assert_eq!(parsed.to_string(), canonical);
        assert_eq!(Coordinate::parse(canonical).unwrap(), parsed, "the canonical form parses to itself");
    }

    #[track_caller]
    fn check_refused(text: &str, code: &str) {
        let refusal = Coordinate::parse(text).unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.subject.as_str()), (code, text), "{}", refusal.sentence);
    }

    #[test]
    fn coordinates_have_one_canonical_form() {
        check("alpine:3.16.0", "alpine:3.16.0");
        check("library/alpine:3.16.0", "alpine:3.16.0");
        check("alpine", "alpine:latest");
        check("org/name:Tag_1.0-x", "org/name:Tag_1.0-x");
        check("a/b/c/d:1", "a/b/c/d:1");
        check("library/a/b:1", "library/a/b:1");
        check("library:1", "library:1");
        check("f/a.b_c__d---e0:_", "f/a.b_c__d---e0:_");
        check("node.js:20", "node.js:20");
        check(&format!("library/alpine@sha256:{HEX}"), &format!("alpine@sha256:{HEX}"));
        check(&format!("a:{}", "t".repeat(128)), &format!("a:{}", "t".repeat(128)));
    }

    #[test]
    fn a_registry_host_is_refused() {
        for text in ["registry.example/alpine:1", "localhost/alpine", "localhost:5000/a/b:1", "host:5000/alpine", "10.0.0.1/a"] {
            check_refused(text, "registry-host");
        }
    }

    #[test]
    fn malformed_coordinates_are_refused() {
        for text in [
            "", ":1", "/a", "a/", "a//b:1", "Alpine:1", "a..b:1", "a___b:1", "-a:1", "a-:1", "a_-b:1", "a b:1", "ä:1", "a:1:2",
            "../a:1",
        ] {
            check_refused(text, "malformed-name");
        }
        for text in ["a:", "a:.x", "a:-x", "a:x/y", "a:x y", "a:ü"] {
            let code = Coordinate::parse(text).unwrap_err().code;
            assert!(matches!(code.as_str(), "malformed-tag" | "registry-host"), "{text}: {code}");
        }
        check_refused(&format!("a:{}", "t".repeat(129)), "malformed-tag");
        check_refused(&format!("{}:1", "a".repeat(256)), "malformed-name");
        check_refused("a@sha256:abc", "malformed-digest");
        check_refused(&format!("a@sha256:{}", HEX.to_uppercase()), "malformed-digest");
        check_refused(&format!("a@sha512:{HEX}{HEX}"), "malformed-digest");
        check_refused(&format!("a:1@sha256:{HEX}"), "tag-and-digest");
        check_refused(&format!("a@sha256:{HEX}@sha256:{HEX}"), "malformed-digest");
    }
}
