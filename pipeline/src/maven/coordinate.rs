//! The coordinate of a Maven package, `GROUP:ARTIFACT:VERSION`, as far as a build needs it: safe as a path, and naming one
//! fixed thing.

use std::fmt;
use std::path::PathBuf;

/// A part is the name of a folder, and with another part that of a file.
const MAX_PART_CHARS: usize = 120;
/// Words that Maven takes for whatever is newest.
const FLOATING: [&str; 2] = ["LATEST", "RELEASE"];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum CoordinateError {
    #[error("{0:?} is no Maven coordinate: it is GROUP:ARTIFACT:VERSION, for example org.example:demo:1.0")]
    Form(String),
    #[error("{0:?} is a snapshot, which stands for something else every day: only released versions are built")]
    Snapshot(String),
    #[error("{0:?} names no version: give the one that is meant")]
    Floating(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Coordinate {
    pub(crate) group: String,
    pub(crate) artifact: String,
    pub(crate) version: String,
}

impl Coordinate {
    pub(crate) fn parse(text: &str) -> Result<Self, CoordinateError> {
        let malformed = || CoordinateError::Form(text.chars().take(3 * MAX_PART_CHARS).collect());
        let parts: Vec<&str> = text.split(':').collect();
        let &[group, artifact, version] = parts.as_slice() else { return Err(malformed()) };
        let is_group = is_part(group, "._-") && group.split('.').all(|step| !step.is_empty());
        if !is_group || !is_part(artifact, "._-") || !is_part(version, "._-+~") {
            return Err(malformed());
        }
        if is_snapshot(version) {
            return Err(CoordinateError::Snapshot(version.to_owned()));
        }
        if FLOATING.contains(&version) {
            return Err(CoordinateError::Floating(version.to_owned()));
        }
        Ok(Self { group: group.to_owned(), artifact: artifact.to_owned(), version: version.to_owned() })
    }

    /// `org/example/demo/1.0`, where a repository keeps it.
    pub(crate) fn folder(&self) -> PathBuf {
        self.group.split('.').chain([self.artifact.as_str(), self.version.as_str()]).collect()
    }
}

impl fmt::Display for Coordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.group, self.artifact, self.version)
    }
}

/// A leading dash would make an option of it, and dots alone another folder.
fn is_part(text: &str, others: &str) -> bool {
    (1..=MAX_PART_CHARS).contains(&text.len())
        && !text.starts_with('-')
        && !text.trim_matches('.').is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// By the word, or by the time that a deployed snapshot has in its place: `-20260102.030405-6`.
fn is_snapshot(version: &str) -> bool {
    let by_time = || {
        let (rest, build) = version.rsplit_once('-')?;
        let (date, time) = rest.rsplit_once('-').map_or(rest, |(_, time)| time).split_once('.')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        Some(digits(build) && date.len() == 8 && digits(date) && time.len() == 6 && digits(time))
    };
    version.to_ascii_uppercase().ends_with("SNAPSHOT") || by_time() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinate_is_a_folder_of_a_repository() {
        let coordinate = Coordinate::parse("org.example:demo-lib_2.13:1.0+b~1").unwrap();
        assert_eq!(coordinate.folder(), PathBuf::from("org/example/demo-lib_2.13/1.0+b~1"));
        assert_eq!(coordinate.to_string(), "org.example:demo-lib_2.13:1.0+b~1");
    }

    #[test]
    fn what_names_no_fixed_package_is_refused_with_the_reason() {
        for text in
            ["", "g:a", "g:a:jar:1", ":a:1", "g..h:a:1", "g/h:a:1", "g:..:1", "g:a:..", "g:-a:1", "-g:a:1", "g:a:${v}", "g:a b:1"]
        {
            assert_eq!(Coordinate::parse(text), Err(CoordinateError::Form(text.into())), "{text}");
        }
        for version in ["1-SNAPSHOT", "1.0-snapshot", "1-20260102.030405-6", "20260102.030405-6"] {
            assert_eq!(Coordinate::parse(&format!("g:a:{version}")), Err(CoordinateError::Snapshot(version.into())));
        }
        assert_eq!(Coordinate::parse("g:a:LATEST"), Err(CoordinateError::Floating("LATEST".into())));
    }
}
