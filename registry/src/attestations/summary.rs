//! That a majority of the builders stands for what is published (SLSA verification summary v1).

use super::names::{MAJORITY_POLICY, network_uri, proof_uri};
use super::{Ledger, PROOF_MEDIA_TYPE, Publication, ResourceDescriptor, Statement};
use serde::Serialize;
use std::collections::BTreeMap;

const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";
const SLSA_VERSION: &str = "1.1";
/// The level of the builders' platforms is nobody's claim here; that they came to the same is.
const VERIFIED_LEVELS: [&str; 2] = ["SLSA_BUILD_LEVEL_UNEVALUATED", "PYRSIA_ABSOLUTE_MAJORITY"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    verifier: Verifier,
    time_verified: String,
    resource_uri: String,
    policy: Policy,
    input_attestations: [ResourceDescriptor; 1],
    verification_result: &'static str,
    verified_levels: [&'static str; 2],
    slsa_version: &'static str,
    // Extension fields of a summary are named by URIs.
    #[serde(rename = "pyrsia:ledger")]
    ledger: Ledger<'a>,
    #[serde(rename = "pyrsia:majority")]
    majority: Majority,
}

#[derive(Serialize)]
struct Verifier {
    id: String,
    version: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct Policy {
    uri: &'static str,
}

/// How many builders stand for these bytes, of how many, and how many it takes.
#[derive(Serialize)]
struct Majority {
    standing: usize,
    judges: usize,
    needed: usize,
}

impl Publication {
    pub(super) fn summary(&self, verified_at: jiff::Timestamp) -> Statement<Summary<'_>> {
        let shown = &self.shown;
        let events = BTreeMap::from([
            ("requested", vec![shown.request.event]),
            ("revealed", self.builders.iter().map(|builder| builder.revealed).collect()),
            ("vouched", self.builders.iter().filter_map(|builder| builder.vouched).collect()),
            ("published", self.publishing_events()),
        ]);
        let proof = ResourceDescriptor {
            uri: Some(proof_uri(&shown.network, &shown.build_id)),
            media_type: Some(PROOF_MEDIA_TYPE),
            ..ResourceDescriptor::sha256(&self.proof)
        };
        let predicate = Summary {
            verifier: Verifier {
                id: network_uri(&shown.network),
                version: BTreeMap::from([("pyrsia", env!("CARGO_PKG_VERSION"))]),
            },
            time_verified: verified_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            resource_uri: self.package_uri(),
            policy: Policy { uri: MAJORITY_POLICY },
            input_attestations: [proof],
            verification_result: "PASSED",
            verified_levels: VERIFIED_LEVELS,
            slsa_version: SLSA_VERSION,
            ledger: self.ledger(events),
            majority: Majority { standing: shown.standing, judges: shown.judges.len(), needed: shown.needed },
        };
        let subject = shown.artifacts.iter().map(|proved| ResourceDescriptor::artifact(&proved.artifact)).collect();
        Statement::new(subject, PREDICATE_TYPE, predicate)
    }
}
