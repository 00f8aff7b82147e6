//! `pyrsia search`: which events of the ledger are about a package, a digest, a builder or a time; of the running node, or of a ledger on
//! this machine.
//!
//! What is not there is said only when everything was looked at, and with the block up to which that holds.

use super::log::{moment, open_sound, progress_bar, refused};
use super::{node, on_this_thread, print, print_json, request_failure};
use crate::arguments::{SearchArguments, SearchRole};
use crate::exit::{FAILED, Failure, USAGE};
use clap::ValueEnum;
use pyrsia_ledger::NetworkId;
use pyrsia_ledger::log::{TransferError, replay_to};
use pyrsia_ledger::search::{PageRequest, Query, in_order};
use pyrsia_registry::wire::{FoundEvent, SEARCH_LIMIT_MAX, SearchOrder, SearchPage, SearchRequest};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

const WHAT: &str = "the ledger cannot be searched";

pub(super) fn run(arguments: SearchArguments) -> Result<ExitCode, Failure> {
    let output = arguments.output;
    let hint = beginning_hint(&arguments.words);
    let page = page(arguments).map_err(Failure::as_could_not_run)?;
    if output.json { print_json(&page) } else { print(&in_words(&page)) }.map_err(Failure::as_could_not_run)?;
    if let Some(hint) = hint.filter(|_| page.events.is_empty() && !output.json) {
        print(&hint).map_err(Failure::as_could_not_run)?;
    }
    Ok(if page.events.is_empty() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn page(arguments: SearchArguments) -> Result<SearchPage, Failure> {
    let (limit, pinned, ledger) = (arguments.limit as usize, arguments.network, arguments.ledger.clone());
    let asked = asked(arguments);
    let (query, page) = asked.read().map_err(|error| Failure::because(WHAT, &error).with_code(USAGE))?;
    match ledger {
        Some(ledger) => of_ledger(&ledger, pinned, &query, &PageRequest { limit, ..page }),
        None => on_this_thread(of_node(asked, limit, pinned)),
    }
}

/// The question in the words of the node.
fn asked(arguments: SearchArguments) -> SearchRequest {
    let role = |role: SearchRole| role.to_possible_value().map(|value| value.get_name().to_owned());
    SearchRequest {
        q: (!arguments.words.is_empty()).then(|| arguments.words.join(" ")),
        sha256: arguments.sha256,
        build: arguments.build,
        coordinate: arguments.coordinate,
        package_type: arguments.package_type,
        builder: arguments.builder,
        role: arguments.role.and_then(role),
        operation: arguments.operation,
        since: arguments.since,
        until: arguments.until,
        from: arguments.from,
        to: arguments.to,
        order: arguments.oldest.then(|| "oldest".to_owned()),
        limit: None,
        cursor: arguments.cursor,
    }
}

/// Asks page after page, until there is enough or everything was looked at.
async fn of_node(mut asked: SearchRequest, limit: usize, pinned: Option<NetworkId>) -> Result<SearchPage, Failure> {
    let node = node()?;
    let mut all: Option<SearchPage> = None;
    loop {
        let left = limit - all.as_ref().map_or(0, |page| page.events.len());
        asked.limit = Some(left.min(SEARCH_LIMIT_MAX).to_string());
        let page = node.get(&format!("/api/v1/search?{}", query_of(&asked))).await;
        let page: SearchPage = page.map_err(|error| request_failure(WHAT, &error))?;
        if let Some(pinned) = pinned.filter(|pinned| *pinned != page.network) {
            return Err(Failure::because(WHAT, &TransferError::Network { found: page.network, pinned }));
        }
        let page = match all.take() {
            Some(before) => joined(before, page),
            None => page,
        };
        asked.cursor.clone_from(&page.cursor);
        if page.complete || page.events.len() >= limit {
            return Ok(page);
        }
        all = Some(page);
    }
}

/// The fields that are there, as the query of a URL.
fn query_of(asked: &SearchRequest) -> String {
    let fields = serde_json::to_value(asked).ok().and_then(|fields| fields.as_object().cloned()).unwrap_or_default();
    let fields = fields.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Two pages as one. With the newest first, what was appended meanwhile stands on neither; with the oldest first the second one has seen it.
fn joined(mut before: SearchPage, mut page: SearchPage) -> SearchPage {
    before.events.append(&mut page.events);
    let held = match before.order {
        SearchOrder::Newest => (before.holds_to_height, before.holds_to_time_ms),
        SearchOrder::Oldest => (page.holds_to_height, page.holds_to_time_ms),
    };
    SearchPage { events: before.events, holds_to_height: held.0, holds_to_time_ms: held.1, ..page }
}

/// Folds the log, which checks every rule and root and no signature, and looks at its blocks once more.
fn of_ledger(path: &Path, pinned: Option<NetworkId>, query: &Query, request: &PageRequest) -> Result<SearchPage, Failure> {
    let failed = |error: TransferError| refused(WHAT, path, &error);
    let (_scratch, blocks) = open_sound(path)?;
    let bar = progress_bar(blocks.newest());
    let state = replay_to(blocks, None, &mut |height| bar.set_position(height.0 + 1));
    bar.finish_and_clear();
    let state = state.map_err(failed)?;
    if let Some(pinned) = pinned.filter(|pinned| pinned != state.network()) {
        return Err(failed(TransferError::Network { found: *state.network(), pinned }));
    }
    let (_scratch, blocks) = open_sound(path)?;
    let found = in_order(blocks.map(|block| block.map(|(sealed, _)| sealed)), &state, query, request).map_err(failed)?;
    Ok(SearchPage::of(&state, request.order, found))
}

/// What to try when words were found nowhere: a word that names a package is its beginning.
fn beginning_hint(words: &[String]) -> Option<String> {
    let is_name = |word: &&String| !word.starts_with("sha256:") && !word.contains('*');
    let word = words.iter().rfind(is_name)?;
    Some(format!("A word is looked for at the beginning of a package: pyrsia search '*{word}*' looks everywhere in its name.\n"))
}

fn in_words(page: &SearchPage) -> String {
    let end = format!("block {} ({})", page.holds_to_height, moment(page.holds_to_time_ms));
    if page.events.is_empty() {
        return match page.complete {
            true => format!("Nothing was found in the ledger up to {end}.\n"),
            // A page that is not complete and empty is never the last one.
            false => "Nothing was found yet, and not everything was looked at.\n".to_owned(),
        };
    }
    let about = |found: &FoundEvent| match (&found.package_type, &found.package) {
        (Some(package_type), Some(package)) => format!("{package_type} {package}"),
        (Some(package_type), None) => package_type.to_string(),
        (None, _) => "-".to_owned(),
    };
    let width = |title: &str, cell: &dyn Fn(&FoundEvent) -> String| {
        page.events.iter().map(|found| cell(found).chars().count()).chain([title.len()]).max().unwrap_or_default()
    };
    let block = width("BLOCK", &|found| found.height.to_string());
    let operation = width("OPERATION", &|found| found.operation.clone());
    let mut text = format!("{:>block$}  {:<20}  {:<operation$}  PACKAGE\n", "BLOCK", "TIME", "OPERATION");
    for found in &page.events {
        // Writing to a string cannot fail.
        let time = moment(found.time_ms);
        let _ = writeln!(text, "{:>block$}  {time:<20}  {:<operation$}  {}", found.height.0, found.operation, about(found));
        for line in found.says.lines() {
            let _ = writeln!(text, "{:block$}  {line}", "");
        }
        if let Some(stands) = found.stands {
            let stands = serde_json::to_value(stands).unwrap_or_default();
            let _ = writeln!(text, "{:block$}  this judge: {}", "", stands.as_str().unwrap_or_default().replace('_', " "));
        }
        let _ = writeln!(text, "{:block$}  event {}", "", found.event.id);
    }
    let counted = if page.events.len() == 1 { "One event".to_owned() } else { format!("{} events", page.events.len()) };
    let _ = match (&page.cursor, page.searched_to_height) {
        (Some(cursor), searched_to) => {
            let to = searched_to.map(|height| format!(" down to block {height}")).unwrap_or_default();
            let to = if page.order == SearchOrder::Oldest { to.replace("down", "up") } else { to };
            writeln!(text, "\n{counted}{to}; there may be more: --limit, or --cursor {cursor} to go on.")
        }
        (None, _) => writeln!(text, "\n{counted}: all there is up to {end}."),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(height: u64, complete: bool) -> SearchPage {
        serde_json::from_value(serde_json::json!({
            "network": "0".repeat(64), "holds_to_height": height, "holds_to_time_ms": 1_671_002_963_000u64, "order": "newest",
            "complete": complete, "searched_to_height": 0, "cursor": (!complete).then_some("7"), "events": [],
        }))
        .unwrap()
    }

    #[test]
    fn that_nothing_is_there_is_said_with_the_block_it_holds_for_and_never_of_a_part() {
        assert_eq!(in_words(&empty(1_042, true)), "Nothing was found in the ledger up to block 1042 (2022-12-14T07:29:23Z).\n");
        assert!(!in_words(&empty(1_042, false)).contains("up to"));
    }

    #[test]
    fn who_finds_nothing_by_the_middle_of_a_name_is_told_how_to_look_there() {
        let hint = |words: &[&str]| beginning_hint(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(hint(&["hello"]).is_some_and(|hint| hint.contains("'*hello*'")));
        assert!(hint(&["docker", "hello"]).is_some_and(|hint| hint.contains("'*hello*'")));
        assert_eq!(hint(&["*hello*"]), None);
        assert_eq!(hint(&[]), None);
    }

    #[test]
    fn joined_pages_hold_to_the_block_that_all_of_them_know() {
        let (first, second) = (empty(5, false), empty(9, true));
        let newest = joined(first.clone(), second.clone());
        assert_eq!((newest.holds_to_height.0, newest.complete), (5, true));
        let oldest = joined(SearchPage { order: SearchOrder::Oldest, ..first }, second);
        assert_eq!(oldest.holds_to_height.0, 9);
    }
}
