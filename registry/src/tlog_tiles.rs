//! The ledger's tree and its events as tiles, for clients, monitors and witnesses that know nothing of Pyrsia (C2SP
//! tlog-tiles): `/log/tile/<L>/<N>[.p/<W>]` and `/log/tile/entries/<N>[.p/<W>]`.
//!
//! An entry is a signed event in its encoding. What a path names never changes; only what a tree that is too small does not
//! have yet may come later, so absence is not to be cached.

use crate::management::error::Refused;
use crate::places::{Place, Places};
use crate::server::Front;
use hyper::body::Bytes;
use poem::Response;
use poem::http::header;
use pyrsia_ledger::tiles::{TILE_WIDTH, TileId};
use std::time::Duration;

/// The highest level a path may name; what a tree does not have of it is not found.
const LEVEL_MAX: u8 = 63;
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// A partial tile is soon replaced by a wider one.
const FOR_A_WHILE: &str = "public, max-age=3600";

/// How many entry bundles are in memory at once; one has up to 256 events of 64 KiB.
const BUNDLES_AT_ONCE_MAX: usize = 4;
/// How long a request waits for a place among them.
const BUNDLE_WAIT: Duration = Duration::from_secs(1);

/// The places for entry bundles. One is taken from before a bundle is read until its last byte left.
pub(crate) fn places() -> Places {
    Places::new(BUNDLES_AT_ONCE_MAX, BUNDLE_WAIT, "too many entries are asked for")
}

/// The bytes of a bundle, with the place they take.
struct Placed {
    bytes: Vec<u8>,
    _place: Option<Place>,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Hashes { level: u8 },
    Entries,
}

/// What a path below `/log/tile/` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    what: What,
    index: u64,
    width: usize,
}

/// A decimal number as the specification writes it: no sign, no zero in front.
fn decimal(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// An index in groups of three digits, an `x` before each but the last, without groups of zeros in front.
fn index(groups: &[&str]) -> Option<u64> {
    let (last, before) = groups.split_last()?;
    let digits =
        |group: &str| (group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit())).then(|| group.parse::<u64>().ok())?;
    let mut index = 0u64;
    for (place, group) in before.iter().enumerate() {
        let group = digits(group.strip_prefix('x')?)?;
        if place == 0 && group == 0 {
            return None;
        }
        index = index.checked_mul(1_000)?.checked_add(group)?;
    }
    index.checked_mul(1_000)?.checked_add(digits(last)?)
}

fn parse(path: &str) -> Option<Tile> {
    let (level, rest) = path.split_once('/')?;
    let what = match level {
        "entries" => What::Entries,
        level => {
            What::Hashes { level: decimal(level).and_then(|level| u8::try_from(level).ok()).filter(|level| *level <= LEVEL_MAX)? }
        }
    };
    let (rest, width) = match rest.split_once(".p/") {
        Some((rest, width)) => (rest, usize::try_from(decimal(width)?).ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
        None => (rest, TILE_WIDTH),
    };
    Some(Tile { what, index: index(&rest.split('/').collect::<Vec<_>>())?, width })
}

pub(crate) async fn tile(front: &Front, path: &str) -> Result<Response, Refused> {
    let bad = || Refused::bad_request(format!("{path:?} is no tile of a log: L/N, L/N.p/W, entries/N or entries/N.p/W"));
    let Tile { what, index, width } = parse(path).ok_or_else(bad)?;
    let place = match what {
        What::Hashes { .. } => None,
        What::Entries => Some(front.bundles.take().await?),
    };
    // The place goes along: a client that goes away does not end the reading.
    let asked = front.node.ask_log(move |tree| {
        let found = match what {
            What::Hashes { level } => tree.tile(TileId { level, index }, width),
            What::Entries => tree.entry_bundle(index, width),
        };
        Ok(found?.map(|bytes| Placed { bytes, _place: place }))
    });
    let found = asked.await.ok_or_else(|| Refused::unavailable("the node is stopping".into()))?;
    let found = found.map_err(|error| Refused::unavailable(format!("the log cannot be read: {error}")))?;
    let placed = found.ok_or_else(|| Refused::not_found(format!("the log is not so large that it has tile {path}")))?;
    let lasts = if width == TILE_WIDTH { FOR_EVER } else { FOR_A_WHILE };
    Ok(Response::builder()
        .content_type("application/octet-stream")
        .header(header::CACHE_CONTROL, lasts)
        .body(Bytes::from_owner(placed)))
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::management::error::Dialect;
    use crate::places::RETRY_AFTER_SECONDS;

    #[tokio::test]
    async fn a_bundle_keeps_its_place_until_its_bytes_are_gone_and_one_too_many_is_told_to_come_again() {
        let bundles = places();
        let mut kept = vec![];
        for _ in 0..BUNDLES_AT_ONCE_MAX {
            let place = bundles.take().await.expect("a place");
            kept.push(Bytes::from_owner(Placed { bytes: vec![1, 2], _place: Some(place) }));
        }
        let refused = bundles.take().await.map(|_| ()).expect_err("none is free");
        let refused = Refused::from(refused).into_response(Dialect::Seed);
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], RETRY_AFTER_SECONDS.to_string());
        let rest = kept.pop().expect("a bundle").slice(1..);
        assert!(bundles.take().await.is_err(), "its last byte did not leave yet");
        drop(rest);
        assert!(bundles.take().await.is_ok());
    }

    #[test]
    fn paths_are_those_of_the_specification_and_no_others() {
        let hashes = |level, index, width| Some(Tile { what: What::Hashes { level }, index, width });
        assert_eq!(parse("0/000"), hashes(0, 0, 256));
        assert_eq!(parse("8/x001/x234/067"), hashes(8, 1_234_067, 256));
        assert_eq!(parse("1/x001/000.p/5"), hashes(1, 1_000, 5));
        assert_eq!(parse("entries/x123/456.p/255"), Some(Tile { what: What::Entries, index: 123_456, width: 255 }));
        assert_eq!(parse("63/x018/x446/x744/x073/x709/x551/615"), hashes(63, u64::MAX, 256));
        for wrong in [
            "",
            "0",
            "0/",
            "0/0",
            "0/00",
            "0/0000",
            "00/000",
            "64/000",
            "-1/000",
            "+1/000",
            "0/x000/001",
            "0/001/002",
            "0/x001",
            "0/x001/x002",
            "0/001.p/0",
            "0/001.p/256",
            "0/001.p/01",
            "0/001.p/",
            "0/001.p",
            "0/001.p/1/2",
            "0/001/",
            "entries",
            "Entries/000",
            "entries/+01",
            "0/x018/x446/x744/x073/x709/x551/616",
            "0/１２３",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
