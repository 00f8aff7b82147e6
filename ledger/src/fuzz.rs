//! What must hold of any bytes, at each place where the ledger reads bytes from outside.
//!
//! A property takes bytes and panics if it does not hold. The fuzzer (`fuzz/`) looks for such bytes; what it found worth keeping
//! stands in `fuzz/corpus` and is read again by every run of the tests. Compiled for tests and for the fuzzer only.
//!
//! Nobody who has only bytes has the keys of [`known`]: what is signed by one of them and is none of the seeds is a forgery.

mod known;

use crate::audit::{Announced, Audit, Exactness};
use crate::block::{Height, SealedBlock};
use crate::certificate::CommitCertificate;
use crate::checkpoint::Checkpoint;
use crate::coordinate::{ArtifactId, BuildId, PackageId, PackageType};
use crate::digest::Sha256Digest;
use crate::evidence::Evidence;
use crate::identity::NodeId;
use crate::log::export::{ExportReader, ExportWriter, Record};
use crate::note::{NoteKey, SignedNote};
use crate::projection::Projections;
use crate::proof::{TreeHashes, verify_consistency, verify_inclusion};
use crate::publication_proof::PublicationProof;
use crate::search::{CoordinatePattern, fits};
use crate::signed::{EncodedEvent, SignedEvent, decode_canonical};
use crate::tiles::{RightEdge, TileId, decode_tile, encode_tile};
use crate::tree::{Frontier, leaf_hash};
use known::known;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;

/// A property, its name, and bytes that lead far into what it is about.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

pub const SEALED_BLOCK: Target = ("sealed_block", sealed_block, known::sealed_blocks);
pub const EVENT: Target = ("event", event, known::events);
pub const EXPORTED_LOG: Target = ("exported_log", exported_log, known::exported_logs);
pub const NOTE: Target = ("note", note, known::notes);
pub const CERTIFICATE: Target = ("certificate", certificate, known::certificates);
pub const EVIDENCE: Target = ("evidence", evidence, known::evidences);
pub const SNAPSHOT: Target = ("snapshot", snapshot, known::snapshots);
pub const TILE: Target = ("tile", tile, known::tiles);
pub const TREE_PROOF: Target = ("tree_proof", tree_proof, known::tree_proofs);
pub const PUBLICATION_PROOF: Target = ("publication_proof", publication_proof, known::publication_proofs);
pub const NAME: Target = ("name", name, known::names);
pub const PATTERN: Target = ("pattern", pattern, known::patterns);

/// How many leaves a tree has in which proofs are looked for.
const LEAVES: u64 = 37;

fn sealed_block(bytes: &[u8]) {
    let Ok(sealed) = SealedBlock::decode(bytes) else { return };
    assert_eq!(sealed.encode(), bytes, "a block has one encoding");
    let checkpoint = sealed.checkpoint_text();
    assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
    if let Ok(note) = SignedNote::parse(sealed.checkpoint().to_string().as_bytes()) {
        assert_eq!(note, sealed.checkpoint());
    }
    if let Ok(state) = Projections::from_genesis(&sealed) {
        assert!(known().blocks[0] == sealed || *state.network() != known().network(), "another genesis of the same network");
    }
    if known().first.apply_sealed(&sealed).is_ok() {
        assert_eq!(sealed, known().blocks[1], "nobody else can make this block");
    }
}

fn event(bytes: &[u8]) {
    let Ok(event) = SignedEvent::decode(bytes) else { return };
    assert_eq!(event.encode(), bytes, "an event has one encoding");
    assert_eq!(EncodedEvent::new(&event).id, event.id());
    let is_signed = event.verify_signature();
    assert_eq!(SignedEvent::verify_signatures([&event]), is_signed, "alone or among others");
    // Whether it is allowed or not: a rule never panics.
    let _ = known().first.check(&event);
    if is_signed && known().keeps_its_keys(&event.author()) {
        assert!(known().events.contains(&event), "a forgery: {event:?}");
    }
}

fn exported_log(bytes: &[u8]) {
    let Ok(mut reader) = ExportReader::new(bytes) else { return };
    let (mut audit, mut raws, mut is_whole) = (Audit::new(Some(known().network())), vec![], true);
    let end = loop {
        match reader.next_record() {
            Ok(Record::Block { raw, whole }) => {
                is_whole &= whole;
                audit.feed(Height(raws.len() as u64), &raw);
                raws.push(raw);
            }
            Ok(Record::End { blocks, tip }) => break Some((blocks, tip)),
            Err(_) => break None,
        }
    };
    if let Some((blocks, tip)) = end {
        assert_eq!(blocks, raws.len() as u64);
        if let Some(height) = blocks.checked_sub(1).map(Height) {
            audit.announce(Announced { height, block: tip, exactness: Exactness::Exactly });
        }
        let mut writer = ExportWriter::new(vec![]).expect("memory takes it");
        raws.iter().for_each(|raw| writer.block(tip, raw).expect("memory takes it"));
        let again = if raws.is_empty() { None } else { Some(writer.finish().expect("memory takes it")) };
        assert!(!is_whole || again.is_none_or(|again| again == bytes), "a sound file has one form");
    }
    if audit.finish([]).clean {
        let chain: Vec<Vec<u8>> = known().blocks.iter().map(SealedBlock::encode).collect();
        assert!(chain.starts_with(&raws), "the audit passed what is not the log of this network");
    }
}

