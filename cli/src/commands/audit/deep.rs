//! `pyrsia audit --deep`: the stored bytes of what is published, read again, and judged again by the very modules that the
//! requests of their builds pinned.
//!
//! Of a build whose artifacts are all here the verifier is asked the same as by the judges. What is not here is counted and no
//! finding: a node keeps what it has use for.

use super::super::compare;
use super::super::log::threads;
use crate::exit::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use pyrsia_ledger::audit::{Finding, FindingKind};
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::log::{Beside, Threads};
use pyrsia_ledger::projection::builds::{Build, BuildStatus};
use pyrsia_ledger::{BuildId, Height, Projections, Sha256Digest};
use pyrsia_node::builds::stored::{StoredOutput, StoredOutputs};
use pyrsia_verifiers::{Outcome, PublishedArtifact, VerifierHost};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What was looked at. Of each build either the verifier came to an answer, or it is counted where it could not.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct DeepReport {
    /// Published builds.
    builds: u64,
    /// Those whose pinned verifier was asked about all of their bytes, and answered.
    builds_verified: u64,
    /// Those whose artifacts are not all here, or not the ones of the record.
    builds_incomplete: u64,
    /// Those of which the names of the files had to be guessed, and were guessed wrongly; and those of which the verifier gave no
    /// answer.
    builds_undecided: u64,
    artifacts_read: u64,
    bytes_read: u64,
    artifacts_absent: u64,
    /// Pinned modules that are neither in the folder nor in this program.
    modules_absent: BTreeSet<Sha256Digest>,
}

impl DeepReport {
    /// As lines of a summary.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let Self { builds, builds_verified, builds_incomplete, builds_undecided, artifacts_read, bytes_read, .. } = self;
        let absent = self.modules_absent.iter().map(|module| ("no module", format!("{module}, which builds pin")));
        let artifacts = format!("{artifacts_read} read again, {bytes_read} bytes; {} not here", self.artifacts_absent);
        let judged = format!(
            "{builds_verified} of {builds} judged again by their verifiers; {builds_incomplete} not whole here, {builds_undecided} undecided"
        );
        [("artifacts", artifacts), ("builds", judged)].into_iter().chain(absent.collect::<Vec<_>>())
    }

    fn add(&mut self, other: Self) {
        self.builds += other.builds;
        self.builds_verified += other.builds_verified;
        self.builds_incomplete += other.builds_incomplete;
        self.builds_undecided += other.builds_undecided;
        self.artifacts_read += other.artifacts_read;
        self.bytes_read += other.bytes_read;
        self.artifacts_absent += other.artifacts_absent;
        self.modules_absent.extend(other.modules_absent);
    }
}

/// The artifacts beside a ledger: in the same data folder, or in the one above its own.
pub(super) fn stored_outputs(ledger: &Path) -> Result<StoredOutputs, Failure> {
    let places: Vec<PathBuf> = [Some(ledger.to_owned()), Some(ledger.join("pyrsia")), ledger.parent().map(Path::to_owned)]
        .into_iter()
        .flatten()
        .filter(|_| ledger.is_dir())
        .collect();
    places.iter().find_map(|place| StoredOutputs::at(place)).ok_or_else(|| {
        Failure::new(format!("there are no stored artifacts beside {}", ledger.display()))
            .hint("--deep needs the data folder of a node (PYRSIA_ARTIFACT_PATH)")
    })
}

