//! The stages of an audit: blocks are read and prepared, folded in their order, and their signatures verified.

use super::super::log::{progress_bar, threads};
use super::rest::RestFile;
use crate::exit::Failure;
use pyrsia_ledger::Projections;
use pyrsia_ledger::audit::{Audit, AuditReport, Prepared, SignatureReport, SignatureWork};
use pyrsia_ledger::log::{LedgerReader, Row, Stages, in_stages};
use std::time::{Duration, Instant};

/// How often an audit that may be interrupted writes down where it is. Writing the state of a million events takes two seconds.
const REST_INTERVAL: Duration = Duration::from_secs(60);

/// What comes next of the log.
enum Turn {
    Block(Box<Prepared>),
    Other(Row),
}

impl Turn {
    fn of(row: Row) -> Self {
        match row {
            Row::Block { position, raw } => Self::Block(Box::new(Prepared::of(position, raw))),
            row => Self::Other(row),
        }
    }
}

/// Audits what the reader has left; the report, and the state at the end as far as it is known.
pub(super) fn check(
    reader: LedgerReader,
    audit: Audit,
    rest: Option<&RestFile<'_>>,
) -> Result<(AuditReport, Option<Projections>), Failure> {
    let bar = progress_bar(reader.newest());
    let ended = in_stages(threads(), reader.map(Turn::of), SignatureWork::verify, |stages| {
        let mut folding = Folding { audit, stages };
        let mut rested = Instant::now();
        while let Some(turn) = folding.stages.next_item() {
            if let Some(position) = folding.take_in(turn) {
                bar.set_position(position + 1);
            }
            if let Some(rest) = rest.filter(|_| rested.elapsed() >= REST_INTERVAL) {
                folding.settle();
                rest.write(&folding.audit)?;
                rested = Instant::now();
            }
        }
        folding.settle();
        if let Some(rest) = rest {
            rest.write(&folding.audit)?;
        }
        Ok(folding.audit)
    });
    bar.finish_and_clear();
    let audit = ended?;
    let state = audit.state().cloned();
    Ok((audit.finish([]), state))
}

/// What the thread that folds holds.
struct Folding<'a> {
    audit: Audit,
    stages: Stages<'a, Turn, SignatureWork, SignatureReport>,
}

impl Folding<'_> {
    /// Takes what comes next; the height of a block.
    fn take_in(&mut self, turn: Turn) -> Option<u64> {
        let mut position = None;
        match turn {
            Turn::Block(prepared) => {
                position = Some(prepared.position().0);
                self.audit.take_in(*prepared);
            }
            Turn::Other(Row::Block { position: at, raw }) => self.audit.feed(at, &raw),
            Turn::Other(Row::Unreadable { position, sentence }) => self.audit.unreadable(position, &sentence),
            Turn::Other(Row::Fault { position, sentence }) => self.audit.storage(position, &sentence),
            Turn::Other(Row::End(announced)) => self.audit.announce(announced),
        }
        if let Some(piece) = self.audit.take_work() {
            self.stages.hand_out(piece);
        }
        while let Some(report) = self.stages.done() {
            self.audit.absorb(report);
        }
        position
    }

    /// Waits until every signature so far is verified.
    fn settle(&mut self) {
        let rest = self.audit.take_rest();
        if !rest.is_empty() {
            self.stages.hand_out(rest);
        }
        while let Some(report) = self.stages.wait() {
            self.audit.absorb(report);
        }
    }
}
