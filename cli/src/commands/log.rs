//! `pyrsia log`: a whole ledger as a file, back again, and what it says, without a network and without a node.

mod at_risk;
pub(super) mod checked;
mod export;
mod import;
mod replay;
mod show;
mod threads;

use crate::arguments::LogCommand;
use crate::exit::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use pyrsia_ledger::Height;
use pyrsia_ledger::log::export::ExportError;
use pyrsia_ledger::log::{LedgerReader, ReadError, SoundBlocks, TransferError};
use std::error::Error;
use std::io;
use std::path::Path;
use std::pin::Pin;
use tempfile::TempDir;

pub(super) use replay::moment;
pub(super) use threads::threads;

type Asking = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// `blocking` waits for the one command that asks a node.
pub(super) fn run(command: LogCommand, blocking: impl Fn(Asking) -> Result<(), Failure>) -> Result<(), Failure> {
    match command {
        LogCommand::AtRisk(output) => blocking(Box::pin(at_risk::run(output))),
        LogCommand::Export { ledger, file, node: _, output } => export::run(ledger, &file, output),
        LogCommand::Import { file, folder, network, output } => import::run(&file, &folder, network, output),
        LogCommand::Replay { ledger, to, output } => replay::run(&ledger, to.map(Height), output),
        LogCommand::Show { ledger, height, from, to, output } => {
            show::run(&ledger, height.or(from).unwrap_or(0), height.or(to).unwrap_or(u64::MAX), output)
        }
    }
}

/// Too many files are open: in the system, and in this process (errno(3)).
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// Opens a ledger for reading; the folder of its copies must outlive the reader.
pub(super) fn open_ledger(path: &Path) -> Result<(TempDir, LedgerReader), Failure> {
    let scratch = tempfile::tempdir().map_err(|error| Failure::because("no temporary folder can be made", &error))?;
    let reader = LedgerReader::open(path, scratch.path()).map_err(|error| {
        let failure = Failure::because("the ledger cannot be read", &error);
        match error {
            ReadError::InUse { .. } => {
                failure.hint("stop the node, or take the log from the running one with 'pyrsia log export --node FILE'")
            }
            ReadError::NoLedger { .. } | ReadError::Missing { .. } | ReadError::Export { source: ExportError::Magic, .. } => {
                failure.hint("name a node's data folder (PYRSIA_ARTIFACT_PATH), its ledger folder, or an exported log")
            }
            ReadError::Shortage { source, .. } => with_shortage(failure, &source),
            ReadError::Io { source, .. } | ReadError::Scratch(source) => with_shortage(failure, &source),
            ReadError::Export { .. } => failure,
        }
    })?;
    Ok((scratch, reader))
}

pub(super) fn open_sound(path: &Path) -> Result<(TempDir, SoundBlocks), Failure> {
    let (scratch, reader) = open_ledger(path)?;
    Ok((scratch, SoundBlocks::new(reader)))
}

/// Why a log was not taken, with the way to learn everything that is wrong with it.
pub(super) fn refused(what: &str, ledger: &Path, error: &TransferError) -> Failure {
    let failure = Failure::because(what, error);
    match error {
        TransferError::Damaged { .. }
        | TransferError::Missing(_)
        | TransferError::Decode { .. }
        | TransferError::Parent(_)
        | TransferError::Short(_)
        | TransferError::OtherTip(_)
        | TransferError::Refused { .. } => {
            failure.hint(format!("'pyrsia audit {}' shows everything that is wrong", ledger.display()))
        }
        error => with_shortage(failure, error),
    }
}

/// With what to do where there is no thread to be had, which some libraries need, or no file can be opened.
fn with_shortage(failure: Failure, error: &(dyn Error + 'static)) -> Failure {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let hint = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).find_map(|cause| match cause.raw_os_error() {
        Some(ENFILE) => Some("the system has too many files open: raise fs.file-max (sysctl), or end other programs"),
        Some(EMFILE) => Some("this program may open too few files: raise the limit (ulimit -n)"),
        _ => (cause.kind() == io::ErrorKind::WouldBlock).then_some(
            "no thread can be started: raise the limit of this user (ulimit -u) or of its cgroup (pids.max), or end other programs",
        ),
    });
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// A bar on stderr up to `newest`, or a counter where the end is not known; nothing where stderr is no terminal.
pub(super) fn progress_bar(newest: Option<Height>) -> ProgressBar {
    let (bar, template) = match newest {
        Some(newest) => (ProgressBar::new(newest.0 + 1), "{pos} of {len} blocks, {per_sec}, {eta} left {bar:40}"),
        None => (ProgressBar::no_length(), "{spinner} {pos} blocks, {per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
