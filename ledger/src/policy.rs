//! Every rule that can refuse an event, each once: the proposer, the validator, the follower and the auditor call these.
//!
//! A rule reads the ledger and the event and nothing else: no clock, no opinion of this node. The signature is checked
//! apart, because it does not depend on the ledger and is worth caching.

use crate::coordinate::{ArtifactId, BuildId, PackageCoordinate, PackageType};
use crate::digest::Sha256Digest;
use crate::event::{
    ARTIFACTS_PER_BUILD_MAX, AddArtifact, BuildOutcome, BuildRequested, BuildResultReported, Event, NetworkFounded,
    NodeActivated, NodeAuthorizationApproved, TEXT_BYTES_MAX, VerifierApproved,
};
use crate::identity::{NodeId, NodeIdError};
use crate::projection::builds::BuildStatus;
use crate::projection::{ACTIVATION_WINDOW_BLOCKS, Projections};
use crate::signed::{ENVELOPE_VERSION, EVENT_BYTES_MAX, NetworkId, SignedEvent, UnsignedEvent};
use crate::{BlockHash, Height};
use std::collections::BTreeSet;

/// Why an event may not stand on the ledger.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("the event has {size_bytes} bytes, more than {EVENT_BYTES_MAX}")]
    TooLarge { size_bytes: usize },
    #[error("the envelope has version {found}, this network writes {ENVELOPE_VERSION}")]
    Version { found: u16 },
    #[error("the event is for network {found}")]
    Network { found: NetworkId },
    #[error("the author's next event has number {expected}, this one has {found}")]
    Sequence { expected: u64, found: u64 },
    #[error("a text of {size_bytes} bytes is longer than {TEXT_BYTES_MAX}")]
    Text { size_bytes: usize },
    #[error("a text has a control character")]
    ControlCharacter,
    #[error("the network is founded already")]
    FoundedAlready,
    #[error("{author} is not an authorized node")]
    NotAuthorized { author: NodeId },
    #[error(transparent)]
    Key(#[from] NodeIdErrorText),
    #[error("Node with node ID {node} is already authorized")]
    AuthorizedAlready { node: NodeId },
    #[error("{author} has approved {node} already")]
    ApprovedAlready { author: NodeId, node: NodeId },
    #[error("{author} has not been approved by an absolute majority")]
    NotApproved { author: NodeId },
    #[error("block {height} with hash {hash} is not one of the newest {ACTIVATION_WINDOW_BLOCKS}")]
    NotRecent { height: u64, hash: Sha256Digest },
    #[error("the set of authorized nodes changes once in a block")]
    SetChangesInThisBlock,
    #[error("{author} has approved verifier {module} already")]
    VerifierApprovedAlready { author: NodeId, module: Sha256Digest },
    #[error("no authorized nodes found")]
    NoAuthorizedNodes,
    #[error("builds of {package_type} are judged by verifier {expected:?}, not {found}")]
    Verifier { package_type: PackageType, expected: Option<Sha256Digest>, found: Sha256Digest },
    #[error("the next build of {coordinate} has attempt {expected} and follows from it, not {found}")]
    Attempt { coordinate: PackageCoordinate, expected: u32, found: u32 },
    #[error("build {build_id} of {coordinate} is still open")]
    BuildOpen { coordinate: PackageCoordinate, build_id: BuildId },
    #[error("build {0} was never requested")]
    UnknownBuild(BuildId),
    #[error("{author} is not a judge of build {build_id}")]
    NotJudge { author: NodeId, build_id: BuildId },
    #[error("{author} has reported a result of build {build_id} already")]
    ReportedAlready { author: NodeId, build_id: BuildId },
    #[error("a build has 1 to {ARTIFACTS_PER_BUILD_MAX} artifacts, each once, not {found}")]
    Artifacts { found: usize },
    #[error("no absolute majority of the judges agrees on build {0}")]
    NotAgreed(BuildId),
    #[error("artifact {artifact_id} of build {build_id} is not the one the majority built")]
    OtherArtifact { build_id: BuildId, artifact_id: ArtifactId },
    #[error("artifact {artifact_id} of build {build_id} is added already")]
    AddedAlready { build_id: BuildId, artifact_id: ArtifactId },
}

/// A key error as a value that can be compared and cloned.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct NodeIdErrorText(String);

