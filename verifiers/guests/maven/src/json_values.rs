//! The values of a JSON document with their places in its text, so that some can be left out of it and all else stays byte for byte.
//!
//! A document is one that means the same to every reader: no key occurs twice in an object. Keys and strings are taken as they are written; one with an escape
//! is never what a caller looks for, and so is never left out.

use std::ops::Range;

use pyrsia_verifier_kit::unreadable::Result;
use pyrsia_verifier_kit::{Unreadable, strict_json};
use serde::de::IgnoredAny;

/// A string, number, `true`, `false` or `null`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Keys and, for the elements of an array, their numbers.
    pub path: Vec<Step>,
    pub span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

#[derive(Clone, Debug)]
pub struct Document<'b> {
    text: &'b str,
    values: Vec<Value>,
}

impl<'b> Document<'b> {
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        strict_json::from_slice::<IgnoredAny>(bytes, &[])
            .map_err(|error| Unreadable::new(format!("it is not JSON that can be relied on: {error}")))?;
        let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::new("it is not UTF-8"))?;
        let mut walk = Walk { text, at: 0, path: Vec::new(), values: Vec::new() };
        walk.value().ok_or_else(|| Unreadable::new("its JSON ends too early"))?;
        Ok(Self { text, values: walk.values })
    }

    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// As written, a string with its quotes.
    pub fn written(&self, value: &Value) -> &'b str {
        &self.text[value.span.clone()]
    }

    /// What stands between the quotes of a string without escapes.
    pub fn string(&self, value: &Value) -> Option<&'b str> {
        let inner = self.written(value).strip_prefix('"')?.strip_suffix('"')?;
        (!inner.contains('\\')).then_some(inner)
    }

    /// The one value at a path of keys.
    pub fn at(&self, keys: &[&str]) -> Option<&Value> {
        self.values.iter().find(|value| value.is_at(keys))
    }

    /// The text with these values, in the order of the document, emptied: strings to `""`, numbers to `0`.
    pub fn without<'v>(&self, values: impl IntoIterator<Item = &'v Value>) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for value in values {
            out.push_str(&self.text[at..value.span.start]);
            out.push_str(if self.written(value).starts_with('"') { "\"\"" } else { "0" });
            at = value.span.end;
        }
        out.push_str(&self.text[at..]);
        out
    }
}

impl Value {
    pub fn is_at(&self, keys: &[&str]) -> bool {
        self.path.len() == keys.len()
            && self.path.iter().zip(keys).all(|(step, key)| matches!(step, Step::Key(step) if step == key))
    }
}

/// Goes through a text that is known to be JSON; `None` where it is not.
struct Walk<'t> {
    text: &'t str,
    at: usize,
    path: Vec<Step>,
    values: Vec<Value>,
}

impl Walk<'_> {
    fn value(&mut self) -> Option<()> {
        self.blanks();
        match self.peek()? {
            b'{' => self.members(b'}', |walk, _| {
                let key = walk.string()?;
                walk.blanks();
                walk.at += 1;
                Some(Step::Key(key))
            }),
            b'[' => self.members(b']', |_, index| Some(Step::Index(index))),
            _ => {
                let start = self.at;
                if self.peek()? == b'"' {
                    self.string()?;
                } else {
                    while self.peek().is_some_and(|byte| !matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n')) {
                        self.at += 1;
                    }
                }
                self.values.push(Value { path: self.path.clone(), span: start..self.at });
                Some(())
            }
        }
    }

    /// The members of an object or array, each with what leads to it. The depth is bounded by the parser that read the text before.
    fn members(&mut self, end: u8, lead: impl Fn(&mut Self, usize) -> Option<Step>) -> Option<()> {
        self.at += 1;
        self.blanks();
        let mut index = 0;
        while self.peek()? != end {
            let step = lead(self, index)?;
            self.path.push(step);
            self.value()?;
            self.path.pop();
            self.blanks();
            if self.peek()? == b',' {
                self.at += 1;
                self.blanks();
            }
            index += 1;
        }
        self.at += 1;
        Some(())
    }

    /// What stands between the quotes, as written.
    fn string(&mut self) -> Option<String> {
        let start = self.at + 1;
        self.at = start;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at - 1).map(str::to_owned)
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_path_and_left_out_of_the_text() {
        let text = br#"{ "a": {"b": "x\"y", "c" : [1.50, true, {"d": ""}]}, "e":-2e3 ,"f":[],"g":{} }"#;
        let document = Document::parse(text).unwrap();
        let written: Vec<_> = document.values().iter().map(|value| document.written(value)).collect();
        assert_eq!(written, [r#""x\"y""#, "1.50", "true", r#""""#, "-2e3"]);
        assert_eq!(document.at(&["a", "b"]), document.values().first());
        assert_eq!(document.string(&document.values()[0]), None, "an escape is not interpreted");
        let without = document.without([&document.values()[0], &document.values()[4]]);
        assert_eq!(without, r#"{ "a": {"b": "", "c" : [1.50, true, {"d": ""}]}, "e":0 ,"f":[],"g":{} }"#);
        assert_eq!(document.without([]).as_bytes(), text);
        let last = &document.values()[3].path;
        assert_eq!(last[1..], [Step::Key("c".into()), Step::Index(2), Step::Key("d".into())]);
    }

    #[test]
    fn what_is_no_json_or_has_a_key_twice_is_not_read() {
        for text in ["", "{", "{\"a\":1,\"a\":2}", "{\"a\":1} x", "{'a':1}"] {
            assert!(Document::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
