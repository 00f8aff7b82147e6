use super::*;
use ed25519_dalek::{Signer as _, SigningKey};
use pyrsia_ledger::publication_proof::PublicationProof;
use pyrsia_ledger::signed::node_id_of;
use serde_json::{Value, json};

const PROOF: &[u8] = include_bytes!("../../../../../ledger/tests/golden/publication.pyrsia-proof");

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// What the golden proof shows, and its digest.
fn proven() -> (Verified, Sha256Digest) {
    let proof = PublicationProof::parse(PROOF).expect("the golden proof");
    (proof.verify(None).expect("it holds"), Sha256Digest::of(proof.to_text().as_bytes()))
}

/// The statements that a node makes of it, as far as they are looked at.
fn statements(shown: &Verified, proof: Sha256Digest) -> Vec<Value> {
    let subject: Vec<Value> = shown
        .artifacts
        .iter()
        .map(|proved| json!({ "name": proved.artifact.artifact_id.as_str(), "digest": { "sha256": proved.artifact.sha256 } }))
        .collect();
    let ledger = json!({
        "network": shown.network,
        "build": shown.build_id,
        "proof": { "digest": { "sha256": proof } },
        "attestedBy": format!("pyrsia:node/{}", node_id_of(&key(9))),
    });
    let mut statements: Vec<Value> = shown
        .agreeing()
        .map(|judge| {
            let run = json!({ "builder": { "id": format!("pyrsia:node/{}", judge.node) } });
            json!({ "_type": STATEMENT_TYPE, "subject": subject, "predicateType": PROVENANCE,
                    "predicate": { "runDetails": run, "pyrsia_ledger": ledger } })
        })
        .collect();
    let summary = json!({ "_type": STATEMENT_TYPE, "subject": subject, "predicateType": SUMMARY,
                          "predicate": { "pyrsia:ledger": ledger } });
    statements.push(summary);
    statements
}

fn envelope(statement: &Value, seed: u8) -> Value {
    let payload = statement.to_string().into_bytes();
    let signature = key(seed).sign(&pre_authentication_encoding(PAYLOAD_TYPE, &payload));
    json!({ "payloadType": PAYLOAD_TYPE, "payload": STANDARD.encode(&payload), "signatures": [
        { "keyid": node_id_of(&key(seed)).to_string(), "sig": STANDARD.encode(signature.to_bytes()) }] })
}

fn lines(envelopes: &[Value]) -> String {
    envelopes.iter().map(|envelope| format!("{envelope}\n")).collect()
}

fn signed(statements: &[Value]) -> String {
    lines(&statements.iter().map(|statement| envelope(statement, 9)).collect::<Vec<_>>())
}

#[test]
fn what_a_node_attests_of_a_proof_is_taken() {
    let (shown, proof) = proven();
    assert_eq!(check(&signed(&statements(&shown, proof)), &shown, proof), Ok(node_id_of(&key(9))));
}

#[test]
fn only_a_judge_that_vouched_may_have_built_other_bytes() {
    let (shown, proof) = proven();
    for (at, judge) in shown.agreeing().enumerate() {
        let mut statements = statements(&shown, proof);
        statements[at]["subject"][0]["digest"]["sha256"] = json!(Sha256Digest::of(b"others"));
        let checked = check(&signed(&statements), &shown, proof);
        assert_eq!(checked.is_ok(), judge.stand == Stand::SameAfterPasses, "{judge:?}: {checked:?}");
    }
}

#[test]
fn envelopes_without_a_signature_that_holds_are_refused() {
    let (shown, proof) = proven();
    let good: Vec<Value> = statements(&shown, proof).iter().map(|statement| envelope(statement, 9)).collect();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut envelopes = good.clone();
        change(&mut envelopes[0]);
        check(&lines(&envelopes), &shown, proof).expect_err("it is refused")
    };
    assert_eq!(refused(&|one| one["signatures"] = good[1]["signatures"].clone()), BundleError::Signature { line: 1 });
    assert_eq!(refused(&|one| one["signatures"][0]["sig"] = json!("")), BundleError::Signature { line: 1 });
    assert_eq!(refused(&|one| one["payload"] = good[1]["payload"].clone()), BundleError::Signature { line: 1 });
    let malformed: [&dyn Fn(&mut Value); 4] = [
        &|one| one["signatures"] = json!([]),
        &|one| one["payloadType"] = json!("text/plain"),
        &|one| one["payload"] = json!("?"),
        &|one| *one = json!({}),
    ];
    for change in malformed {
        assert!(matches!(refused(change), BundleError::Malformed { line: 1, .. }));
    }
    let other = envelope(&statements(&shown, proof)[0], 8);
    assert!(matches!(refused(&|one| *one = other.clone()), BundleError::Other { .. } | BundleError::Signer { .. }));
    assert!(matches!(check("<html>", &shown, proof), Err(BundleError::Malformed { .. })));
}

#[test]
fn statements_about_something_else_are_refused() {
    let (shown, proof) = proven();
    let other = json!(Sha256Digest::of(b"other"));
    for (path, value) in [
        ("/predicate/pyrsia:ledger/network", other.clone()),
        ("/predicate/pyrsia:ledger/build", other.clone()),
        ("/predicate/pyrsia:ledger/proof/digest/sha256", other.clone()),
        ("/predicate/pyrsia:ledger/attestedBy", json!("pyrsia:node/none")),
        ("/subject/0/name", json!("another")),
        ("/subject/0/digest/sha256", other),
        ("/subject", json!([])),
        ("/_type", json!("another")),
        ("/predicateType", json!(PROVENANCE)),
    ] {
        let mut statements = statements(&shown, proof);
        let summary = statements.last_mut().expect("the summary");
        *summary.pointer_mut(path).expect(path) = value;
        assert!(check(&signed(&statements), &shown, proof).is_err(), "{path}");
    }
}

#[test]
fn a_bundle_has_one_attestation_of_each_judge_and_one_summary() {
    let (shown, proof) = proven();
    let whole = statements(&shown, proof);
    assert_eq!(check("", &shown, proof), Err(BundleError::Incomplete));
    for at in 0..whole.len() {
        let mut fewer = whole.clone();
        let taken = fewer.remove(at);
        assert_eq!(check(&signed(&fewer), &shown, proof), Err(BundleError::Incomplete));
        let more = [whole.clone(), vec![taken]].concat();
        assert_eq!(check(&signed(&more), &shown, proof), Err(BundleError::Incomplete));
    }
}
