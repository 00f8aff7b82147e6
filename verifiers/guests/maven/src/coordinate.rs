//! The coordinate of a Maven package: `GROUP:ARTIFACT:VERSION`.
//!
//! Owns its grammar, which is the one Maven's model validator puts on ids, made safe as a path; and the ids of artifacts, `GROUP/ARTIFACT/VERSION/FILE` with the
//! dots of the group kept. Refuses versions that do not name one fixed thing.

use std::fmt;

use pyrsia_verifier_kit::Refusal;

/// One sentence for a person who wrote a coordinate that is not one.
pub const SYNTAX: &str =
    "GROUP:ARTIFACT:VERSION, such as org.slf4j:slf4j-api:2.0.16, where VERSION is one released version and no snapshot";

/// The contract's bound of an artifact id is 512 bytes; this leaves as much for the name of the file, which repeats two of the parts.
const PART_BYTES_MAX: usize = 120;

/// Words that Maven resolves to whatever is newest.
const FLOATING_VERSIONS: [&str; 2] = ["LATEST", "RELEASE"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinate {
    group: String,
    artifact: String,
    version: String,
}

impl Coordinate {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = text.split(':').collect();
        let &[group, artifact, version] = &parts[..] else {
            return Err(Refusal::new("malformed-coordinate", text, format!("A coordinate is {SYNTAX}.")));
        };
        let refuse = |code, what, part: &str| {
            let sentence = format!(
                "`{part}` is no {what}: 1 to {PART_BYTES_MAX} letters, digits, `.`, `_` and `-`{}, without an empty part between dots.",
                if what == "version" { ", `+` and `~`" } else { "" }
            );
            Err(Refusal::new(code, text, sentence))
        };
        if !is_id(group) || group.split('.').any(str::is_empty) {
            return refuse("malformed-group", "group id", group);
        }
        if !is_id(artifact) || is_path_step(artifact) {
            return refuse("malformed-artifact", "artifact id", artifact);
        }
        if !is_version(version) || is_path_step(version) {
            return refuse("malformed-version", "version", version);
        }
        if is_snapshot(version) {
            let sentence = format!(
                "`{version}` is a snapshot, which stands for something else every day; only released versions are built."
            );
            return Err(Refusal::new("snapshot", text, sentence));
        }
        if FLOATING_VERSIONS.contains(&version) {
            return Err(Refusal::new("floating-version", text, format!("`{version}` is no version; give the one you mean.")));
        }
        Ok(Self { group: group.into(), artifact: artifact.into(), version: version.into() })
    }

    pub fn group(&self) -> &str {
        &self.group
    }

    pub fn artifact(&self) -> &str {
        &self.artifact
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// The id of one of the package's files.
    pub fn artifact_id(&self, file: &str) -> String {
        format!("{}/{}/{}/{file}", self.group, self.artifact, self.version)
    }

    /// What the names of all the package's files begin with.
    pub fn file_stem(&self) -> String {
        format!("{}-{}", self.artifact, self.version)
    }
}

impl fmt::Display for Coordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.group, self.artifact, self.version)
    }
}

fn has_only(text: &str, others: &[u8]) -> bool {
    (1..=PART_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

/// Whether Maven's model validator takes it for an id.
pub fn is_id(text: &str) -> bool {
    has_only(text, b"._-")
}

fn is_version(text: &str) -> bool {
    has_only(text, b"._-+~")
}

/// Whether it would lead to another folder as a part of a path.
fn is_path_step(text: &str) -> bool {
    text == "." || text == ".."
}

/// As Maven decides it: by the word, or by the time that a deployed snapshot has in its place, `-20260102.030405-6`.
fn is_snapshot(version: &str) -> bool {
    const WORD: &str = "SNAPSHOT";
    let by_word = version.len().checked_sub(WORD.len()).is_some_and(|at| version[at..].eq_ignore_ascii_case(WORD));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let by_time = || {
        let (rest, build) = version.rsplit_once('-')?;
        let (date, time) = rest.rsplit_once('-').map_or(rest, |(_, time)| time).split_once('.')?;
        Some(digits(build) && date.len() == 8 && digits(date) && time.len() == 6 && digits(time))
    };
    by_word || by_time() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinate_parses_to_itself() {
        for text in ["org.slf4j:slf4j-api:2.0.16", "g:a:1", "org.a_b:c.d_e-2.13:1.0+build~5-rc.1", "a:b:20260102.030405"] {
            let coordinate = Coordinate::parse(text).unwrap();
            assert_eq!(coordinate.to_string(), text);
            assert_eq!(Coordinate::parse(&coordinate.to_string()).unwrap(), coordinate);
        }
        let coordinate = Coordinate::parse("org.example:demo:1.0").unwrap();
        assert_eq!(coordinate.artifact_id("demo-1.0.jar"), "org.example/demo/1.0/demo-1.0.jar");
    }

    #[test]
    fn what_is_no_fixed_package_is_refused_by_name() {
        let long = format!("g:{}:1", "a".repeat(121));
        let cases = [
            ("", "malformed-coordinate"),
            ("g:a", "malformed-coordinate"),
            ("g:a:jar:1", "malformed-coordinate"),
            (":a:1", "malformed-group"),
            ("g..h:a:1", "malformed-group"),
            (".g:a:1", "malformed-group"),
            ("g/h:a:1", "malformed-group"),
            ("g:..:1", "malformed-artifact"),
            ("g:a b:1", "malformed-artifact"),
            (&long, "malformed-artifact"),
            ("g:a:[1,2)", "malformed-version"),
            ("g:a:..", "malformed-version"),
            ("g:a:${revision}", "malformed-version"),
            ("g:a:1-SNAPSHOT", "snapshot"),
            ("g:a:snapshot", "snapshot"),
            ("g:a:1-20260102.030405-6", "snapshot"),
            ("g:a:LATEST", "floating-version"),
        ];
        for (text, code) in cases {
            assert_eq!(Coordinate::parse(text).unwrap_err().code, code, "{text}");
        }
    }
}
