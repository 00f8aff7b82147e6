//! `docs/passes.md` says of each shipped verifier what its comparison forgives, in the verifier's own words.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use pyrsia_verifiers::SHIPPED;

use crate::HOST;

/// Set to write the page anew.
const WRITE: &str = "PYRSIA_WRITE_DOCS";
/// What stands above the first verifier is written by people.
const FIRST_SECTION: &str = "\n## ";

fn sections() -> String {
    let mut text = String::new();
    for (_, module) in SHIPPED {
        let verifier = HOST.load(module).unwrap();
        let description = verifier.description();
        write!(text, "\n## {}\n\n| pass | forgives |\n|---|---|\n", description.package_type).unwrap();
        for pass in &description.passes {
            writeln!(text, "| `{}` | {} |", pass.name, pass.forgives.replace('|', "\\|")).unwrap();
        }
    }
    text
}

#[test]
fn the_page_of_passes_has_every_pass_of_every_shipped_verifier() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/passes.md");
    let written = fs::read_to_string(&page).unwrap();
    let introduction = &written[..written.find(FIRST_SECTION).unwrap_or(written.len())];
    let expected = format!("{introduction}{}", sections());
    if std::env::var_os(WRITE).is_some() {
        fs::write(&page, expected).unwrap();
        return;
    }
    assert!(written == expected, "docs/passes.md is not what the verifiers say; {WRITE}=1 writes it");
}