/// Looks at every published build, as many at a time as there are cores.
pub(super) fn check(stored: &StoredOutputs, state: &Projections) -> Result<(DeepReport, Vec<Finding>), Failure> {
    let published: Vec<(&BuildId, &Build, Height)> = state
        .builds
        .iter()
        .filter_map(|(id, build)| match build.status {
            BuildStatus::Published { height } => Some((id, build, height)),
            _ => None,
        })
        .collect();
    let template = "{bar:40} {pos} of {len} builds, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(published.len() as u64).with_style(style);
    let (host, next) = (compare::host()?, AtomicUsize::new(0));
    let whole = Mutex::new((DeepReport::default(), vec![]));
    let look = || {
        while let Some((id, build, height)) = published.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some((_, artifacts)) = state.builds.chosen(id) else { continue };
            let mut look = Look { stored, host: &host, height: *height, report: DeepReport::default(), findings: vec![] };
            look.at(id, build, artifacts);
            let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
            whole.0.add(look.report);
            whole.1.append(&mut look.findings);
            bar.inc(1);
        }
    };
    let Threads { cores, all_at_once } = threads();
    // Each takes the builds that the others have not taken, so that it does not matter how many there are.
    all_at_once((1..cores).map(|_| Box::new(look) as Beside<'_>).collect(), Box::new(look));
    bar.finish_and_clear();
    Ok(whole.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One build being looked at.
struct Look<'a> {
    stored: &'a StoredOutputs,
    host: &'a VerifierHost,
    /// Where the build was published.
    height: Height,
    report: DeepReport,
    findings: Vec<Finding>,
}

impl Look<'_> {
    fn find(&mut self, what: FindingKind, sentence: String) {
        self.findings.push(Finding::new(self.height, what, sentence));
    }

    fn at(&mut self, id: &BuildId, build: &Build, artifacts: &[BuiltArtifact]) {
        self.report.builds = 1;
        let mut is_whole = true;
        for artifact in artifacts {
            // Also behind one that is not here.
            is_whole &= self.read(build, artifact);
        }
        if !is_whole {
            self.report.builds_incomplete = 1;
            return;
        }
        let Some(module) = self.stored.module(&build.verifier) else {
            self.report.modules_absent.insert(build.verifier);
            self.report.builds_undecided = 1;
            return;
        };
        let Ok(verifier) = self.host.load(&module) else {
            self.report.builds_undecided = 1;
            return;
        };
        let mut refused = None;
        for output in self.stored.outputs(id, artifacts) {
            match verifier.check(build.coordinate.id.as_str(), &output.files) {
                Outcome::Done(answered) => {
                    self.report.builds_verified = 1;
                    return self.compare(build, artifacts, &output, &answered);
                }
                Outcome::Refused(refusal) if output.is_own => refused = Some(refusal),
                Outcome::Refused(_) | Outcome::Abstained(_) => {}
            }
        }
        match refused {
            None => self.report.builds_undecided = 1,
            Some(refusal) => {
                self.report.builds_verified = 1;
                let sentence =
                    format!("{}: its verifier {} refuses what is published: {refusal}", build.coordinate, build.verifier);
                self.find(FindingKind::Canonical, sentence);
            }
        }
    }

    /// Whether the bytes of an artifact are here and those of its record.
    fn read(&mut self, build: &Build, artifact: &BuiltArtifact) -> bool {
        let BuiltArtifact { artifact_id, sha256, size_bytes, chunk_root, .. } = artifact;
        let name = format!("{} artifact {artifact_id}", build.coordinate.package_type);
        match self.stored.measure(sha256) {
            Ok(None) => {
                self.report.artifacts_absent += 1;
                return false;
            }
            Ok(Some(found)) => {
                self.report.artifacts_read += 1;
                self.report.bytes_read += found.size_bytes;
                let what = if found.size_bytes != *size_bytes {
                    format!("has {} bytes, and its record says {size_bytes}", found.size_bytes)
                } else if found.sha256 != *sha256 {
                    format!("has sha256 {}, and its record says {sha256}", found.sha256)
                } else if found.chunk_root != *chunk_root {
                    format!("has the chunk root {}, and its record says {chunk_root}", found.chunk_root)
                } else {
                    return true;
                };
                self.find(FindingKind::Bytes, format!("what is stored of {name} {what}"));
            }
            Err(error) => self.find(FindingKind::Bytes, format!("what is stored of {name} cannot be read: {error}")),
        }
        false
    }

    /// Holds what the verifier says of the bytes against the record.
    fn compare(&mut self, build: &Build, artifacts: &[BuiltArtifact], output: &StoredOutput, answered: &[PublishedArtifact]) {
        let of = |artifact: &PublishedArtifact| {
            let path = output.files.get(artifact.file).map(|file| file.path.clone());
            (artifact.artifact_id.clone(), (artifact.canonical, path))
        };
        let mut answered: BTreeMap<String, _> = answered.iter().map(of).collect();
        let module = build.verifier;
        for artifact in artifacts {
            let (id, recorded) = (&artifact.artifact_id, artifact.canonical);
            let expected = Some(self.stored.blob_path(&artifact.sha256));
            let sentence = match answered.remove(id.as_str()) {
                Some((canonical, path)) if canonical == recorded && path == expected => continue,
                Some((canonical, path)) if path == expected => {
                    format!("{id}: its verifier {module} finds the canonical digest {canonical}, and its record says {recorded}")
                }
                Some(_) => format!("{id}: its verifier {module} finds it in other bytes than its record names"),
                None => format!("{id}: its verifier {module} does not find it in what is published"),
            };
            self.find(FindingKind::Canonical, sentence);
        }
        for id in answered.into_keys() {
            self.find(FindingKind::Canonical, format!("{id}: its verifier {module} finds it, and there is no record of it"));
        }
    }
}
