//! What is asked to be built: the type of a package and its id, checked at the edge.
//!
//! Nothing here knows an ecosystem. An id is divided into a name and a version where nearly all ecosystems divide it;
//! whoever builds the package has the last word on what they mean. Both parts are harmless in a URL, a path or a tag.

use std::fmt;

/// As in the ledger, which is where types come from.
const MAX_TYPE_CHARS: usize = 32;
const MAX_ID_CHARS: usize = 512;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    #[error("{0:?} is no package type: it has 1 to {MAX_TYPE_CHARS} letters, digits and dashes, and begins with a letter")]
    Type(String),
    #[error(
        "{0:?} is no package id: it has 1 to {MAX_ID_CHARS} letters, digits and -._+~@:/, and no part of it is empty or dots"
    )]
    Id(String),
}

/// The type of a package, in lower case as the ledger writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PackageType(String);

impl PackageType {
    /// Takes any case, and the prototype's `Maven2` for `maven`.
    pub(crate) fn parse(text: &str) -> Result<Self, PackageError> {
        let word = text.to_ascii_lowercase();
        let fits = (1..=MAX_TYPE_CHARS).contains(&word.len())
            && word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        match word.as_str() {
            "maven2" => Ok(Self("maven".to_owned())),
            _ if fits => Ok(Self(word)),
            _ => Err(PackageError::Type(text.chars().take(MAX_TYPE_CHARS).collect())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The one spelling in everything that is kept and told: the prototype's for its two types.
    pub(crate) fn wire_name(&self) -> &str {
        match self.0.as_str() {
            "docker" => "Docker",
            "maven" => "Maven2",
            other => other,
        }
    }

    pub(crate) fn is_docker(&self) -> bool {
        self.0 == "docker"
    }

    pub(crate) fn is_maven(&self) -> bool {
        self.0 == "maven"
    }
}

impl fmt::Display for PackageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A package that a build program makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) package_type: PackageType,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
}

impl Package {
    /// Divides the id at its last `@`, or where there is none at its last `:`.
    pub(crate) fn new(package_type: PackageType, id: &str) -> Result<Self, PackageError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._+~@:/".contains(&b);
        // An id that begins like an option or a path could become one in the hands of a program.
        let fits = (1..=MAX_ID_CHARS).contains(&id.len())
            && !id.starts_with('-')
            && id.bytes().all(plain)
            && id.split(['/', ':']).all(|part| !part.trim_matches('.').is_empty());
        if !fits {
            return Err(PackageError::Id(id.chars().take(MAX_ID_CHARS).collect()));
        }
        // The `@` of a scope stands at the very beginning.
        let divided = id.rsplit_once('@').filter(|(name, _)| !name.is_empty()).or_else(|| id.rsplit_once(':'));
        let (name, version) = match divided {
            Some((name, version)) if !version.is_empty() && !version.contains('/') => (name, Some(version.to_owned())),
            _ => (id, None),
        };
        Ok(Self { package_type, id: id.to_owned(), name: name.to_owned(), version })
    }

    /// The name without its scope, group or folder.
    pub(crate) fn last_part(&self) -> &str {
        self.name.rsplit(['/', ':']).next().unwrap_or_default()
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package_type, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_in_any_case_and_told_in_one_spelling() {
        for (text, word, wire) in [
            ("Docker", "docker", "Docker"),
            ("Maven2", "maven", "Maven2"),
            ("Maven", "maven", "Maven2"),
            ("MAVEN2", "maven", "Maven2"),
            ("Cargo", "cargo", "cargo"),
            ("cargo", "cargo", "cargo"),
        ] {
            let package_type = PackageType::parse(text).unwrap();
            assert_eq!((package_type.as_str(), package_type.wire_name()), (word, wire), "{text}");
        }
        for text in ["", "1x", "a b", "../x", "é", &"a".repeat(33)] {
            assert!(PackageType::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_are_divided_into_name_and_version() {
        let package = |id: &str| Package::new(PackageType::parse("cargo").unwrap(), id);
        for (id, name, version, last) in [
            ("serde@1.0.0", "serde", Some("1.0.0"), "serde"),
            ("@scope/left@1.0.0-a.1+b", "@scope/left", Some("1.0.0-a.1+b"), "left"),
            ("@scope/left", "@scope/left", None, "left"),
            ("org.example:lib:1.0", "org.example:lib", Some("1.0"), "lib"),
            ("tool@1:2.0~rc1", "tool", Some("1:2.0~rc1"), "tool"),
            ("git.example/mod", "git.example/mod", None, "mod"),
        ] {
            let package = package(id).unwrap();
            assert_eq!((package.name.as_str(), package.version.as_deref(), package.last_part()), (name, version, last));
        }
        for id in ["", "-x@1", "a/../b@1", "../a", "/a", "a//b", "a b@1", "a@1\n", "a$(b)@1", "a:..:1", "é@1", &"a".repeat(513)]
        {
            assert!(package(id).is_err(), "{id:?}");
        }
    }
}
