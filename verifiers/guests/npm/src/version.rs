//! Versions as Semantic Versioning 2.0.0 writes and orders them, with the bounds of npm's own reader.
//!
//! One version has one spelling: no `v` in front, no leading zeros, and no build metadata, which npm drops when it publishes.

use std::cmp::Ordering;
use std::fmt;

/// The longest version that npm reads, in bytes.
const VERSION_BYTES_MAX: usize = 256;
/// The largest integer that JavaScript counts exactly, which is where npm's reader ends.
const NUMBER_MAX: u64 = (1 << 53) - 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    release: [u64; 3],
    /// Empty for a release.
    pre: Vec<Identifier>,
}

/// One part of a pre-release, in the order of section 11.4: numbers before words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > VERSION_BYTES_MAX {
            return None;
        }
        let (release, pre) = text.split_once('-').map_or((text, None), |(release, pre)| (release, Some(pre)));
        let mut numbers = release.split('.');
        let release = [number(numbers.next()?)?, number(numbers.next()?)?, number(numbers.next()?)?];
        if numbers.next().is_some() {
            return None;
        }
        let pre = pre.map_or(Some(vec![]), |pre| pre.split('.').map(Identifier::parse).collect())?;
        Some(Self { release, pre })
    }

    pub fn is_release(&self) -> bool {
        self.pre.is_empty()
    }
}

impl Identifier {
    fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return number(text).map(Self::Number);
        }
        let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_word.then(|| Self::Word(text.into()))
    }
}

/// Decimal digits without a zero in front.
fn number(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|number| is_plain && *number <= NUMBER_MAX)
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // A release comes after its pre-releases, and of two lists the longer one when all else is equal (section 11.3, 11.4).
        let by_kind = self.is_release().cmp(&other.is_release());
        self.release.cmp(&other.release).then(by_kind).then_with(|| self.pre.cmp(&other.pre))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.release;
        write!(f, "{major}.{minor}.{patch}")?;
        for (index, identifier) in self.pre.iter().enumerate() {
            f.write_str(if index == 0 { "-" } else { "." })?;
            match identifier {
                Identifier::Number(number) => write!(f, "{number}")?,
                Identifier::Word(word) => f.write_str(word)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_the_specification_orders_them() {
        // Section 11 of the specification, and the places where numbers and words meet.
        let ordered = [
            "0.0.0",
            "0.9.10",
            "1.0.0-0",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1-x-y",
            "1.10.0",
            "2.0.0",
        ];
        for pair in ordered.windows(2) {
            let [a, b] = [Version::parse(pair[0]).unwrap(), Version::parse(pair[1]).unwrap()];
            assert!(a < b, "{a} is before {b}");
            assert_eq!((a.to_string(), b.to_string()), (pair[0].to_owned(), pair[1].to_owned()));
        }
    }

    #[test]
    fn what_is_not_exactly_one_version_is_none() {
        let long = format!("1.0.0-{}", "a".repeat(256));
        let wrong = [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "v1.0.0",
            "=1.0.0",
            " 1.0.0",
            "01.0.0",
            "1.0.0-",
            "1.0.0-01",
            "1.0.0-a..b",
            "1.0.0+b",
            "1.0.0-a+b",
            "1.x.0",
            "*",
            "9007199254740992.0.0",
            "1.0.0-é",
            "+1.0.0",
            "1.0.-1",
            &long,
        ];
        for text in wrong {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        assert!(Version::parse("9007199254740991.0.0").is_some());
    }
}
