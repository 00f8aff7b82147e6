//! `pyrsia log at-risk`: what is published and has no majority without nodes that turned out to be compromised.

use super::super::{node, print, print_json, request_failure};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use pyrsia_registry::wire::AtRiskView;
use std::fmt::Write;

pub(super) async fn run(output: OutputArguments) -> Result<(), Failure> {
    let builds: Vec<AtRiskView> =
        node()?.get("/api/v1/at-risk").await.map_err(|error| request_failure("What is at risk cannot be shown", &error))?;
    if output.json { print_json(&builds) } else { print(&in_words(&builds)) }
}

fn in_words(builds: &[AtRiskView]) -> String {
    if builds.is_empty() {
        return "Nothing published is at risk.\n".to_owned();
    }
    let mut text = String::new();
    for build in builds {
        let lost = build.lost.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let rebuilt = match &build.rebuilt_by {
            Some(newer) => format!("rebuilt since by build '{newer}'"),
            None => format!("not served; ask for it again with 'pyrsia build {} … --again'", build.package_type),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} {}: build '{}' with {} artifacts has no majority without {lost} (block {}); {rebuilt}",
            build.package_type,
            build.package,
            build.build_id,
            build.artifacts.len(),
            build.at_risk_since
        );
    }
    text
}
