//! `pyrsia list`: who the node is connected to.

use super::{REMINDER, node, print, print_json};
use crate::arguments::OutputArguments;
use crate::exit::Failure;

pub(super) async fn run(output: OutputArguments) -> Result<(), Failure> {
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
    fn peers_are_a_json_array_with_one_on_each_line() {
        assert_eq!(one_on_a_line(&[]), "[]");
        assert_eq!(one_on_a_line(&["12D3KooWA".into()]), r#"["12D3KooWA"]"#);
        assert_eq!(one_on_a_line(&["A".into(), "B".into()]), "[\"A\",\n\"B\"]");
    }
}
