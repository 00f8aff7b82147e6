use super::*;
use crate::block::SealedBlock;
use crate::digest::Sha256Digest;
use crate::event::{AddArtifact, BuildOutcome, BuildRequested, BuiltArtifact, Event, VerifierApproved};
use crate::identity::NodeId;
use crate::log::BlockLog;
use crate::projection::builds::{BuildStatus, JudgeState};
use crate::projection::tests::{Bench, artifact, source};
use crate::search::{Found, in_order};
use crate::signed::{SignedEvent, UnsignedEvent};
use proptest::prelude::*;
use proptest::sample::select;
use std::path::Path;
use std::sync::OnceLock;

const JUDGES: usize = 4;
const PACKAGES: [(&str, &str); 5] = [
    ("docker", "alpine:3.16.0"),
    ("docker", "alpine:3.17"),
    ("docker", "library/busybox@sha256:00"),
    ("maven", "org.example:demo:1.0"),
    ("maven", "org.example.more:demo:1.0"),
];

/// One log, its state after each block, and where it is stored.
struct History {
    log: Vec<SealedBlock>,
    states: Vec<Projections>,
    stored: BlockLog,
    _folder: tempfile::TempDir,
}

/// A block with all of these events, those of an author one after the other.
fn commit_all(bench: &mut Bench, events: Vec<(usize, Event)>) {
    let mut signed: Vec<SignedEvent> = vec![];
    for (author, event) in events {
        let node = bench.node(author);
        let before = signed.iter().filter(|event| event.author() == node).count() as u64;
        let sequence = bench.state.next_sequence(&node) + before;
        let unsigned = UnsignedEvent::new(*bench.state.network(), node, sequence, 5, event);
        signed.push(SignedEvent::new(&bench.keys[author], unsigned));
    }
    let proposal = bench.state.propose(bench.node(0), bench.state.time_ms() + 10, &signed);
    assert!(proposal.refused.is_empty(), "{:?}", proposal.refused);
    let sealed = bench.seal(proposal.block);
    bench.state = bench.state.apply_sealed(&sealed).expect("what is proposed is valid");
    bench.log.push(sealed);
}

/// Build `number`: of the four judges one may get other bytes, one may fail, and two may, so that nothing is published.
fn outcome(number: usize, judge: usize) -> BuildOutcome {
    match (number % 4, judge) {
        (1, 3) => BuildOutcome::Failed { reason: "no disk".into() },
        (2, 2) => BuildOutcome::Built { source: source("git"), artifacts: vec![artifact("other", b"other bytes")] },
        (3, 0 | 1) => BuildOutcome::Built { source: source("git"), artifacts: vec![artifact("x", &[number as u8])] },
        // The layer is one of every package.
        _ => BuildOutcome::Built {
            source: source("git"),
            artifacts: vec![artifact(&format!("a{number}"), &[number as u8, 7]), artifact(&format!("l{number}"), b"layer")],
        },
    }
}

fn build(bench: &mut Bench, number: usize) {
    let (package_type, id) = PACKAGES[number % PACKAGES.len()];
    let coordinate = PackageCoordinate::new(package_type, id).expect("a coordinate");
    let (attempt, build_id) = (bench.state.next_attempt(&coordinate), bench.state.next_build_id(&coordinate));
    let verifier = bench.state.verifiers.current(&coordinate.package_type).expect("a verifier");
    let request = BuildRequested { build_id, coordinate: coordinate.clone(), attempt, verifier, source: None };
    bench.commit(number % JUDGES, Event::BuildRequested(request));
    let outcomes: Vec<BuildOutcome> = (0..JUDGES).map(|judge| outcome(number, judge)).collect();
    commit_all(bench, (0..JUDGES).map(|judge| (judge, bench.commitment(judge, build_id, &outcomes[judge]))).collect());
    commit_all(bench, (0..JUDGES).map(|judge| (judge, bench.revelation(judge, build_id, outcomes[judge].clone()))).collect());
    if bench.status(build_id) == (&BuildStatus::Agreed { added: 0 }) {
        let (_, artifacts) = bench.state.builds.chosen(&build_id).expect("agreed");
        let adder = if number % 4 == 1 { 2 } else { 0 };
        let add = |artifact: &BuiltArtifact| {
            (adder, Event::AddArtifact(AddArtifact { build_id, coordinate: coordinate.clone(), artifact: artifact.clone() }))
        };
        commit_all(bench, artifacts.iter().map(add).collect());
    }
}

