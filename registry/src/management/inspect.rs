//! The transparency log of a package: the records of the ledger in the thirteen fields of the seed documents.

use super::{body, error::Refused, json};
use crate::server::Front;
use crate::wire::{
    InspectPackageRequest, LogField, LogFormat, LogRecord, LogView, PackageView, RecordView, SelectedFields, name_in_log,
};
use poem::http::{StatusCode, header};
use poem::{Request, Response};
use pyrsia_ledger::coordinate::uuid_of;
use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::{PackageCoordinate, Projections};
use serde::Deserialize;

pub(crate) async fn inspect(front: &Front, package_type: &str, mut request: Request) -> Result<Response, Refused> {
    let asked: InspectPackageRequest = body::read(&mut request).await?;
    by_name(front, package_type, &asked.package, asked.view).await
}

pub(super) async fn by_name(front: &Front, package_type: &str, package: &str, view: LogView) -> Result<Response, Refused> {
    let coordinate = front.node.parse_coordinate(package_type, package).await?;
    let ledger = front.node.ledger();
    let state = ledger.state.as_deref().ok_or_else(Refused::no_network)?;
    let records = log_records(state, &coordinate, view.latest.unwrap_or(false));
    let params = view.output_params.unwrap_or_default();
    let fields = fields_of(params.content.map(|content| content.fields));
    Ok(match params.format.unwrap_or_default() {
        LogFormat::Json => {
            let selected: Vec<_> = records.iter().map(|record| SelectedFields { record, fields: &fields }).collect();
            json(StatusCode::OK, &selected)
        }
        LogFormat::Csv => Response::builder().header(header::CONTENT_TYPE, "text/csv").body(csv(&records, &fields)),
    })
}

/// The fields that were asked for, each once; all of them when none was.
fn fields_of(asked: Option<Vec<LogField>>) -> Vec<LogField> {
    let mut fields = vec![];
    for field in asked.unwrap_or_default() {
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    if fields.is_empty() { LogField::ALL.to_vec() } else { fields }
}

fn log_records(state: &Projections, coordinate: &PackageCoordinate, latest: bool) -> Vec<LogRecord> {
    let newest = state.packages.records(coordinate).next_back().map(|record| record.build_id);
    let asked = |record: &&ArtifactRecord| !latest || Some(record.build_id) == newest;
    state.packages.records(coordinate).filter(asked).map(|record| log_record(state, coordinate, record)).collect()
}

fn log_record(state: &Projections, coordinate: &PackageCoordinate, record: &ArtifactRecord) -> LogRecord {
    let (source, _) = state.builds.chosen(&record.build_id).expect("a record stands only for a build that was agreed on");
    let agreement = state.builds.get(&record.build_id).and_then(|build| build.agreement.as_ref());
    let sha256 = &record.artifact.sha256;
    LogRecord {
        id: uuid_of("record", record.event.digest().as_bytes()),
        package_type: name_in_log(&coordinate.package_type),
        package_specific_id: coordinate.id.to_string(),
        num_artifacts: agreement.map_or(0, |agreement| agreement.artifacts),
        package_specific_artifact_id: record.artifact.artifact_id.to_string(),
        artifact_hash: sha256.to_string(),
        source_hash: source.revision.clone(),
        artifact_id: uuid_of("artifact", sha256.as_bytes()),
        source_id: uuid_of("source", &borsh::to_vec(source).expect("writing to memory cannot fail")),
        timestamp: record.time_ms / 1_000,
        operation: "AddArtifact".to_owned(),
        node_id: record.author.to_string(),
        node_public_key: record.author.public_key_hex(),
    }
}

/// RFC 4180, with the names of the fields as its header.
fn csv(records: &[LogRecord], fields: &[LogField]) -> String {
    let mut text = fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(",");
    text.push('\n');
    for record in records {
        let row: Vec<String> = fields.iter().map(|field| csv_value(&record.field(*field))).collect();
        text.push_str(&row.join(","));
        text.push('\n');
    }
    text
}

fn csv_value(value: &serde_json::Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[derive(Deserialize)]
struct PackageQuery {
    id: String,
}

pub(crate) async fn package(front: &Front, package_type: &str, request: &Request) -> Result<Response, Refused> {
    Ok(json(StatusCode::OK, &package_view(front, package_type, request).await?))
}

/// All there is on the ledger about a package.
pub(crate) async fn package_view(front: &Front, package_type: &str, request: &Request) -> Result<PackageView, Refused> {
    let PackageQuery { id } = body::query(request)?;
    let coordinate = front.node.parse_coordinate(package_type, &id).await?;
    let ledger = front.node.ledger();
    let state = ledger.state.as_deref().ok_or_else(Refused::no_network)?;
    let record = |record: &ArtifactRecord| RecordView {
        event: *record.event.digest(),
        height: record.height,
        time_ms: record.time_ms,
        build_id: record.build_id,
        author: record.author,
        artifact: record.artifact.clone(),
    };
    let records = state.packages.records(&coordinate).map(record).collect();
    let builds = front.node.builds_of(&coordinate);
    let PackageCoordinate { package_type, id } = coordinate;
    Ok(PackageView { package_type, package: id.into(), builds, records })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LogRecord {
        LogRecord {
            id: "1".into(),
            package_type: "Docker".into(),
            package_specific_id: "alpine:3.16.0".into(),
            num_artifacts: 4,
            package_specific_artifact_id: "a,\"b\"".into(),
            artifact_hash: "00".into(),
            source_hash: String::new(),
            artifact_id: "2".into(),
            source_id: "3".into(),
            timestamp: 1_671_002_963,
            operation: "AddArtifact".into(),
            node_id: "n".into(),
            node_public_key: "k".into(),
        }
    }

    #[test]
    fn records_have_the_thirteen_fields_in_their_order() {
        let names: Vec<&str> = LogField::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(csv(&[], LogField::ALL), format!("{}\n", names.join(",")));
        let whole = serde_json::to_string(&record()).expect("serializes");
        let selected = serde_json::to_string(&SelectedFields { record: &record(), fields: LogField::ALL }).expect("serializes");
        assert_eq!(selected, whole);
    }

    #[test]
    fn only_the_fields_asked_for_are_shown_in_the_order_asked_for() {
        let fields = fields_of(Some(vec![LogField::Timestamp, LogField::PackageSpecificArtifactId, LogField::Timestamp]));
        assert_eq!(csv(&[record()], &fields), "timestamp,package_specific_artifact_id\n1671002963,\"a,\"\"b\"\"\"\n");
        let json = serde_json::to_string(&SelectedFields { record: &record(), fields: &fields }).expect("serializes");
        assert_eq!(json, r#"{"timestamp":1671002963,"package_specific_artifact_id":"a,\"b\""}"#);
        assert_eq!(fields_of(Some(vec![])), LogField::ALL);
    }
}
