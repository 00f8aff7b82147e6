//! Expansion of a word: variables, quotes and escapes, as the Dockerfile reference describes under
//! "Environment replacement".

/// Defaults inside defaults; nobody writes more than two.
const MAX_NESTING: usize = 16;
/// A word that doubles itself through variables stops here.
const MAX_EXPANDED_BYTES: usize = 1 << 20;

pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The word with everything replaced, or a sentence about what cannot be.
pub(crate) fn expand(word: &str, escape: char, value_of: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let chars: Vec<char> = word.chars().collect();
    let mut expander = Expander { chars: &chars, at: 0, escape, value_of };
    let text = expander.text(None, 0)?;
    if text.len() > MAX_EXPANDED_BYTES {
        return Err(format!("a value is longer than {MAX_EXPANDED_BYTES} bytes"));
    }
    Ok(text)
}

struct Expander<'a> {
    chars: &'a [char],
    at: usize,
    escape: char,
    value_of: &'a dyn Fn(&str) -> Option<String>,
}

impl Expander<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Everything up to the end or, inside braces, up to the closing one, which is taken.
    fn text(&mut self, until: Option<char>, nesting: usize) -> Result<String, String> {
        if nesting > MAX_NESTING {
            return Err("variables are nested too deep".to_owned());
        }
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                c if Some(c) == until => return Ok(text),
                '\'' => loop {
                    match self.next() {
                        Some('\'') => break,
                        Some(c) => text.push(c),
                        None => return Err("a single quote is not closed".to_owned()),
                    }
                },
                '"' => self.double_quoted(&mut text, nesting)?,
                '$' => self.variable(&mut text, nesting)?,
                c if c == self.escape => text.extend(self.next()),
                c => text.push(c),
            }
            if text.len() > MAX_EXPANDED_BYTES {
                return Err(format!("a value is longer than {MAX_EXPANDED_BYTES} bytes"));
            }
        }
        if until.is_some() { Err("a ${ is not closed".to_owned()) } else { Ok(text) }
    }

    fn double_quoted(&mut self, text: &mut String, nesting: usize) -> Result<(), String> {
        loop {
            match self.next() {
                None => return Err("a double quote is not closed".to_owned()),
                Some('"') => return Ok(()),
                Some('$') => self.variable(text, nesting)?,
                Some(c) if c == self.escape => match self.next() {
                    Some(c) if c == '"' || c == '$' || c == self.escape => text.push(c),
                    Some(c) => text.extend([self.escape, c]),
                    None => return Err("a double quote is not closed".to_owned()),
                },
                Some(c) => text.push(c),
            }
        }
    }

    fn variable(&mut self, text: &mut String, nesting: usize) -> Result<(), String> {
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                text.push('$');
            } else {
                text.push_str(&(self.value_of)(&name).unwrap_or_default());
            }
            return Ok(());
        }
        self.at += 1;
        let name = self.name();
        if name.is_empty() {
            return Err("a ${ has no name in it".to_owned());
        }
        let value = (self.value_of)(&name);
        let mut modifier = self.next().ok_or("a ${ is not closed")?;
        let mut counts_empty = false;
        if modifier == ':' {
            counts_empty = true;
            modifier = self.next().ok_or("a ${ is not closed")?;
        }
        let is_set = value.as_ref().is_some_and(|value| !counts_empty || !value.is_empty());
        match modifier {
            '}' if !counts_empty => text.push_str(&value.unwrap_or_default()),
            '-' | '+' | '?' => {
                let word = self.text(Some('}'), nesting + 1)?;
                match modifier {
                    '-' => text.push_str(if is_set { value.as_deref().unwrap_or_default() } else { &word }),
                    '+' if is_set => text.push_str(&word),
                    '?' if !is_set => return Err(format!("{name} is not set: {word}")),
                    '?' => text.push_str(value.as_deref().unwrap_or_default()),
                    _ => {}
                }
            }
            other => return Err(format!("the modifier {other:?} of ${{{name}…}} is not covered; use :-, :+ or :?")),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let fits = if name.is_empty() { c.is_ascii_alphabetic() || c == '_' } else { c.is_ascii_alphanumeric() || c == '_' };
            if !fits {
                break;
            }
            name.push(c);
            self.at += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str) -> Result<String, String> {
        let value_of = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        expand(word, '\\', &value_of)
    }

    #[test]
    fn variables_quotes_and_escapes_are_read_as_docker_does() {
        for (word, expanded) in [
            ("$A/${A}x", "one/onex"),
            ("$NO-", "-"),
            ("${NO:-two}", "two"),
            ("${EMPTY:-two}|${EMPTY-two}", "two|"),
            ("${A:+set}|${NO:+set}|${EMPTY+set}", "set||set"),
            ("${NO:-${A}-${NO:-deep}}", "one-deep"),
            ("'$A' \"$A\"", "$A one"),
            (r"\$A \a", "$A a"),
            (r#""a\"b\n""#, r#"a"b\n"#),
            ("$ $1 100%", "$ $1 100%"),
            ("${A:?must}", "one"),
            ("\"{\\\"k\\\":1}\"", "{\"k\":1}"),
        ] {
            assert_eq!(check(word).as_deref(), Ok(expanded), "{word}");
        }
    }

    #[test]
    fn what_cannot_be_expanded_is_said() {
        for (word, problem) in [
            ("${A", "not closed"),
            ("'a", "single quote"),
            ("\"a", "double quote"),
            ("${}", "no name"),
            ("${A%x}", "not covered"),
            ("${NO:?give it}", "NO is not set: give it"),
            ("${A:}", "not covered"),
        ] {
            assert!(check(word).unwrap_err().contains(problem), "{word}");
        }
        assert!(check(&"${A:+".repeat(100_000)).unwrap_err().contains("too deep"));
    }
}