fn bench() -> Bench {
    let mut bench = Bench::with_members(JUDGES);
    let module = Sha256Digest::of(b"maven");
    let maven = PackageType::new("maven").expect("a type");
    for author in 0..3 {
        let approved = VerifierApproved { package_type: maven.clone(), module, contract_version: 1 };
        bench.commit(author, Event::VerifierApproved(approved));
    }
    (0..12).for_each(|number| build(&mut bench, number));
    bench.revoke(3, None);
    bench
}

fn stored(folder: &Path, blocks: &[SealedBlock]) -> BlockLog {
    let (mut log, _) = BlockLog::open(folder).expect("opens");
    // In batches of several blocks and in single ones.
    let (together, one_by_one) = blocks.split_at(blocks.len() / 2);
    together.chunks(7).for_each(|blocks| log.append_all(blocks).expect("appends"));
    one_by_one.iter().for_each(|sealed| log.append(sealed).expect("appends"));
    log
}

fn history() -> &'static History {
    static HISTORY: OnceLock<History> = OnceLock::new();
    HISTORY.get_or_init(|| {
        let Bench { log, .. } = bench();
        let mut states = vec![Projections::from_genesis(&log[0]).expect("genesis")];
        for sealed in &log[1..] {
            states.push(states[states.len() - 1].apply(&sealed.block).expect("the next block"));
        }
        let folder = tempfile::tempdir().expect("a folder");
        History { stored: stored(folder.path(), &log), log, states, _folder: folder }
    })
}

/// `*` stands for any characters.
fn fits_by_hand(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skipped| fits_by_hand(rest, &text[skipped..])),
        [first, rest @ ..] => text.first() == Some(first) && fits_by_hand(rest, &text[1..]),
    }
}

/// Whether an event answers, said once more in other words: by the JSON that views show of it.
fn answers(state: &Projections, query: &Query, sealed: &SealedBlock, signed: &SignedEvent) -> bool {
    let header = &sealed.block.header;
    let json = serde_json::to_value(signed.event()).expect("serializes");
    let (kind, body) = json.as_object().expect("one kind").iter().next().expect("one kind");
    let author = signed.author().to_string();
    let subject = match kind.as_str() {
        "NodeAuthorizationApproved" | "NodeRevocationApproved" => body["node"].as_str(),
        _ => None,
    };
    let build = body["build_id"].as_str().map(|id| id.parse::<BuildId>().expect("an id"));
    let coordinate = build.and_then(|id| state.builds.get(&id)).map(|build| &build.coordinate);
    let package_type = coordinate.map(|coordinate| coordinate.package_type.as_str()).or(body["package_type"].as_str());
    let is_package = |pattern: &str| {
        let Some(coordinate) = coordinate else { return false };
        let (parts, pattern): (Vec<&str>, Vec<&str>) =
            (coordinate.id.as_str().split(':').collect(), pattern.split(':').collect());
        pattern.len() <= parts.len() && pattern.iter().zip(parts).all(|(a, b)| fits_by_hand(a.as_bytes(), b.as_bytes()))
    };
    let has_digest = |digest: &str| {
        let built = body["outcome"]["Built"]["artifacts"].as_array();
        signed.id().to_string() == digest
            || sealed.block.hash().to_string() == digest
            || body["module"] == digest
            || body["artifact"]["sha256"] == digest
            || built.is_some_and(|artifacts| artifacts.iter().any(|artifact| artifact["sha256"] == digest))
    };
    let stands = || state.builds.judge_state(&build.expect("of a build"), &signed.author());
    let has_role = |role| match role {
        Role::Asked => kind == "BuildRequested",
        Role::Built => kind == "BuildResultRevealed" && body["outcome"]["Built"].is_object(),
        Role::Agreed => kind == "BuildResultRevealed" && [JudgeState::Agrees, JudgeState::AgreesAfterPasses].contains(&stands()),
        Role::Dissented => kind == "BuildResultRevealed" && stands() == JudgeState::Dissents,
    };
    let node = query.node.map(|node| node.to_string());
    query.digest.is_none_or(|digest| has_digest(&digest.to_string()))
        && query.build.is_none_or(|wanted| build == Some(wanted))
        && query.package_type.as_ref().is_none_or(|wanted| package_type == Some(wanted.as_str()))
        && query.coordinate.as_ref().is_none_or(|pattern| is_package(&pattern.to_string()))
        && node.as_ref().is_none_or(|node| author == *node || subject == Some(node))
        && query.role.is_none_or(|role| has_role(role) && node.as_ref().is_none_or(|node| author == *node))
        && query.kind.is_none_or(|wanted| kind == wanted)
        && query.since_ms.is_none_or(|since| since <= header.time_ms)
        && query.until_ms.is_none_or(|until| header.time_ms <= until)
        && query.from.is_none_or(|from| from.0 <= header.height.0)
        && query.to.is_none_or(|to| header.height.0 <= to.0)
}

