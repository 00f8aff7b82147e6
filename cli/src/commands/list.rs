//! `pyrsia list`: who the node is connected to, or which package types it knows.

use super::{REMINDER, node, print, print_json, request_failure};
use crate::arguments::{ListArguments, OutputArguments};
use crate::exit::Failure;
use pyrsia_registry::wire::PackageTypeView;
use std::fmt::Write;

pub(super) async fn run(arguments: ListArguments) -> Result<(), Failure> {
    if arguments.types { types(arguments.output).await } else { peers(arguments.output).await }
}

async fn types(output: OutputArguments) -> Result<(), Failure> {
    let found = node()?.get("/api/v1/package-types").await;
    let types: Vec<PackageTypeView> =
        found.map_err(|error| request_failure("The package types of the node cannot be listed", &error))?;
    if output.json { print_json(&types) } else { print(&types_text(&types)) }
}

fn types_text(types: &[PackageTypeView]) -> String {
    let mut text = String::new();
    for known in types {
        let names: Vec<&str> = [&known.name].into_iter().chain(&known.aliases).map(|name| name.as_str()).collect();
        let _ = writeln!(text, "{}\n  {}", names.join(", "), known.coordinate_syntax);
        for example in &known.examples {
            let _ = writeln!(text, "  pyrsia build {} {example}", known.name);
        }
        for path in &known.http_paths {
            let _ = writeln!(text, "  GET /{}{path}", known.name);
        }
    }
    text
}

async fn peers(output: OutputArguments) -> Result<(), Failure> {
    let found = node()?.get("/peers").await;
    let mut peers: Vec<String> = found.map_err(|error| Failure::new(format!("Error: {error}. {REMINDER}")))?;
    peers.sort_unstable();
    peers.dedup();
    if output.json { print_json(&peers) } else { print(&format!("Connected Peers:\n{}\n", one_on_a_line(&peers))) }
}

/// A JSON array with a line break after each comma.
fn one_on_a_line(peers: &[String]) -> String {
    let quoted: Vec<String> = peers.iter().map(|peer| format!("{peer:?}")).collect();
    format!("[{}]", quoted.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_type_is_shown_with_what_can_be_typed_for_it() {
        let known: PackageTypeView = serde_json::from_value(serde_json::json!({
            "name": "demo", "aliases": ["dm"], "coordinate_syntax": "NAME@VERSION.", "examples": ["left@1.0"],
            "http_paths": ["/{name}"], "module": "0".repeat(64),
        }))
        .unwrap();
        assert_eq!(types_text(&[known]), "demo, dm\n  NAME@VERSION.\n  pyrsia build demo left@1.0\n  GET /demo/{name}\n");
    }

    #[test]
    fn peers_are_a_json_array_with_one_on_each_line() {
        assert_eq!(one_on_a_line(&[]), "[]");
        assert_eq!(one_on_a_line(&["12D3KooWA".into()]), r#"["12D3KooWA"]"#);
        assert_eq!(one_on_a_line(&["A".into(), "B".into()]), "[\"A\",\n\"B\"]");
    }
}
