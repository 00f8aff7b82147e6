//! Makes a proof out of a ledger and its state: reads the blocks in which something about the build stands, and those that
//! changed the validators, and nothing in between.

use super::source::{ProofSource, SourceError};
use super::{Evidence, FinalBlock, Link, PROOF_BYTES_MAX, PlacedInTree, ProofError, PublicationProof, Says};
use crate::block::{BlockHeader, Height, SealedBlock};
use crate::certificate::ValidatorSet;
use crate::coordinate::{ArtifactId, BuildId};
use crate::event::Event;
use crate::identity::NodeId;
use crate::projection::Projections;
use crate::projection::builds::{Build, BuildStatus};
use crate::signed::SignedEvent;
use std::collections::{BTreeMap, BTreeSet};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error("build {0} is not known to this ledger")]
    UnknownBuild(BuildId),
    #[error("build {build} is not published")]
    NotPublished { build: BuildId, status: Box<BuildStatus> },
    #[error("build {build} has no artifact {artifact}")]
    UnknownArtifact { build: BuildId, artifact: ArtifactId },
    #[error("block {0} is not in the ledger that the proof is made from")]
    Missing(Height),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the proof would have {size_bytes} bytes, more than {PROOF_BYTES_MAX}")]
    TooLarge { size_bytes: usize },
    #[error("what the ledger holds is no proof")]
    Unsound(#[source] ProofError),
}

/// Proves that a build was published: all of its artifacts, or those named. What has been put at risk since is proved as well;
/// the state says that it is.
pub fn prove(
    source: &impl ProofSource,
    state: &Projections,
    build: &BuildId,
    artifacts: Option<&[ArtifactId]>,
) -> Result<PublicationProof, ProveError> {
    let wanted = Wanted::of(state, build, artifacts)?;
    let publication = block(source, wanted.published_at)?;
    let request = block(source, wanted.build.requested_at)?;
    let (old, size) = (request.block.header.tree_size, publication.block.header.tree_size);
    let mut events = vec![];
    for height in &wanted.heights {
        let sealed = block(source, *height)?;
        let header = &sealed.block.header;
        let first = header.tree_size.saturating_sub(sealed.block.events.len() as u64);
        for (index, event) in (first..).zip(sealed.block.events).filter(|(_, event)| wanted.has(event)) {
            events.push(PlacedInTree { index, event, path: source.inclusion(index, size)? });
        }
    }
    let evidence = Evidence {
        genesis: block(source, Height::GENESIS)?,
        links: links(source, state, wanted.published_at)?,
        request: final_block(source, request)?,
        publication: final_block(source, publication)?,
        consistency: source.consistency(old, size)?,
        events,
    };
    // Nobody is handed a proof that does not hold, whatever the ledger it was made from is like.
    let verified = evidence.verify(Some(*state.network())).map_err(ProveError::Unsound)?;
    let proof = PublicationProof { says: Says::of(&verified), evidence };
    let size_bytes = proof.to_text().len();
    if size_bytes > PROOF_BYTES_MAX { Err(ProveError::TooLarge { size_bytes }) } else { Ok(proof) }
}

fn block(source: &impl ProofSource, height: Height) -> Result<SealedBlock, ProveError> {
    source.block(height)?.ok_or(ProveError::Missing(height))
}

fn final_block(source: &impl ProofSource, sealed: SealedBlock) -> Result<FinalBlock, ProveError> {
    let height = sealed.height();
    let parent = height.0.checked_sub(1).map(Height).ok_or(ProveError::Missing(height))?;
    let parent = block(source, parent)?.block.header;
    Ok(FinalBlock { parent, header: sealed.block.header, certificate: sealed.certificate })
}

/// Which events belong into a proof, and in which blocks they stand.
struct Wanted<'a> {
    state: &'a Projections,
    id: BuildId,
    build: &'a Build,
    artifacts: BTreeSet<&'a ArtifactId>,
    published_at: Height,
    heights: BTreeSet<Height>,
}

