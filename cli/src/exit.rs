//! How a program ends: what went wrong, what to do about it, and the exit code scripts can rely on.

use crate::terminal::visible;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// The request was carried out.
pub const SUCCESS: u8 = 0;
/// The request was understood and failed.
pub const FAILED: u8 = 1;
/// The command line was not understood; clap ends programs with the same code.
pub const USAGE: u8 = 2;

/// The paragraph of `--help` that promises the codes above.
pub const HELP: &str =
    "Exit codes:\n  0  done\n  1  the request failed; the reason is on stderr\n  2  the command line was not understood";

/// Why a program ends without having done what was asked.
#[derive(Debug)]
pub struct Failure {
    sentence: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: visible(&sentence.into()), hint: None, code: FAILED }
    }

    pub fn usage(sentence: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(sentence) }
    }

    /// With an exit code that the command promises.
    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// `what: error`, with every cause of the error.
    pub fn because(what: &str, error: &dyn Error) -> Self {
        Self::new(format!("{what}: {}", chain(error)))
    }

    /// For a program whose code 1 says something of its own: it did not get that far.
    pub fn as_could_not_run(self) -> Self {
        Self { code: USAGE, ..self }
    }

    /// What the user can do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The exit code, after the reason was printed on stderr with `prefix` before it.
    pub fn report(&self, prefix: &str) -> ExitCode {
        // Where nobody reads stderr, the exit code still tells.
        let _ = writeln!(io::stderr(), "{prefix}{self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

/// An error and its causes in one line; a cause whose text the line has already is left out.
pub fn chain(error: &dyn Error) -> String {
    // Errors of libraries may go over several lines.
    let in_one_line = |error: &dyn Error| error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut line = in_one_line(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = in_one_line(error);
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the ledger")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_cause_of_several_lines_is_told_in_one() {
        let outer = Outer(io::Error::other("expected=[\n    0x0,\n    0x61,\n]"));
        assert_eq!(chain(&outer), "cannot open the ledger: expected=[ 0x0, 0x61, ]");
    }

    #[test]
    fn a_failure_names_its_causes_and_what_to_do() {
        let outer = Outer(io::Error::other("the disk is full"));
        let failure = Failure::because("the node cannot start", &outer).hint("make room");
        assert_eq!(failure.to_string(), "the node cannot start: cannot open the ledger: the disk is full\nhint: make room");
    }
}
