//! What is packaged is of one version: the chart, the compose file and the documents name the image that the workspace makes.

use crate::root;

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("a file of this repository")
}

/// Every `pyrsia:VERSION` of a text.
fn image_tags(text: &str) -> Vec<&str> {
    let is_of_version = |c: char| c.is_ascii_digit() || c == '.';
    text.split("pyrsia:")
        .skip(1)
        .map(|rest| rest.split(|c| !is_of_version(c)).next().unwrap_or_default().trim_end_matches('.'))
        .filter(|tag| !tag.is_empty())
        .collect()
}

#[test]
fn the_packaging_is_of_the_version_of_the_workspace() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = text("packaging/helm/pyrsia/Chart.yaml");
    assert!(chart.lines().any(|line| line == format!("appVersion: \"{version}\"")), "{chart}");
    for path in ["packaging/compose/compose.yaml", "docs/install.md"] {
        let text = text(path);
        let tags = image_tags(&text);
        assert!(!tags.is_empty() && tags.iter().all(|tag| *tag == version), "{path}: {tags:?}");
    }
}

#[test]
fn a_tag_of_the_image_is_found_in_a_text() {
    assert_eq!(image_tags("image: ${X:-pyrsia:1.2.3}\n`pyrsia:*` pyrsia:4.5.6, pyrsia:0.1.0."), ["1.2.3", "4.5.6", "0.1.0"]);
}
