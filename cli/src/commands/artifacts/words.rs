//! What a node stores, in words.

use crate::size;
use pyrsia_node::storage::{Place, ScrubPass, Standing};
use pyrsia_registry::wire::{ArtifactChange, ArtifactOutcome, CollectResponse, LeftoverView, StoreView, StoredArtifactView};
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

/// A time as RFC 3339, to the second; what no calendar has is shown as it came.
pub(super) fn moment(time_ms: u64) -> String {
    let mut text = String::new();
    match write!(text, "{}", humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(time_ms))) {
        Ok(()) => text,
        Err(_) => format!("{time_ms} ms"),
    }
}

pub(super) fn listing(store: &StoreView, artifacts: &[StoredArtifactView]) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{words}");
    };
    for artifact in artifacts {
        let used = match artifact.place {
            Place::Disk | Place::DiskAndBucket => format!("used {}", moment(artifact.last_use_ms)),
            Place::Bucket => "in the bucket alone      ".to_owned(),
        };
        line(format!(
            "{}  {:>8}  {}  {}{}",
            artifact.sha256,
            size::shown(artifact.size_bytes),
            used,
            named(artifact),
            marks(artifact)
        ));
    }
    let budget = match store.budget_bytes {
        Some(budget) => format!(" of {} that they may have", size::shown(budget)),
        None => ", and nothing bounds them (--artifact-budget)".to_owned(),
    };
    line(format!("{} artifacts with {}{budget}; {} pinned.", store.artifacts, size::shown(store.bytes), store.pinned));
    if let Some(bucket) = &store.bucket {
        let state = if bucket.is_reachable { "" } else { "; it does not answer" };
        let (artifacts, bytes, waiting) = (bucket.artifacts, size::shown(bucket.bytes), bucket.waiting);
        line(format!("{artifacts} copies with {bytes} in the bucket; {waiting} artifacts wait for one{state}."));
    }
    for missing in &store.missing_pins {
        line(format!("{missing}  is pinned and not here"));
    }
    text
}

fn named(artifact: &StoredArtifactView) -> String {
    match (&artifact.package_type, &artifact.artifact_id, artifact.standing) {
        (Some(package_type), Some(id), _) => format!("{package_type} {id}"),
        (.., Standing::Build) => "of a build that is not over".to_owned(),
        _ => "named by nothing on the ledger".to_owned(),
    }
}

fn marks(artifact: &StoredArtifactView) -> String {
    let marks = [
        (artifact.pinned, "pinned"),
        (artifact.standing == Standing::Kept, "kept for the network"),
        (artifact.at_risk, "at risk"),
        (artifact.place == Place::DiskAndBucket, "in the bucket too"),
    ];
    let marks: Vec<&str> = marks.into_iter().filter(|(holds, _)| *holds).map(|(_, mark)| mark).collect();
    if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) }
}

pub(super) fn outcomes(outcomes: &[ArtifactOutcome]) -> String {
    let said = |outcome: ArtifactChange| match outcome {
        ArtifactChange::Pinned => "is pinned",
        ArtifactChange::PinnedNotHere => "is pinned, and stays once somebody has asked for it: it is not here yet",
        ArtifactChange::Unpinned => "is pinned no more",
        ArtifactChange::WasNotPinned => "was not pinned",
        ArtifactChange::Removed => "is removed",
        ArtifactChange::NotHere => "is not here",
        ArtifactChange::IsPinned => "is pinned, and stays",
        ArtifactChange::IsNeeded => "is needed by a build that is not over, and stays",
        ArtifactChange::RemovedFromDisk => "is removed from the disk; its copy in the bucket stays (--bucket removes it)",
        ArtifactChange::InBucketAlone => "is not on the disk; its copy in the bucket stays (--bucket removes it)",
        ArtifactChange::CopyStays => "is not on the disk; its copy in the bucket could not be removed: the node's log says why",
        ArtifactChange::Failed => "could not be changed: the node's log says why",
        ArtifactChange::Unknown => "is neither published nor stored on this node",
    };
    outcomes.iter().map(|artifact| format!("{}  {}\n", artifact.sha256, said(artifact.outcome))).collect()
}

pub(super) fn collected(report: &CollectResponse) -> String {
    let verb = if report.dry_run { "would be removed" } else { "removed" };
    let bytes = |leftovers: &[LeftoverView]| size::shown(leftovers.iter().map(|leftover| leftover.size_bytes).sum());
    let mut text = String::new();
    for artifact in &report.artifacts {
        let _ = writeln!(text, "{}  {:>8}", artifact.sha256, size::shown(artifact.size_bytes));
    }
    let _ = writeln!(
        text,
        "{} artifacts that nothing on the ledger names ({}) and {} abandoned downloads ({}) {verb}.",
        report.artifacts.len(),
        bytes(&report.artifacts),
        report.downloads.len(),
        bytes(&report.downloads)
    );
    if report.young > 0 {
        let _ = writeln!(text, "{} more came or were used within the last hour, and stay.", report.young);
    }
    text
}

