use super::*;
use crate::management::status::OPENAPI;
use pyrsia_ledger::event::{BuildSource, PinnedSource};
use pyrsia_ledger::projection::builds::Tally;
use pyrsia_node::bucket::{BucketCheck, BucketView};
use pyrsia_node::storage::{Finding, ScrubPass, ScrubView};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn requests_of_the_seed_documents_are_understood() {
    let plain: InspectDockerRequest = serde_json::from_str(r#"{"image":"alpine:3.16.0"}"#).expect("the shortest form");
    assert_eq!(plain.view, LogView::default());
    let full = r#"{"image":"x","output_params":{"format":"CSV","content":{"fields":["Id","NodePublicKey"]}},"latest":true}"#;
    let full: InspectDockerRequest = serde_json::from_str(full).expect("the longest form");
    let params = full.view.output_params.expect("parameters");
    assert_eq!(params.format, Some(LogFormat::Csv));
    assert_eq!(params.content.expect("content").fields, [LogField::Id, LogField::NodePublicKey]);
    let nulls = r#"{"gav":"g:a:1","output_params":null,"latest":null}"#;
    assert!(serde_json::from_str::<InspectMavenRequest>(nulls).is_ok());
}

#[test]
fn build_states_have_the_form_and_the_words_of_the_seed_documents() {
    let json = |status: &BuildStatusResponse| serde_json::to_string(status).expect("serializes");
    assert_eq!(json(&BuildStatusResponse::Running), r#""Running""#);
    assert_eq!(json(&BuildStatusResponse::Failure("x".into())), r#"{"Failure":"x"}"#);
    let success = BuildStatusResponse::Success { artifact_urls: vec![] };
    assert_eq!(json(&success), r#"{"Success":{"artifact_urls":[]}}"#);
    assert_eq!(BuildStatusResponse::Failure("x".into()).to_string(), "FAILED - (Error: x)");
}

#[test]
fn package_types_have_the_names_of_the_log() {
    let named = |name: &str| name_in_log(&PackageType::new(name).expect("a package type"));
    assert_eq!([named("docker"), named("maven"), named("demo")], ["Docker", "Maven2", "Demo"]);
}

#[test]
fn a_package_can_be_called_by_the_name_of_any_type() {
    let image: BuildDockerRequest = serde_json::from_str(r#"{"package":"alpine:3.16.0"}"#).expect("a request");
    assert_eq!(image.image, "alpine:3.16.0");
    let any: InspectPackageRequest = serde_json::from_str(r#"{"package":"left@1.0","latest":true}"#).expect("a request");
    assert_eq!((any.package.as_str(), any.view.latest), ("left@1.0", Some(true)));
}

#[test]
fn every_field_of_a_record_can_be_asked_for_by_name() {
    assert_eq!(LogField::ALL.len(), 13);
    for field in LogField::ALL {
        assert_eq!(LogField::from_name(&format!(" {} ", field.name().to_uppercase())), Some(*field));
    }
    assert_eq!(LogField::from_name("foo"), None);
}

/// Reads an example as some type and writes it again.
type Through = fn(Value) -> Value;

/// Each schema of `openapi.json` that is an object, with the type that is it.
const SCHEMAS: &[(&str, Through)] = &[
    ("Problem", through::<Problem>),
    ("NodeStatus", through::<NodeStatus>),
    ("ConsensusStatus", through::<ConsensusStatus>),
    ("JudgingView", through::<JudgingView>),
    ("PhaseView", through::<PhaseView>),
    ("JudgeSummaryView", through::<JudgeSummaryView>),
    ("AbsentNodeView", through::<AbsentNodeView>),
    ("RunningHeightView", through::<RunningHeightView>),
    ("ExchangeView", through::<ExchangeView>),
    ("NetworkView", through::<NetworkView>),
    ("MemberView", through::<MemberView>),
    ("CandidateView", through::<CandidateView>),
    ("VerifierView", through::<VerifierView>),
    ("PackageTypeView", through::<PackageTypeView>),
    ("OfferedVerifierView", through::<OfferedVerifierView>),
    ("PassView", through::<PassView>),
    ("ApproveVerifierRequest", through::<ApproveVerifierRequest>),
    ("ApproveVerifierResponse", through::<ApproveVerifierResponse>),
    ("AuthorizeRequest", through::<AuthorizeRequest>),
    ("AuthorizeResponse", through::<AuthorizeResponse>),
    ("RevokeRequest", through::<RevokeRequest>),
    ("RevokeResponse", through::<RevokeResponse>),
    ("NodesView", through::<NodesView>),
    ("AuthorizedNodeView", through::<AuthorizedNodeView>),
    ("Tally", through::<Tally>),
    ("PendingRevocationView", through::<PendingRevocationView>),
    ("FormerNodeView", through::<FormerNodeView>),
    ("AtRiskView", through::<AtRiskView>),
    ("RequestBuild", through::<RequestBuild>),
    ("RequestedBuild", through::<RequestedBuild>),
    ("BuildView", through::<BuildView>),
    ("JudgeView", through::<JudgeView>),
    ("VouchView", through::<VouchView>),
    ("DisputeView", through::<DisputeView>),
    ("BuildRiskView", through::<BuildRiskView>),
    ("AgreementView", through::<AgreementView>),
    ("LocalBuildView", through::<LocalBuildView>),
    ("BuildSource", through::<BuildSource>),
    ("PinnedSource", through::<PinnedSource>),
    ("BuiltArtifact", through::<BuiltArtifact>),
    ("PackageView", through::<PackageView>),
    ("RecordView", through::<RecordView>),
    ("BlocksPage", through::<BlocksPage>),
    ("BlockView", through::<BlockView>),
    ("EventView", through::<EventView>),
    ("SearchPage", through::<SearchPage>),
    ("FoundEvent", through::<FoundEvent>),
    ("LogKeysView", through::<LogKeysView>),
    ("ArtifactsPage", through::<ArtifactsPage>),
    ("StoredArtifactView", through::<StoredArtifactView>),
    ("StoreView", through::<StoreView>),
    ("BucketView", through::<BucketView>),
    ("BucketCheck", through::<BucketCheck>),
    ("ScrubView", through::<ScrubView>),
    ("ScrubPass", through::<ScrubPass>),
    ("ScrubFinding", through::<Finding>),
    ("ArtifactsRequest", through::<ArtifactsRequest>),
    ("ArtifactsResponse", through::<ArtifactsResponse>),
    ("ArtifactOutcome", through::<ArtifactOutcome>),
    ("ScrubRequest", through::<ScrubRequest>),
    ("ScrubResponse", through::<ScrubResponse>),
    ("CollectRequest", through::<CollectRequest>),
    ("CollectResponse", through::<CollectResponse>),
    ("LeftoverView", through::<LeftoverView>),
];

fn through<T: Serialize + serde::de::DeserializeOwned>(example: Value) -> Value {
    let value: T = serde_json::from_value(example).expect("the example is one of the type");
    serde_json::to_value(value).expect("serializes")
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn openapi_json_describes_the_types_as_they_are() {
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let described: BTreeSet<&str> =
        schemas.iter().filter(|(_, schema)| schema["type"] == "object").map(|(name, _)| name.as_str()).collect();
    assert_eq!(described, SCHEMAS.iter().map(|(name, _)| *name).collect());
    for (name, through) in SCHEMAS {
        let schema = &schemas[*name];
        let example = &schema["example"];
        assert_eq!(&through(example.clone()), example, "{name}: the example has every field of the type and no other");
        assert_eq!(keys(&schema["properties"]), keys(example), "{name}: every field is described");
        let required = schema["required"].as_array().expect("a list").iter().map(|field| field.as_str().expect("a name"));
        for field in required {
            let mut without = example.clone();
            without.as_object_mut().expect("an object").remove(field);
            let optional = schema["properties"][field].get("anyOf").is_some();
            assert!(optional || std::panic::catch_unwind(|| through(without)).is_err(), "{name}.{field} is required");
        }
    }
}

#[test]
fn every_reference_in_openapi_json_leads_somewhere() {
    fn check(document: &Value, part: &Value) {
        match part {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a reference within the document");
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                fields.values().for_each(|field| check(document, field));
            }
            Value::Array(elements) => elements.iter().for_each(|element| check(document, element)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    check(&document, &document);
}