impl<'a> Wanted<'a> {
    fn of(state: &'a Projections, id: &BuildId, artifacts: Option<&[ArtifactId]>) -> Result<Self, ProveError> {
        let build = state.builds.get(id).ok_or(ProveError::UnknownBuild(*id))?;
        if !matches!(build.status, BuildStatus::Published { .. }) {
            return Err(ProveError::NotPublished { build: *id, status: Box::new(build.status.clone()) });
        }
        let records = state.packages.records(&build.coordinate).filter(|record| record.build_id == *id);
        let mut added: BTreeMap<&ArtifactId, Height> =
            records.map(|record| (&record.artifact.artifact_id, record.height)).collect();
        if let Some(artifacts) = artifacts {
            if let Some(unknown) = artifacts.iter().find(|artifact| !added.contains_key(artifact)) {
                return Err(ProveError::UnknownArtifact { build: *id, artifact: unknown.clone() });
            }
            added.retain(|artifact, _| artifacts.contains(artifact));
        }
        let published_at = added.values().max().copied().ok_or(ProveError::Unsound(ProofError::NoArtifact))?;
        let mut heights: BTreeSet<Height> = added.values().copied().chain([build.requested_at]).collect();
        for (judge, revealed) in state.builds.results(id) {
            heights.insert(revealed.height);
            heights.extend(state.builds.commitment(id, judge).map(|(height, _)| height));
        }
        heights.extend(state.builds.vouches(id).iter().map(|vouched| vouched.height));
        heights.retain(|height| *height <= published_at);
        Ok(Self { state, id: *id, build, artifacts: added.into_keys().collect(), published_at, heights })
    }

    fn has(&self, signed: &SignedEvent) -> bool {
        match signed.event() {
            Event::BuildRequested(body) => body.build_id == self.id,
            Event::BuildResultCommitted(body) => body.build_id == self.id && self.counts(&signed.author()),
            Event::BuildResultRevealed(body) => body.build_id == self.id,
            Event::BuildCandidateVouched(body) => body.build_id == self.id,
            Event::AddArtifact(body) => body.build_id == self.id && self.artifacts.contains(&body.artifact.artifact_id),
            _ => false,
        }
    }

    /// Whether the judge showed a result that counts until the publication: only with what it committed to does a proof count it.
    fn counts(&self, judge: &NodeId) -> bool {
        let result = self.state.builds.result(&self.id, judge);
        result.is_some_and(|revealed| revealed.counted && revealed.height <= self.published_at)
    }
}

/// The blocks below `end` that changed the validators.
fn links(source: &impl ProofSource, state: &Projections, end: Height) -> Result<Vec<Link>, ProveError> {
    let (mut links, mut validators) = (vec![], ValidatorSet::new(vec![state.founder()]));
    for height in state.members.changes().take_while(|height| *height < end) {
        let SealedBlock { block, certificate } = block(source, height)?;
        // A founder that is the first to be authorized stays the only validator.
        if block.header.next_validators == block.header.validators {
            continue;
        }
        validators = next_validators(&validators, &block.header, &block.events).ok_or_else(|| {
            ProveError::Unsound(ProofError::Block { height, what: "its events do not lead to the validators it names" })
        })?;
        links.push(Link { header: block.header, certificate, next: validators.nodes().to_vec() });
    }
    Ok(links)
}

/// The set that a block leads to: one node comes or leaves, and its hash tells which of the events did it.
fn next_validators(validators: &ValidatorSet, header: &BlockHeader, events: &[SignedEvent]) -> Option<ValidatorSet> {
    let without = |node: &NodeId| validators.nodes().iter().filter(|other| *other != node).copied().collect::<Vec<_>>();
    let candidates = events.iter().flat_map(|signed| match signed.event() {
        // The first node that is authorized takes the place of the founder.
        Event::NodeActivated(_) => {
            let comes = signed.author();
            vec![[validators.nodes(), &[comes]].concat(), vec![comes]]
        }
        Event::NodeRevocationApproved(body) => vec![without(&body.node)],
        Event::EquivocationProved(body) => vec![without(&body.evidence.accused())],
        _ => vec![],
    });
    candidates.map(ValidatorSet::new).find(|next| next.hash() == header.next_validators)
}