pub(super) fn progress(pass: &ScrubPass) -> String {
    format!(
        "{} of {} artifacts read ({}), {} damaged or lost, {} of them back",
        pass.artifacts,
        pass.of_artifacts.max(pass.artifacts),
        size::shown(pass.bytes),
        pass.rotten,
        pass.healed
    )
}

/// A pass that has ended.
pub(super) fn result(pass: &ScrubPass) -> String {
    let mut text = String::new();
    let ended = pass.ended_ms.map(|ended_ms| format!(", ended {}", moment(ended_ms))).unwrap_or_default();
    let _ = writeln!(text, "Scrub begun {}{ended}: {}.", moment(pass.started_ms), progress(pass));
    for finding in &pass.findings {
        let became = match (&finding.reason, finding.healed) {
            (_, true) => "came back".to_owned(),
            (Some(reason), false) => format!("did not come back: {reason}"),
            (None, false) => "did not come back".to_owned(),
        };
        let _ = writeln!(text, "{}  {}; it {became}", finding.sha256, finding.why);
    }
    if let Some(bucket) = &pass.bucket {
        let read = match bucket.bytes_read {
            0 => String::new(),
            bytes => format!(", {} read", size::shown(bytes)),
        };
        let (copies, wrong, gone) = (bucket.copies, bucket.wrong, bucket.gone);
        let _ = writeln!(text, "{copies} copies in the bucket{read}: {wrong} damaged, {gone} gone.");
        if let Some(reason) = &bucket.reason {
            let _ = writeln!(text, "The look at the bucket was not finished: {reason}.");
        }
    }
    if pass.unreadable > 0 {
        let _ = writeln!(text, "{} artifacts could not be read; the node's log says why.", pass.unreadable);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_ledger::{PackageType, Sha256Digest};
    use pyrsia_node::storage::{Finding, ScrubView};

    fn artifact(standing: Standing) -> StoredArtifactView {
        StoredArtifactView {
            sha256: Sha256Digest::of(b"a"),
            size_bytes: 2_048,
            last_use_ms: 0,
            pinned: false,
            standing,
            package_type: None,
            package: None,
            artifact_id: None,
            at_risk: false,
            place: Place::Disk,
        }
    }

    #[test]
    fn a_listing_tells_why_each_artifact_is_there_and_how_full_the_store_is() {
        let published = StoredArtifactView {
            pinned: true,
            at_risk: true,
            package_type: Some(PackageType::new("docker").unwrap()),
            artifact_id: Some("alpine:1".into()),
            ..artifact(Standing::Kept)
        };
        let mut store = StoreView {
            artifacts: 2,
            bytes: 4_096,
            reserved_bytes: 0,
            budget_bytes: Some(1 << 30),
            pinned: 2,
            missing_pins: vec![Sha256Digest::of(b"gone")],
            scrub: ScrubView::default(),
            bucket: None,
        };
        let text = listing(&store, &[published, artifact(Standing::Unnamed)]);
        assert!(
            text.contains("2.0 KiB  used 1970-01-01T00:00:00Z  docker alpine:1 (pinned, kept for the network, at risk)\n"),
            "{text}"
        );
        assert!(text.contains("named by nothing on the ledger\n"), "{text}");
        assert!(text.contains("2 artifacts with 4.0 KiB of 1.0 GiB that they may have; 2 pinned.\n"), "{text}");
        assert!(text.ends_with("is pinned and not here\n"), "{text}");
        store.budget_bytes = None;
        assert!(listing(&store, &[]).contains("--artifact-budget"));
    }

    #[test]
    fn a_scrub_tells_what_it_found_and_what_became_of_it() {
        let finding = |healed: bool| Finding {
            sha256: Sha256Digest::of(b"a"),
            why: "has 3 bytes".into(),
            healed,
            reason: (!healed).then(|| "no node is connected".into()),
        };
        let pass = ScrubPass {
            ended_ms: Some(1_000),
            artifacts: 4,
            of_artifacts: 4,
            rotten: 2,
            healed: 1,
            unreadable: 1,
            findings: vec![finding(true), finding(false)],
            ..ScrubPass::default()
        };
        let text = result(&pass);
        assert!(
            text.starts_with(
                "Scrub begun 1970-01-01T00:00:00Z, ended 1970-01-01T00:00:01Z: 4 of 4 artifacts read (0 B), 2 damaged"
            ),
            "{text}"
        );
        assert!(text.contains("it came back\n") && text.contains("did not come back: no node is connected\n"), "{text}");
        assert!(text.ends_with("1 artifacts could not be read; the node's log says why.\n"), "{text}");
    }
}
