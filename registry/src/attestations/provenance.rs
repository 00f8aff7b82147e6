//! What a builder built, and from what (SLSA provenance v1).

use super::names::{BUILD_TYPE, IMPORT_TYPE, node_uri};
use super::{Builder, Ledger, Publication, ResourceDescriptor, Statement};
use pyrsia_ledger::event::BuildSource;
use serde::Serialize;
use std::collections::BTreeMap;

const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// A build from source, and a copy of what a registry published, as the ledger calls them.
const GIT: &str = "git";
const IMPORT: &str = "import";
/// The digits of a git object's name under SHA-1 and SHA-256.
const GIT_DIGITS: [usize; 2] = [40, 64];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Provenance<'a> {
    build_definition: BuildDefinition<'a>,
    run_details: RunDetails,
    #[serde(rename = "pyrsia_ledger")]
    ledger: Ledger<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition<'a> {
    build_type: &'static str,
    external_parameters: ExternalParameters<'a>,
    internal_parameters: InternalParameters,
    resolved_dependencies: Vec<ResourceDescriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalParameters<'a> {
    package_type: &'a str,
    coordinate: &'a str,
}

#[derive(Serialize)]
struct InternalParameters {
    attempt: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunDetails {
    builder: BuilderIdentity,
    metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuilderIdentity {
    id: String,
    /// The component by which the results of all builders were compared.
    builder_dependencies: [ResourceDescriptor; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    invocation_id: String,
}

impl Publication {
    pub(super) fn provenance(&self, builder: &Builder) -> Statement<Provenance<'_>> {
        let shown = &self.shown;
        let mut events = BTreeMap::from([
            ("requested", vec![shown.request.event]),
            ("revealed", vec![builder.revealed]),
            ("published", self.publishing_events()),
        ]);
        events.extend(builder.vouched.map(|event| ("vouched", vec![event])));
        let verifier = ResourceDescriptor {
            uri: Some(format!("pyrsia:verifier/{}", shown.coordinate.package_type)),
            ..ResourceDescriptor::sha256(&shown.verifier)
        };
        let predicate = Provenance {
            build_definition: BuildDefinition {
                build_type: if builder.source.kind == IMPORT { IMPORT_TYPE } else { BUILD_TYPE },
                external_parameters: ExternalParameters {
                    package_type: shown.coordinate.package_type.as_str(),
                    coordinate: shown.coordinate.id.as_str(),
                },
                internal_parameters: InternalParameters { attempt: shown.attempt },
                resolved_dependencies: vec![dependency(&builder.source)],
            },
            run_details: RunDetails {
                builder: BuilderIdentity { id: node_uri(builder.node), builder_dependencies: [verifier] },
                metadata: Metadata { invocation_id: shown.build_id.to_string() },
            },
            ledger: self.ledger(events),
        };
        Statement::new(builder.artifacts.iter().map(ResourceDescriptor::artifact).collect(), PREDICATE_TYPE, predicate)
    }
}

/// The source, by what pins it. A location that is no URI is a name.
fn dependency(source: &BuildSource) -> ResourceDescriptor {
    let BuildSource { kind, location, revision } = source;
    let is_digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_git = kind == GIT && GIT_DIGITS.contains(&revision.len()) && is_digits(revision);
    let sha256 = revision.strip_prefix("sha256:").filter(|digits| kind == IMPORT && digits.len() == 64 && is_digits(digits));
    let digest = match sha256 {
        Some(digits) => BTreeMap::from([("sha256", digits.to_owned())]),
        None if is_git => BTreeMap::from([("gitCommit", revision.clone())]),
        None => BTreeMap::new(),
    };
    let uri = location.contains("://").then(|| if is_git { format!("git+{location}@{revision}") } else { location.clone() });
    ResourceDescriptor { name: uri.is_none().then(|| location.clone()), uri, digest, media_type: None }
}