/// The indexes of what answers, in the order that was asked for.
fn by_hand(blocks: &[SealedBlock], state: &Projections, query: &Query, order: Order) -> Vec<u64> {
    let events = blocks.iter().flat_map(|sealed| sealed.block.events.iter().map(move |event| (sealed, event)));
    let found = events.enumerate().filter(|(_, (sealed, event))| answers(state, query, sealed, event));
    let mut found: Vec<u64> = found.map(|(index, _)| index as u64).collect();
    if order == Order::Newest {
        found.reverse();
    }
    found
}

fn some<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Option<T>> {
    prop_oneof![2 => Just(None), 1 => select(values).prop_map(Some)]
}

fn queries() -> impl Strategy<Value = Query> {
    let History { log, states, .. } = history();
    let events: Vec<&SignedEvent> = log.iter().flat_map(|sealed| &sealed.block.events).collect();
    let mut digests: Vec<Sha256Digest> =
        vec![Sha256Digest::of(b"layer"), Sha256Digest::of(b"maven"), Sha256Digest::of(b"nothing")];
    digests.extend([0u8, 1, 5].map(|number| Sha256Digest::of(&[number, 7])));
    digests.extend([3, 20, 40].map(|index| *events[index].id().digest()));
    digests.extend([0, 9, 30].map(|height| log[height].block.hash().0));
    let mut builds: Vec<BuildId> = states[states.len() - 1].builds.iter().map(|(id, _)| *id).collect();
    builds.push("c9ca3e57-aa84-8fab-a8be-381ab31e4916".parse().expect("an id"));
    let mut nodes: Vec<NodeId> = (0..5).map(|key| Bench::founded().node(key)).collect();
    nodes.push(NodeId::from_public_key([9; 32]));
    let types = ["docker", "maven", "demo"].map(|name| PackageType::new(name).expect("a type"));
    let patterns = ["alpine", "alpine:3.17", "*", "*:demo", "org.*", "org.example*:*:1.0", "library/*", "none", "alp*", "*:1.0"];
    let times: Vec<u64> =
        log.iter().step_by(3).flat_map(|sealed| [sealed.block.header.time_ms, sealed.block.header.time_ms + 5]).collect();
    let heights: Vec<Height> = (0..=log.len() as u64).step_by(4).map(Height).chain([Height(u64::MAX)]).collect();
    let what = (
        some(digests),
        some(builds),
        some(types.to_vec()),
        some(patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect()),
        some(nodes),
        some(vec![Role::Asked, Role::Built, Role::Agreed, Role::Dissented]),
        some(Event::KINDS.to_vec()),
    );
    let when = (some(times.clone()), some(times), some(heights.clone()), some(heights));
    (what, when, any::<[bool; 4]>()).prop_map(|(what, when, kept)| {
        let (digest, build, package_type, coordinate, node, role, kind) = what;
        let (since_ms, until_ms, from, to) = when;
        // Fewer of those that leave nothing over when they come together.
        let digest = digest.filter(|_| kept[0]);
        let (build, kind) = (build.filter(|_| kept[1]), kind.filter(|_| kept[2]));
        let (since_ms, until_ms) = (since_ms.filter(|_| kept[3]), until_ms.filter(|_| kept[3]));
        Query { digest, build, package_type, coordinate, node, role, kind, since_ms, until_ms, from, to }
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let small = (
        1usize..40,
        1usize..20_000,
        1usize..12,
        1usize..3_000,
        select(vec![0usize, 2, 100]),
        select(vec![0usize, 3, 100]),
        select(vec![0usize, 5, 1_000]),
    );
    let small = small.prop_map(|(events, read_bytes, rows, bytes, names, builds, blocks)| Limits {
        events,
        read_bytes,
        rows,
        bytes,
        names,
        builds,
        blocks,
    });
    prop_oneof![Just(LIMITS), small]
}

/// Every page, one after the other.
fn walk(limits: &Limits, state: &Projections, query: &Query, order: Order, limit: usize) -> Vec<Found> {
    let (tree, mut cursor, mut all) = (history().stored.tree(), None, vec![]);
    for _ in 0..1_000 {
        let page = tree.search_within(limits, state, query, &PageRequest { order, limit, cursor }).expect("searches");
        assert!(page.events.len() <= limit);
        assert!(page.next.is_none() || page.next != cursor, "a page gets somewhere");
        all.extend(page.events);
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
    panic!("the pages do not come to an end")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_is_asked_in_pages_of_any_size_is_what_is_found_by_hand(
        query in queries(),
        limits in limits(),
        newest in any::<bool>(),
        limit in select(vec![1usize, 2, 3, 10, 1_000]),
        until in any::<prop::sample::Index>(),
    ) {
        let History { log, states, .. } = history();
        let order = if newest { Order::Newest } else { Order::Oldest };
        let end = if until.index(3) == 0 { until.index(log.len()) } else { log.len() - 1 };
        let (blocks, state) = (&log[..=end], &states[end]);
        let expected = by_hand(blocks, state, &query, order);
        let found = walk(&limits, state, &query, order, limit);
        prop_assert_eq!(found.iter().map(|found| found.index).collect::<Vec<_>>(), expected.clone());
        for found in &found {
            let sealed = &log[found.height.0 as usize];
            prop_assert_eq!((found.block, found.time_ms), (sealed.block.hash(), sealed.block.header.time_ms));
            let offset = found.index - first_index(sealed);
            prop_assert_eq!(&found.event, &sealed.block.events[offset as usize]);
        }
        // The same without an index.
        let (mut cursor, mut in_pages) = (None, vec![]);
        loop {
            let all = blocks.iter().cloned().map(Ok::<_, std::convert::Infallible>);
            let page = in_order(all, state, &query, &PageRequest { order, limit, cursor }).expect("reads");
            in_pages.extend(page.events.iter().map(|found| found.index));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            prop_assert_eq!(page.events.len(), limit, "it goes on because the page is full");
        }
        prop_assert_eq!(in_pages, expected);
    }
}

#[test]
fn the_history_has_what_is_asked_for() {
    let History { log, states, .. } = history();
    let state = states.last().expect("a state");
    let count = |query: Query| by_hand(log, state, &query, Order::Oldest).len();
    for role in [Role::Asked, Role::Built, Role::Agreed, Role::Dissented] {
        assert!(count(Query { role: Some(role), ..Query::default() }) > 0, "{role:?}");
    }
    let layer = Some(Sha256Digest::of(b"layer"));
    assert!(count(Query { digest: layer, kind: Some("AddArtifact"), ..Query::default() }) > 3);
    assert!(log.iter().any(|sealed| sealed.block.events.len() > 1));
}

#[test]
fn a_rare_thing_is_found_without_looking_at_everything() {
    let History { log, states, .. } = history();
    let state = states.last().expect("a state");
    // Of one block only, and of few rows: whatever has to be looked at beyond makes the page partial.
    let limits = Limits { events: 8, rows: 12, ..LIMITS };
    let request = PageRequest { order: Order::Newest, limit: 10, cursor: None };
    let alpine: crate::search::CoordinatePattern = "alpine:3.17".parse().expect("a pattern");
    let first = *log[0].block.events[0].id().digest();
    for query in [
        Query { digest: Some(first), ..Query::default() },
        Query { digest: Some(log[5].block.hash().0), ..Query::default() },
        Query { kind: Some("NetworkFounded"), ..Query::default() },
        Query {
            coordinate: Some(alpine),
            kind: Some("BuildRequested"),
            from: Some(Height(0)),
            to: Some(Height(30)),
            ..Query::default()
        },
        Query { until_ms: Some(log[1].block.header.time_ms), from: Some(Height(1)), ..Query::default() },
        Query { digest: Some(Sha256Digest::of(b"nothing")), ..Query::default() },
    ] {
        let page = history().stored.tree().search_within(&limits, state, &query, &request).expect("searches");
        assert_eq!(page.next, None, "{query:?}");
        assert_eq!(page.events.len(), by_hand(log, state, &query, Order::Newest).len(), "{query:?}");
    }
}

#[test]
fn a_page_looks_at_no_more_blocks_without_events_than_at_events() {
    const EMPTY: u64 = 20;
    let mut bench = Bench::with_members(2);
    let begin = bench.state.height();
    (0..EMPTY).for_each(|_| commit_all(&mut bench, vec![]));
    bench.commit(0, bench.approval(5));
    (0..EMPTY).for_each(|_| commit_all(&mut bench, vec![]));
    let folder = tempfile::tempdir().expect("a folder");
    let log = stored(folder.path(), &bench.log);
    let limits = Limits { events: 5, ..LIMITS };
    let query = Query { from: Some(begin.next()), ..Query::default() };
    for order in [Order::Newest, Order::Oldest] {
        let search = |cursor| {
            let request = PageRequest { order, limit: 10, cursor };
            log.tree().search_within(&limits, &bench.state, &query, &request).expect("searches")
        };
        let (mut page, mut found) = (search(None), 0);
        let first = if order == Order::Newest { bench.state.height().0 - 4 } else { begin.0 + 5 };
        assert_eq!(page.searched_to, Some(Height(first)), "{order:?}");
        while let Some(cursor) = page.next {
            found += page.events.len();
            page = search(Some(cursor));
            assert_ne!(page.next, Some(cursor), "a page gets somewhere, {order:?}");
        }
        assert_eq!(found + page.events.len(), 1, "{order:?}");
    }
}

#[test]
fn a_page_reads_no_more_bytes_than_its_limit_and_one_block() {
    let History { log, states, .. } = history();
    let state = states.last().expect("a state");
    // All blocks are read for this.
    let query = Query::default();
    let size = |height: u64| log[height as usize].encode().len();
    let limits = Limits { read_bytes: 4 * log.iter().map(|sealed| sealed.encode().len()).max().expect("blocks"), ..LIMITS };
    for order in [Order::Newest, Order::Oldest] {
        let (mut cursor, mut position, mut pages) = (None, None, 0);
        loop {
            let request = PageRequest { order, limit: 1_000, cursor };
            let page = history().stored.tree().search_within(&limits, state, &query, &request).expect("searches");
            let end = page.searched_to.expect("looked").0;
            let (first, last) = match order {
                Order::Newest => (end, position.unwrap_or(state.height().0)),
                Order::Oldest => (position.unwrap_or(0), end),
            };
            pages += 1;
            let Some(next) = page.next else { break };
            let without_last = if order == Order::Newest { first + 1..=last } else { first..=last - 1 };
            assert!(without_last.map(size).sum::<usize>() < limits.read_bytes, "{order:?} {first}..={last}");
            cursor = Some(next);
            position = Some(if order == Order::Newest { end - 1 } else { end + 1 });
        }
        assert!(pages > 2, "{order:?}: {pages}");
    }
}

/// Whether the index of a log gives what is there.
fn check(log: &BlockLog, blocks: &[SealedBlock], state: &Projections) {
    let mut faults = vec![];
    log.tree().check(&mut |sentence| faults.push(sentence.to_owned())).expect("reads");
    assert!(faults.is_empty(), "{faults:?}");
    let query = Query { kind: Some("AddArtifact"), ..Query::default() };
    let page = log.tree().search(state, &query, &PageRequest { order: Order::Newest, limit: 1_000, cursor: None });
    let found: Vec<u64> = page.expect("searches").events.iter().map(|found| found.index).collect();
    assert!(!found.is_empty());
    assert_eq!(found, by_hand(blocks, state, &query, Order::Newest));
}

#[test]
fn an_index_that_is_gone_is_made_again_and_one_that_is_torn_is_found() {
    let History { log, states, .. } = history();
    let state = states.last().expect("a state");
    let folder = tempfile::tempdir().expect("a folder");
    let reopened = || {
        let (mut opened, _) = BlockLog::open(folder.path()).expect("opens");
        let has_rebuilt = opened.take_opening().has_rebuilt;
        (opened, has_rebuilt)
    };
    drop(stored(folder.path(), &log[..log.len() - 1]));
    let (mut whole, has_rebuilt) = reopened();
    assert!(!has_rebuilt);
    whole.append(log.last().expect("a block")).expect("goes on with the index that is there");
    check(&whole, log, state);
    whole.tree().terms.clear().expect("clears");
    drop(whole);
    let (gone, has_rebuilt) = reopened();
    assert!(has_rebuilt);
    check(&gone, log, state);
    gone.tree().terms.forget_summary().expect("forgets");
    drop(gone);
    let (of_another_schema, has_rebuilt) = reopened();
    assert!(has_rebuilt);
    check(&of_another_schema, log, state);
    drop(of_another_schema);
    type Damage = fn(&Terms) -> Result<(), fjall::Error>;
    for (damage, told) in [(Terms::forget_one as Damage, "entries in place of"), (Terms::replace_one, "other entries")] {
        let (torn, _) = reopened();
        damage(&torn.tree().terms).expect("damages");
        let mut faults = vec![];
        torn.tree().check(&mut |sentence| faults.push(sentence.to_owned())).expect("reads");
        assert!(matches!(&faults[..], [fault] if fault.contains(told)), "{faults:?}");
        // As the check behind a start with a snapshot does.
        torn.tree().mark_damaged().expect("marks");
        drop(torn);
        let (made_again, has_rebuilt) = reopened();
        assert!(has_rebuilt);
        check(&made_again, log, state);
    }
}
