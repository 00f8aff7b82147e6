//! The bytes of every (event, version), committed: an encoding that changes would fork every network.
//!
//! `UPDATE_GOLDEN=1` writes the files of kinds that have none yet; it never overwrites one.

use pyrsia_ledger::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultReported, BuildSource, BuiltArtifact, NetworkFounded, NodeActivated,
    NodeAuthorizationApproved, VerifierApproved,
};
use pyrsia_ledger::{
    ArtifactId, BuildId, Event, NetworkId, NodeId, PackageCoordinate, PackageType, Sha256Digest, Signature, SignedEvent,
    UnsignedEvent,
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
    let result = |outcome| Event::BuildResultReported(BuildResultReported { build_id, outcome });
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
            }),
        ),
        ("build-result-reported-built-v1", result(BuildOutcome::Built { source, artifacts })),
        ("build-result-reported-failed-v1", result(BuildOutcome::Failed { reason: "no such image".into() })),
        ("build-result-reported-abstained-v1", result(BuildOutcome::Abstained { reason: "out of fuel".into() })),
        ("add-artifact-v1", Event::AddArtifact(AddArtifact { build_id, coordinate, artifact: artifact("alpine:3.16.0") })),
    ]
}

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
    for (at, what) in [(kind_at, "kind"), (kind_at + 2, "version")] {
        let mut unknown = bytes.clone();
        unknown[at] = 99;
        let refused = SignedEvent::decode(&unknown).expect_err(what);
        let source = std::error::Error::source(&refused).expect("a source").to_string();
        assert!(source.contains("not known to this program"), "{source}");
    }
    assert!(SignedEvent::decode(&vec![0; 65_536]).is_err(), "larger than an event may be");
}
