//! A small network whose keys no fuzzer has, and what it signed: what the properties compare with and begin from.

use crate::block::{BlockHash, BlockId, Height, SealedBlock};
use crate::certificate::{CommitCertificate, UnsignedVote, ValidatorSet, VoteKind, proposal_bytes};
use crate::checkpoint::{cosigner_key, log_key};
use crate::coordinate::{ArtifactId, PackageCoordinate, PackageType};
use crate::digest::Sha256Digest;
use crate::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed, BuildSource, BuiltArtifact, Event,
    NodeActivated, NodeAuthorizationApproved, VerifierApproved, commitment,
};
use crate::evidence::{Evidence, SignedCommitment, SignedProposal, SignedVote};
use crate::identity::NodeId;
use crate::log::export::ExportWriter;
use crate::note::NoteKey;
use crate::projection::{Projections, genesis};
use crate::proof::TreeHashes;
use crate::publication_proof::{BlocksInMemory, prove};
use crate::signed::{NetworkId, Purpose, SignedEvent, UnsignedEvent, node_id_of, sign};
use crate::tiles::encode_tile;
use crate::tree::leaf_hash;
use ed25519_dalek::SigningKey;
use std::sync::LazyLock;

/// When everything happened, in ms since the Unix epoch.
const TIME_MS: u64 = 1_671_002_963_123;
/// Whose key is not safe with it: it contradicts itself.
const LIAR: u8 = 9;

pub(super) struct Known {
    pub(super) blocks: Vec<SealedBlock>,
    pub(super) events: Vec<SignedEvent>,
    /// The state after the genesis block, and after the last one.
    pub(super) first: Projections,
    pub(super) last: Projections,
    pub(super) validators: ValidatorSet,
    /// Of all validators, for the second block.
    pub(super) certificate: CommitCertificate,
    pub(super) note_keys: Vec<NoteKey>,
    pub(super) note_texts: Vec<String>,
    pub(super) publication_proof: String,
}

static KNOWN: LazyLock<Known> = LazyLock::new(Known::new);

pub(super) fn known() -> &'static Known {
    &KNOWN
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn digest(text: &str) -> Sha256Digest {
    Sha256Digest::of(text.as_bytes())
}

impl Known {
    fn new() -> Self {
        let keys: Vec<SigningKey> = (1..=4).map(key).collect();
        let founder = &keys[0];
        let mut blocks = vec![genesis(founder, "fuzz", [7; 32], TIME_MS)];
        let first = Projections::from_genesis(&blocks[0]).expect("a network");
        let mut last = first.clone();
        for happen in [preparation, activation, publication] {
            let me = node_id_of(founder);
            let happened = happen(&last, me);
            let sign =
                |(sequence, event)| SignedEvent::new(founder, UnsignedEvent::new(*first.network(), me, sequence, TIME_MS, event));
            let events: Vec<SignedEvent> = (last.next_sequence(&me)..).zip(happened).map(sign).collect();
            let proposal = last.propose(me, TIME_MS + 1, &events);
            assert!(proposal.refused.is_empty(), "{:?}", proposal.refused);
            let certificate = CommitCertificate::signed(&proposal.block.header, 0, [founder]);
            blocks.push(SealedBlock { block: proposal.block, certificate });
            last = proposal.next;
        }
        let events = blocks.iter().flat_map(|sealed| sealed.block.events.clone()).collect();
        let validators = ValidatorSet::new(keys.iter().map(node_id_of).collect());
        let certificate = CommitCertificate::signed(&blocks[1].block.header, 2, &keys);
        let network = *first.network();
        let cosigners = validators.nodes().iter().map(|node| cosigner_key(&network, *node));
        let note_keys = cosigners.chain([log_key(&network, node_id_of(founder))]).collect();
        let cosigned = SealedBlock { block: blocks[1].block.clone(), certificate: certificate.clone() };
        let note_texts = blocks.iter().chain([&cosigned]).map(|sealed| sealed.checkpoint_text().to_string()).collect();
        let source: BlocksInMemory = blocks.iter().cloned().collect();
        let build = *last.builds.iter().next().expect("a build").0;
        let publication_proof = prove(&source, &last, &build, None).expect("was published").to_text();
        Self { blocks, events, first, last, validators, certificate, note_keys, note_texts, publication_proof }
    }

