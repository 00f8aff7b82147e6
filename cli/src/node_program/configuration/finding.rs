//! What is wrong with the settings, and where it stands.

use crate::terminal::visible;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// A node does not start with it.
    Error,
    /// A node starts, and does something else than what was probably meant.
    Warning,
}

/// Where a value was given. Its order is that in which findings are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Line and column are counted from one, the column in characters.
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    /// The file as a whole.
    WholeFile(PathBuf),
    Variable(String),
    Flag(String),
    Default,
    /// Several of them together.
    Together,
}

impl Place {
    /// The place of the byte `offset` of a file.
    pub(super) fn of_byte(path: &Path, bytes: &[u8], offset: usize) -> Self {
        let before = &bytes[..offset.min(bytes.len())];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        Self::File {
            path: path.to_owned(),
            line: before.iter().filter(|b| **b == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::WholeFile(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Default => f.write_str("default"),
            Self::Together => f.write_str("all together"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) place: Place,
    /// `section.key`, where it is about one setting.
    pub(super) setting: Option<String>,
    pub(super) problem: String,
    pub(super) hint: Option<String>,
}

impl Finding {
    pub(super) fn error(place: Place, problem: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place, setting: None, problem: problem.into(), hint: None }
    }

    pub(super) fn warning(place: Place, problem: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, problem) }
    }

    pub(super) fn about(self, setting: impl Into<String>) -> Self {
        Self { setting: Some(setting.into()), ..self }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        let (file, line, column) = match &self.place {
            Place::File { path, line, column } => (Some(path), Some(line), Some(column)),
            Place::WholeFile(path) => (Some(path), None, None),
            Place::Variable(_) | Place::Flag(_) | Place::Default | Place::Together => (None, None, None),
        };
        serde_json::json!({
            "column": column,
            "file": file.map(|path| path.to_string_lossy()),
            "hint": self.hint,
            "line": line,
            "place": self.place.to_string(),
            "problem": self.problem,
            "setting": self.setting,
            "severity": self.severity,
        })
    }
}

/// `node.toml:3:8: http.port: 70000 is not in 0..=65535`, and the hint on a line of its own. Its words come out of a file that
/// others may have written.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = self.setting.as_ref().map(|setting| format!("{setting}: ")).unwrap_or_default();
        let hint = self.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        f.write_str(&visible(&format!("{}: {setting}{}{hint}", self.place, self.problem)))
    }
}

/// The word that a person probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// One wrong letter in three is still a slip.
    const LIKENESS_MIN: f64 = 0.65;
    known
        .into_iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(word, known), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a = 1\nä = ö x\n".as_bytes();
        let at = |offset| Place::of_byte(Path::new("f"), text, offset).to_string();
        assert_eq!((at(0), at(4), at(6)), ("f:1:1".into(), "f:1:5".into(), "f:2:1".into()));
        let x = text.iter().position(|b| *b == b'x').unwrap();
        assert_eq!((at(x), at(1_000)), ("f:2:7".into(), "f:3:1".into()));
    }

    #[test]
    fn a_slip_is_understood_and_nonsense_is_not() {
        let known = ["port", "public_url", "peer"];
        assert_eq!(nearest("pubic-url", known), Some("public_url"));
        assert_eq!(nearest("prot", known), Some("port"));
        assert_eq!(nearest("timeout", known), None);
    }
}
