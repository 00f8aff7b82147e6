//! Searches of a long log: what the index answers, and what has to be looked for page by page.

use crate::network::{artifact_id, package_name};
use crate::{Outcome, spread};
use pyrsia_ledger::log::BlockLog;
use pyrsia_ledger::search::{Order, PageRequest, Query, Role};
use pyrsia_ledger::{PackageType, Projections};
use std::time::Instant;

/// How many searches of a kind are timed.
const SEARCHES: u64 = 100;
const PAGE: PageRequest = PageRequest { order: Order::Newest, limit: 100, cursor: None };

/// `packages` are published for sure.
pub(crate) fn ask(log: &BlockLog, state: &Projections, packages: u64) -> Outcome {
    let docker = PackageType::new("docker")?;
    let member = *state.members.active().next().ok_or("nobody is authorized")?.0;
    let middle = state.height().0 / 2;
    let mut queries = vec![("everything of a package", vec![]), ("a SHA-256", vec![]), ("a builder, newest 100", vec![])];
    for turn in 0..SEARCHES {
        let number = turn * 7_919 % packages;
        let (_, record) =
            state.packages.artifact(&docker, &artifact_id(number, 2)?).ok_or("a published artifact is not found")?;
        let coordinate = Some(format!("{}:1.0", package_name(number)).parse()?);
        queries[0].1.push(Query { coordinate, package_type: Some(docker.clone()), ..Query::default() });
        queries[1].1.push(Query { digest: Some(record.artifact.sha256), ..Query::default() });
        queries[2].1.push(Query { node: Some(member), ..Query::default() });
    }
    for (what, queries) in queries {
        let (mut times, mut found) = (vec![], 0);
        for query in queries {
            let begin = Instant::now();
            let page = log.tree().search(state, &query, &PAGE)?;
            times.push(begin.elapsed());
            found += page.events.len();
        }
        println!("search for {what:<24} {}; {found} found", spread(times));
    }
    let time_ms = log.tree().block(pyrsia_ledger::Height(middle))?.ok_or("a block is missing")?.block.header.time_ms;
    for (what, query) in [
        ("a time", Query { until_ms: Some(time_ms), ..Query::default() }),
        ("what is nowhere", Query { role: Some(Role::Dissented), ..Query::default() }),
    ] {
        let (begin, mut pages, mut slowest, mut cursor) = (Instant::now(), 0u32, std::time::Duration::ZERO, None);
        loop {
            let page_begin = Instant::now();
            let page = log.tree().search(state, &query, &PageRequest { cursor, ..PAGE })?;
            (pages, slowest) = (pages + 1, slowest.max(page_begin.elapsed()));
            if page.next.is_none() || !page.events.is_empty() {
                break;
            }
            cursor = page.next;
        }
        println!("search for {what:<24} {:?} in {pages} pages, the slowest {slowest:?}", begin.elapsed());
    }
    Ok(())
}
