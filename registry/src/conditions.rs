//! Whether a client wants what it already has: the conditions of RFC 9110, section 13.
//!
//! A plain function of the request's headers and of what is known of the answer. The time is an argument.

use crate::content::client_has_it;
use poem::http::{HeaderMap, HeaderName, header};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What an answer can be recognised by.
#[derive(Clone, Debug)]
pub(crate) struct Validators {
    pub(crate) etag: String,
    /// In whole seconds, and never after the answer is sent (RFC 9110, section 8.8.2.1).
    last_modified: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Holds,
    /// The client has it.
    NotModified,
    /// The client wants another one than there is.
    Failed,
}

impl Validators {
    pub(crate) fn new(etag: String, modified_ms: Option<u64>, now: SystemTime) -> Self {
        let last_modified = modified_ms.map(|ms| whole_seconds((UNIX_EPOCH + Duration::from_millis(ms)).min(now)));
        Self { etag, last_modified }
    }

    pub(crate) fn last_modified(&self) -> Option<String> {
        self.last_modified.map(httpdate::fmt_http_date)
    }

    /// In the order of section 13.2.2. A date counts only where there is no entity tag for the same question, and one that cannot be read is ignored.
    pub(crate) fn condition(&self, headers: &HeaderMap) -> Condition {
        let failed = match headers.get(header::IF_MATCH) {
            Some(_) => !self.is_among(headers),
            None => self.is_after(headers, header::IF_UNMODIFIED_SINCE) == Some(true),
        };
        if failed {
            return Condition::Failed;
        }
        let has_it = match headers.get(header::IF_NONE_MATCH) {
            Some(_) => client_has_it(headers, &self.etag),
            None => self.is_after(headers, header::IF_MODIFIED_SINCE) == Some(false),
        };
        if has_it { Condition::NotModified } else { Condition::Holds }
    }

    /// Whether a part of this is what the client goes on with. A date has to be the very one it was given (section 13.1.5).
    pub(crate) fn allow_a_range(&self, headers: &HeaderMap) -> bool {
        let Some(condition) = headers.get(header::IF_RANGE) else { return true };
        let condition = condition.to_str().unwrap_or_default();
        condition == self.etag || self.last_modified().is_some_and(|date| condition == date)
    }

    /// The strong comparison of section 8.8.3.2.
    fn is_among(&self, headers: &HeaderMap) -> bool {
        let tags = headers.get_all(header::IF_MATCH).iter().filter_map(|value| value.to_str().ok());
        tags.flat_map(|tags| tags.split(',')).map(str::trim).any(|tag| tag == "*" || tag == self.etag)
    }

    /// Whether this was modified after the date of a header, if both dates are known.
    fn is_after(&self, headers: &HeaderMap, name: HeaderName) -> Option<bool> {
        let date = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
        Some(self.last_modified? > date)
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Condition::{Failed, Holds, NotModified};

    const BEFORE: &str = "Fri, 20 Nov 2026 10:00:00 GMT";
    const THEN: &str = "Fri, 20 Nov 2026 10:00:01 GMT";
    const AFTER: &str = "Friday, 20-Nov-26 10:00:02 GMT";

    fn validators() -> Validators {
        let then = httpdate::parse_http_date(THEN).expect("a date").duration_since(UNIX_EPOCH).expect("after 1970");
        let modified_ms = then.as_millis() as u64 + 999;
        Validators::new("\"a\"".into(), Some(modified_ms), UNIX_EPOCH + then + Duration::from_secs(9))
    }

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header"))).collect()
    }

    #[test]
    fn dates_say_whether_a_client_has_it_unless_a_tag_does() {
        use header::{IF_MODIFIED_SINCE as SINCE, IF_NONE_MATCH as NONE};
        assert_eq!(validators().last_modified().as_deref(), Some(THEN));
        let cases: [(&[(HeaderName, &str)], Condition); 8] = [
            (&[], Holds),
            (&[(SINCE, BEFORE)], Holds),
            (&[(SINCE, THEN)], NotModified),
            (&[(SINCE, AFTER)], NotModified),
            (&[(SINCE, "yesterday")], Holds),
            (&[(NONE, "\"a\"")], NotModified),
            (&[(NONE, "\"b\""), (SINCE, AFTER)], Holds),
            (&[(NONE, "W/\"a\""), (SINCE, BEFORE)], NotModified),
        ];
        for (lines, expected) in cases {
            assert_eq!(validators().condition(&headers(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_client_that_wants_another_one_gets_nothing() {
        use header::{IF_MATCH as MATCH, IF_UNMODIFIED_SINCE as SINCE};
        let cases: [(&[(HeaderName, &str)], Condition); 7] = [
            (&[(SINCE, BEFORE)], Failed),
            (&[(SINCE, THEN)], Holds),
            (&[(SINCE, "soon")], Holds),
            (&[(MATCH, "\"b\", \"a\"")], Holds),
            (&[(MATCH, "*")], Holds),
            (&[(MATCH, "W/\"a\"")], Failed),
            (&[(MATCH, "\"b\""), (SINCE, AFTER)], Failed),
        ];
        for (lines, expected) in cases {
            assert_eq!(validators().condition(&headers(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_part_is_good_for_the_very_same_thing_only() {
        let allows = |value: &str| validators().allow_a_range(&headers(&[(header::IF_RANGE, value)]));
        assert!(allows("\"a\"") && allows(THEN) && validators().allow_a_range(&HeaderMap::new()));
        assert!(!allows("W/\"a\"") && !allows("\"b\"") && !allows(BEFORE) && !allows(AFTER));
    }

    #[test]
    fn nothing_was_modified_after_it_is_sent() {
        let now = UNIX_EPOCH + Duration::from_millis(1_500);
        let validators = Validators::new(String::new(), Some(9_000), now);
        assert_eq!(validators.last_modified().as_deref(), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
        assert_eq!(Validators::new(String::new(), None, now).last_modified(), None);
    }
}
