//! A publication with a builder that only vouched, and one that imported; what a node serves is in `tests/http/proofs.rs`.

use super::*;
use pyrsia_ledger::event::BuildSource;
use pyrsia_ledger::projection::genesis;
use pyrsia_ledger::publication_proof::{BlockOfProof, Judge, NOT_SHOWN, ProvedArtifact, ProvedEvent, Stand};
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{ArtifactId, Height, PackageCoordinate};
use serde_json::{Value, json};

fn node(seed: u8) -> NodeId {
    node_id_of(&ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
}

fn artifact(id: &str, bytes: &[u8]) -> BuiltArtifact {
    let sha256 = Sha256Digest::of(bytes);
    let artifact_id = ArtifactId::new(id).expect("an id");
    BuiltArtifact { artifact_id, media_type: "a/b".into(), size_bytes: 1, sha256, canonical: sha256, chunk_root: sha256 }
}

fn source(kind: &str, location: &str, revision: &str) -> BuildSource {
    BuildSource { kind: kind.into(), location: location.into(), revision: revision.into() }
}

fn publication(package: PackageCoordinate, published: &BuiltArtifact, builders: Vec<Builder>) -> Publication {
    let sealed = genesis(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]), "test", [1; 32], 1_000);
    let (event, header) = (sealed.block.events[0].id(), &sealed.block.header);
    let (network, at) = (NetworkId::new(*event.digest()), ProvedEvent { event, index: 0 });
    let block = BlockOfProof {
        height: Height(7),
        time_ms: 1_671_002_963_001,
        block: header.hash(),
        round: 0,
        tree_size: 9,
        tree_root: header.tree_root,
    };
    let shown = Verified {
        network,
        network_name: "test".into(),
        build_id: BuildId::of(&network, &package, 2),
        coordinate: package,
        attempt: 2,
        verifier: Sha256Digest::of(b"the verifier"),
        source: builders[0].source.clone(),
        requested_source: None,
        artifacts: vec![ProvedArtifact { artifact: published.clone(), published_by: at }],
        artifacts_of_build: 1,
        request: at,
        requested_by: node(1),
        requested: block.clone(),
        published: block,
        judges: builders
            .iter()
            .map(|builder| Judge { node: builder.node, stand: Stand::Same, revealed: Some(at), vouched: None })
            .collect(),
        standing: builders.len(),
        needed: 2,
        cosigners: vec![node(1)],
        validators: 1,
        sets: vec![],
        not_shown: NOT_SHOWN,
    };
    Publication { shown, proof: Sha256Digest::of(b"the proof"), builders, served_by: node(9) }
}

fn builder(seed: u8, source: BuildSource, built: BuiltArtifact, vouched: bool) -> Builder {
    let event = genesis(&ed25519_dalek::SigningKey::from_bytes(&[seed; 32]), "test", [seed; 32], 1_000).block.events[0].id();
    Builder { node: node(seed), source, artifacts: vec![built], revealed: event, vouched: vouched.then_some(event) }
}

/// The statements of a bundle; the signature of each is over its own payload.
fn statements(publication: &Publication) -> Vec<Value> {
    let bundle = publication.bundle("2026-11-21T18:00:00.5Z".parse().expect("a time"), |payload| {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(Sha256Digest::of(payload).as_bytes());
        Signature::from_bytes(signature)
    });
    let statement = |line: &str| {
        let envelope: Value = serde_json::from_str(line).expect("an envelope");
        let payload = STANDARD.decode(envelope["payload"].as_str().expect("text")).expect("base64");
        let signature = STANDARD.decode(envelope["signatures"][0]["sig"].as_str().expect("text")).expect("base64");
        assert_eq!(signature[..32], Sha256Digest::of(&payload).as_bytes()[..]);
        assert_eq!(envelope["signatures"][0]["keyid"], node(9).to_string());
        serde_json::from_slice(&payload).expect("a statement")
    };
    bundle.lines().map(statement).collect()
}

#[test]
fn a_builder_that_vouched_is_said_to_have_built_what_it_built_itself() {
    let (published, own) = (artifact("g/a/1/a-1.jar", b"published"), artifact("g/a/1/a-1.jar", b"of the voucher"));
    let commit = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";
    let git = source("git", "https://git.example/a.git", commit);
    let builders = vec![builder(1, git.clone(), published.clone(), false), builder(2, git, own.clone(), true)];
    let maven = PackageCoordinate::new("maven", "org.example:a:1.0+1").expect("a package");
    let publication = publication(maven, &published, builders);
    let [first, voucher, summary] = statements(&publication).try_into().expect("three statements");
    let subject = |statement: &Value| statement["subject"][0]["digest"]["sha256"].clone();
    assert_eq!([&first, &voucher, &summary].map(subject), [&published, &own, &published].map(|file| json!(file.sha256)));
    let events = |statement: &Value| statement["predicate"]["pyrsia_ledger"]["events"].clone();
    assert!(events(&first)["vouched"].is_null() && events(&voucher)["vouched"][0].is_string());
    let predicate = &summary["predicate"];
    assert_eq!(predicate["resourceUri"], "pkg:maven/org.example/a@1.0%2B1");
    assert_eq!(predicate["timeVerified"], "2026-11-21T18:00:00Z");
    assert_eq!(predicate["pyrsia:majority"], json!({ "standing": 2, "judges": 2, "needed": 2 }));
    assert_eq!(predicate["pyrsia:ledger"]["events"]["revealed"].as_array().expect("a list").len(), 2);
    // No level of SLSA is claimed.
    assert!(!summary.to_string().contains("SLSA_BUILD_LEVEL_1") && predicate["slsaVersion"] == "1.1");
}

#[test]
fn a_copy_is_called_one_and_a_package_without_a_package_url_has_a_name() {
    let published = artifact("a", b"published");
    let digest = Sha256Digest::of(b"the manifest");
    let import = source("import", "registry.example/a", &format!("sha256:{digest}"));
    let other = source("archive", "https://files.example/a.tar", "7");
    let package = PackageCoordinate::new("demo", "@s/a@1.0").expect("a package");
    let builders = vec![builder(1, import, published.clone(), false), builder(2, other, published.clone(), false)];
    let [copy, built, summary] = statements(&publication(package, &published, builders)).try_into().expect("three statements");
    let definition = |statement: &Value| statement["predicate"]["buildDefinition"].clone();
    assert_eq!(definition(&copy)["buildType"], "pyrsia:import/v1");
    let imported = json!([{ "name": "registry.example/a", "digest": { "sha256": digest } }]);
    assert_eq!(definition(&copy)["resolvedDependencies"], imported);
    assert_eq!(definition(&built)["buildType"], "pyrsia:build/v1");
    assert_eq!(definition(&built)["resolvedDependencies"], json!([{ "uri": "https://files.example/a.tar" }]));
    assert_eq!(summary["predicate"]["resourceUri"], "pyrsia:package/demo/%40s%2Fa%401.0");
    let verifier = &copy["predicate"]["runDetails"]["builder"]["builderDependencies"][0];
    assert_eq!(verifier["uri"], "pyrsia:verifier/demo");
}

#[test]
fn images_have_package_urls_by_tag_and_by_digest() {
    for (id, url) in [
        ("alpine:3.16.0", "pkg:docker/alpine@3.16.0"),
        ("org/app:1", "pkg:docker/org/app@1"),
        ("alpine@sha256:ab", "pkg:docker/alpine@sha256:ab"),
    ] {
        assert_eq!(package_uri(&PackageCoordinate::new("docker", id).expect("an image")), url);
    }
}
