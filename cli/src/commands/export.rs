//! `pyrsia export`: what is published, as a checksum file that an unmodified client reads; the client then refuses other bytes,
//! wherever it gets them.
//!
//! Everything comes from the log, which is checked block by block; no artifact is fetched.

mod checksums;
pub(in crate::commands) mod destination;
mod pattern;
mod published;
mod verification;

use super::log::checked;
use super::{on_this_thread, print};
use crate::arguments::{ChecksumFormat, ExportCommand, ExportSource};
use crate::exit::Failure;
use crate::terminal::visible;
use checksums::Place;
pub(crate) use pattern::Pattern;
use published::{Published, counted};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The package type whose packages both clients take.
const PACKAGE_TYPE: &str = "maven";
/// Stands near the beginning of every file this command wrote, and of no other.
const MARK: &str = "Written by pyrsia export";
const FAILED: &str = "the published packages cannot be exported";

pub(super) fn run(command: ExportCommand) -> Result<(), Failure> {
    match command {
        ExportCommand::MavenChecksums { source, format: ChecksumFormat::Summary, output, force, leave_out_at_risk } => {
            summary(&source, output, force, leave_out_at_risk)
        }
        ExportCommand::MavenChecksums { source, format: ChecksumFormat::Sparse, output, leave_out_at_risk, .. } => {
            let folder = output.ok_or_else(|| Failure::usage("name the folder to write to with --output"))?;
            let published = published_for_maven(&source, leave_out_at_risk)?;
            destination::fill(&folder, &checksums::sparse(&published))?;
            tell(&format!("{} has {}", folder.display(), published.in_words()));
            tell(&checksums::sparse_settings(&folder));
            Ok(())
        }
        ExportCommand::GradleVerification { source, output, force } => {
            let published = published(&source)?;
            written(&verification::document(&published), output.as_deref(), force, &published)?;
            tell(verification::SETTINGS);
            Ok(())
        }
    }
}

fn summary(source: &ExportSource, output: Option<PathBuf>, force: bool, leave_out_at_risk: bool) -> Result<(), Failure> {
    let place = output.as_deref().map(Place::of).transpose()?;
    let published = published_for_maven(source, leave_out_at_risk)?;
    written(&checksums::summary(&published), place.as_ref().map(Place::file), force, &published)?;
    tell(&checksums::summary_settings(&place.unwrap_or_default()));
    Ok(())
}

fn published(source: &ExportSource) -> Result<Published, Failure> {
    let state = match &source.ledger {
        Some(ledger) => checked::of_ledger(FAILED, source.network, ledger)?,
        None => on_this_thread(checked::of_node(FAILED, source.network, |_, _| Ok(())))?,
    };
    let published = Published::of(&state, &source.patterns)?;
    for warning in published.warnings() {
        tell(&format!("warning: {warning}"));
    }
    Ok(published)
}

fn published_for_maven(source: &ExportSource, leave_out_at_risk: bool) -> Result<Published, Failure> {
    let published = published(source)?;
    if leave_out_at_risk { Ok(published) } else { none_at_risk(published) }
}

/// Maven takes what is not listed: an export that left out the doubtful package alone would take its protection away.
fn none_at_risk(published: Published) -> Result<Published, Failure> {
    if published.at_risk() == 0 {
        return Ok(published);
    }
    let failure = Failure::new(format!(
        "nothing is written: {} at risk would not be listed, and Maven takes what is not listed unchecked",
        counted(published.at_risk(), "file")
    ));
    Err(failure.hint("choose other packages by patterns, or write the rest with --leave-out-at-risk"))
}

fn written(text: &str, file: Option<&Path>, force: bool, published: &Published) -> Result<(), Failure> {
    match file {
        Some(file) => {
            destination::replace(file, text, &[MARK], force)?;
            tell(&format!("{} has {}", file.display(), published.in_words()));
        }
        None => {
            print(text)?;
            tell(&published.in_words());
        }
    }
    Ok(())
}

/// A line on stderr. Where nobody reads it, what was asked for is still written.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(line));
}

#[cfg(test)]
mod tests {
    use super::*;
    use published::tests::{at_risk, file, published};

    #[test]
    fn checksums_for_maven_leave_out_what_is_at_risk_only_when_told_to() {
        let file = || vec![file("org.example:demo:1.0", "demo-1.0.jar", 4)];
        assert!(none_at_risk(published(file())).is_ok());
        assert!(none_at_risk(at_risk(published(file()))).is_err());
    }
}
