//! What is searched for, in the words of its caller, and what is found.

use super::{EventView, name_from_log};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use pyrsia_ledger::event::Event;
use pyrsia_ledger::projection::builds::JudgeState;
use pyrsia_ledger::search::{CoordinatePattern, Cursor, Order, PageRequest, Query, Role};
use pyrsia_ledger::{BlockHash, BuildId, Height, NetworkId, NodeId, PackageType, Sha256Digest};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// How many events a page has when nothing is said, and at most.
pub const SEARCH_LIMIT: usize = 100;
pub const SEARCH_LIMIT_MAX: usize = 1_000;
const MS_PER_SECOND: u64 = 1_000;

/// The query of `GET /api/v1/search`, as it was written. An event is found that fits everything that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Words that say by their form what they are: a SHA-256, a build id, a peer id; else a package, or a package type and a package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinate: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub package_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What is wrong with a question, for who asked it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    #[error("{what}: {problem}")]
    Value { what: &'static str, problem: String },
    #[error("{what} is given twice: {first:?} and {second:?}")]
    Twice { what: &'static str, first: String, second: String },
    #[error("{0:?} is one word too many: a package is one word, or two with its type in front")]
    Words(String),
    #[error("{what} ends before it begins")]
    Range { what: &'static str },
}

impl SearchRequest {
    /// What is looked for, and which part of it.
    pub fn read(&self) -> Result<(Query, PageRequest), SearchError> {
        let words = self.with_words()?;
        let query = Query {
            digest: read("sha256", &words.sha256, digest)?,
            build: read("build", &words.build, parsed::<BuildId>)?,
            package_type: read("type", &words.package_type, package_type)?,
            coordinate: read("coordinate", &words.coordinate, parsed::<CoordinatePattern>)?,
            node: read("builder", &words.builder, parsed::<NodeId>)?,
            role: read("role", &words.role, role)?,
            kind: read("operation", &words.operation, operation)?,
            since_ms: read("since", &words.since, |text| moment(text).map(|(first, _)| first))?,
            until_ms: read("until", &words.until, |text| moment(text).map(|(_, last)| last))?,
            from: read("from", &words.from, height)?,
            to: read("to", &words.to, height)?,
        };
        if query.since_ms.zip(query.until_ms).is_some_and(|(since, until)| since > until) {
            return Err(SearchError::Range { what: "the range of time" });
        }
        if query.from.zip(query.to).is_some_and(|(from, to)| from > to) {
            return Err(SearchError::Range { what: "the range of heights" });
        }
        let limit = read("limit", &words.limit, limit)?.unwrap_or(SEARCH_LIMIT);
        let cursor = |text: &str| text.parse().map(Cursor).map_err(|_| format!("{:?} is no cursor of an answer", cut(text)));
        let cursor = read("cursor", &words.cursor, cursor)?;
        Ok((query, PageRequest { order: read("order", &words.order, order)?.unwrap_or_default(), limit, cursor }))
    }

    /// The same with each of the free words in its place.
    fn with_words(&self) -> Result<Self, SearchError> {
        let mut request = Self { q: None, ..self.clone() };
        let mut names = vec![];
        for word in self.q.iter().flat_map(|words| words.split_whitespace()) {
            let (what, place) = if digest(word).is_ok() {
                ("sha256", &mut request.sha256)
            } else if word.parse::<BuildId>().is_ok() {
                ("build", &mut request.build)
            } else if word.parse::<NodeId>().is_ok() {
                ("builder", &mut request.builder)
            } else {
                names.push(word);
                continue;
            };
            put(what, place, word)?;
        }
        match names[..] {
            [] => {}
            [coordinate] => put("coordinate", &mut request.coordinate, coordinate)?,
            [package_type, coordinate] => {
                put("type", &mut request.package_type, package_type)?;
                put("coordinate", &mut request.coordinate, coordinate)?;
            }
            [_, _, beyond, ..] => return Err(SearchError::Words(cut(beyond))),
        }
        Ok(request)
    }
}

fn put(what: &'static str, place: &mut Option<String>, word: &str) -> Result<(), SearchError> {
    match place.replace(word.to_owned()) {
        Some(first) if first != word => Err(SearchError::Twice { what, first: cut(&first), second: cut(word) }),
        _ => Ok(()),
    }
}

/// What is quoted of a value that cannot be understood.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A value that is empty, as a form sends what was not filled in, is none.
fn read<T>(
    what: &'static str,
    text: &Option<String>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, SearchError> {
    let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    text.map(|text| read(text).map_err(|problem| SearchError::Value { what, problem })).transpose()
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn digest(text: &str) -> Result<Sha256Digest, String> {
    parsed(text.strip_prefix("sha256:").unwrap_or(text))
}

/// A type by its name, or by the word that log records have for it.
fn package_type(text: &str) -> Result<PackageType, String> {
    PackageType::new(name_from_log(text)).map_err(|error| error.to_string())
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "asked" => Ok(Role::Asked),
        "built" => Ok(Role::Built),
        "agreed" => Ok(Role::Agreed),
        "dissented" => Ok(Role::Dissented),
        other => Err(format!("{:?} is not one of asked, built, agreed, dissented", cut(other))),
    }
}

fn operation(text: &str) -> Result<&'static str, String> {
    let known = Event::KINDS.iter().find(|kind| kind.eq_ignore_ascii_case(text));
    known.copied().ok_or_else(|| format!("{:?} is not one of {}", cut(text), Event::KINDS.join(", ")))
}

fn order(text: &str) -> Result<Order, String> {
    match text {
        "newest" => Ok(Order::Newest),
        "oldest" => Ok(Order::Oldest),
        other => Err(format!("{:?} is neither newest nor oldest", cut(other))),
    }
}

fn height(text: &str) -> Result<Height, String> {
    text.parse().map(Height).map_err(|_| format!("{:?} is not the height of a block", cut(text)))
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=SEARCH_LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("{:?} is not a number from 1 to {SEARCH_LIMIT_MAX}", cut(text)))
}

/// The first and the last millisecond that are meant: of a day in UTC, of a whole second, or the one there is.
fn moment(text: &str) -> Result<(u64, u64), String> {
    let wrong =
        || format!("{:?} is neither a date such as 2026-11-21 nor a time such as 2026-11-21T18:30:00Z, from 1970 on", cut(text));
    let ms = |time: Timestamp| u64::try_from(time.as_millisecond()).map_err(|_| wrong());
    // A date with something behind it is no date.
    if text.len() == "2026-11-21".len() {
        let day: Date = text.parse().map_err(|_| wrong())?;
        let midnight = |day: Date| day.to_zoned(TimeZone::UTC).map_err(|_| wrong()).and_then(|time| ms(time.timestamp()));
        return Ok((midnight(day)?, midnight(day.tomorrow().map_err(|_| wrong())?)? - 1));
    }
    let first = ms(text.parse().map_err(|_| wrong())?)?;
    let is_whole_second = first.is_multiple_of(MS_PER_SECOND) && !text.contains('.');
    Ok((first, if is_whole_second { first + MS_PER_SECOND - 1 } else { first }))
}

/// `GET /api/v1/search`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPage {
    pub network: NetworkId,
    /// The block up to which the answer holds: nothing is said of later ones.
    pub holds_to_height: Height,
    pub holds_to_time_ms: u64,
    pub order: SearchOrder,
    /// Whether nothing but what is on this page, and on those before it, was found. Only then is something not there that was not found.
    pub complete: bool,
    /// The last block that was looked at, maybe in part.
    pub searched_to_height: Option<Height>,
    /// Where the next page begins, unless the answer is complete.
    pub cursor: Option<String>,
    pub events: Vec<FoundEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchOrder {
    Newest,
    Oldest,
}

/// An event with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundEvent {
    /// The place in the tree over all events.
    pub index: u64,
    pub height: Height,
    pub block: BlockHash,
    pub time_ms: u64,
    /// The kind of the event, as log records have it.
    pub operation: String,
    /// What the event is about, where that is a package.
    pub package_type: Option<PackageType>,
    pub package: Option<String>,
    pub build_id: Option<BuildId>,
    /// How the judge whose result this is stands in its build.
    pub stands: Option<JudgeState>,
    /// The event as a sentence.
    pub says: String,
    pub event: EventView,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(field: &str, value: &str) -> SearchRequest {
        serde_json::from_value(serde_json::json!({ field: value })).expect("a request")
    }

    fn refusal(field: &str, value: &str) -> String {
        asked(field, value).read().expect_err("it is refused").to_string()
    }

    const NODE: &str = "12D3KooWBgWeXNT1EKXo2omRhZVmkbvPgzZ5BcGjTfgKr586BSAn";
    const BUILD: &str = "c9ca3e57-aa84-8fab-a8be-381ab31e4916";

    #[test]
    fn words_say_by_their_form_what_they_are() {
        let digest = Sha256Digest::of(b"layer");
        let words = format!("docker {} {NODE} {BUILD} alpine:3.16.0", digest.to_oci());
        let (query, page) = asked("q", &words).read().expect("a query");
        assert_eq!((query.digest, query.build.map(|id| id.to_string())), (Some(digest), Some(BUILD.to_owned())));
        assert_eq!(query.node.map(|node| node.to_string()).as_deref(), Some(NODE));
        assert_eq!(query.package_type.map(|found| found.to_string()).as_deref(), Some("docker"));
        assert_eq!(query.coordinate.map(|found| found.to_string()).as_deref(), Some("alpine:3.16.0"));
        assert_eq!(page, PageRequest { order: Order::Newest, limit: SEARCH_LIMIT, cursor: None });
        assert_eq!(SearchRequest::default().read().expect("everything").0, Query::default());
        assert_eq!(asked("builder", "").read().expect("a form that was not filled in").0, Query::default());
    }

    #[test]
    fn times_are_days_seconds_or_milliseconds() {
        const DAY: u64 = 1_795_219_200_000;
        for (text, first, last) in [
            ("2026-11-21", DAY, DAY + 86_399_999),
            ("2026-11-21T00:00:01Z", DAY + 1_000, DAY + 1_999),
            ("2026-11-21T01:00:01+01:00", DAY + 1_000, DAY + 1_999),
            ("2026-11-21T00:00:01.250Z", DAY + 1_250, DAY + 1_250),
        ] {
            assert_eq!(asked("since", text).read().expect(text).0.since_ms, Some(first), "{text}");
            assert_eq!(asked("until", text).read().expect(text).0.until_ms, Some(last), "{text}");
        }
    }

    #[test]
    fn operations_and_types_have_the_words_of_log_records() {
        assert_eq!(asked("operation", "addartifact").read().expect("a kind").0.kind, Some("AddArtifact"));
        for (word, name) in [("Maven2", "maven"), ("Docker", "docker"), ("demo", "demo")] {
            let (query, _) = asked("type", word).read().expect("a type");
            assert_eq!(query.package_type.expect("a type").as_str(), name);
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_refused_with_its_name_and_what_it_may_be() {
        for (field, value, words) in [
            ("sha256", "sha256:12", "sha256: a sha256 digest is 64 lower-case hexadecimal digits"),
            ("build", "7", "build: a build id is a UUID"),
            ("builder", "somebody", "builder: PeerId has invalid format: somebody"),
            ("coordinate", "a b", "coordinate: a package is 1 to 512 characters"),
            ("type", "no type", "type: a package type is"),
            ("role", "boss", "role: \"boss\" is not one of asked, built, agreed, dissented"),
            ("operation", "Delete", "AddArtifact, NodeRevocationApproved"),
            ("since", "yesterday", "since: \"yesterday\" is neither a date such as"),
            ("since", "2026-11-21T10", "since: "),
            ("until", "2026-13-21", "until: "),
            ("until", "1969-12-31", "until: "),
            ("from", "-1", "from: \"-1\" is not the height of a block"),
            ("order", "best", "neither newest nor oldest"),
            ("limit", "0", "limit: \"0\" is not a number from 1 to 1000"),
            ("limit", "1001", "not a number from 1 to 1000"),
            ("cursor", "x", "cursor: \"x\" is no cursor of an answer"),
            ("q", "docker alpine beyond", "\"beyond\" is one word too many"),
        ] {
            let said = refusal(field, value);
            assert!(said.contains(words), "{field}={value}: {said}");
        }
        let both = SearchRequest { from: Some("9".into()), to: Some("8".into()), ..SearchRequest::default() };
        assert_eq!(both.read().expect_err("a range").to_string(), "the range of heights ends before it begins");
        let twice = SearchRequest { q: Some("alpine".into()), coordinate: Some("busybox".into()), ..SearchRequest::default() };
        assert!(twice.read().expect_err("two packages").to_string().starts_with("coordinate is given twice"));
    }
}