fn note(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        reads_back::<Checkpoint>(text);
        reads_back::<NoteKey>(text);
    }
    let Ok(note) = SignedNote::parse(bytes) else { return };
    assert_eq!(note.to_string().as_bytes(), bytes, "a note has one form");
    if let Ok(checkpoint) = note.text().parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string(), note.text());
    }
    if note.signers(&known().note_keys).is_ok_and(|signers| !signers.is_empty()) {
        assert!(known().note_texts.iter().any(|text| text == note.text()), "a forgery: {note:?}");
    }
}

fn certificate(bytes: &[u8]) {
    let Ok(found) = decode_canonical::<CommitCertificate>("certificate", bytes) else { return };
    let (header, whole) = (&known().blocks[1].block.header, &known().certificate);
    if found.verify(&known().network(), header, &known().validators).is_ok() {
        let is_part = found.signatures.iter().all(|part| whole.signatures.contains(part));
        assert!(is_part && found.round == whole.round && found.signatures.len() >= known().validators.quorum());
    }
}

fn evidence(bytes: &[u8]) {
    let Ok(evidence) = decode_canonical::<Evidence>("evidence", bytes) else { return };
    if evidence.check(&known().network()).is_ok() {
        let honest = &known().validators.nodes();
        assert!(!honest.contains(&evidence.accused()), "an honest key is accused: {evidence:?}");
    }
}

fn snapshot(bytes: &[u8]) {
    let recent = |_| Ok(vec![known().last.tip()]);
    let Ok(state) = Projections::read_snapshot(&mut &*bytes, recent) else { return };
    let write = |state: &Projections| {
        let mut written = vec![];
        state.write_snapshot(&mut written).expect("memory takes it");
        written
    };
    let first = write(&state);
    let again = Projections::read_snapshot(&mut first.as_slice(), recent).expect("what was written reads back");
    assert!(write(&again) == first, "a state is written in one way");
    // Whatever the rows are, they can be summed up.
    let _ = state.rows_root(&mut || true);
}

fn tile(bytes: &[u8]) {
    if let Some(hashes) = decode_tile(bytes) {
        assert_eq!(encode_tile(&hashes), bytes);
    }
    if let Some((place, _)) = bytes.split_first_chunk::<17>() {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| place[at + byte]));
        assert!(TileId { level: place[16], index: number(0) }.width(number(8)) <= 256);
    }
    // The same bytes as leaves: every way to a root leads to the same one.
    let (mut edge, mut tree, mut frontier, mut full) =
        (RightEdge::default(), TreeHashes::default(), Frontier::default(), BTreeMap::new());
    for leaf in bytes.chunks(3) {
        let leaf = leaf_hash(leaf);
        tree.append(leaf);
        frontier.append(leaf);
        edge.append(leaf, &mut |id, hashes| {
            full.insert(id, hashes.to_vec());
        });
    }
    let root = tree.root(edge.size()).expect("it is that large");
    assert_eq!((edge.root(), frontier.root()), (root, root));
    full.extend(edge.tiles().map(|(id, hashes)| (id, hashes.to_vec())));
    let loaded = RightEdge::load(edge.size(), |id| Ok::<_, Infallible>(full.get(&id).cloned()));
    assert_eq!(loaded, Ok(Some(edge)));
}

/// Two sizes, a place, and a path.
fn tree_proof(bytes: &[u8]) {
    let Some((numbers, path)) = bytes.split_first_chunk::<24>() else { return };
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| numbers[at * 8 + byte]));
    let (index, old, size) = (number(0), number(1), number(2));
    let path: Vec<Sha256Digest> = path.as_chunks().0.iter().copied().map(Sha256Digest::new).collect();
    let tree = known::tree(LEAVES);
    let leaf = |index| leaf_hash(&known::leaf(index));
    let root = tree.root(LEAVES).expect("a root");
    // Of sizes that no tree has, it says no and nothing else.
    let _ = verify_inclusion(&leaf(index), index, size, &path, &root);
    let _ = verify_consistency((old, &leaf(0)), (size, &root), &path);
    let (index, old) = (index % LEAVES, old % (LEAVES + 1));
    if verify_inclusion(&leaf(index), index, LEAVES, &path, &root).is_ok() {
        assert_eq!(Ok(path.clone()), tree.inclusion(index, LEAVES));
    }
    let old_root = tree.root(old).expect("a root");
    if verify_consistency((old, &old_root), (LEAVES, &root), &path).is_ok() {
        assert_eq!(Ok(path), tree.consistency(old, LEAVES));
    }
}

