//! The bytes of every (event, version), committed: an encoding that changes would fork every network.
//!
//! `UPDATE_GOLDEN=1` writes the files of kinds that have none yet; it never overwrites one.

use pyrsia_ledger::certificate::VoteKind;
use pyrsia_ledger::event::{
    AddArtifact, BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed,
    BuildSource, BuildWaitEnded, BuiltArtifact, DisputeReport, EquivocationProved, GroupComparison, GroupVerdict, NetworkFounded,
    NodeActivated, NodeAuthorizationApproved, NodeRevocationApproved, PinnedSource, ReportedDifference, VerifierApproved, Vouch,
    WaitPhase, commitment,
};
use pyrsia_ledger::evidence::{SignedCommitment, SignedProposal, SignedVote};
use pyrsia_ledger::{
    ArtifactId, BlockHash, BlockId, BuildId, Event, Evidence, Height, NetworkId, NodeId, PackageCoordinate, PackageType,
    Sha256Digest, Signature, SignedEvent, UnsignedEvent,
};
use std::path::Path;

fn digest(text: &str) -> Sha256Digest {
    Sha256Digest::of(text.as_bytes())
}

fn artifact(id: &str) -> BuiltArtifact {
    BuiltArtifact {
        artifact_id: ArtifactId::new(id).expect("an id"),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        size_bytes: 528,
        sha256: digest("raw"),
        canonical: digest("canonical"),
        chunk_root: digest("chunks"),
    }
}

/// One of each kind, and of each shape a kind has.
fn events() -> Vec<(&'static str, Event)> {
    let node = NodeId::from_public_key([3; 32]);
    let network = NetworkId::new(digest("network"));
    let coordinate = PackageCoordinate::new("docker", "alpine:3.16.0").expect("a coordinate");
    let build_id = BuildId::of(&network, &coordinate, 2);
    let source = BuildSource { kind: "git".into(), location: "https://git.example/alpine".into(), revision: "c0ffee".into() };
    let artifacts = vec![artifact("alpine:3.16.0"), artifact("alpine@sha256:00")];
    let result = |outcome: BuildOutcome| {
        Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.into(), salt: [8; 32] })
    };
    let revoked = |compromised_since| Event::NodeRevocationApproved(NodeRevocationApproved { node, compromised_since });
    let committed = |text| BuildResultCommitted { build_id, commitment: digest(text) };
    let wait = |phase| Event::BuildWaitEnded(BuildWaitEnded { build_id, phase });
    let candidate = digest("candidate");
    let requested = |tree: Option<&str>| {
        let source = PinnedSource {
            kind: if tree.is_some() { "git".into() } else { "import".into() },
            location: "https://git.example/alpine".into(),
            revision: "c0ffee".into(),
            tree: tree.map(str::to_owned),
        };
        let (coordinate, verifier) = (coordinate.clone(), digest("module"));
        Event::BuildRequested(BuildRequested { build_id, coordinate, attempt: 2, verifier, source: Some(source) })
    };
    let vouched = |verdict| Event::BuildCandidateVouched(BuildCandidateVouched { build_id, candidate, verdict });
    vec![
        ("network-founded-v1", Event::NetworkFounded(NetworkFounded { name: "pyrsia".into(), nonce: [9; 32] })),
        ("node-authorization-approved-v1", Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node })),
        ("node-activated-v1", Event::NodeActivated(NodeActivated { recent_height: 7, recent_block: digest("block") })),
        (
            "verifier-approved-v1",
            Event::VerifierApproved(VerifierApproved {
                package_type: PackageType::new("docker").expect("a type"),
                module: digest("module"),
                contract_version: 1,
            }),
        ),
        (
            "build-requested-v1",
            Event::BuildRequested(BuildRequested {
                build_id,
                coordinate: coordinate.clone(),
                attempt: 2,
                verifier: digest("module"),
                source: None,
            }),
        ),
        ("build-requested-v2", requested(Some("7ee"))),
        ("build-requested-import-v2", requested(None)),
        ("build-result-revealed-built-v1", result(BuildOutcome::Built { source, artifacts })),
        ("build-result-revealed-failed-v1", result(BuildOutcome::Failed { reason: "no such image".into() })),
        ("build-result-revealed-abstained-v1", result(BuildOutcome::Abstained { reason: "out of fuel".into() })),
        ("add-artifact-v1", Event::AddArtifact(AddArtifact { build_id, coordinate, artifact: artifact("alpine:3.16.0") })),
        ("node-revocation-approved-v1", revoked(None)),
        ("node-revocation-approved-since-v1", revoked(Some(41))),
        ("build-result-committed-v1", Event::BuildResultCommitted(committed("commitment"))),
        ("build-wait-ended-committing-v1", wait(WaitPhase::Committing)),
        ("build-wait-ended-revealing-v1", wait(WaitPhase::Revealing)),
        ("build-wait-ended-vouching-v1", wait(WaitPhase::Vouching { candidate })),
        ("build-candidate-vouched-same-v1", vouched(Vouch::Same)),
        ("build-candidate-vouched-different-v1", vouched(Vouch::Different { reason: "another file".into() })),
        ("build-candidate-vouched-unavailable-v1", vouched(Vouch::Unavailable { reason: "nobody has it".into() })),
        ("build-disputed-v1", Event::BuildDisputed(BuildDisputed { build_id, report: report() })),
        ("equivocation-proved-votes-v1", proved(votes())),
        ("equivocation-proved-proposals-v1", proved(proposals())),
        (
            "equivocation-proved-commitments-v1",
            proved(Evidence::Commitments {
                first: signed_commitment(committed("one")),
                second: signed_commitment(committed("two")),
            }),
        ),
    ]
}

