//! Values of a JSON document with their places in its text, so that some can be left out of it or moved and all else stays byte for byte.
//!
//! A document is one that means the same to every reader: no key occurs twice in an object. Keys and strings are taken as they are written; one with an escape
//! is never what a caller looks for, and so is never left out.

use std::ops::Range;

use pyrsia_verifier_kit::unreadable::Result;
use pyrsia_verifier_kit::{Unreadable, strict_json};
use serde::de::IgnoredAny;

/// How many values a document may have that its reader asks for: their places are what lies in memory besides the text.
const VALUES_MAX: usize = 200_000;

/// A value of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Keys and, for the elements of an array, their numbers.
    pub path: Vec<Step>,
    pub span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// With the values that `is_wanted`, by what leads to them and as they are written, in the order in which they begin.
    pub fn parse(bytes: &'b [u8], is_wanted: impl Fn(&[Step], &str) -> bool) -> Result<Self> {
        strict_json::from_slice::<IgnoredAny>(bytes, &[])
            .map_err(|error| Unreadable::new(format!("it is not JSON that can be relied on: {error}")))?;
        let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::new("it is not UTF-8"))?;
        let mut walk = Walk { text, at: 0, path: Vec::new(), values: Vec::new(), is_wanted };
        if walk.value().is_none() {
            let is_full = walk.values.len() > VALUES_MAX;
            let many = || format!("it has more than {VALUES_MAX} values of the kind that comparison looks at");
            return Err(Unreadable::new(if is_full { many() } else { "its JSON ends too early".to_owned() }));
        }
        // Those that hold others end behind them.
        walk.values.sort_by_key(|value| value.span.start);
        Ok(Self { text, values: walk.values })
    }

    pub fn text(&self) -> &'b str {
        self.text
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
struct Walk<'t, W> {
    text: &'t str,
    at: usize,
    path: Vec<Step>,
    values: Vec<Value>,
    is_wanted: W,
}

impl<W: Fn(&[Step], &str) -> bool> Walk<'_, W> {
    /// None where the text ends too early, or too many values are wanted.
    fn value(&mut self) -> Option<()> {
        self.blanks();
        let start = self.at;
        match self.peek()? {
            b'{' => self.members(b'}', |walk, _| {
                let key = walk.string()?;
                walk.blanks();
                walk.at += 1;
                Some(Step::Key(key))
            })?,
            b'[' => self.members(b']', |_, index| Some(Step::Index(index)))?,
            b'"' => drop(self.string()?),
            _ => {
                while self.peek().is_some_and(|byte| !matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n')) {
                    self.at += 1;
                }
            }
        }
        if (self.is_wanted)(&self.path, self.text.get(start..self.at)?) {
            self.values.push(Value { path: self.path.clone(), span: start..self.at });
        }
        (self.values.len() <= VALUES_MAX).then_some(())
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
        let is_simple = |_: &[Step], written: &str| !written.starts_with(['{', '[']);
        let document = Document::parse(text, is_simple).unwrap();
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
            assert!(Document::parse(text.as_bytes(), |_, _| true).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_deep_or_has_too_many_values_is_not_read() {
        let refused = |text: String| Document::parse(text.as_bytes(), |_, _| true).unwrap_err().0;
        assert!(refused("[".repeat(100_000)).contains("recursion"));
        assert!(refused(format!("{}{}", "[".repeat(500), "]".repeat(500))).contains("recursion"));
        let many = format!("[{}0]", "0,".repeat(VALUES_MAX));
        assert!(refused(many.clone()).contains("more than"));
        let none = Document::parse(many.as_bytes(), |_, _| false).unwrap();
        assert!(none.values().is_empty(), "nobody asked for one");
    }

    #[test]
    fn a_value_that_holds_others_is_found_with_its_whole_text() {
        let document = Document::parse(br#"{"a": [ {"b":1}, 2 ] }"#, |path, _| path.len() < 3).unwrap();
        let written: Vec<_> = document.values().iter().map(|value| document.written(value)).collect();
        assert_eq!(written, [r#"{"a": [ {"b":1}, 2 ] }"#, r#"[ {"b":1}, 2 ]"#, r#"{"b":1}"#, "2"]);
    }
}
