//! The order of versions (Maven's POM reference, "Version Order Specification").
//!
//! A version is read into a sequence of tokens, of which each has a place in one order, the end of the sequence too: what is compared is the sequences. Read so,
//! the order is total. Maven's own class keeps an empty level such as the one in `1-0-x` and can then find three versions each before the next.

use std::cmp::Ordering;

/// A version as it is compared. Two that are written differently can be equal, as `1` and `1.0` are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(Vec<Token>);

/// In ascending order. A qualifier means the same behind a dot and behind a hyphen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    Alpha,
    Beta,
    Milestone,
    Candidate,
    Snapshot,
    /// Nothing more follows.
    End,
    /// `ga`, `final`, `release`: nothing, but in front of something.
    Release,
    ServicePack,
    Other(String),
    AfterHyphen(Number),
    AfterDot(Number),
}

/// Of any length; without zeros in front, so none for zero.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Number(String);

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Version {
    pub(super) fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let mut tokens = Vec::new();
        let mut after_dot = true;
        let mut rest = text.as_str();
        loop {
            let (word, separator, behind) = next_word(rest);
            // Something of a version stands before each separator.
            let token = if word.is_empty() { numeric("", after_dot) } else { token(word, after_dot, separator) };
            if !matches!(token, Token::AfterDot(_)) {
                trim(&mut tokens);
            }
            tokens.push(token);
            let Some(separator) = separator else { break };
            after_dot = separator == Separator::Dot;
            rest = behind;
        }
        trim(&mut tokens);
        tokens.push(Token::End);
        Self(tokens)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Separator {
    Dot,
    Hyphen,
    /// Between a digit and something else; as good as a hyphen.
    Transition,
}

/// The first word, what ends it and what stands behind.
fn next_word(text: &str) -> (&str, Option<Separator>, &str) {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut before: Option<char> = None;
    for (at, c) in text.char_indices() {
        match c {
            '.' => return (&text[..at], Some(Separator::Dot), &text[at + 1..]),
            '-' => return (&text[..at], Some(Separator::Hyphen), &text[at + 1..]),
            _ if before.is_some_and(|before| is_digit(before) != is_digit(c)) => {
                return (&text[..at], Some(Separator::Transition), &text[at..]);
            }
            _ => before = Some(c),
        }
    }
    (text, None, "")
}

/// `next` separates the word from the one behind it.
fn token(word: &str, after_dot: bool, next: Option<Separator>) -> Token {
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return numeric(word, after_dot);
    }
    match word {
        "alpha" => Token::Alpha,
        "beta" => Token::Beta,
        "milestone" => Token::Milestone,
        // Short forms count in front of a number only.
        "a" if next == Some(Separator::Transition) => Token::Alpha,
        "b" if next == Some(Separator::Transition) => Token::Beta,
        "m" if next == Some(Separator::Transition) => Token::Milestone,
        "rc" | "cr" => Token::Candidate,
        "snapshot" => Token::Snapshot,
        "ga" | "final" | "release" => Token::Release,
        "sp" => Token::ServicePack,
        other => Token::Other(other.to_owned()),
    }
}

fn numeric(digits: &str, after_dot: bool) -> Token {
    let number = Number(digits.trim_start_matches('0').to_owned());
    if after_dot { Token::AfterDot(number) } else { Token::AfterHyphen(number) }
}

/// Takes what means nothing away from the end, as is done before each hyphen.
fn trim(tokens: &mut Vec<Token>) {
    while tokens.last().is_some_and(Token::is_nothing) {
        tokens.pop();
    }
}

impl Token {
    fn is_nothing(&self) -> bool {
        match self {
            Self::Release => true,
            Self::AfterHyphen(number) | Self::AfterDot(number) => number.0.is_empty(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
