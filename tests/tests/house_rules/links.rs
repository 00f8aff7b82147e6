//! Links between the documents lead somewhere.

use crate::public_text::public_files;
use crate::root;
use std::path::Path;

/// The targets of a text's links to files beside it.
fn relative_links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or(target))
}

#[test]
fn every_link_between_documents_leads_to_a_file() {
    let documents = public_files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let (mut links, mut broken) = (0, Vec::new());
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("a document is text");
        let folder = document.parent().unwrap_or(Path::new("/"));
        for target in relative_links(&text) {
            links += 1;
            if !folder.join(target).exists() {
                broken.push(format!("{}: {target}", document.strip_prefix(root()).unwrap_or(&document).display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(links > 10, "the documents link to each other");
}

#[test]
fn a_link_is_found_in_its_text() {
    let text = "see [the tutorial](docs/tutorial.md#compile), [that](https://example.org/a) and [this](#here)";
    assert_eq!(relative_links(text).collect::<Vec<_>>(), ["docs/tutorial.md"]);
}
