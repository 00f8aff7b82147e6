mod forged;
mod golden;
mod judges;

use super::*;
use crate::certificate::ValidatorSet;
use crate::coordinate::{ArtifactId, BuildId};
use crate::event::{BuildOutcome, Event, VerifierApproved, WaitPhase};
use crate::log::BlockLog;
use crate::log::export::{ExportWriter, ExportedBlocks};
use crate::note::SignedNote;
use crate::projection::builds::BuildStatus;
use crate::projection::tests::{Bench, MODULE, alpine, built, salt};
use crate::proof::verify_inclusion;
use crate::tree::leaf_hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

fn memory(bench: &Bench) -> BlocksInMemory {
    bench.log.iter().cloned().collect()
}

fn proof_of(bench: &Bench, id: &BuildId) -> PublicationProof {
    prove(&memory(bench), &bench.state, id, None).expect("a proof")
}

fn publish(bench: &mut Bench, id: BuildId, author: usize) {
    for event in bench.additions(id) {
        bench.commit(author, event);
    }
}

/// A build that all `members` of a network agree on.
fn published(members: usize) -> (Bench, BuildId) {
    let mut bench = Bench::with_members(members);
    let id = bench.open_build(0);
    let outcomes: Vec<(usize, BuildOutcome)> = (0..members).map(|judge| (judge, built(b"image"))).collect();
    bench.judge(id, &outcomes);
    publish(&mut bench, id, 0);
    (bench, id)
}

/// The same, but that a node comes in after the judges committed, and the network goes on afterwards.
fn published_across_a_change(members: usize) -> (Bench, BuildId) {
    let mut bench = Bench::with_members(members);
    let id = bench.open_build(0);
    for judge in 0..members {
        bench.commit(judge, bench.commitment(judge, id, &built(b"image")));
    }
    bench.reauthorize(members);
    // The last judge shows its result only after the others have agreed.
    for judge in 0..members {
        bench.commit(judge, bench.revelation(judge, id, built(b"image")));
    }
    publish(&mut bench, id, 0);
    bench.open_build(0);
    (bench, id)
}

#[test]
fn a_proof_shows_who_published_what_and_when_across_a_change_of_the_set() {
    for members in [1, 4, 7] {
        let (bench, id) = published_across_a_change(members);
        let proof = proof_of(&bench, &id);
        let parsed = PublicationProof::parse(proof.to_text().as_bytes()).expect("reads back");
        assert_eq!(parsed, proof);
        let verified = parsed.verify(Some(*bench.state.network())).expect("holds");
        assert_eq!(parsed.verify(None).expect("holds for the network it is from"), verified);
        let build = bench.state.builds.get(&id).expect("known");
        let BuildStatus::Published { height } = build.status else { panic!("published") };
        assert_eq!((verified.published.height, verified.requested.height), (height, build.requested_at));
        assert_eq!(verified.published.block, bench.log[height.0 as usize].block.hash());
        assert_eq!(verified.requested.time_ms, build.requested_time_ms);
        assert_eq!((verified.network_name.as_str(), &verified.coordinate), ("test", &alpine()));
        let judges: Vec<NodeId> = verified.judges.iter().map(|judge| judge.node).collect();
        assert_eq!(judges, build.judges, "the set of the request, not that of the publication");
        assert!(verified.judges.iter().all(|judge| judge.stand == Stand::Same && judge.revealed.is_some()));
        assert_eq!((verified.standing, verified.needed), (members, members / 2 + 1));
        assert_eq!((verified.cosigners.len(), verified.validators), (members + 1, members + 1));
        assert_eq!((verified.artifacts.len(), verified.artifacts_of_build), (2, 2));
        for proved in &verified.artifacts {
            let (_, record) =
                bench.state.packages.artifact(&alpine().package_type, &proved.artifact.artifact_id).expect("published");
            assert_eq!((record.event, &record.artifact), (proved.published_by.event, &proved.artifact));
        }
        let newest = verified.sets.last().expect("a set");
        assert_eq!(newest.members, ValidatorSet::new((0..=members).map(|key| bench.node(key)).collect()).nodes());
        assert!(verified.sets.windows(2).all(|pair| pair[0].from < pair[1].from));
    }
}