/// One comparison with each verdict.
fn report() -> DisputeReport {
    let reason = || "a reason".to_owned();
    let verdicts = [
        GroupVerdict::Different,
        GroupVerdict::SameAfter { passes: vec!["gzip".into(), "tar times".into()] },
        GroupVerdict::OtherSource,
        GroupVerdict::Undecidable { reason: reason() },
        GroupVerdict::Unavailable { reason: reason() },
    ];
    let difference = ReportedDifference {
        artifact: "alpine@sha256:00".into(),
        path: vec!["layer".into(), "etc/passwd".into()],
        what: "bytes".into(),
        a: Some("1".into()),
        b: None,
    };
    let compare = |(other, verdict): (u8, GroupVerdict)| GroupComparison {
        a: NodeId::from_public_key([1; 32]),
        b: NodeId::from_public_key([other; 32]),
        verdict,
        differences: vec![difference.clone()],
        omitted: 3,
    };
    DisputeReport { comparisons: (2..).zip(verdicts).map(compare).collect(), omitted: 2 }
}

fn block_id(text: &str) -> BlockId {
    BlockId { hash: BlockHash(digest(text)), tree_size: 42, tree_root: digest("tree"), time_s: 1_671_002_963 }
}

fn proved(evidence: Evidence) -> Event {
    Event::EquivocationProved(EquivocationProved { evidence: Box::new(evidence) })
}

fn votes() -> Evidence {
    let vote = |kind, block| SignedVote {
        author: NodeId::from_public_key([4; 32]),
        kind,
        height: Height(12),
        round: 2,
        block,
        signature: Signature::from_bytes([6; 64]),
    };
    let block = Some(block_id("block"));
    Evidence::Votes { first: vote(VoteKind::Prevote, None), second: vote(VoteKind::Precommit, block) }
}

fn proposals() -> Evidence {
    let proposal = |valid_round, block| SignedProposal {
        author: NodeId::from_public_key([4; 32]),
        height: Height(12),
        round: 2,
        valid_round,
        block: block_id(block),
        signature: Signature::from_bytes([6; 64]),
    };
    Evidence::Proposals { first: proposal(None, "one"), second: proposal(Some(1), "two") }
}

