//! Rules about the source itself: which room may import which, and what may stand in public text.

mod faults;
mod imports;
mod links;
mod package_types;
mod packaging;
mod public_text;

use std::path::Path;

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace")
}