#[test]
fn a_founder_that_is_never_authorized_leads_to_the_first_who_is() {
    let mut bench = Bench::founded();
    bench.commit(
        0,
        Event::VerifierApproved(VerifierApproved { package_type: alpine().package_type, module: MODULE, contract_version: 1 }),
    );
    for (author, candidate) in [(0, 1), (1, 2)] {
        bench.commit(author, bench.approval(candidate));
        bench.activate(candidate);
    }
    let id = bench.open_build(2);
    bench.judge(id, &[(1, built(b"image")), (2, built(b"image"))]);
    publish(&mut bench, id, 1);
    let verified = proof_of(&bench, &id).verify(Some(*bench.state.network())).expect("holds");
    let sets: Vec<&[NodeId]> = verified.sets.iter().map(|set| set.members.as_slice()).collect();
    let both = ValidatorSet::new(vec![bench.node(1), bench.node(2)]);
    assert_eq!(sets, [&[bench.node(0)][..], &[bench.node(1)], both.nodes()]);
    assert_eq!(verified.judges.len(), 2);
}

#[test]
fn a_proof_out_of_a_ledger_folder_or_an_exported_log_is_the_one_out_of_the_blocks() {
    let (bench, id) = published_across_a_change(4);
    let folder = tempfile::tempdir().expect("a folder");
    let (mut log, _) = BlockLog::open(folder.path()).expect("opens");
    log.append_all(&bench.log).expect("is appended");
    let proof = prove(log.tree(), &bench.state, &id, None).expect("a proof");
    assert_eq!(proof, proof_of(&bench, &id));
    drop(log);
    let (log, state) = BlockLog::open(folder.path()).expect("opens again");
    let state = state.expect("has blocks");
    assert_eq!(prove(log.tree(), &state, &id, None).expect("a proof"), proof);
    let mut writer = ExportWriter::new(tempfile::tempfile().expect("a file")).expect("is written");
    for sealed in &bench.log {
        writer.block(sealed.block.hash(), &sealed.encode()).expect("is written");
    }
    let mut exported = ExportedBlocks::new(writer.finish().expect("is written"));
    for sealed in &bench.log {
        let leaves = sealed.block.events.iter().map(|event| leaf_hash(&event.encode()));
        exported.add(leaves, sealed.encode().len());
    }
    assert_eq!(prove(&exported, &state, &id, None).expect("a proof"), proof);
}

#[test]
fn the_changes_of_the_set_survive_in_a_snapshot() {
    let (mut bench, id) = published_across_a_change(4);
    bench.revoke(2, None);
    bench.reauthorize(2);
    let folder = tempfile::tempdir().expect("a folder");
    let (mut log, _) = BlockLog::open(folder.path()).expect("opens");
    log.append_all(&bench.log).expect("is appended");
    drop(log);
    crate::log::write_snapshot(folder.path(), &bench.state).expect("a snapshot");
    let (mut log, state) = BlockLog::open(folder.path()).expect("opens again");
    assert!(log.take_opening().covered.is_some(), "it starts from the snapshot");
    let state = state.expect("has blocks");
    assert_eq!(state.members.changes().collect::<Vec<_>>(), bench.state.members.changes().collect::<Vec<_>>());
    assert_eq!(prove(log.tree(), &state, &id, None).expect("a proof"), proof_of(&bench, &id));
}

#[test]
fn a_proof_can_be_about_some_of_the_artifacts() {
    let (bench, id) = published(4);
    let all = proof_of(&bench, &id).verify(None).expect("holds");
    let wanted = ArtifactId::new("alpine@sha256:00").expect("an id");
    let proof = prove(&memory(&bench), &bench.state, &id, Some(std::slice::from_ref(&wanted))).expect("a proof");
    let verified = proof.verify(Some(all.network)).expect("holds");
    assert_eq!(verified.artifacts.len(), 1);
    assert_eq!((&verified.artifacts[0].artifact.artifact_id, verified.artifacts_of_build), (&wanted, 2));
    assert_eq!(verified.judges, all.judges);
    let unknown = ArtifactId::new("busybox").expect("an id");
    let refused = prove(&memory(&bench), &bench.state, &id, Some(&[wanted, unknown.clone()]));
    assert!(matches!(refused, Err(ProveError::UnknownArtifact { artifact, .. }) if artifact == unknown));
    assert!(matches!(prove(&memory(&bench), &bench.state, &id, Some(&[])), Err(ProveError::Unsound(ProofError::NoArtifact))));
}

