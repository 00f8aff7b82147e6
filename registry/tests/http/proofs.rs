//! Proofs of publication and attestations, as programs take them that know their specifications and not this node.

use super::fixture::Fixture;
use super::image::Image;
use super::pipeline::{Pipeline, REVISION};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use pyrsia_ledger::publication_proof::{PublicationProof, Stand};
use pyrsia_ledger::{NetworkId, Sha256Digest};
use serde_json::{Value, json};

const PATH: &str = "/api/v1/proofs/docker?id=hello:1.0";

async fn text(fixture: &Fixture, path: &str, media_type: &str) -> String {
    let response = fixture.get(path).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], media_type, "{path}");
    response.text().await.expect("text")
}

async fn proof(fixture: &Fixture, path: &str) -> PublicationProof {
    let text = text(fixture, path, "application/vnd.pyrsia.proof.v1+json").await;
    PublicationProof::parse(text.as_bytes()).expect("a proof")
}

/// The statement of an envelope, whose signature holds over the encoding of DSSE v1.
fn statement(line: &str, key: &VerifyingKey) -> Value {
    let envelope: Value = serde_json::from_str(line).expect("an envelope");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let [kind, payload] = ["payloadType", "payload"].map(|field| text(&envelope[field]));
    let payload = STANDARD.decode(payload).expect("base64");
    let signatures = envelope["signatures"].as_array().expect("a list");
    assert_eq!((kind.as_str(), signatures.len()), ("application/vnd.in-toto+json", 1));
    let signature = STANDARD.decode(text(&signatures[0]["sig"])).expect("base64");
    let signature = Signature::from_slice(&signature).expect("a signature");
    let mut signed = b"DSSEv1 28 application/vnd.in-toto+json ".to_vec();
    signed.extend(payload.len().to_string().bytes().chain(*b" ").chain(payload.iter().copied()));
    key.verify_strict(&signed, &signature).expect("the node signed it");
    signed.push(b' ');
    assert!(key.verify_strict(&signed, &signature).is_err());
    serde_json::from_slice(&payload).expect("a statement")
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// The digests of the subjects, by their names.
fn subjects(statement: &Value) -> Vec<(&str, &str)> {
    let subjects = statement["subject"].as_array().expect("subjects").iter();
    subjects.map(|subject| (text_of(&subject["name"]), text_of(&subject["digest"]["sha256"]))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_is_proved_and_attested() {
    let image = Image::new();
    let pipeline = Pipeline::start(image.files()).await;
    let fixture = Fixture::founded(&pipeline.url).await;
    let (status, answer) = fixture.send(reqwest::Method::GET, PATH, None, "").await;
    assert_eq!(status, 404, "{answer}");
    assert!(
        answer["detail"]
            .as_str()
            .expect("a sentence")
            .contains("is not published: ask for a build with `pyrsia build docker hello:1.0`")
    );
    super::pull::publish(&fixture, "library/hello:1.0").await;

    let handle = fixture.node.handle();
    let (node, network) = (handle.node_id(), *handle.ledger().state.as_deref().expect("a network").network());
    let whole = proof(&fixture, PATH).await;
    let shown = whole.verify(Some(network)).expect("it holds");
    assert_eq!((shown.coordinate.to_string().as_str(), shown.artifacts.len()), ("docker hello:1.0", 4));
    assert!(matches!(shown.judges[..], [ref judge] if judge.node == node && judge.stand == Stand::Same));
    assert!(whole.verify(Some(NetworkId::new(Sha256Digest::of(b"another")))).is_err());
    // The same by any of its bytes, and by another way to write its name.
    let layer = Sha256Digest::of(&image.layer);
    for path in [format!("/api/v1/proofs?sha256={layer}"), "/api/v1/proofs/docker?id=library/hello:1.0&format=proof".to_owned()] {
        assert_eq!(proof(&fixture, &path).await, whole, "{path}");
    }
    let artifact = format!("hello@sha256:{layer}");
    let part = proof(&fixture, &format!("{PATH}&artifact={artifact}")).await;
    let part = part.verify(Some(network)).expect("it holds");
    assert_eq!(part.artifacts.iter().map(|proved| proved.artifact.sha256).collect::<Vec<_>>(), [layer]);

    let tlog = text(&fixture, &format!("{PATH}&artifact={artifact}&format=tlog-proof"), "text/plain; charset=utf-8").await;
    assert!(tlog.starts_with("c2sp.org/tlog-proof@v1\n"), "{tlog}");
    let log_line = format!("\n\u{2014} pyrsia/{network} ");
    assert!(tlog.contains(&log_line) && tlog.contains(&format!("\n\u{2014} pyrsia/{network}/{node} ")), "{tlog}");

    let key = VerifyingKey::from_bytes(node.public_key()).expect("a key");
    let bundle = text(&fixture, &format!("{PATH}&format=slsa"), "application/vnd.in-toto.bundle").await;
    let [provenance, summary] =
        bundle.lines().map(|line| statement(line, &key)).collect::<Vec<_>>().try_into().expect("two lines");
    let digests =
        [&image.manifest, &image.manifest, &image.config, &image.layer].map(|bytes| Sha256Digest::of(bytes).to_string());
    for statement in [&provenance, &summary] {
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        let found: Vec<&str> = subjects(statement).into_iter().map(|(_, sha256)| sha256).collect();
        assert_eq!(found, digests, "{statement:#}");
    }
    assert_eq!(subjects(&provenance)[0].0, "hello:1.0");
    let checkpoint = handle.checkpoint().await.expect("a checkpoint");
    let proof_digest = json!({ "sha256": Sha256Digest::of(whole.to_text().as_bytes()).to_string() });
    for ledger in [&provenance["predicate"]["pyrsia_ledger"], &summary["predicate"]["pyrsia:ledger"]] {
        assert_eq!(ledger["checkpoint"], checkpoint.text());
        assert_eq!(ledger["proof"]["digest"], proof_digest);
        assert_eq!(ledger["attestedBy"], format!("pyrsia:node/{node}"));
    }

    assert_eq!(provenance["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &provenance["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], "pyrsia:build/v1");
    assert_eq!(definition["externalParameters"], json!({ "packageType": "docker", "coordinate": "hello:1.0" }));
    let source = json!([{ "uri": format!("git+https://git.example/hello.git@{REVISION}"), "digest": { "gitCommit": REVISION } }]);
    assert_eq!(definition["resolvedDependencies"], source);
    let run = &provenance["predicate"]["runDetails"];
    assert_eq!(run["builder"]["id"], format!("pyrsia:node/{node}"));
    assert_eq!(run["metadata"]["invocationId"], shown.build_id.to_string());

    assert_eq!(summary["predicateType"], "https://slsa.dev/verification_summary/v1");
    let summary = &summary["predicate"];
    assert_eq!(summary["verifier"]["id"], format!("pyrsia:network/{network}"));
    assert_eq!((&summary["resourceUri"], &summary["verificationResult"]), (&json!("pkg:docker/hello@1.0"), &json!("PASSED")));
    assert_eq!(summary["verifiedLevels"], json!(["SLSA_BUILD_LEVEL_UNEVALUATED", "PYRSIA_ABSOLUTE_MAJORITY"]));
    assert_eq!(summary["inputAttestations"][0]["digest"], proof_digest);
    assert_eq!(summary["pyrsia:majority"], json!({ "standing": 1, "judges": 1, "needed": 1 }));

    let zeros = "0".repeat(64);
    for (path, status, sentence) in [
        (format!("{PATH}&artifact=hello@none"), 404, "has no artifact hello@none"),
        (format!("{PATH}&format=pdf"), 400, "is no format of a proof"),
        (format!("{PATH}&format=tlog-proof"), 400, "name it with `artifact`"),
        ("/api/v1/proofs/docker".to_owned(), 400, "has no `id`"),
        ("/api/v1/proofs/docker?id=hello:2.0".to_owned(), 404, "is not published"),
        ("/api/v1/proofs/cobol?id=x".to_owned(), 404, "is no package type of this node"),
        ("/api/v1/proofs?sha256=1".to_owned(), 400, "64 lower-case hexadecimal digits"),
        (format!("/api/v1/proofs?sha256={zeros}"), 404, "nothing with sha256"),
    ] {
        let (found, answer) = fixture.send(reqwest::Method::GET, &path, None, "").await;
        assert_eq!(found, status, "{path}: {answer}");
        assert!(answer["detail"].as_str().expect("a sentence").contains(sentence), "{path}: {answer}");
    }
    fixture.stop().await;
}
