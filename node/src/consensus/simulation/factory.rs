//! What comes out of builds in this world, and what is true about it.
//!
//! Bytes are a digest; what the verifier would make of them is known here and nowhere else. Some packages come out the same
//! everywhere, some in other bytes with the same meaning, some differently each time, some not at all. Liars claim what they
//! like about bytes of their own; an honest judge that looks at bytes sees what is true.

use pyrsia_ledger::event::{BuildOutcome, BuildSource, BuiltArtifact, DisputeReport, GroupComparison, GroupVerdict, Vouch};
use pyrsia_ledger::projection::builds::{Build, Candidate};
use pyrsia_ledger::{ArtifactId, BuildId, NodeId, Projections, Sha256Digest};
use std::collections::{BTreeMap, BTreeSet};

/// Packages that are asked for again and again: the remainder of their number says how they build.
pub(super) const PACKAGES: u64 = 6;
const ARTIFACTS_PER_BUILD: u64 = 2;

/// How a package builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reproducible,
    /// Some builders get other bytes that mean the same.
    SameMeaning,
    /// Every builder gets other bytes that mean the same.
    NeverTheSameBytes,
    /// Two meanings, by the builder.
    Irreproducible,
    Broken,
}

/// What an honest or a lying judge makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    Honestly,
    /// Bytes of the liars, named as what they are.
    Evil,
    /// Bytes of the liars, with the canonical digest of the honest ones.
    EvilInDisguise,
}

#[derive(Debug, Default)]
pub(super) struct Factory {
    /// What bytes mean: the canonical digest that the verifier gives for them.
    meaning: BTreeMap<Sha256Digest, Sha256Digest>,
    /// What honest judges are bound to.
    honest: BTreeMap<(BuildId, NodeId), BuildOutcome>,
    /// No run fails or is slow by bad luck.
    pub(super) is_calm: bool,
    /// How often each judge ran each build.
    runs: BTreeMap<(BuildId, NodeId), u64>,
}

fn hash(parts: &[&[u8]]) -> Sha256Digest {
    Sha256Digest::of_parts(parts)
}

fn number(digest: Sha256Digest, below: u64) -> u64 {
    u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight bytes")) % below
}

fn kind(build: &Build) -> Kind {
    let text = build.coordinate.id.to_string();
    let which = text.rsplit('-').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    match which % PACKAGES {
        0 | 1 => Kind::Reproducible,
        2 => Kind::SameMeaning,
        3 => Kind::NeverTheSameBytes,
        4 => Kind::Irreproducible,
        _ if build.attempt.is_multiple_of(2) => Kind::Broken,
        _ => Kind::Reproducible,
    }
}

impl Factory {
    /// One run of one judge.
    pub(super) fn run(&mut self, id: &BuildId, build: &Build, judge: &NodeId, make: Make) -> BuildOutcome {
        let runs = self.runs.entry((*id, *judge)).or_default();
        *runs += 1;
        let run_bytes = runs.to_le_bytes();
        let [build_bytes, judge_bytes] =
            [borsh::to_vec(id), borsh::to_vec(judge)].map(|bytes| bytes.expect("writing to memory cannot fail"));
        let own = |below| number(hash(&[b"own", &build_bytes, &judge_bytes]), below);
        let luck = number(hash(&[b"luck", &build_bytes, &judge_bytes, &run_bytes]), 100);
        let luck = if self.is_calm { 100 } else { luck };
        let kind = kind(build);
        if make == Make::Honestly && (kind == Kind::Broken || luck < 4) {
            return BuildOutcome::Failed { reason: "it does not build".into() };
        }
        if make == Make::Honestly && luck < 6 {
            return BuildOutcome::Abstained { reason: "the pipeline is gone".into() };
        }
        let (meaning, variant) = match kind {
            Kind::Reproducible | Kind::Broken => (0, 0),
            Kind::SameMeaning => (0, own(3)),
            Kind::NeverTheSameBytes => (0, number(hash(&[b"bytes", &judge_bytes, &run_bytes]), 1 << 40)),
            Kind::Irreproducible => (own(2), 0),
        };
        let source = BuildSource { kind: "git".into(), location: format!("mirror-{}", own(2)), revision: id.to_string() };
        let mut artifact = |n: u64| {
            let name = format!("{}-{n}", build.coordinate.id);
            let honest = hash(&[b"meaning", &build_bytes, name.as_bytes(), &u64::to_le_bytes(meaning)]);
            let evil = hash(&[b"evil", &build_bytes, name.as_bytes()]);
            let means = if make == Make::Honestly { honest } else { evil };
            let sha256 = hash(&[b"bytes", means.as_bytes(), &u64::to_le_bytes(variant)]);
            self.meaning.insert(sha256, means);
            let canonical = if make == Make::Evil { evil } else { honest };
            BuiltArtifact {
                artifact_id: ArtifactId::new(&name).expect("the name is an id"),
                media_type: "application/octet-stream".into(),
                size_bytes: 1,
                sha256,
                canonical,
                chunk_root: sha256,
            }
        };
        let artifacts = (0..ARTIFACTS_PER_BUILD).map(&mut artifact).collect();
        BuildOutcome::Built { source, artifacts }
    }