#[test]
fn what_is_not_published_has_no_proof() {
    let (mut bench, id) = published(2);
    let unknown = bench.state.next_build_id(&alpine());
    assert!(
        matches!(prove(&memory(&bench), &bench.state, &unknown, None), Err(ProveError::UnknownBuild(build)) if build == unknown)
    );
    let open = bench.open_build(1);
    assert!(
        matches!(prove(&memory(&bench), &bench.state, &open, None), Err(ProveError::NotPublished { build, .. }) if build == open)
    );
    let short: BlocksInMemory = bench.log[..5].iter().cloned().collect();
    assert!(matches!(prove(&short, &bench.state, &id, None), Err(ProveError::Missing(_))));
    let other: BlocksInMemory = Bench::with_members(3).log.into_iter().chain(bench.log.iter().cloned()).collect();
    assert!(prove(&other, &bench.state, &id, None).is_err(), "the blocks of another ledger lead to no proof");
}

#[test]
fn no_build_is_requested_behind_a_change_of_the_set_in_one_block() {
    let mut bench = Bench::with_members(1);
    bench.commit(0, bench.approval(1));
    let change = bench.sign(1, bench.activation());
    let request = bench.sign(0, bench.request());
    let behind = bench.state.propose(bench.node(0), 0, [&change, &request]);
    assert_eq!(behind.block.events, std::slice::from_ref(&change));
    assert_eq!(behind.refused[0].1, crate::Refusal::SetChangesInThisBlock);
    let before = bench.state.propose(bench.node(0), 0, [&request, &change]);
    assert_eq!(before.block.events.len(), 2);
    let build = before.next.builds.unfinished().next().expect("it is open").1;
    assert_eq!(ValidatorSet::new(build.judges.clone()).hash(), before.block.header.validators);
    assert_ne!(before.block.header.validators, before.block.header.next_validators);
}

/// Read by the text of the specification (C2SP tlog-proof), not by our own parser.
#[test]
fn a_tlog_proof_is_what_its_specification_says() {
    let (bench, id) = published_across_a_change(4);
    let proof = proof_of(&bench, &id);
    let verified = proof.verify(None).expect("holds");
    for proved in &verified.artifacts {
        let signed = proof.tlog_proof_signed_by(&proved.artifact.artifact_id, &bench.keys[0]).expect("is about it");
        let text = proof.tlog_proof(&proved.artifact.artifact_id).expect("is about it");
        assert_eq!(signed.lines().count(), text.lines().count() + 1, "one more signature");
        let (head, checkpoint) = text.split_once("\n\n").expect("an empty line ends the path");
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        let extra = lines.next().and_then(|line| line.strip_prefix("extra ")).expect("extra data");
        let event = STANDARD.decode(extra).expect("base64");
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).expect("an index");
        assert_eq!(index, proved.published_by.index.to_string());
        let hash = |line: &str| Sha256Digest::new(STANDARD.decode(line).expect("base64").try_into().expect("32 bytes"));
        let path: Vec<Sha256Digest> = lines.map(hash).collect();
        let note = SignedNote::parse(checkpoint.as_bytes()).expect("a note");
        let mut checkpoint = note.text().lines();
        assert_eq!(checkpoint.next(), Some(format!("pyrsia/{}", bench.state.network()).as_str()));
        let size: u64 = checkpoint.next().expect("a size").parse().expect("a number");
        let root = hash(checkpoint.next().expect("a root"));
        verify_inclusion(&leaf_hash(&event), proved.published_by.index, size, &path, &root).expect("stands there");
        let keys: Vec<_> = (0..5).map(|key| crate::checkpoint::cosigner_key(bench.state.network(), bench.node(key))).collect();
        assert_eq!(note.signers(&keys).expect("good signatures").len(), 5);
    }
    assert_eq!(proof.tlog_proof(&ArtifactId::new("busybox").expect("an id")), None);
}

/// A network of one, whose proofs are the shortest.
static SHORT: LazyLock<(NetworkId, Vec<u8>)> = LazyLock::new(|| {
    let (bench, id) = published(1);
    (*bench.state.network(), proof_of(&bench, &id).to_text().into_bytes())
});

/// Of four that became five.
static LONG: LazyLock<(NetworkId, Vec<u8>)> = LazyLock::new(|| {
    let (bench, id) = published_across_a_change(4);
    (*bench.state.network(), proof_of(&bench, &id).to_text().into_bytes())
});

fn holds(network: NetworkId, bytes: &[u8]) -> bool {
    PublicationProof::parse(bytes).is_ok_and(|proof| proof.verify(Some(network)).is_ok())
}

