//! One page of a list: `n`, `last` and the `Link` to the next page (OCI distribution specification 1.1, "Listing Tags"; RFC 8288).

use super::Query;
use crate::uri::encode_segment;
use poem::http::header;
use poem::{Response, ResponseBuilder};

/// The most entries of one page, whatever a client asks for.
const ENTRIES_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page<'q> {
    size: usize,
    /// The entry that the page before ended with.
    last: Option<&'q str>,
}

impl<'q> Page<'q> {
    pub(super) fn of(query: &'q Query) -> Self {
        // What is no number of entries asks for no number of them.
        let asked = query.get("n").and_then(|n| n.parse().ok()).unwrap_or(ENTRIES_MAX);
        Self { size: asked.min(ENTRIES_MAX), last: query.get("last").filter(|last| !last.is_empty()) }
    }

    pub(super) fn last(&self) -> Option<&'q str> {
        self.last
    }

    /// How many entries a caller collects: one more than it shows, which says whether there is another page.
    pub(super) fn collected_max(&self) -> usize {
        self.size + 1
    }

    /// Shortens what was collected to the page, and gives the answer its `Link` if more follows.
    pub(super) fn cut(&self, path: &str, entries: &mut Vec<String>) -> ResponseBuilder {
        let more = entries.len() > self.size;
        entries.truncate(self.size);
        let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
        // A page of no entries has no next one: it would be the same.
        match entries.last().filter(|_| more) {
            Some(last) => {
                let last = encode_segment(last, b"/:");
                response.header(header::LINK, format!("<{path}?n={}&last={last}>; rel=\"next\"", self.size))
            }
            None => response,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Query(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn a_page_is_never_larger_than_the_limit() {
        for (asked, size) in
            [("n=2", 2), ("n=0", 0), ("", 1_000), ("n=1001", 1_000), ("n=9223372036854775808", 1_000), ("n=-1", 1_000)]
        {
            assert_eq!(Page::of(&query(asked)).collected_max(), size + 1, "{asked}");
        }
        assert_eq!(Page::of(&query("last=")).last(), None);
        assert_eq!(Page::of(&query("last=1.0")).last(), Some("1.0"));
    }

    #[test]
    fn only_a_page_that_others_follow_links_to_the_next() {
        let link = |asked: &str, count: usize| {
            let mut entries: Vec<String> = (0..count).map(|entry| format!("e{entry}")).collect();
            let response = Page::of(&query(asked)).cut("/v2/a/tags/list", &mut entries).finish();
            (entries.len(), response.header(header::LINK).map(str::to_owned))
        };
        assert_eq!(link("n=2", 3), (2, Some("</v2/a/tags/list?n=2&last=e1>; rel=\"next\"".to_owned())));
        assert_eq!(link("n=2", 2), (2, None));
        assert_eq!(link("n=0", 1), (0, None));
        assert_eq!(link("", 3), (3, None));
    }

    #[test]
    fn what_ends_a_page_is_escaped_in_its_link() {
        let link = |last: &str| {
            let mut entries = vec![last.to_owned(), "more".to_owned()];
            let response = Page::of(&query("n=1")).cut("/v2/_catalog", &mut entries).finish();
            response.header(header::LINK).map(str::to_owned)
        };
        assert_eq!(link("deep/er/one").as_deref(), Some("</v2/_catalog?n=1&last=deep/er/one>; rel=\"next\""));
        assert_eq!(link("a&n=0>;+\u{e9}").as_deref(), Some("</v2/_catalog?n=1&last=a%26n%3D0%3E%3B%2B%C3%A9>; rel=\"next\""));
    }
}