    pub(super) fn network(&self) -> NetworkId {
        *self.first.network()
    }

    pub(super) fn keeps_its_keys(&self, node: &NodeId) -> bool {
        self.validators.contains(node)
    }
}

fn preparation(_: &Projections, founder: NodeId) -> Vec<Event> {
    let verifier = VerifierApproved {
        package_type: PackageType::new("docker").expect("a type"),
        module: digest("module"),
        contract_version: 1,
    };
    let authorized = NodeAuthorizationApproved { node: founder };
    vec![Event::VerifierApproved(verifier), Event::NodeAuthorizationApproved(authorized)]
}

fn activation(state: &Projections, _: NodeId) -> Vec<Event> {
    vec![Event::NodeActivated(NodeActivated { recent_height: state.height().0, recent_block: state.tip().0 })]
}

/// A founder that is alone authorizes itself, asks for a package, builds and publishes it.
fn publication(state: &Projections, founder: NodeId) -> Vec<Event> {
    let coordinate = PackageCoordinate::new("docker", "alpine:3.16.0").expect("a coordinate");
    let build_id = state.next_build_id(&coordinate);
    let artifact = |id: &str| BuiltArtifact {
        artifact_id: ArtifactId::new(id).expect("an id"),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        size_bytes: 528,
        sha256: digest(id),
        canonical: digest(id),
        chunk_root: digest(id),
    };
    let artifacts = vec![artifact("alpine:3.16.0"), artifact("alpine@sha256:00")];
    let source = BuildSource { kind: "git".into(), location: "https://git.example/alpine".into(), revision: "c0ffee".into() };
    let (outcome, salt) = (BuildOutcome::Built { source, artifacts: artifacts.clone() }, [8; 32]);
    let commitment = commitment(state.network(), &build_id, &founder, &salt, &outcome);
    let requested =
        BuildRequested { build_id, coordinate: coordinate.clone(), attempt: 0, verifier: digest("module"), source: None };
    let mut events = vec![
        Event::BuildRequested(requested),
        Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment }),
        Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.into(), salt }),
    ];
    events.extend(
        artifacts
            .into_iter()
            .map(|artifact| Event::AddArtifact(AddArtifact { build_id, coordinate: coordinate.clone(), artifact })),
    );
    events
}

pub(super) fn sealed_blocks() -> Vec<Vec<u8>> {
    known().blocks.iter().map(SealedBlock::encode).collect()
}

pub(super) fn events() -> Vec<Vec<u8>> {
    known().events.iter().map(SignedEvent::encode).collect()
}

pub(super) fn exported_logs() -> Vec<Vec<u8>> {
    let export = |count: usize| {
        let mut writer = ExportWriter::new(vec![]).expect("memory takes it");
        for sealed in &known().blocks[..count] {
            writer.block(sealed.block.hash(), &sealed.encode()).expect("memory takes it");
        }
        writer.finish().expect("memory takes it")
    };
    (0..=known().blocks.len()).map(export).collect()
}

pub(super) fn notes() -> Vec<Vec<u8>> {
    let known = known();
    let cosigned = SealedBlock { block: known.blocks[1].block.clone(), certificate: known.certificate.clone() };
    let notes = [known.blocks[1].checkpoint(), known.blocks[2].checkpoint_signed_by(&key(1)), cosigned.checkpoint()];
    let texts = notes
        .iter()
        .map(ToString::to_string)
        .chain(known.note_texts.clone())
        .chain(known.note_keys.iter().map(ToString::to_string));
    texts.map(String::into_bytes).collect()
}

pub(super) fn certificates() -> Vec<Vec<u8>> {
    let whole = &known().certificate;
    let of = |count: usize| CommitCertificate { signatures: whole.signatures[..count].to_vec(), ..whole.clone() };
    (0..=whole.signatures.len()).map(of).map(|certificate| borsh::to_vec(&certificate).expect("memory takes it")).collect()
}

