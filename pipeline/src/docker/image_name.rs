//! The name of a Docker image: repository and tag or digest, checked when made.
//!
//! Grammar: the reference grammar of the distribution project, without a registry host, since the pipeline and not
//! the name decides where an image comes from. A name of one word means `library/word`.

use std::fmt;
use std::str::FromStr;

/// The distribution specification's bound on repository names.
const MAX_REPOSITORY_CHARS: usize = 255;
const MAX_TAG_CHARS: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName {
    repository: String,
    reference: Reference,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(String),
    Digest(Digest),
}

/// `sha256:` and 64 lower case hex digits; the only algorithm that registries use in practice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub(crate) struct Digest(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageNameError {
    #[error("the image name {0:?} has no tag and no digest: write for example {0}:1.0 or {0}@sha256:…")]
    NoReference(String),
    #[error(
        "the image name {name:?} starts with the registry host {host:?}: leave the host out, the pipeline's upstream decides"
    )]
    Host { name: String, host: String },
    #[error("{0:?} is no repository name: it has lower case words of letters, digits, '.', '_' and '-', divided by '/'")]
    Repository(String),
    #[error("{0:?} is no tag: it has up to 128 letters, digits, '.', '_' and '-', and does not start with '.' or '-'")]
    Tag(String),
    #[error("{0:?} is no digest: it is sha256: and 64 lower case hex digits")]
    Digest(String),
}

impl ImageName {
    /// `library/alpine` rather than `alpine`.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (repository, reference) = if let Some((repository, digest)) = name.split_once('@') {
            (repository, Reference::Digest(digest.parse()?))
        } else {
            match name.rsplit_once(':') {
                Some((repository, tag)) if !tag.contains('/') => {
                    if !is_tag(tag) {
                        return Err(ImageNameError::Tag(tag.to_owned()));
                    }
                    (repository, Reference::Tag(tag.to_owned()))
                }
                _ => {
                    check_repository(name, name)?;
                    return Err(ImageNameError::NoReference(name.to_owned()));
                }
            }
        };
        check_repository(name, repository)?;
        let repository = if repository.contains('/') { repository.to_owned() } else { format!("library/{repository}") };
        Ok(Self { repository, reference })
    }
}

fn check_repository(name: &str, repository: &str) -> Result<(), ImageNameError> {
    if let Some((host, _)) = repository.split_once('/')
        && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && (host.contains(['.', ':']) || host == "localhost")
    {
        return Err(ImageNameError::Host { name: name.to_owned(), host: host.to_owned() });
    }
    if repository.len() > MAX_REPOSITORY_CHARS || !repository.split('/').all(is_path_component) {
        return Err(ImageNameError::Repository(repository.to_owned()));
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    component.starts_with(alphanumeric)
        && component.ends_with(alphanumeric)
        && component
            .split(alphanumeric)
            .all(|between| matches!(between, "" | "." | "_" | "__") || between.chars().all(|c| c == '-'))
}

pub(crate) fn is_tag(tag: &str) -> bool {
    tag.len() <= MAX_TAG_CHARS
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

impl FromStr for Digest {
    type Err = ImageNameError;

    fn from_str(digest: &str) -> Result<Self, Self::Err> {
        let well_formed = digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        if well_formed { Ok(Self(digest.to_owned())) } else { Err(ImageNameError::Digest(digest.to_owned())) }
    }
}

impl Digest {
    pub(crate) fn from_hash(hash: impl AsRef<[u8]>) -> Self {
        Self(format!("sha256:{}", hex::encode(hash)))
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_hash(sha2::Sha256::digest(bytes))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => f.write_str(tag),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divider = if matches!(self.reference, Reference::Tag(_)) { ':' } else { '@' };
        write!(f, "{}{divider}{}", self.repository, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_a_namespace_are_the_same_image() {
        for name in ["alpine:3.16.0", "library/alpine:3.16.0"] {
            assert_eq!(name.parse::<ImageName>().unwrap().to_string(), "library/alpine:3.16.0");
        }
        let digest = format!("a/b/c@sha256:{}", "0f".repeat(32));
        assert_eq!(digest.parse::<ImageName>().unwrap().to_string(), digest);
    }

    #[test]
    fn malformed_names_are_refused_with_the_reason() {
        let check = |name: &str| name.parse::<ImageName>().unwrap_err();
        assert!(matches!(check("alpine"), ImageNameError::NoReference(_)));
        assert!(matches!(check("registry.example/a:1"), ImageNameError::Host { .. }));
        assert!(matches!(check("localhost:5000/a:1"), ImageNameError::Host { .. }));
        for name in ["Alpine:1", "a//b:1", "-a:1", "a..b:1", ":1", "a___b:1", "../a:1", "a/:1"] {
            assert!(matches!(check(name), ImageNameError::Repository(_)), "{name}");
        }
        for name in ["a:", "a:-x", "a:b c", "a:é"] {
            assert!(matches!(check(name), ImageNameError::Tag(_)), "{name}");
        }
        for name in ["a@sha256:12", "a@md5:00", "a@sha256:", "a@"] {
            assert!(matches!(check(name), ImageNameError::Digest(_)), "{name}");
        }
    }
}
