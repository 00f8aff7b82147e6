//! `pyrsia log import`: an exported log becomes a ledger folder that a node can be started on.

use super::super::{print, print_json};
use super::{open_sound, progress_bar, refused, threads};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use pyrsia_ledger::NetworkId;
use pyrsia_ledger::log::{TransferError, import_log};
use serde_json::json;
use std::path::Path;

pub(super) fn run(file: &Path, folder: &Path, network: Option<NetworkId>, output: OutputArguments) -> Result<(), Failure> {
    let (_scratch, blocks) = open_sound(file)?;
    let bar = progress_bar(blocks.newest());
    let imported = import_log(blocks, network, folder, threads(), &mut |height| bar.set_position(height.0 + 1));
    bar.finish_and_clear();
    let state = imported.map_err(|error| {
        let failure = refused("the log cannot be imported", file, &error);
        if let TransferError::Occupied(_) = error { failure.hint("name a folder that does not exist") } else { failure }
    })?;
    if output.json {
        return print_json(&json!({
            "folder": folder, "network": state.network(), "height": state.height(), "events": state.tree_size(),
            "tip": state.tip(), "state_root": state.state_root(),
        }));
    }
    print(&format!(
        "{} blocks with {} events were checked and stand in {}; a node uses them with PYRSIA_BLOCKCHAIN_PATH={}\n",
        state.height().0 + 1,
        state.tree_size(),
        folder.display(),
        folder.display(),
    ))
}
