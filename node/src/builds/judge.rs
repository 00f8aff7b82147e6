//! What a judge finds out about the others' builds, by running the pinned verifier over their bytes.
//!
//! Owns the two answers that go on the ledger: whether a candidate is this node's own build but for what the verifier forgives,
//! and what the groups of a dispute do not agree on. Both follow from the bytes and the verifier alone, so that honest judges
//! who can have the bytes say the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pyrsia_ledger::event::{
    BuildDisputed, BuildOutcome, BuildSource, BuiltArtifact, DISPUTE_COMPARISONS_MAX, DISPUTE_DIFFERENCES_MAX, DISPUTE_PARTS_MAX,
    DISPUTE_TEXT_BYTES_MAX, DisputeReport, GroupComparison, GroupVerdict, ReportedDifference, Vouch,
};
use pyrsia_ledger::signed::EVENT_BYTES_MAX;
use pyrsia_ledger::{BuildId, Event, NodeId, PackageCoordinate, Projections, Sha256Digest};
use pyrsia_verifiers::{Comparison, Difference, DifferenceReport, InputFile, Outcome, PublishedArtifact, Verifier};
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::output::{self, FetchLimits, OutputError};
use super::run::{ENVELOPE_BYTES, text_of};
use super::sealed::{RunResult, Sealed};
use crate::artifacts::ArtifactStore;
use crate::p2p::P2pHandle;
use crate::verifiers::Verifiers;

/// A candidate may be so many times as large as this node's own build, and so many bytes more, to be fetched.
const CANDIDATE_TIMES_MAX: u64 = 4;
const CANDIDATE_MORE_BYTES_MAX: u64 = 64 << 20;
/// The largest build of a group that is fetched to be compared by one who has not built it.
const COMPARED_BYTES_MAX: u64 = 8 << 30;

/// A build of some judges, as the ledger has it.
#[derive(Clone, Debug)]
pub(super) struct JudgesBuild {
    judges: Vec<NodeId>,
    source: BuildSource,
    artifacts: Vec<BuiltArtifact>,
}

/// What is to be found out, taken from the ledger when the work begins.
#[derive(Clone, Debug)]
pub(super) struct Case {
    id: BuildId,
    coordinate: PackageCoordinate,
    verifier: Sha256Digest,
    own: Option<Arc<Sealed>>,
}

impl Case {
    pub(super) fn of(state: &Projections, id: &BuildId, own: Option<Arc<Sealed>>) -> Option<Self> {
        let build = state.builds.get(id)?;
        Some(Self { id: *id, coordinate: build.coordinate.clone(), verifier: build.verifier, own })
    }

    fn own(&self) -> Option<(&[BuiltArtifact], &RunResult)> {
        let result = &self.own.as_deref()?.result;
        match &result.outcome {
            BuildOutcome::Built { artifacts, .. } => Some((artifacts, result)),
            BuildOutcome::Failed { .. } | BuildOutcome::Abstained { .. } => None,
        }
    }

    fn files(&self, store: &ArtifactStore, build: &JudgesBuild) -> Vec<InputFile> {
        let nothing = RunResult::abstained(String::new());
        let (own, result) = self.own().unwrap_or((&[], &nothing));
        output::files(store, &build.artifacts, own, &result.names)
    }
}

/// The candidate of a build that is being vouched for.
pub(super) fn candidate(state: &Projections, id: &BuildId) -> Option<JudgesBuild> {
    let candidate = state.builds.candidate(id)?;
    let (source, artifacts) = (candidate.source.clone(), candidate.artifacts.to_vec());
    Some(JudgesBuild { judges: candidate.judges, source, artifacts })
}

/// The groups of judges that built the same, the largest first.
pub(super) fn groups(state: &Projections, id: &BuildId) -> Vec<JudgesBuild> {
    let groups = state.builds.groups(id).into_iter();
    groups
        .map(|group| JudgesBuild { judges: group.judges, source: group.source.clone(), artifacts: group.artifacts.to_vec() })
        .collect()
}

