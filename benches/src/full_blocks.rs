//! Blocks as full as they get: builds from the request to the publication, by judges that need no time to build.
//!
//! Builds come in waves that overlap, so that there is always enough to say for a whole block.

use crate::usage::Usage;
use crate::validators::{MODULE, Validators, ensure_level, propose, reached};
use anyhow::{Context, Result};
use futures::future::try_join_all;
use futures::stream::{StreamExt as _, TryStreamExt as _, iter};
use pyrsia_ledger::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed, BuildSource, BuiltArtifact, commitment,
};
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{ArtifactId, BuildId, Event, NetworkId, PackageCoordinate, Projections, Sha256Digest};
use pyrsia_node::consensus::ConsensusHandle;
use std::time::Instant;

const WAVES: u64 = 20;
/// Of one author at most so many times as many events wait as a wave has builds: below what the others keep for it.
const WAVES_AT_ONCE: usize = 4;
const BUILDS_OF_A_WAVE: usize = 200;

/// A build that every judge comes to the same result of.
struct Lived {
    id: BuildId,
    coordinate: PackageCoordinate,
    artifact: BuiltArtifact,
}

impl Lived {
    fn new(network: &NetworkId, number: u64) -> Result<Self> {
        let name = format!("full/package{number}:1");
        let coordinate = PackageCoordinate::new("docker", &name)?;
        let digest = Sha256Digest::of(name.as_bytes());
        let artifact = BuiltArtifact {
            artifact_id: ArtifactId::new(&name)?,
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            size_bytes: 1_000,
            sha256: digest,
            canonical: digest,
            chunk_root: digest,
        };
        Ok(Self { id: BuildId::of(network, &coordinate, 0), coordinate, artifact })
    }

    fn request(&self) -> Event {
        let (build_id, coordinate) = (self.id, self.coordinate.clone());
        Event::BuildRequested(BuildRequested { build_id, coordinate, attempt: 0, verifier: MODULE, source: None })
    }

    fn outcome(&self) -> BuildOutcome {
        let source = BuildSource { kind: "registry".into(), location: String::new(), revision: self.artifact.sha256.to_string() };
        BuildOutcome::Built { source, artifacts: vec![self.artifact.clone()] }
    }

    fn commitment(&self, network: &NetworkId, judge: &Judge<'_>) -> Event {
        let commitment = commitment(network, &self.id, &judge.handle.node_id(), &judge.salt(), &self.outcome());
        Event::BuildResultCommitted(BuildResultCommitted { build_id: self.id, commitment })
    }

    fn result(&self, judge: &Judge<'_>) -> Event {
        let (outcome, salt) = (self.outcome(), judge.salt());
        Event::BuildResultRevealed(BuildResultRevealed { build_id: self.id, outcome: outcome.into(), salt })
    }

    fn publication(&self) -> Event {
        let (coordinate, artifact) = (self.coordinate.clone(), self.artifact.clone());
        Event::AddArtifact(AddArtifact { build_id: self.id, coordinate, artifact })
    }
}

struct Judge<'a> {
    place: usize,
    handle: &'a ConsensusHandle,
}

impl Judge<'_> {
    fn salt(&self) -> [u8; 32] {
        [self.place as u8; 32]
    }

    /// All it has to say of a wave, each thing when its time has come.
    async fn live_through(&self, network: &NetworkId, judges: usize, wave: &[Lived]) -> Result<()> {
        let (own, handle) = (|| wave.iter().skip(self.place).step_by(judges), self.handle);
        say(handle, own().map(Lived::request)).await?;
        all(handle, wave, |_| true).await?;
        say(handle, wave.iter().map(|build| build.commitment(network, self))).await?;
        all(handle, wave, |status| !matches!(status, BuildStatus::Committing)).await?;
        say(handle, wave.iter().map(|build| build.result(self))).await?;
        all(handle, wave, |status| matches!(status, BuildStatus::Agreed { .. } | BuildStatus::Published { .. })).await?;
        say(handle, own().map(Lived::publication)).await
    }
}

async fn say(handle: &ConsensusHandle, events: impl Iterator<Item = Event>) -> Result<()> {
    try_join_all(events.map(|event| propose(handle, event))).await.map(drop)
}

/// Waits until every build of the wave stands on this ledger, and so far.
async fn all(handle: &ConsensusHandle, wave: &[Lived], is_so_far: impl Fn(&BuildStatus) -> bool) -> Result<()> {
    let is_there =
        |state: &Projections| wave.iter().all(|build| state.builds.get(&build.id).is_some_and(|found| is_so_far(&found.status)));
    reached(handle, is_there).await
}

/// Signed events that become final on all validators in a second.
pub(crate) async fn measure(validators: &Validators) -> Result<()> {
    let judges: Vec<Judge<'_>> = validators.handles.iter().enumerate().map(|(place, handle)| Judge { place, handle }).collect();
    let state = judges[0].handle.view().state.clone().context("a network")?;
    let network = *state.network();
    let wave = |number: u64| -> Result<Vec<Lived>> {
        let first = number * BUILDS_OF_A_WAVE as u64;
        (first..first + BUILDS_OF_A_WAVE as u64).map(|number| Lived::new(&network, number)).collect()
    };
    let waves = (0..WAVES).map(wave).collect::<Result<Vec<_>>>()?;
    let (start, used) = (Instant::now(), Usage::of_this_process()?);
    let living = iter(&waves).map(|wave| {
        let living: Vec<_> = judges.iter().map(|judge| judge.live_through(&network, judges.len(), wave)).collect();
        Ok::<_, anyhow::Error>(try_join_all(living))
    });
    living.try_buffer_unordered(WAVES_AT_ONCE).try_collect::<Vec<_>>().await?;
    // A request, each judge's commitment and result, and what publishes it.
    let events = waves.len() * BUILDS_OF_A_WAVE * (2 + 2 * judges.len());
    let complete = state.tree_size() + events as u64;
    for judge in &judges {
        reached(judge.handle, |state| state.tree_size() >= complete).await?;
    }
    let (taken, used) = (start.elapsed(), Usage::of_this_process()?.since(used));
    ensure_level(&validators.handles)?;
    let now = judges[0].handle.view().state.clone().context("a network")?;
    let blocks = now.height().0 - state.height().0;
    let count = judges.len();
    println!(
        "| {count} validators, signed events of {} builds that become final on all of them (goal: at least 5,000) | {:.0}/s, {} in \
         a block, {:.1} processors |",
        waves.len() * BUILDS_OF_A_WAVE,
        events as f64 / taken.as_secs_f64(),
        events as u64 / blocks.max(1),
        used.processor.as_secs_f64() / taken.as_secs_f64()
    );
    Ok(())
}
