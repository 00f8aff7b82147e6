//! HTML in which only this program's own words are markup.
//!
//! Markup is a text of the source code; whatever comes from the ledger, a request or another node can only be put in as text, and
//! is escaped there. So no place that shows something can forget it.

use std::fmt::{Display, Write};

#[derive(Debug, Default)]
pub(super) struct Html(String);

/// The address of a page or of an answer of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Href(String);

impl Href {
    pub(super) fn to(path: &'static str) -> Self {
        Self(path.to_owned())
    }

    /// `what` follows the path, or is the value of the query that it ends with: no character of it means anything in an address.
    pub(super) fn with(path: &'static str, what: impl Display) -> Self {
        Self(path.to_owned()).and("", what)
    }

    pub(super) fn and(mut self, path: &'static str, what: impl Display) -> Self {
        self.0.push_str(path);
        for byte in what.to_string().bytes() {
            // The unreserved characters of RFC 3986, section 2.3.
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(self.0, "%{byte:02X}");
            }
        }
        self
    }
}

impl Html {
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// A text as it is, wherever in the markup it stands. What would change the order of the characters around it is shown as a mark.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        for character in text.to_string().chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push('\n'),
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    self.0.push(char::REPLACEMENT_CHARACTER)
                }
                character if character.is_control() => self.0.push(char::REPLACEMENT_CHARACTER),
                character => self.0.push(character),
            }
        }
        self
    }

    pub(super) fn link(&mut self, to: &Href, text: impl Display) -> &mut Self {
        self.markup("<a href=\"").text(&to.0).markup("\">").text(text).markup("</a>")
    }

    /// A text in the letters of programs, such as a digest.
    pub(super) fn code(&mut self, text: impl Display) -> &mut Self {
        self.markup("<code>").text(text).markup("</code>")
    }

    pub(super) fn heading(&mut self, text: impl Display) -> &mut Self {
        self.markup("<h2>").text(text).markup("</h2>\n")
    }

    /// A name and what stands for it, as a row of a table of two columns.
    pub(super) fn fact(&mut self, name: &'static str, value: impl FnOnce(&mut Self)) -> &mut Self {
        self.markup("<tr><th scope=\"row\">").text(name).markup("</th><td>");
        value(self);
        self.markup("</td></tr>\n")
    }

    /// The head of a table with a title for each column.
    pub(super) fn columns(&mut self, titles: &[&'static str]) -> &mut Self {
        self.markup("<table><tr>");
        for title in titles {
            self.markup("<th scope=\"col\">").text(title).markup("</th>");
        }
        self.markup("</tr>\n")
    }

    pub(super) fn append(&mut self, other: Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_is_shown_can_be_markup_or_lead_elsewhere() {
        let hostile = "\"><script>alert('x')</script>&\u{202e}\u{7}";
        let mut html = Html::default();
        html.link(&Href::with("/explore/packages/", "../x?a#b").and("?id=", hostile), hostile).code(hostile);
        let shown = "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;\u{fffd}\u{fffd}";
        let path = "/explore/packages/..%2Fx%3Fa%23b?id=%22%3E%3Cscript%3Ealert%28%27x%27%29%3C%2Fscript%3E%26%E2%80%AE%07";
        assert_eq!(html.into_string(), format!("<a href=\"{path}\">{shown}</a><code>{shown}</code>"));
    }

    proptest! {
        #[test]
        fn no_text_opens_or_ends_anything(text in any::<String>()) {
            let mut html = Html::default();
            html.text(&text);
            let html = html.into_string();
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
            let unescaped = ["&lt;<", "&gt;>", "&quot;\"", "&#39;'"].iter().fold(html.clone(), |html, pair| {
                let (entity, character) = pair.split_at(pair.len() - 1);
                html.replace(entity, character)
            });
            prop_assert_eq!(unescaped.replace("&amp;", "&").chars().count(), text.chars().count());
        }
    }
}