/// A cheap clone.
#[derive(Clone)]
pub(super) struct Judge {
    pub(super) store: ArtifactStore,
    pub(super) p2p: P2pHandle,
    pub(super) verifiers: Verifiers,
    /// Places for calls of the verifier: bytes that do not come keep nobody from being looked at.
    pub(super) places: Arc<Semaphore>,
    /// Places for comparisons with all they fetch. Nobody waits for a report, so bytes may hold up others here.
    pub(super) comparing: Arc<Semaphore>,
    /// How long bytes are waited for, besides the time to move them.
    pub(super) patience: Duration,
    /// The slowest transfer that is waited for.
    pub(super) bytes_per_second: u64,
}

impl Judge {
    /// Whether a candidate is what this node built.
    pub(super) async fn vouch(&self, case: &Case, candidate: &JudgesBuild) -> Vouch {
        let Some((own, _)) = case.own() else {
            return unavailable("this node has lost what it built itself");
        };
        match self.fetch(case, candidate, candidate_bytes_max(own)).await {
            Ok(()) => {}
            Err(error @ OutputError::Contradicts { .. }) => return different(&error.to_string()),
            Err(error) => return unavailable(&error.to_string()),
        }
        let verifier = match self.verifiers.module_for_a_verdict(&case.verifier).await {
            Ok(verifier) => verifier,
            Err(error) => return unavailable(&format!("this node cannot use the verifier: {error}")),
        };
        let (files, coordinate) = (case.files(&self.store, candidate), case.coordinate.id.clone());
        let lent = files.clone();
        let place = self.places.clone().acquire_owned().await;
        let checked = tokio::task::spawn_blocking(move || {
            // Given back when the verifier has ended, even if nobody waits for it any more.
            let _place = place;
            verifier.check(coordinate.as_str(), &lent)
        });
        let checked = checked.instrument(tracing::info_span!("verify", verifier = %case.verifier, files = files.len())).await;
        match checked {
            Ok(Outcome::Done(published)) => verdict(own, candidate, &published, &self.digests(&files, candidate)),
            Ok(Outcome::Refused(refusal)) => different(&format!("the verifier refuses it: {refusal}")),
            Ok(Outcome::Abstained(abstention)) => unavailable(&format!("the verifier gave no verdict: {abstention}")),
            Err(_) => unavailable("the verifier was interrupted"),
        }
    }

    /// What the groups do not agree on.
    pub(super) async fn compare(&self, case: &Case, groups: &[JudgesBuild]) -> DisputeReport {
        let _place = self.comparing.acquire().await;
        let mut pairs: Vec<(&JudgesBuild, &JudgesBuild)> = vec![];
        for (at, a) in groups.iter().enumerate() {
            pairs.extend(groups[at + 1..].iter().map(|b| (a, b)));
        }
        let omitted = pairs.len().saturating_sub(DISPUTE_COMPARISONS_MAX) as u64;
        pairs.truncate(DISPUTE_COMPARISONS_MAX);
        let mut comparisons = vec![];
        for (a, b) in pairs {
            let Some((judge_a, judge_b)) = a.judges.iter().min().zip(b.judges.iter().min()) else { continue };
            let (verdict, differences, omitted) = self.compare_pair(case, a, b).await;
            comparisons.push(GroupComparison { a: *judge_a, b: *judge_b, verdict, differences, omitted });
        }
        bounded(case.id, DisputeReport { comparisons, omitted })
    }