#[test]
fn no_byte_of_a_proof_can_be_replaced_inserted_or_left_out() {
    let (network, good) = &*SHORT;
    assert!(holds(*network, good));
    for at in 0..good.len() {
        let mut replaced = good.clone();
        replaced[at] = good[at] ^ 1;
        assert!(!holds(*network, &replaced), "byte {at} replaced");
        // These move all that follows: a fourth of the places is enough, and the next test takes others.
        if at % 4 != 0 {
            continue;
        }
        let left_out = [&good[..at], &good[at + 1..]].concat();
        assert!(!holds(*network, &left_out), "without byte {at}");
        let twice = [&good[..at], &good[at..=at], &good[at..]].concat();
        assert!(!holds(*network, &twice), "byte {at} twice");
    }
    assert!(!holds(*network, &[good.as_slice(), b"\n"].concat()));
    assert!(!holds(*network, &[good.as_slice(), b"{}"].concat()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_change_of_a_long_proof_is_accepted(at in any::<prop::sample::Index>(), until in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (network, good) = &*LONG;
        let (at, until) = (at.index(good.len()), until.index(good.len() + 1));
        let mut replaced = good.clone();
        replaced[at] = byte;
        prop_assert!(byte == good[at] || !holds(*network, &replaced));
        let (from, to) = (at.min(until), at.max(until));
        prop_assert!(from == to || !holds(*network, &[&good[..from], &good[to..]].concat()), "without {}..{}", from, to);
        prop_assert!(!holds(*network, &[&good[..at], &[byte], &good[at..]].concat()));
        // A part of it a second time.
        prop_assert!(from == to || !holds(*network, &[&good[..to], &good[from..]].concat()));
    }

    #[test]
    fn whatever_is_read_as_a_proof_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        let _ = PublicationProof::parse(&bytes);
        let (_, good) = &*SHORT;
        let at = at.index(good.len());
        let spliced = [&good[..at], &bytes, &good[(at + bytes.len()).min(good.len())..]].concat();
        let _ = PublicationProof::parse(&spliced).map(|proof| proof.verify(None));
    }

    /// Every part in base64 as other bytes of a value that reads: the checks behind the form must not panic either.
    #[test]
    fn whatever_stands_in_the_parts_nothing_panics(part in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (network, good) = &*LONG;
        let mut value: serde_json::Value = serde_json::from_slice(good).expect("JSON");
        let mut parts = vec![];
        encoded_parts(&mut value, &mut parts);
        let index = part.index(parts.len());
        let mut bytes = STANDARD.decode(parts[index].as_str()).expect("base64");
        let at = at.index(bytes.len());
        let is_same = bytes[at] == byte;
        bytes[at] = byte;
        *parts[index] = STANDARD.encode(bytes);
        let read = serde_json::from_value::<ReadFile>(value);
        let accepted = read.is_ok_and(|file| file.evidence.verify(Some(*network)).is_ok());
        prop_assert_eq!(accepted, is_same);
    }
}

/// The parts in base64, which are longer than any digest.
fn encoded_parts<'a>(value: &'a mut serde_json::Value, parts: &mut Vec<&'a mut String>) {
    match value {
        serde_json::Value::String(text) if text.len() > 64 && STANDARD.decode(text.as_str()).is_ok() => parts.push(text),
        serde_json::Value::Array(values) => values.iter_mut().for_each(|value| encoded_parts(value, parts)),
        serde_json::Value::Object(values) => values.values_mut().for_each(|value| encoded_parts(value, parts)),
        _ => (),
    }
}

#[test]
fn another_form_of_the_same_proof_is_refused() {
    let (_, good) = &*SHORT;
    let text = String::from_utf8(good.clone()).expect("UTF-8");
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let compact = serde_json::to_vec(&value).expect("JSON");
    assert!(matches!(PublicationProof::parse(&compact), Err(ProofError::NotCanonical)));
    let other_version = text.replacen("pyrsia-proof/1", "pyrsia-proof/2", 1);
    assert!(matches!(PublicationProof::parse(other_version.as_bytes()), Err(ProofError::Format(_))));
    let with_field = text.replacen("{\n", "{\n  \"note\": 1,\n", 1);
    assert!(matches!(PublicationProof::parse(with_field.as_bytes()), Err(ProofError::Format(_))));
    let long = vec![b' '; PROOF_BYTES_MAX + 1];
    assert!(matches!(PublicationProof::parse(&long), Err(ProofError::TooLarge { .. })));
}