impl From<NodeIdError> for Refusal {
    fn from(error: NodeIdError) -> Self {
        Self::Key(NodeIdErrorText(error.to_string()))
    }
}

impl Refusal {
    /// Whether the same event could be allowed at a later height.
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::Sequence { expected, found } => found < expected,
            Self::NotAuthorized { .. }
            | Self::NotApproved { .. }
            | Self::NoAuthorizedNodes
            | Self::SetChangesInThisBlock
            | Self::UnknownBuild(_)
            | Self::NotAgreed(_) => false,
            _ => true,
        }
    }
}

/// Whether `event` may stand on the ledger next.
pub fn check(state: &Projections, event: &SignedEvent) -> Result<(), Refusal> {
    let unsigned = &event.unsigned;
    envelope(state, unsigned)?;
    match &unsigned.event {
        Event::NetworkFounded(_) => Err(Refusal::FoundedAlready),
        Event::NodeAuthorizationApproved(body) => authorization(state, unsigned.author, body),
        Event::NodeActivated(body) => activation(state, unsigned.author, body),
        Event::VerifierApproved(body) => verifier(state, unsigned.author, body),
        Event::BuildRequested(body) => request(state, unsigned.author, body),
        Event::BuildResultReported(body) => report(state, unsigned.author, body),
        Event::AddArtifact(body) => publication(state, unsigned.author, body),
    }
}

/// Whether an event of this many bytes may stand on any ledger. Apart from [`check`], because it needs the encoding.
pub fn size(size_bytes: usize) -> Result<(), Refusal> {
    if size_bytes > EVENT_BYTES_MAX { Err(Refusal::TooLarge { size_bytes }) } else { Ok(()) }
}

/// The founding event, which no state comes before.
pub fn founding(unsigned: &UnsignedEvent, body: &NetworkFounded) -> Result<(), Refusal> {
    if unsigned.version != ENVELOPE_VERSION {
        return Err(Refusal::Version { found: unsigned.version });
    }
    if unsigned.network != NetworkId::UNFOUNDED {
        return Err(Refusal::Network { found: unsigned.network });
    }
    if unsigned.sequence != 0 {
        return Err(Refusal::Sequence { expected: 0, found: unsigned.sequence });
    }
    unsigned.author.check()?;
    text(&body.name)
}

fn envelope(state: &Projections, unsigned: &UnsignedEvent) -> Result<(), Refusal> {
    if unsigned.version != ENVELOPE_VERSION {
        return Err(Refusal::Version { found: unsigned.version });
    }
    if unsigned.network != *state.network() {
        return Err(Refusal::Network { found: unsigned.network });
    }
    let expected = state.next_sequence(&unsigned.author);
    if unsigned.sequence != expected {
        return Err(Refusal::Sequence { expected, found: unsigned.sequence });
    }
    Ok(())
}

/// The founder alone while nobody is authorized, the authorized nodes from then on.
fn may_authorize(state: &Projections, author: NodeId) -> Result<(), Refusal> {
    if state.validators().contains(&author) { Ok(()) } else { Err(Refusal::NotAuthorized { author }) }
}

fn authorization(state: &Projections, author: NodeId, body: &NodeAuthorizationApproved) -> Result<(), Refusal> {
    let node = body.node;
    may_authorize(state, author)?;
    node.check()?;
    if state.members.contains(&node) {
        return Err(Refusal::AuthorizedAlready { node });
    }
    match state.members.candidate(&node) {
        Some(candidate) if candidate.approvals.contains(&author) => Err(Refusal::ApprovedAlready { author, node }),
        _ => Ok(()),
    }
}

fn activation(state: &Projections, author: NodeId, body: &NodeActivated) -> Result<(), Refusal> {
    if state.members.contains(&author) {
        return Err(Refusal::AuthorizedAlready { node: author });
    }
    if state.members.candidate(&author).is_none_or(|candidate| candidate.approved_at.is_none()) {
        return Err(Refusal::NotApproved { author });
    }
    if state.recent_block(Height(body.recent_height)) != Some(BlockHash(body.recent_block)) {
        return Err(Refusal::NotRecent { height: body.recent_height, hash: body.recent_block });
    }
    // A certificate of the next height must be checkable against one well-known set, and a quorum must not be diluted twice.
    if state.members.changed_at() == state.height().next() {
        return Err(Refusal::SetChangesInThisBlock);
    }
    Ok(())
}

