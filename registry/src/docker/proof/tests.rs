use super::*;
use crate::lone_node::lone_node;
use futures::FutureExt;
use poem::http::{StatusCode, header};
use pyrsia_ledger::event::BuiltArtifact;
use serde_json::{Value, json};
use std::time::Duration;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

fn record() -> ArtifactRecord {
    let artifact = BuiltArtifact {
        artifact_id: ArtifactId::new("alpine:3.16.2").expect("an id"),
        media_type: "application/vnd.docker.distribution.manifest.v2+json".into(),
        size_bytes: 528,
        sha256: Sha256Digest::of(b"a manifest"),
        canonical: Sha256Digest::of(b"a manifest"),
        chunk_root: Sha256Digest::of(b"its chunks"),
    };
    // An event id comes from an event; here it stands for any.
    let fields = ([1u8; 32], 7u64, 1_671_002_963_000u64, [2u8; 16], [3u8; 32], artifact);
    borsh::from_slice(&borsh::to_vec(&fields).expect("memory")).expect("the fields of a record")
}

#[test]
fn the_manifest_is_an_artifact_of_the_image_specification() {
    let (record, file) = (record(), ProofFile::new(b"{\"format\":\"pyrsia-proof/1\"}\n".to_vec()));
    let attached = Attached::new(&record, &file);
    let manifest: Value = serde_json::from_slice(&attached.bytes).expect("JSON");
    let annotations = json!({
        "io.pyrsia.build": record.build_id.to_string(), "io.pyrsia.height": "7", "org.opencontainers.image.created": "2022-12-14T07:29:23Z"
    });
    let expected = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.pyrsia.proof.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
            "data": "e30=",
        },
        "layers": [{
            "mediaType": "application/vnd.pyrsia.proof.v1+json",
            "digest": file.sha256.to_oci(),
            "size": file.bytes.len(),
            "annotations": { "org.opencontainers.image.title": "proof.json" },
        }],
        "subject": {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "digest": Sha256Digest::of(b"a manifest").to_oci(),
            "size": 528,
        },
        "annotations": annotations,
    });
    assert_eq!(manifest, expected);
    assert_eq!(Attached::new(&record, &file).bytes, attached.bytes, "the same bytes each time");

    // The list of referrers repeats the artifact's type and its annotations.
    let (digest, size) = (Sha256Digest::of(&attached.bytes).to_oci(), attached.bytes.len());
    let descriptor = serde_json::to_value(attached.descriptor()).expect("JSON");
    let expected = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
        "artifactType": "application/vnd.pyrsia.proof.v1+json", "annotations": annotations,
    });
    assert_eq!(descriptor, expected);
}

#[test]
fn the_files_that_are_kept_do_not_grow_beyond_their_limit() {
    let build = |byte: u8| borsh::from_slice::<BuildId>(&[byte; 16]).expect("sixteen bytes");
    let mut kept = Kept::default();
    for byte in 0..5 {
        kept.keep(build(byte), Arc::new(ProofFile::new(vec![byte; KEPT_BYTES_MAX / 4])));
    }
    let builds: Vec<BuildId> = kept.files.iter().map(|(build, _)| *build).collect();
    assert_eq!(builds, [1, 2, 3, 4].map(build), "the oldest goes first");
    let twice = Arc::new(ProofFile::new(vec![4; KEPT_BYTES_MAX / 4]));
    kept.keep(build(4), twice);
    assert_eq!((kept.files.len(), kept.bytes), (4, KEPT_BYTES_MAX), "made twice at once, kept once");
    kept.keep(build(9), Arc::new(ProofFile::new(vec![0; KEPT_BYTES_MAX + 1])));
    assert_eq!((kept.files.len(), kept.bytes), (1, KEPT_BYTES_MAX + 1), "the one that is asked for is kept, however large");
}

#[test]
fn a_failure_is_known_until_the_next_block() {
    let build = |byte: u8| borsh::from_slice::<BuildId>(&[byte; 16]).expect("sixteen bytes");
    let mut kept = Kept::default();
    assert!(kept.known(&build(1), Height(0)).is_none());
    kept.keep_failure(build(1), Height(7));
    kept.keep_failure(build(2), Height(7));
    for byte in [1, 2] {
        assert!(matches!(kept.known(&build(byte), Height(7)), Some(Known::Failed)));
        assert!(kept.known(&build(byte), Height(8)).is_none());
    }
    kept.keep_failure(build(3), Height(8));
    assert_eq!(kept.failed.len(), 1);
    kept.keep(build(3), Arc::new(ProofFile::new(vec![3])));
    assert!(matches!(kept.known(&build(3), Height(8)), Some(Known::File(_))));
}

#[tokio::test]
async fn a_search_makes_few_proofs_and_the_next_one_goes_on_behind_them() {
    let (running, _folder) = lone_node().await;
    let (node, proving, proofs) = (running.handle(), proofs::places(), Proofs::new());
    let build = |number: usize| borsh::from_slice::<BuildId>(&[number as u8; 16]).expect("sixteen bytes");
    // The network has none of these builds. The first two are manifests of one image.
    let of = |build_id| Subject { record: ArtifactRecord { build_id, ..record() }, risk: None };
    let mut subjects = vec![of(build(0))];
    subjects.extend((0..2 * MADE_PER_SEARCH_MAX + 1).map(|number| of(build(number))));
    let tip = node.ledger().state.as_ref().expect("a network").height();
    let tried = || subjects.iter().skip(1).filter(|subject| proofs.known(&subject.record.build_id, tip).is_some()).count();
    for tries in 1..=2 {
        let searched = proofs.search(&node, &proving, &subjects, |_, _| Some(())).await;
        assert!(matches!(searched, Err(DockerError::Unavailable(_))), "{searched:?}");
        assert_eq!(tried(), tries * MADE_PER_SEARCH_MAX);
    }
    for _ in 0..2 {
        let searched = proofs.search(&node, &proving, &subjects, |_, _| Some(())).await;
        assert!(matches!(searched, Ok(None)), "nothing is left to be tried: {searched:?}");
    }
    // What is known is looked at before anything is made.
    proofs.kept.lock().expect("a lock").keep(build(99), Arc::new(ProofFile::new(vec![9])));
    subjects.extend([of(build(98)), of(build(99))]);
    let found = proofs.search(&node, &proving, &subjects, |_, file| Some(file.bytes.clone())).await;
    assert!(matches!(found, Ok(Some(bytes)) if bytes == [9]));
    assert!(proofs.known(&build(98), tip).is_none());

    // Who finds no place is told to come back, and what is known needs none.
    let taken: Vec<_> = std::iter::from_fn(|| proving.take().now_or_never()).collect();
    let waited = tokio::time::timeout(PATIENCE, proofs.of(&node, &proving, build(98))).await.expect("not for ever");
    let response = waited.expect_err("there is no place").into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert!(proofs.known(&build(98), tip).is_none(), "nothing was tried");
    assert!(proofs.of(&node, &proving, build(99)).await.expect("it is known").is_some());
    drop(taken);
    running.stop().await;
}