    async fn compare_pair(&self, case: &Case, a: &JudgesBuild, b: &JudgesBuild) -> (GroupVerdict, Vec<ReportedDifference>, u64) {
        let nothing_to_list = |verdict| (verdict, vec![], 0);
        if (&a.source.kind, &a.source.revision) != (&b.source.kind, &b.source.revision) {
            return nothing_to_list(GroupVerdict::OtherSource);
        }
        let bytes_max = compared_bytes_max(case.own().map(|(own, _)| own));
        for build in [a, b] {
            match self.fetch(case, build, bytes_max).await {
                Ok(()) => {}
                Err(error @ OutputError::Contradicts { .. }) => {
                    return nothing_to_list(GroupVerdict::Undecidable { reason: short(&error.to_string()) });
                }
                Err(error) => return nothing_to_list(GroupVerdict::Unavailable { reason: short(&error.to_string()) }),
            }
        }
        let verifier = match self.verifiers.module_for_a_verdict(&case.verifier).await {
            Ok(verifier) => verifier,
            Err(error) => {
                let reason = short(&format!("the verifier cannot be used: {error}"));
                return nothing_to_list(GroupVerdict::Unavailable { reason });
            }
        };
        let (coordinate, a, b) = (case.coordinate.id.clone(), case.files(&self.store, a), case.files(&self.store, b));
        let _place = self.places.acquire().await;
        let compare = move |verifier: Verifier| verifier.compare(Some(coordinate.as_str()), &a, &b);
        match tokio::task::spawn_blocking(move || compare(verifier)).await {
            Ok(Outcome::Done(Comparison::Different(DifferenceReport { differences, omitted }))) => {
                (GroupVerdict::Different, differences.into_iter().map(reported).collect(), omitted)
            }
            Ok(Outcome::Done(Comparison::SameAfter { passes })) => {
                let passes = passes.iter().take(DISPUTE_PARTS_MAX).map(|pass| short(pass)).collect();
                nothing_to_list(GroupVerdict::SameAfter { passes })
            }
            // Their results differ in what is not in the files, such as a media type.
            Ok(Outcome::Done(Comparison::Identical)) => nothing_to_list(GroupVerdict::SameAfter { passes: vec![] }),
            Ok(Outcome::Done(Comparison::Undecidable(refusal)) | Outcome::Refused(refusal)) => {
                nothing_to_list(GroupVerdict::Undecidable { reason: short(&refusal.to_string()) })
            }
            Ok(Outcome::Abstained(abstention)) => {
                nothing_to_list(GroupVerdict::Undecidable { reason: short(&abstention.to_string()) })
            }
            Err(_) => nothing_to_list(GroupVerdict::Unavailable { reason: "the verifier was interrupted".into() }),
        }
    }

    async fn fetch(&self, case: &Case, build: &JudgesBuild, bytes_max: u64) -> Result<(), OutputError> {
        let size_bytes = build.artifacts.iter().fold(0u64, |total, artifact| total.saturating_add(artifact.size_bytes));
        let transfer = Duration::from_secs(size_bytes.min(bytes_max) / self.bytes_per_second.max(1));
        let limits = FetchLimits { bytes_max, patience: self.patience + transfer };
        output::fetch(&self.store, &self.p2p, &case.id, &build.artifacts, &build.judges, limits).await
    }

    /// The digest of each file's bytes.
    fn digests(&self, files: &[InputFile], build: &JudgesBuild) -> Vec<Option<Sha256Digest>> {
        let of = |file: &InputFile| {
            build.artifacts.iter().map(|artifact| artifact.sha256).find(|sha256| self.store.blob_path(sha256) == file.path)
        };
        files.iter().map(of).collect()
    }
}

fn candidate_bytes_max(own: &[BuiltArtifact]) -> u64 {
    let own_bytes = own.iter().fold(0u64, |total, artifact| total.saturating_add(artifact.size_bytes));
    own_bytes.saturating_mul(CANDIDATE_TIMES_MAX).saturating_add(CANDIDATE_MORE_BYTES_MAX)
}

/// How large a build of another group may be to be fetched.
fn compared_bytes_max(own: Option<&[BuiltArtifact]>) -> u64 {
    // Where the sizes are so far apart, that says enough.
    own.map_or(COMPARED_BYTES_MAX, |own| candidate_bytes_max(own).min(COMPARED_BYTES_MAX))
}