    /// An honest judge binds itself to a result.
    pub(super) fn sealed(&mut self, id: &BuildId, judge: NodeId, outcome: &BuildOutcome) {
        self.honest.insert((*id, judge), outcome.clone());
    }

    /// A test builds something of its own, and means what it says.
    #[cfg(test)]
    pub(super) fn made(&mut self, id: &BuildId, judge: NodeId, outcome: &BuildOutcome) {
        if let BuildOutcome::Built { artifacts, .. } = outcome {
            self.meaning.extend(artifacts.iter().map(|artifact| (artifact.sha256, artifact.canonical)));
        }
        self.sealed(id, judge, outcome);
    }

    fn meaning(&self, bytes: &Sha256Digest) -> Option<&Sha256Digest> {
        self.meaning.get(bytes)
    }

    /// What a judge says that looks at the bytes.
    pub(super) fn vouch(&self, own: Option<&BuildOutcome>, candidate: &Candidate<'_>) -> Vouch {
        let Some(BuildOutcome::Built { artifacts: own, .. }) = own else {
            return Vouch::Unavailable { reason: "this judge has nothing to compare with".into() };
        };
        let meant: BTreeSet<_> = own.iter().map(|artifact| (&artifact.artifact_id, Some(&artifact.canonical))).collect();
        let seen: BTreeSet<_> =
            candidate.artifacts.iter().map(|artifact| (&artifact.artifact_id, self.meaning(&artifact.sha256))).collect();
        if meant == seen { Vouch::Same } else { Vouch::Different { reason: "other contents".into() } }
    }

    pub(super) fn compare(&self, state: &Projections, id: &BuildId) -> DisputeReport {
        let groups = state.builds.groups(id);
        let different = |pair: &[pyrsia_ledger::projection::builds::Group<'_>]| GroupComparison {
            a: pair[0].judges[0],
            b: pair[1].judges[0],
            verdict: GroupVerdict::Different,
            differences: vec![],
            omitted: 0,
        };
        let comparisons: Vec<GroupComparison> = groups.windows(2).take(4).map(different).collect();
        let omitted = groups.len().saturating_sub(1 + comparisons.len()) as u64;
        DisputeReport { comparisons, omitted }
    }

    /// Whether an honest judge is bound to bytes that mean what these do: the truth, whatever anybody claims.
    pub(super) fn stands_for(&self, id: &BuildId, judge: &NodeId, published: &BuiltArtifact) -> bool {
        let Some(BuildOutcome::Built { artifacts, .. }) = self.honest.get(&(*id, *judge)) else { return false };
        let meaning = self.meaning(&published.sha256);
        let is_same = |own: &BuiltArtifact| {
            own.artifact_id == published.artifact_id && meaning.is_some() && self.meaning(&own.sha256) == meaning
        };
        artifacts.iter().any(is_same)
    }
}
