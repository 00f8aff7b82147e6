//! `pyrsia log show`: blocks, who made them final, and what their events say.

use super::super::{print, print_json};
use super::replay::moment;
use super::{open_sound, refused};
use crate::arguments::OutputArguments;
use crate::exit::Failure;
use pyrsia_ledger::SealedBlock;
use pyrsia_registry::wire::{BlockView, event_in_words};
use std::fmt::Write;
use std::path::Path;

/// Shows the blocks from `from` to `to`, those included. As JSON an array, as long as the range is.
pub(super) fn run(ledger: &Path, from: u64, to: u64, output: OutputArguments) -> Result<(), Failure> {
    let (_scratch, blocks) = open_sound(ledger)?;
    let (mut views, mut shown) = (vec![], false);
    for block in blocks {
        let (sealed, _) = block.map_err(|error| refused("the log cannot be shown", ledger, &error))?;
        let height = sealed.height().0;
        if height > to {
            break;
        }
        if height < from {
            continue;
        }
        shown = true;
        if output.json {
            views.push(BlockView::from(&sealed));
        } else {
            print(&in_words(&sealed))?;
        }
    }
    match (shown, output.json) {
        (false, _) => Err(Failure::new(format!("the log has no block from {from} on"))),
        (true, true) => print_json(&views),
        (true, false) => Ok(()),
    }
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