fn publication_proof(bytes: &[u8]) {
    let Ok(proof) = PublicationProof::parse(bytes) else { return };
    assert_eq!(proof.to_text().as_bytes(), bytes, "a proof has one form");
    if let Ok(verified) = proof.verify(Some(known().network())) {
        assert_eq!(bytes, known().publication_proof.as_bytes(), "nobody else can make a proof: {verified:?}");
    }
    let _ = proof.verify(None);
}

fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let kept = [
        PackageType::new(text).map(|name| name.to_string()),
        PackageId::new(text).map(|name| name.to_string()),
        ArtifactId::new(text).map(|name| name.to_string()),
    ];
    for kept in kept.into_iter().flatten() {
        assert!(kept == text && text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() <= 512);
    }
    if let Ok(package_type) = PackageType::new(text) {
        assert_eq!(package_type.capitalised().to_lowercase(), text);
    }
    reads_back::<Sha256Digest>(text);
    if let Ok(node) = text.parse::<NodeId>() {
        assert_eq!(node.to_string().parse(), Ok(node));
    }
    if let Ok(build) = text.parse::<BuildId>() {
        assert_eq!(build.to_string().parse(), Ok(build));
    }
    if let Ok(digest) = Sha256Digest::from_oci(text) {
        assert_eq!(digest.to_oci(), text);
    }
}

/// What is read shows as it was written.
fn reads_back<T: FromStr + Display>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        assert_eq!(read.to_string(), text);
    }
}

/// A pattern, a line feed, and what it is held against.
fn pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some((wanted, id)) = text.split_once('\n') else { return };
    assert_eq!(fits(wanted, id), fits_by_definition(wanted.as_bytes(), id.as_bytes()), "{wanted:?} {id:?}");
    let Ok(pattern) = wanted.parse::<CoordinatePattern>() else { return };
    assert_eq!(pattern.to_string(), wanted);
    assert!(!pattern.means(id) || id.starts_with(pattern.prefix()));
}

/// Whether there is a text for each `*`, by trying all of them at once.
fn fits_by_definition(pattern: &[u8], text: &[u8]) -> bool {
    let mut fits: Vec<bool> = (0..=text.len()).map(|length| length == 0).collect();
    for wanted in pattern {
        let before = fits.clone();
        for length in 0..=text.len() {
            fits[length] = match wanted {
                b'*' => before[..=length].contains(&true),
                plain => length > 0 && before[length - 1] && text[length - 1] == *plain,
            };
        }
    }
    fits[text.len()]
}

#[cfg(test)]
#[path = "../../fuzz/src/corpus.rs"]
mod corpus;

/// Every property, over what it begins with and over what the fuzzer left.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::export::EXPORT_MAGIC;

    #[test]
    fn every_property_holds_for_the_corpus() {
        let targets = [
            SEALED_BLOCK,
            EVENT,
            EXPORTED_LOG,
            NOTE,
            CERTIFICATE,
            EVIDENCE,
            SNAPSHOT,
            TILE,
            TREE_PROOF,
            PUBLICATION_PROOF,
            NAME,
            PATTERN,
        ];
        targets.into_iter().for_each(corpus::replay);
    }

    #[test]
    fn the_seeds_reach_what_the_properties_are_about() {
        let accepted = known::sealed_blocks().iter().filter(|raw| SealedBlock::decode(raw).is_ok()).count();
        assert_eq!(accepted, known().blocks.len());
        assert!(known::events().iter().all(|raw| SignedEvent::decode(raw).is_ok_and(|event| event.verify_signature())));
        assert!(known::exported_logs().iter().any(|raw| raw.starts_with(EXPORT_MAGIC)));
        let certificate = &known().certificate;
        assert_eq!(certificate.verify(&known().network(), &known().blocks[1].block.header, &known().validators), Ok(()));
        let holds = |raw: &Vec<u8>| {
            decode_canonical::<Evidence>("evidence", raw).is_ok_and(|found| found.check(&known().network()).is_ok())
        };
        assert!(known::evidences().iter().any(holds));
        let proof = PublicationProof::parse(known().publication_proof.as_bytes()).expect("a proof");
        proof.verify(Some(known().network())).expect("holds");
        assert!(known::notes().iter().any(|raw| {
            SignedNote::parse(raw).is_ok_and(|note| note.signers(&known().note_keys).is_ok_and(|signers| !signers.is_empty()))
        }));
    }
}
