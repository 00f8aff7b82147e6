//! `pyrsia log show`: blocks, who made them final, and what their events say.

use super::super::{print, print_while_read};
use super::replay::moment;
use super::{open_sound, refused};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use pyrsia_ledger::log::TransferError;
use pyrsia_ledger::{Height, SealedBlock};
use pyrsia_registry::wire::{BlockView, event_in_words};
use std::fmt::Write;
use std::path::Path;

/// Shows the blocks from `from` to `to`, those included, one after the other. As JSON an array.
pub(super) fn run(ledger: &Path, from: u64, to: u64, output: OutputArguments) -> Result<(), Failure> {
    if to < from {
        return Err(Failure::usage(format!("the range ends before it begins: --from {from} --to {to}")));
    }
    let (_scratch, blocks) = open_sound(ledger)?;
    let (mut shown, mut end) = (0, None);
    for block in blocks {
        let (sealed, _) = block.map_err(|error| refused("the log cannot be shown", ledger, &error))?;
        let height = sealed.height();
        if height.0 > to {
            break;
        }
        end = Some(height);
        if height.0 < from {
            continue;
        }
        let text = match (output.json, shown) {
            (false, _) => in_words(&sealed),
            (true, 0) => format!("[\n{}", element(&sealed)?),
            (true, _) => format!(",\n{}", element(&sealed)?),
        };
        shown += 1;
        if print_while_read(&text)?.is_break() {
            return Ok(());
        }
    }
    match (shown, end) {
        (0, end) => {
            let nothing = end.map_or(TransferError::Empty, |end| TransferError::NotThere { wanted: Height(from), end });
            Err(refused("the log cannot be shown", ledger, &nothing))
        }
        (_, _) if output.json => print("\n]\n"),
        (_, _) => Ok(()),
    }
}

/// As it stands in an array that is written whole.
fn element(sealed: &SealedBlock) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(&BlockView::from(sealed));
    let text = text.map_err(|error| Failure::because("the answer cannot be printed", &error))?;
    Ok(format!("  {}", text.replace('\n', "\n  ")))
}

fn in_words(sealed: &SealedBlock) -> String {
    let header = &sealed.block.header;
    let mut text = format!("Block {} of {}, {}\n", header.height, moment(header.time_ms), sealed.block.hash());
    // Writing to a string cannot fail.
    let signers: Vec<String> = sealed.certificate.signatures.iter().map(|(node, _)| node.to_string()).collect();
    let _ = writeln!(text, "  proposed by {}", header.proposer);
    let _ = writeln!(text, "  final by {} in round {}", signers.join(", "), sealed.certificate.round);
    for event in &sealed.block.events {
        let _ = writeln!(text, "  {}", event_in_words(event.author(), event.event()));
        let _ = writeln!(text, "    event {}", event.id());
    }
    text
}
