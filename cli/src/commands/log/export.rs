//! `pyrsia log export`: a whole log as one file, from a folder or from a running node.

use super::super::{on_this_thread, print, print_json};
use super::{checked, open_sound, progress_bar, refused};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use pyrsia_ledger::SealedBlock;
use pyrsia_ledger::log::export::ExportWriter;
use pyrsia_ledger::log::export_log;
use serde_json::json;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// From the folder, or without one from the node.
pub(super) fn run(ledger: Option<PathBuf>, file: &Path, output: OutputArguments) -> Result<(), Failure> {
    let unwritable = |error: &dyn std::error::Error| Failure::because(&format!("{} cannot be written", file.display()), error);
    if file.exists() {
        return Err(Failure::new(format!("{} exists already", file.display())).hint("name a new file"));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let partial = NamedTempFile::new_in(folder).map_err(|error| unwritable(&error))?;
    let out = BufWriter::new(partial.as_file().try_clone().map_err(|error| unwritable(&error))?);
    let blocks = match &ledger {
        Some(ledger) => from_folder(ledger, out)?,
        None => on_this_thread(from_node(out))?,
    };
    partial.as_file().sync_all().map_err(|error| unwritable(&error))?;
    let size_bytes = partial.as_file().metadata().map_err(|error| unwritable(&error))?.len();
    partial.persist_noclobber(file).map_err(|error| unwritable(&error))?;
    make_readable(file).and_then(|()| File::open(folder)?.sync_all()).map_err(|error| unwritable(&error))?;
    if output.json {
        return print_json(&json!({ "file": file, "blocks": blocks, "size_bytes": size_bytes }));
    }
    print(&format!("{blocks} blocks were written to {} ({size_bytes} bytes)\n", file.display()))
}

/// A temporary file is for its owner alone; a log is for everybody.
fn make_readable(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))
}

fn from_folder(ledger: &Path, out: BufWriter<File>) -> Result<u64, Failure> {
    let (_scratch, blocks) = open_sound(ledger)?;
    let bar = progress_bar(blocks.newest());
    let exported = export_log(blocks, out, &mut |height| bar.set_position(height.0 + 1));
    bar.finish_and_clear();
    exported.map(|(_, blocks)| blocks).map_err(|error| refused("the log cannot be exported", ledger, &error))
}

async fn from_node(out: BufWriter<File>) -> Result<u64, Failure> {
    const WHAT: &str = "the log cannot be exported";
    let failed = |error: &dyn std::error::Error| Failure::because(WHAT, error);
    let mut writer = ExportWriter::new(out).map_err(|error| failed(&error))?;
    let add = |sealed: &SealedBlock, raw: &[u8]| writer.block(sealed.block.hash(), raw).map_err(|error| failed(&error));
    let state = checked::of_node(WHAT, None, add).await?;
    writer.finish().map_err(|error| failed(&error))?;
    Ok(state.height().0 + 1)
}
