//! A network of one founder whose every block follows from its height alone: what a child process appended, its parent can
//! tell byte for byte.
#![allow(dead_code, reason = "each test program uses a part of it")]

use ed25519_dalek::SigningKey;
use pyrsia_ledger::audit::{Audit, AuditReport};
use pyrsia_ledger::certificate::CommitCertificate;
use pyrsia_ledger::event::VerifierApproved;
use pyrsia_ledger::log::{LedgerReader, Row};
use pyrsia_ledger::projection::genesis;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{
    Block, BlockHash, Event, Height, NodeId, PackageType, Projections, SealedBlock, Sha256Digest, SignedEvent, UnsignedEvent,
};
use std::path::{Path, PathBuf};

fn key() -> SigningKey {
    SigningKey::from_bytes(&[42; 32])
}

pub(crate) fn founder() -> NodeId {
    node_id_of(&key())
}

pub(crate) fn genesis_block() -> SealedBlock {
    genesis(&key(), "chain", [7; 32], 1_000)
}

fn seal(block: Block) -> SealedBlock {
    let certificate = CommitCertificate::signed(&block.header, 0, [&key()]);
    SealedBlock { block, certificate }
}

/// The block after `state`, with `events` events.
pub(crate) fn next_block(state: &Projections, events: u64) -> SealedBlock {
    let event = |index: u64| {
        let module = Sha256Digest::of(format!("{} {index}", state.height().next()).as_bytes());
        let package_type = PackageType::new("docker").expect("a type");
        let event = Event::VerifierApproved(VerifierApproved { package_type, module, contract_version: 1 });
        let sequence = state.next_sequence(&founder()) + index;
        SignedEvent::new(&key(), UnsignedEvent::new(*state.network(), founder(), sequence, 0, event))
    };
    let events: Vec<SignedEvent> = (0..events).map(event).collect();
    seal(state.propose(founder(), 0, &events).block)
}

/// The block after `state` with these events, whatever their signatures.
pub(crate) fn resealed(state: &Projections, events: &[SignedEvent]) -> SealedBlock {
    seal(state.propose(founder(), 0, events).block)
}

/// The first `count` blocks.
pub(crate) fn blocks(count: u64) -> Vec<SealedBlock> {
    let mut blocks = vec![genesis_block()];
    let mut state = Projections::from_genesis(&blocks[0]).expect("genesis");
    while (blocks.len() as u64) < count {
        let next = next_block(&state, 1);
        state = state.apply(&next.block).expect("the next block");
        blocks.push(next);
    }
    blocks
}

/// Audits a folder or a file, and gives the blocks it holds as well.
pub(crate) fn audit(path: &Path) -> (AuditReport, Vec<Vec<u8>>) {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let reader = LedgerReader::open(path, scratch.path()).expect("is there and can be read");
    let (mut audit, mut reports, mut blocks) = (Audit::new(None), vec![], vec![]);
    for row in reader {
        match row {
            Row::Block { position, raw } => {
                audit.feed(position, &raw);
                blocks.push(raw);
            }
            Row::Unreadable { position, sentence } => audit.unreadable(position, &sentence),
            Row::Fault { position, sentence } => audit.storage(position, &sentence),
            Row::End(announced) => audit.announce(announced),
        }
        reports.extend(audit.take_work().map(|work| work.verify()));
    }
    (audit.finish(reports), blocks)
}

/// The hash at a height, of those a log of this chain has.
pub(crate) fn hash_at(blocks: &[SealedBlock], height: Height) -> BlockHash {
    blocks[height.0 as usize].block.hash()
}

/// Every file below a folder, in a fixed order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            files.extend(self::files(&entry.path()))
        } else {
            files.push(entry.path())
        }
    }
    files.sort();
    files
}