/// The verifier's answer about a candidate against what the candidate's judges revealed and what this node built.
fn verdict(
    own: &[BuiltArtifact],
    candidate: &JudgesBuild,
    published: &[PublishedArtifact],
    files: &[Option<Sha256Digest>],
) -> Vouch {
    type Canonical<'a> = BTreeSet<(&'a str, &'a str, Sha256Digest)>;
    fn canonical(artifacts: &[BuiltArtifact]) -> Canonical<'_> {
        artifacts.iter().map(|artifact| (artifact.artifact_id.as_str(), &*artifact.media_type, artifact.canonical)).collect()
    }
    let answered: Canonical<'_> =
        published.iter().map(|artifact| (&*artifact.artifact_id, &*artifact.media_type, artifact.canonical)).collect();
    let raw: BTreeSet<(&str, Option<Sha256Digest>)> =
        published.iter().map(|artifact| (&*artifact.artifact_id, files.get(artifact.file).copied().flatten())).collect();
    let revealed: BTreeSet<(&str, Option<Sha256Digest>)> =
        candidate.artifacts.iter().map(|artifact| (artifact.artifact_id.as_str(), Some(artifact.sha256))).collect();
    if raw != revealed {
        return different("the verifier finds other artifacts in it than its judges revealed");
    }
    if answered != canonical(&candidate.artifacts) {
        return different(&first_other(&answered, &canonical(&candidate.artifacts), "its judges revealed"));
    }
    if answered != canonical(own) {
        return different(&first_other(&answered, &canonical(own), "this node built"));
    }
    Vouch::Same
}

fn first_other(
    found: &BTreeSet<(&str, &str, Sha256Digest)>,
    expected: &BTreeSet<(&str, &str, Sha256Digest)>,
    whose: &str,
) -> String {
    match found.difference(expected).next() {
        Some((id, media_type, canonical)) => {
            format!("{id} ({media_type}) has the canonical digest {canonical}, which is not what {whose}")
        }
        None => format!("it lacks artifacts that {whose}"),
    }
}

fn different(reason: &str) -> Vouch {
    Vouch::Different { reason: short(reason) }
}

fn unavailable(reason: &str) -> Vouch {
    Vouch::Unavailable { reason: short(reason) }
}

/// A text as the ledger takes it in a report.
fn short(text: &str) -> String {
    text_of(text, DISPUTE_TEXT_BYTES_MAX)
}

fn reported(difference: Difference) -> ReportedDifference {
    let Difference { artifact, path, what, a, b } = difference;
    ReportedDifference {
        artifact: short(&artifact),
        path: path.iter().take(DISPUTE_PARTS_MAX).map(|part| short(part)).collect(),
        what: short(&what),
        a: a.as_deref().map(short),
        b: b.as_deref().map(short),
    }
}

