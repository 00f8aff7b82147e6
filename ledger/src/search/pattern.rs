//! Which packages are meant: an id, the beginning of one, or a pattern of it.
//!
//! The parts of an id stand between colons, such as group, artifact and version of Maven or name and tag of an image. A pattern has
//! as many parts as its writer cares about, `*` stands for any characters of a part, and a part that is missing is any.

use crate::coordinate::ID_BYTES_MAX;
use std::fmt;
use std::str::FromStr;

/// The longest pattern, in bytes: that of the longest id.
pub const PATTERN_BYTES_MAX: usize = ID_BYTES_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatePattern(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a package is 1 to {PATTERN_BYTES_MAX} characters of printable ASCII without spaces, such as alpine:3.16.0, org.example or 'org.*:demo', not {0:?}"
)]
pub struct PatternError(String);

impl FromStr for CoordinatePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let is_pattern = (1..=PATTERN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_pattern { Ok(Self(text.to_owned())) } else { Err(PatternError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for CoordinatePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CoordinatePattern {
    /// Whether the package with this id is meant.
    pub fn means(&self, id: &str) -> bool {
        let mut parts = id.split(':');
        self.0.split(':').all(|pattern| parts.next().is_some_and(|part| fits(pattern, part)))
    }

    /// What the ids of all packages begin with that are meant.
    pub(crate) fn prefix(&self) -> &str {
        self.0.split_once('*').map_or(self.0.as_str(), |(prefix, _)| prefix)
    }
}

/// Whether a text is what a pattern says, in which `*` stands for any characters.
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').map_or((None, rest), |(middle, last)| (Some(middle), last));
    // The leftmost place of each piece leaves most to those that follow.
    for piece in middle.into_iter().flat_map(|middle| middle.split('*')) {
        match text.split_once(piece) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(pattern: &str, id: &str) -> bool {
        let pattern: CoordinatePattern = pattern.parse().expect(pattern);
        let means = pattern.means(id);
        assert!(!means || id.starts_with(pattern.prefix()), "{pattern} {id}");
        means
    }

    #[test]
    fn a_pattern_means_an_id_or_what_its_parts_begin_with() {
        for (pattern, id) in [
            ("alpine:3.16.0", "alpine:3.16.0"),
            ("alpine", "alpine:3.16.0"),
            ("alpine*", "alpine@sha256:00"),
            ("alpine@*", "alpine@sha256:00"),
            ("*", "org.example:demo:1.0"),
            ("org.*", "org.example:demo:1.0"),
            ("*:demo", "org.example:demo:1.0"),
            ("*:*:1.0", "org.example:demo:1.0"),
            ("@scope/*", "@scope/name@1.0"),
            ("library/*pin*", "library/alpine:3"),
            ("a**b", "ab"),
        ] {
            assert!(means(pattern, id), "{pattern} {id}");
        }
        for (pattern, id) in [
            ("alpin", "alpine:3.16.0"),
            ("alpine:3.16", "alpine:3.16.0"),
            ("alpine:3.16.0:x", "alpine:3.16.0"),
            ("alpine", "alpine@sha256:00"),
            ("*:1.0", "org.example:demo:1.0"),
            ("org.example*demo", "org.example:demo:1.0"),
            ("ab*ba", "aba"),
        ] {
            assert!(!means(pattern, id), "{pattern} {id}");
        }
    }

    #[test]
    fn what_can_be_in_no_id_is_refused() {
        for wrong in ["", "a b", "a\n", "gr\u{fc}n", &"a".repeat(PATTERN_BYTES_MAX + 1)] {
            assert!(wrong.parse::<CoordinatePattern>().is_err(), "{wrong:?}");
        }
    }
}
