//! The threads of an audit: one reads and prepares blocks, one folds them in their order, one for each core verifies signatures.

use super::super::log::progress_bar;
use super::rest::RestFile;
use crate::exit::Failure;
use pyrsia_ledger::Projections;
use pyrsia_ledger::audit::{Audit, AuditReport, Prepared, SignatureReport, SignatureWork};
use pyrsia_ledger::log::{LedgerReader, Row};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Pieces of work that wait for a core, for each core: enough to keep it busy, few enough to bound the memory.
const WORK_WAITING: usize = 4;
/// Blocks that are prepared ahead.
const BLOCKS_WAITING: usize = 8;
/// How often an audit that may be interrupted writes down where it is. Writing the state of a million events takes two seconds.
const REST_INTERVAL: Duration = Duration::from_secs(60);

/// What comes next of the log.
enum Turn {
    Block(Box<Prepared>),
    Other(Row),
}

/// Audits what the reader has left; the report, and the state at the end as far as it is known.
pub(super) fn check(
    reader: LedgerReader,
    audit: Audit,
    rest: Option<&RestFile<'_>>,
) -> Result<(AuditReport, Option<Projections>), Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (work, waiting) = sync_channel(WORK_WAITING * cores);
    let (done, reports) = channel();
    let (prepared, ready) = sync_channel(BLOCKS_WAITING);
    let bar = progress_bar(reader.newest());
    let waiting = Mutex::new(waiting);
    let ended = thread::scope(|scope| {
        scope.spawn(move || prepare(reader, &prepared));
        for _ in 0..cores {
            let (done, waiting) = (done.clone(), &waiting);
            scope.spawn(move || verify_all(waiting, &done));
        }
        drop(done);
        let mut folding = Folding { audit, work, reports, outstanding: 0 };
        let mut rested = Instant::now();
        for turn in ready {
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

fn prepare(reader: LedgerReader, prepared: &SyncSender<Turn>) {
    for row in reader {
        let turn = match row {
            Row::Block { position, raw } => Turn::Block(Box::new(Prepared::of(position, raw))),
            row => Turn::Other(row),
        };
        // Nobody folds any more.
        if prepared.send(turn).is_err() {
            return;
        }
    }
}

fn verify_all(waiting: &Mutex<Receiver<SignatureWork>>, done: &Sender<SignatureReport>) {
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    for work in std::iter::from_fn(next) {
        // Where it goes unheard, the report says that signatures were not verified.
        let _ = done.send(work.verify());
    }
}

/// The thread that folds, and what it waits for.
struct Folding {
    audit: Audit,
    work: SyncSender<SignatureWork>,
    reports: Receiver<SignatureReport>,
    /// Pieces of work that are not verified yet.
    outstanding: usize,
}

impl Folding {
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
            self.hand_out(piece);
        }
        while let Ok(report) = self.reports.try_recv() {
            self.absorb(report);
        }
        position
    }

    fn hand_out(&mut self, piece: SignatureWork) {
        if self.work.send(piece).is_ok() {
            self.outstanding += 1;
        }
    }

    fn absorb(&mut self, report: SignatureReport) {
        self.outstanding -= 1;
        self.audit.absorb(report);
    }

    /// Waits until every signature so far is verified.
    fn settle(&mut self) {
        let rest = self.audit.take_rest();
        if !rest.is_empty() {
            self.hand_out(rest);
        }
        while self.outstanding > 0
            && let Ok(report) = self.reports.recv()
        {
            self.absorb(report);
        }
    }
}