/// The report without the differences that the ledger does not take; each comparison keeps as many as the others, as far as it
/// has them.
fn bounded(build_id: BuildId, mut report: DisputeReport) -> DisputeReport {
    let fits = |report: &DisputeReport| {
        let listed: usize = report.comparisons.iter().map(|comparison| comparison.differences.len()).sum();
        let event = Event::BuildDisputed(BuildDisputed { build_id, report: report.clone() });
        let size = borsh::to_vec(&event).expect("writing to memory cannot fail").len() + ENVELOPE_BYTES;
        listed <= DISPUTE_DIFFERENCES_MAX && size <= EVENT_BYTES_MAX
    };
    let most = report.comparisons.iter().map(|comparison| comparison.differences.len()).max().unwrap_or(0);
    for listed_max in (0..=most.min(DISPUTE_DIFFERENCES_MAX)).rev() {
        for comparison in &mut report.comparisons {
            let dropped = comparison.differences.len().saturating_sub(listed_max);
            comparison.differences.truncate(listed_max);
            comparison.omitted = comparison.omitted.saturating_add(dropped as u64);
        }
        if fits(&report) {
            break;
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_ledger::{ArtifactId, NetworkId};

    fn artifact(id: &str, raw: &str, canonical: &str) -> BuiltArtifact {
        let sha256 = Sha256Digest::of(raw.as_bytes());
        BuiltArtifact {
            artifact_id: ArtifactId::new(id).unwrap(),
            media_type: "x/y".into(),
            size_bytes: 1,
            sha256,
            canonical: Sha256Digest::of(canonical.as_bytes()),
            chunk_root: sha256,
        }
    }

    fn found(id: &str, canonical: &str) -> PublishedArtifact {
        let canonical = Sha256Digest::of(canonical.as_bytes());
        PublishedArtifact { artifact_id: id.into(), file: 0, media_type: "x/y".into(), canonical, passes: vec![] }
    }

    fn check(own: &str, claimed: &str, computed: &str) -> Vouch {
        let candidate = JudgesBuild {
            judges: vec![NodeId::from_public_key([1; 32])],
            source: BuildSource { kind: "git".into(), location: String::new(), revision: "00".into() },
            artifacts: vec![artifact("a.jar", "theirs", claimed)],
        };
        let files = [Some(Sha256Digest::of(b"theirs"))];
        verdict(&[artifact("a.jar", "mine", own)], &candidate, &[found("a.jar", computed)], &files)
    }

    #[test]
    fn a_canonical_digest_is_believed_only_when_the_verifier_finds_it_in_the_bytes() {
        assert_eq!(check("honest", "honest", "honest"), Vouch::Same);
        assert!(matches!(check("honest", "honest", "something else"), Vouch::Different { .. }));
        assert!(matches!(check("honest", "other", "other"), Vouch::Different { .. }));
    }

    #[test]
    fn who_has_built_it_fetches_no_giant_to_find_out_that_it_differs() {
        let own = [BuiltArtifact { size_bytes: 1 << 20, ..artifact("a.jar", "mine", "mine") }];
        assert_eq!(compared_bytes_max(Some(&own)), (4 << 20) + (64 << 20));
        let huge = [BuiltArtifact { size_bytes: u64::MAX, ..artifact("a.jar", "mine", "mine") }];
        assert_eq!([compared_bytes_max(Some(&huge)), compared_bytes_max(None)], [COMPARED_BYTES_MAX; 2]);
    }

    #[test]
    fn files_under_other_ids_than_revealed_are_different() {
        let candidate = JudgesBuild {
            judges: vec![],
            source: BuildSource { kind: "git".into(), location: String::new(), revision: "00".into() },
            artifacts: vec![artifact("a.jar", "theirs", "same"), artifact("b.jar", "other", "same")],
        };
        let published = [found("a.jar", "same"), PublishedArtifact { file: 0, ..found("b.jar", "same") }];
        let files = [Some(Sha256Digest::of(b"theirs")), Some(Sha256Digest::of(b"other"))];
        let own = [artifact("a.jar", "mine", "same"), artifact("b.jar", "mine", "same")];
        assert!(matches!(verdict(&own, &candidate, &published, &files), Vouch::Different { .. }));
    }

    #[test]
    fn a_report_of_any_length_fits_on_the_ledger_and_says_what_it_leaves_out() {
        let long = "x".repeat(DISPUTE_TEXT_BYTES_MAX);
        let difference = ReportedDifference {
            artifact: long.clone(),
            path: vec![long.clone(); DISPUTE_PARTS_MAX],
            what: long.clone(),
            a: Some(long.clone()),
            b: Some(long),
        };
        let comparison = |differences| GroupComparison {
            a: NodeId::from_public_key([1; 32]),
            b: NodeId::from_public_key([2; 32]),
            verdict: GroupVerdict::Different,
            differences,
            omitted: 5,
        };
        let id = BuildId::of(&NetworkId::UNFOUNDED, &PackageCoordinate::new("docker", "a:1").unwrap(), 0);
        let all = DisputeReport {
            comparisons: vec![comparison(vec![difference.clone(); 1_000]), comparison(vec![difference])],
            omitted: 0,
        };
        let report = bounded(id, all);
        let listed: Vec<usize> = report.comparisons.iter().map(|comparison| comparison.differences.len()).collect();
        assert!(listed[0] > 0 && listed[1] == 1, "{listed:?}");
        assert_eq!(report.comparisons[0].omitted, 5 + 1_000 - listed[0] as u64);
        assert_eq!(report.comparisons[1].omitted, 5);
    }
}
