//! What must hold of any bytes in a request's line and headers; as `pyrsia_ledger::fuzz`, in whose words.

use crate::conditions::{Condition, Validators};
use crate::docker::fuzz::{image_path, image_path_seeds};
use crate::maven::fuzz::{maven_path, maven_path_seeds, maven_version, maven_version_seeds};
use crate::ranges::{Selection, select};
use crate::tlog_tiles::fuzz::{tile_path, tile_path_seeds};
use crate::uri::decode_segment;
use poem::http::{HeaderMap, HeaderValue, header};
use std::time::{Duration, UNIX_EPOCH};

/// A property, its name, and bytes that lead far into what it is about.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

pub const IMAGE_PATH: Target = ("image_path", image_path, image_path_seeds);
pub const MAVEN_PATH: Target = ("maven_path", maven_path, maven_path_seeds);
pub const MAVEN_VERSION: Target = ("maven_version", maven_version, maven_version_seeds);
pub const TILE_PATH: Target = ("tile_path", tile_path, tile_path_seeds);
pub const RANGE: Target = ("range", range, range_seeds);
pub const CONDITION: Target = ("condition", condition, condition_seeds);
pub const SEGMENT: Target = ("segment", segment, segment_seeds);

/// How long the file is, and the header.
fn range(bytes: &[u8]) {
    let Some((size_bytes, header)) = bytes.split_first_chunk() else { return };
    let (size_bytes, Ok(header)) = (u64::from_le_bytes(*size_bytes), std::str::from_utf8(header)) else { return };
    match select(header, size_bytes) {
        Selection::Part { first, last } => {
            assert!(first <= last && last < size_bytes, "{header:?} of {size_bytes}");
            assert_eq!(select(&format!("bytes={first}-{last}"), size_bytes), Selection::Part { first, last });
        }
        Selection::Unsatisfiable => assert!(header.contains('-')),
        Selection::Whole => {}
    }
    // A longer file has every part that a shorter one has.
    if let (Selection::Part { first, .. }, Some(longer)) = (select(header, size_bytes), size_bytes.checked_add(1)) {
        assert!(matches!(select(header, longer), Selection::Part { first: again, .. } if again == first || again == first + 1));
    }
}

fn range_seeds() -> Vec<Vec<u8>> {
    let texts = ["bytes=0-499", "bytes=9500-", "bytes=-500", "bytes=0-0,-1", "Bytes = 5-", "bytes=500-0", "lines=0-1"];
    let sized = |size: u64| texts.map(|text| [&size.to_le_bytes(), text.as_bytes()].concat());
    [sized(0), sized(10_000)].concat()
}

/// One line for each header that asks for a condition.
fn condition(bytes: &[u8]) {
    const NAMES: [header::HeaderName; 5] =
        [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE, header::IF_RANGE];
    let mut headers = HeaderMap::new();
    for (name, value) in NAMES.iter().cycle().zip(bytes.split(|byte| *byte == b'\n')) {
        if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let validators = Validators::new("\"a\"".into(), Some(1_600_000_000_999), now);
    let condition = validators.condition(&headers);
    let says = |name: &header::HeaderName, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    if headers.is_empty() {
        assert_eq!(condition, Condition::Holds);
        assert!(validators.allow_a_range(&headers));
    }
    if !headers.contains_key(header::IF_MATCH) && !headers.contains_key(header::IF_UNMODIFIED_SINCE) {
        assert_ne!(condition, Condition::Failed, "nobody asked for another one");
        if says(&header::IF_NONE_MATCH, "\"a\"") || says(&header::IF_NONE_MATCH, "*") {
            assert_eq!(condition, Condition::NotModified);
        }
    }
    if headers.contains_key(header::IF_RANGE) && validators.allow_a_range(&headers) {
        let date = validators.last_modified().expect("it is known");
        assert!(says(&header::IF_RANGE, "\"a\"") || says(&header::IF_RANGE, &date));
    }
}

fn condition_seeds() -> Vec<Vec<u8>> {
    let date = "Sun, 13 Sep 2020 12:26:40 GMT";
    let lines = [
        ["\"a\"", "", "", "", ""],
        ["*", "W/\"a\", \"b\"", "", "", "\"a\""],
        ["", "", date, "", date],
        ["", "", "", date, "Sunday, 13-Sep-20 12:26:40 GMT"],
        ["", "*", "Sun Sep 13 12:26:40 2020", "", "W/\"a\""],
    ];
    lines.map(|lines| lines.join("\n").into_bytes()).to_vec()
}

fn segment(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(decoded) = decode_segment(text) else { return };
    assert!(decoded.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{text:?}");
    let escaped: String = decoded.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(decode_segment(&escaped), Some(decoded));
}

fn segment_seeds() -> Vec<Vec<u8>> {
    ["alpine", "sha256%3Aab", "%2e%2E", "%252e", "%2F", "%", "a%00"].map(|text| text.as_bytes().to_vec()).to_vec()
}

#[cfg(test)]
#[path = "../../fuzz/src/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_holds_for_the_corpus() {
        [IMAGE_PATH, MAVEN_PATH, MAVEN_VERSION, TILE_PATH, RANGE, CONDITION, SEGMENT].into_iter().for_each(corpus::replay);
    }
}