pub(super) fn evidences() -> Vec<Vec<u8>> {
    let (network, height, round) = (known().network(), Height(3), 1);
    let block =
        |text: &str| BlockId { hash: BlockHash(digest(text)), tree_size: 5, tree_root: digest("tree"), time_s: TIME_MS / 1_000 };
    let vote = |key: &SigningKey, text| {
        SignedVote::new(key, &network, UnsignedVote { kind: VoteKind::Precommit, height, round, block: Some(block(text)) })
    };
    let proposal = |key: &SigningKey, text| {
        let (block, valid_round) = (block(text), Some(0));
        let signature = sign(key, Purpose::Proposal, &network, &proposal_bytes(height, round, valid_round, block));
        SignedProposal { author: node_id_of(key), height, round, valid_round, block, signature }
    };
    let committed = |key: &SigningKey, text| {
        let build_id = *known().last.builds.iter().next().expect("a build").0;
        let event = Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment: digest(text) });
        let signed = SignedEvent::new(key, UnsignedEvent::new(network, node_id_of(key), 4, TIME_MS, event));
        SignedCommitment::of(&signed).expect("a commitment")
    };
    let (liar, honest) = (key(LIAR), key(2));
    let mut framed = Evidence::Votes { first: vote(&honest, "a"), second: vote(&liar, "b") };
    if let Evidence::Votes { second, .. } = &mut framed {
        second.author = node_id_of(&honest);
    }
    let found = [
        Evidence::Votes { first: vote(&liar, "a"), second: vote(&liar, "b") },
        Evidence::Proposals { first: proposal(&liar, "a"), second: proposal(&liar, "b") },
        Evidence::Commitments { first: committed(&liar, "a"), second: committed(&liar, "b") },
        framed,
    ];
    found.iter().map(|evidence| borsh::to_vec(evidence).expect("memory takes it")).collect()
}

pub(super) fn snapshots() -> Vec<Vec<u8>> {
    let mut bytes = vec![];
    known().last.write_snapshot(&mut bytes).expect("memory takes it");
    vec![bytes]
}

pub(super) fn leaf(index: u64) -> [u8; 8] {
    index.to_le_bytes()
}

pub(super) fn tree(size: u64) -> TreeHashes {
    let mut tree = TreeHashes::default();
    (0..size).for_each(|index| tree.append(leaf_hash(&leaf(index))));
    tree
}

pub(super) fn tiles() -> Vec<Vec<u8>> {
    [1, 3, 256, 257].map(|count| encode_tile(&(0..count).map(|index: u64| leaf_hash(&leaf(index))).collect::<Vec<_>>())).to_vec()
}

pub(super) fn tree_proofs() -> Vec<Vec<u8>> {
    let (size, tree) = (super::LEAVES, tree(super::LEAVES));
    let seed = |index: u64, old: u64, path: Vec<Sha256Digest>| {
        [[index, old, size].map(u64::to_le_bytes).concat(), encode_tile(&path)].concat()
    };
    let inclusion = |index| seed(index, 0, tree.inclusion(index, size).expect("a proof"));
    let consistency = |old| seed(0, old, tree.consistency(old, size).expect("a proof"));
    [inclusion(0), inclusion(17), inclusion(36), consistency(1), consistency(8), consistency(21), consistency(32)].to_vec()
}

pub(super) fn publication_proofs() -> Vec<Vec<u8>> {
    vec![known().publication_proof.clone().into_bytes()]
}

pub(super) fn names() -> Vec<Vec<u8>> {
    let node = node_id_of(&key(1));
    let build = known().last.builds.iter().next().expect("a build").0;
    let digest = digest("name");
    let texts = [
        "docker".into(),
        "alpine:3.16.0".into(),
        "org.example:demo:1.0".into(),
        node.to_string(),
        build.to_string(),
        digest.to_string(),
        digest.to_oci(),
    ];
    texts.map(String::into_bytes).to_vec()
}

pub(super) fn patterns() -> Vec<Vec<u8>> {
    ["alpine\nalpine:3.16.0", "org.*:*demo*\norg.example:a.demo.b:1.0", "*a*a*b\naaaaaaab", "ab*ba\naba", "**\n", "a:b\na:b:c"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
