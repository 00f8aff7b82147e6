//! A whole log, checked as a follower checks it, signatures and certificates included: of a ledger on this machine, or of a
//! running node, which is believed no more than a file.

use super::super::{node, request_failure};
use super::{open_sound, progress_bar, refused, threads};
use crate::exit::Failure;
use pyrsia_ledger::log::{FoldedBlock, SoundBlocks, TransferError, fold_checked};
use pyrsia_ledger::{Height, NetworkId, Projections, SealedBlock};
use pyrsia_registry::wire::{BLOCKS_MEDIA_TYPE, split_blocks};
use std::error::Error;
use std::path::Path;

/// The state at the end of a node's log, whose every block `each` is given with its bytes. `what` did not work when this fails.
pub(in crate::commands) async fn of_node(
    what: &str,
    pinned: Option<NetworkId>,
    mut each: impl FnMut(&SealedBlock, &[u8]) -> Result<(), Failure>,
) -> Result<Projections, Failure> {
    let node = node()?;
    let failed = |error: &dyn Error| Failure::because(what, error);
    let bar = progress_bar(None);
    let mut state: Option<Projections> = None;
    loop {
        let from = state.as_ref().map_or(Height::GENESIS, |state| state.height().next());
        let page = node.get_bytes(&format!("/api/v1/blocks?from={from}"), BLOCKS_MEDIA_TYPE).await;
        let page = page.map_err(|error| request_failure("the log cannot be fetched", &error))?;
        let blocks = split_blocks(&page).map_err(|error| failed(&error))?;
        if blocks.is_empty() {
            break;
        }
        for raw in blocks {
            let sealed = SealedBlock::decode(raw).map_err(|error| failed(&error))?;
            let next = match state.take() {
                None => Projections::from_genesis(&sealed),
                Some(state) => state.advance_sealed(&sealed),
            };
            let next = next.map_err(|error| failed(&error))?;
            if let Some(pinned) = pinned.filter(|pinned| pinned != next.network()) {
                return Err(failed(&TransferError::Network { found: *next.network(), pinned }));
            }
            each(&sealed, raw)?;
            state = Some(next);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    state.ok_or_else(|| Failure::new("the node has no ledger yet").hint("is it connected to a network? 'pyrsia status' tells"))
}

/// The state at the end of a ledger: a data folder, a ledger folder, or an exported log.
pub(in crate::commands) fn of_ledger(what: &str, pinned: Option<NetworkId>, path: &Path) -> Result<Projections, Failure> {
    let (_scratch, blocks) = open_sound(path)?;
    of_blocks(what, pinned, path, blocks, |_| ())
}

/// The same of a ledger that is open already. `each` is given every block before it is known whether all signatures hold.
pub(in crate::commands) fn of_blocks(
    what: &str,
    pinned: Option<NetworkId>,
    path: &Path,
    blocks: SoundBlocks,
    mut each: impl FnMut(FoldedBlock<'_>),
) -> Result<Projections, Failure> {
    let bar = progress_bar(blocks.newest());
    let folded = fold_checked(blocks, pinned, threads(), &mut |block| {
        each(block);
        bar.inc(1);
        Ok(())
    });
    bar.finish_and_clear();
    folded.map_err(|error| refused(what, path, &error))
}