fn verifier(state: &Projections, author: NodeId, body: &VerifierApproved) -> Result<(), Refusal> {
    may_authorize(state, author)?;
    match state.verifiers.module(&body.package_type, &body.module) {
        Some(module) if module.approvals.contains(&author) => {
            Err(Refusal::VerifierApprovedAlready { author, module: body.module })
        }
        _ => Ok(()),
    }
}

fn request(state: &Projections, author: NodeId, body: &BuildRequested) -> Result<(), Refusal> {
    if state.members.is_empty() {
        return Err(Refusal::NoAuthorizedNodes);
    }
    if !state.members.contains(&author) {
        return Err(Refusal::NotAuthorized { author });
    }
    let coordinate = &body.coordinate;
    let expected = state.verifiers.current(&coordinate.package_type);
    if expected != Some(body.verifier) {
        let package_type = coordinate.package_type.clone();
        return Err(Refusal::Verifier { package_type, expected, found: body.verifier });
    }
    let attempt = state.next_attempt(coordinate);
    if body.attempt != attempt || body.build_id != state.next_build_id(coordinate) {
        return Err(Refusal::Attempt { coordinate: coordinate.clone(), expected: attempt, found: body.attempt });
    }
    let Some(previous) = attempt.checked_sub(1) else { return Ok(()) };
    let build_id = BuildId::of(state.network(), coordinate, previous);
    match state.builds.get(&build_id) {
        Some(build) if !build.status.is_closed() => Err(Refusal::BuildOpen { coordinate: coordinate.clone(), build_id }),
        _ => Ok(()),
    }
}

fn report(state: &Projections, author: NodeId, body: &BuildResultReported) -> Result<(), Refusal> {
    judge(state, author, body.build_id)?;
    if state.builds.result(&body.build_id, &author).is_some() {
        return Err(Refusal::ReportedAlready { author, build_id: body.build_id });
    }
    match &body.outcome {
        BuildOutcome::Failed { reason } | BuildOutcome::Abstained { reason } => text(reason),
        BuildOutcome::Built { source, artifacts } => {
            for part in [&source.kind, &source.location, &source.revision] {
                text(part)?;
            }
            artifacts.iter().try_for_each(|artifact| text(&artifact.media_type))?;
            let distinct: BTreeSet<&ArtifactId> = artifacts.iter().map(|artifact| &artifact.artifact_id).collect();
            let fits = (1..=ARTIFACTS_PER_BUILD_MAX).contains(&artifacts.len());
            if fits && distinct.len() == artifacts.len() { Ok(()) } else { Err(Refusal::Artifacts { found: artifacts.len() }) }
        }
    }
}

fn judge(state: &Projections, author: NodeId, build_id: BuildId) -> Result<(), Refusal> {
    let build = state.builds.get(&build_id).ok_or(Refusal::UnknownBuild(build_id))?;
    if build.judges.contains(&author) { Ok(()) } else { Err(Refusal::NotJudge { author, build_id }) }
}

fn publication(state: &Projections, author: NodeId, body: &AddArtifact) -> Result<(), Refusal> {
    let build_id = body.build_id;
    judge(state, author, build_id)?;
    let artifact_id = body.artifact.artifact_id.clone();
    let build = state.builds.get(&build_id).ok_or(Refusal::UnknownBuild(build_id))?;
    if matches!(build.status, BuildStatus::Published { .. }) || state.packages.has_record(body) {
        return Err(Refusal::AddedAlready { build_id, artifact_id });
    }
    let (_, chosen) = state.builds.chosen(&build_id).ok_or(Refusal::NotAgreed(build_id))?;
    if build.coordinate != body.coordinate || !chosen.contains(&body.artifact) {
        return Err(Refusal::OtherArtifact { build_id, artifact_id });
    }
    Ok(())
}

/// Texts are shown in terminals, logs and pages: nobody may write there what is no text.
fn text(text: &str) -> Result<(), Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Refusal::Text { size_bytes: text.len() });
    }
    if text.chars().any(char::is_control) { Err(Refusal::ControlCharacter) } else { Ok(()) }
}
