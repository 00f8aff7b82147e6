//! Matching of names against patterns with `*`, `?`, `[…]` and `\`, as Go's `path.Match` defines it.
//!
//! Dockerfile sources, `.dockerignore` and mapping rules share it. It never looks at a disk.

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} is not well formed: {problem}")]
pub(crate) struct GlobError {
    pub(crate) pattern: String,
    pub(crate) problem: &'static str,
}

/// One pattern for one name; `*` and `?` do not cross `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyChar,
    AnyRun,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    pub(crate) fn new(pattern: &str) -> Result<Self, GlobError> {
        let bad = |problem| GlobError { pattern: pattern.to_owned(), problem };
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => {
                    // Runs of stars mean one star; folding them bounds the backtracking.
                    if tokens.last() == Some(&Token::AnyRun) {
                        continue;
                    }
                    Token::AnyRun
                }
                '?' => Token::AnyChar,
                '\\' => Token::Char(chars.next().ok_or_else(|| bad("it ends in a backslash"))?),
                '[' => {
                    let negated = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let mut bound = || match chars.next() {
                            Some('\\') => chars.next(),
                            other => other,
                        };
                        let low = match bound() {
                            Some(']') if !ranges.is_empty() => break,
                            Some(c) => c,
                            None => return Err(bad("a [ is not closed")),
                        };
                        let high = if chars.next_if_eq(&'-').is_some() {
                            match chars.next() {
                                Some('\\') => chars.next(),
                                other => other,
                            }
                            .ok_or_else(|| bad("a [ is not closed"))?
                        } else {
                            low
                        };
                        ranges.push((low, high));
                    }
                    Token::Class { negated, ranges }
                }
                c => Token::Char(c),
            });
        }
        Ok(Self { tokens })
    }

    pub(crate) fn is_literal(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Char(_)))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut token, mut at) = (0, 0);
        // The last star, and how much of the name it has taken: one step back is enough, since an earlier star
        // could not reach further than the later one.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let advanced = match self.tokens.get(token) {
                None => at == name.len(),
                Some(Token::AnyRun) => {
                    retry = Some((token, at));
                    token += 1;
                    continue;
                }
                Some(single) => at < name.len() && single.takes(name[at]),
            };
            if advanced {
                if token == self.tokens.len() {
                    return true;
                }
                token += 1;
                at += 1;
                continue;
            }
            match retry {
                Some((star, taken)) if taken < name.len() && name[taken] != '/' => {
                    retry = Some((star, taken + 1));
                    token = star + 1;
                    at = taken + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Token::Char(own) => *own == c,
            Token::AnyChar => c != '/',
            Token::AnyRun => false,
            Token::Class { negated, ranges } => {
                c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// A pattern over whole paths in which a `**` segment stands for any number of directories.
#[derive(Debug, Clone)]
pub(crate) struct PathGlob {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone)]
enum Segment {
    AnyDepth,
    Name(Glob),
}

/// Matching costs the depth of the path to the power of this number.
const MAX_ANY_DEPTH_SEGMENTS: usize = 3;

impl PathGlob {
    pub(crate) fn new(pattern: &str) -> Result<Self, GlobError> {
        let segments: Vec<Segment> = pattern
            .split('/')
            .filter(|segment| !segment.is_empty() && *segment != ".")
            .map(|segment| if segment == "**" { Ok(Segment::AnyDepth) } else { Glob::new(segment).map(Segment::Name) })
            .collect::<Result<_, _>>()?;
        if segments.iter().filter(|segment| matches!(segment, Segment::AnyDepth)).count() > MAX_ANY_DEPTH_SEGMENTS {
            return Err(GlobError { pattern: pattern.to_owned(), problem: "it has more than three ** in it" });
        }
        Ok(Self { segments })
    }

    /// Whether the pattern takes the path itself or one of the directories it lies in.
    pub(crate) fn matches_path_or_parent(&self, path: &[&str]) -> bool {
        (1..=path.len()).any(|depth| Self::takes(&self.segments, &path[..depth]))
    }

    fn takes(segments: &[Segment], path: &[&str]) -> bool {
        match segments.split_first() {
            None => path.is_empty(),
            Some((Segment::AnyDepth, rest)) => {
                (0..=path.len()).any(|skipped| Self::takes(rest, &path[skipped..]) && !(rest.is_empty() && path.is_empty()))
            }
            Some((Segment::Name(glob), rest)) => {
                path.split_first().is_some_and(|(name, below)| glob.matches(name) && Self::takes(rest, below))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str) -> bool {
        Glob::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn stars_question_marks_and_classes_match_as_in_go() {
        assert!(check("*", "") && check("*.txt", "a.txt") && check("a*c*e", "abcde") && check("a?c", "abc"));
        assert!(check("[a-c]x", "bx") && check("[^a-c]x", "dx") && check(r"\*", "*") && check("a/*", "a/b"));
        assert!(!check("*.txt", "a/b.txt") && !check("a?c", "a/c") && !check("[a-c]x", "dx") && !check("a", "ab"));
        assert!(!check("", "a") && check("", "") && !check("a*b", "acd"));
    }

    #[test]
    fn broken_patterns_are_refused() {
        for pattern in ["[", "[a", "a\\", "[a-"] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn double_stars_cross_directories_and_parents_count() {
        let check = |pattern: &str, path: &str| {
            PathGlob::new(pattern).unwrap().matches_path_or_parent(&path.split('/').collect::<Vec<_>>())
        };
        assert!(check("**/*.md", "a/b/c.md") && check("**/*.md", "c.md") && check("docs", "docs/a/b"));
        assert!(check("a/**", "a/b/c") && !check("a/**", "b/c") && !check("*.md", "a/c.md"));
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        assert!(!check(&format!("{}b", "a*".repeat(60)), &"a".repeat(5_000)));
    }
}
