//! Which packages are meant: `GROUP[:ARTIFACT[:VERSION]]` with `*` for any characters of a part.

use pyrsia_ledger::search::fits;
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// Of group, artifact and version; a part that is missing is any.
    parts: [String; 3],
}

#[derive(Debug, thiserror::Error)]
#[error(
    "it is GROUP[:ARTIFACT[:VERSION]], such as org.example or 'org.example*:*:1.2.0', of letters, digits, '.', '_', '-', '+', '~' and '*' for any of them"
)]
pub struct PatternError;

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+~*".contains(&b));
        let mut parts = ["*"; 3].map(str::to_owned);
        for (index, given) in text.split(':').enumerate() {
            let part = parts.get_mut(index).filter(|_| is_part(given)).ok_or(PatternError)?;
            given.clone_into(part);
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Whether a package of this group, artifact and version is meant.
    pub fn means(&self, coordinate: [&str; 3]) -> bool {
        self.parts.iter().zip(coordinate).all(|(part, text)| fits(part, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(pattern: &str, coordinate: &str) -> bool {
        let parts: Vec<&str> = coordinate.split(':').collect();
        pattern.parse::<Pattern>().expect(pattern).means(parts.try_into().expect("three parts"))
    }

    #[test]
    fn a_part_that_is_missing_is_any_and_a_star_stands_for_any_characters_of_its_part() {
        for pattern in
            ["org.example", "*", "org.*", "*:demo", "org.example:demo:1.0", "*:*:1.0", "o*g.e*m*e:d*o:*", "org.example:**"]
        {
            assert!(means(pattern, "org.example:demo:1.0"), "{pattern}");
        }
        for pattern in
            ["org", "org.example:dem", "*:emo", "org.example:demo:1", "org.example.*", "*:*:2*", "*e*x*p*a*:*", "org.example*e"]
        {
            assert!(!means(pattern, "org.example:demo:1.0"), "{pattern}");
        }
        // What a star begins with and what it ends with are not the same letter of the text.
        assert!(!means("ab*ba", "aba:a:1") && means("ab*ba", "abba:a:1") && means("a*b*c", "abbc:a:1"));
    }

    #[test]
    fn what_names_no_package_is_refused() {
        for wrong in ["", ":", "a:", ":a", "a:b:c:d", "a/b", "a b", "../x", "a:b:[1,2)", "a:b:1\n", "gr\u{fc}n"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong:?}");
        }
    }
}
