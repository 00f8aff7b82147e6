//! Judges that came to the same result, and whose word about others' bytes is asked for.

use super::{BuildStatus, Builds};
use crate::coordinate::BuildId;
use crate::digest::Sha256Digest;
use crate::event::{BuildSource, BuiltArtifact};
use crate::identity::NodeId;
use std::collections::BTreeMap;

/// Judges with the same result, to the last bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Digest over what pins the source and every artifact.
    pub result: Sha256Digest,
    /// The same over the canonical digests, which are only these judges' word.
    pub canonical: Sha256Digest,
    /// In ascending order.
    pub judges: Vec<NodeId>,
    /// As the smallest judge names it.
    pub source: &'a BuildSource,
    pub artifacts: &'a [BuiltArtifact],
}

/// The bytes that judges are asked to vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub result: Sha256Digest,
    /// Those who built them.
    pub judges: Vec<NodeId>,
    pub source: &'a BuildSource,
    pub artifacts: &'a [BuiltArtifact],
}

impl Builds {
    /// The results that count, the one of most judges first, of equals the smallest digest.
    pub fn groups<'a>(&'a self, id: &'a BuildId) -> Vec<Group<'a>> {
        let Some(build) = self.get(id) else { return vec![] };
        let mut groups = BTreeMap::<Sha256Digest, Group<'a>>::new();
        for (judge, revealed) in self.counted(id, build) {
            let (Some(digests), Some((source, artifacts))) = (revealed.digests, revealed.built()) else { continue };
            let new = || Group { result: digests.raw, canonical: digests.canonical, judges: vec![], source, artifacts };
            groups.entry(digests.raw).or_insert_with(new).judges.push(*judge);
        }
        let mut groups: Vec<Group<'a>> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.judges.len()));
        groups
    }

    /// What is to be vouched for, while the build is in that phase.
    pub fn candidate<'a>(&'a self, id: &'a BuildId) -> Option<Candidate<'a>> {
        let BuildStatus::Vouching { candidate } = self.get(id)?.status else { return None };
        let group = self.groups(id).into_iter().find(|group| group.result == candidate)?;
        Some(Candidate { result: candidate, judges: group.judges, source: group.source, artifacts: group.artifacts })
    }

    /// Whether this judge's word about the candidate is asked for: it came to the same canonical result by other bytes.
    pub fn may_vouch(&self, id: &BuildId, judge: &NodeId) -> bool {
        let Some(build) = self.get(id) else { return false };
        let BuildStatus::Vouching { candidate } = build.status else { return false };
        let Some(canonical) = self.canonical_of(id, &candidate) else { return false };
        let own = self.result(id, judge).filter(|revealed| revealed.counted).and_then(|revealed| revealed.digests);
        build.is_active(judge) && own.is_some_and(|own| own.canonical == canonical && own.raw != candidate)
    }

    /// Whether this judge's word about the candidate is asked for and missing.
    pub fn must_vouch(&self, id: &BuildId, judge: &NodeId) -> bool {
        let Some(BuildStatus::Vouching { candidate }) = self.get(id).map(|build| &build.status) else { return false };
        self.may_vouch(id, judge) && self.vouch(id, candidate, judge).is_none()
    }

    /// The canonical result that belongs to a raw one.
    pub(super) fn canonical_of(&self, id: &BuildId, raw: &Sha256Digest) -> Option<Sha256Digest> {
        self.results(id)
            .filter_map(|(_, revealed)| revealed.digests)
            .find(|digests| digests.raw == *raw)
            .map(|digests| digests.canonical)
    }
}