fn signed_commitment(committed: BuildResultCommitted) -> SignedCommitment {
    SignedCommitment {
        author: NodeId::from_public_key([4; 32]),
        sequence: 9,
        claimed_time_ms: 1_671_002_963_000,
        committed,
        signature: Signature::from_bytes([6; 64]),
    }
}

#[test]
fn a_commitment_has_the_digest_it_always_had() {
    let network = NetworkId::new(digest("network"));
    let coordinate = PackageCoordinate::new("docker", "alpine:3.16.0").expect("a coordinate");
    let build_id = BuildId::of(&network, &coordinate, 2);
    let outcome = BuildOutcome::Failed { reason: "no such image".into() };
    let found = commitment(&network, &build_id, &NodeId::from_public_key([3; 32]), &[8; 32], &outcome);
    assert_eq!(found.to_string(), COMMITMENT);
}

/// SHA-256, computed apart from this code from its definition in docs/log-format.md.
const COMMITMENT: &str = "fd88976919d9543e6bdadc82f400a4f198ef70577ed77e02c11af3fb9b0e5911";

#[test]
fn every_event_has_the_bytes_it_always_had() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let author = NodeId::from_public_key([1; 32]);
    for (name, event) in events() {
        let unsigned = UnsignedEvent::new(NetworkId::new(digest("network")), author, 4, 1_671_002_963_000, event);
        let signed = SignedEvent { unsigned, signature: Signature::from_bytes([5; 64]) };
        let found = hex::encode(signed.encode());
        let path = folder.join(format!("{name}.hex"));
        if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, format!("{found}\n")).expect("writes the golden file");
        }
        let golden =
            std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{name} has no golden bytes: run with UPDATE_GOLDEN=1"));
        assert_eq!(found, golden.trim(), "{name}");
        assert_eq!(SignedEvent::decode(&hex::decode(golden.trim()).expect("hexadecimal")).expect("decodes"), signed, "{name}");
    }
}

#[test]
fn what_is_not_canonical_or_not_known_is_refused() {
    let (_, event) = events().remove(1);
    let unsigned = UnsignedEvent::new(NetworkId::UNFOUNDED, NodeId::from_public_key([1; 32]), 0, 0, event);
    let bytes = SignedEvent { unsigned, signature: Signature::from_bytes([0; 64]) }.encode();
    assert!(SignedEvent::decode(&bytes).is_ok());
    assert!(SignedEvent::decode(&[bytes.as_slice(), &[0]].concat()).is_err(), "trailing byte");
    assert!(SignedEvent::decode(&bytes[..bytes.len() - 1]).is_err(), "short");
    let kind_at = 2 + 32 + 32 + 8 + 8;
    for (at, to, what) in [(kind_at, 99, "kind"), (kind_at, 6, "retired kind"), (kind_at + 2, 99, "version")] {
        let mut unknown = bytes.clone();
        unknown[at] = to;
        let refused = SignedEvent::decode(&unknown).expect_err(what);
        let source = std::error::Error::source(&refused).expect("a source").to_string();
        assert!(source.contains("not known to this program"), "{source}");
    }
    assert!(SignedEvent::decode(&vec![0; 65_536]).is_err(), "larger than an event may be");
}

#[test]
fn a_request_is_written_in_the_version_that_says_what_it_has_and_in_no_other() {
    for (name, version) in [("build-requested-v1", 2), ("build-requested-v2", 1)] {
        let (_, event) = events().into_iter().find(|(found, _)| *found == name).expect("it is one of them");
        let mut bytes = borsh::to_vec(&event).expect("writes to memory");
        assert_eq!(borsh::from_slice::<Event>(&bytes).expect("decodes"), event);
        bytes[2] = version;
        assert!(borsh::from_slice::<Event>(&bytes).is_err(), "{name} as version {version}");
    }
}
