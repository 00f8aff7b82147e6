//! What is stored on this node. Looking is free; what changes it needs the admin token.

use super::{body, error::Refused, json};
use crate::server::Front;
use crate::wire::{
    ArtifactChange, ArtifactOutcome, ArtifactsPage, ArtifactsRequest, ArtifactsResponse, CollectRequest, CollectResponse,
    LeftoverView, ScrubRequest, ScrubResponse, StoreView, StoredArtifactView,
};
use poem::http::StatusCode;
use poem::{Request, Response};
use pyrsia_ledger::Sha256Digest;
use pyrsia_node::artifacts::Leaving;
use pyrsia_node::storage::{ArtifactListing, Leftover, LeftoversError, StorageError, StorageView};
use serde::Deserialize;
use std::time::UNIX_EPOCH;

/// Artifacts on one page, and how many of them when nobody says.
const PAGE_MAX: usize = 1_000;
const PAGE_DEFAULT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    after: Option<Sha256Digest>,
    limit: Option<usize>,
}

pub(crate) fn artifacts(front: &Front, request: &Request) -> Result<Response, Refused> {
    let PageQuery { after, limit } = body::query(request)?;
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Refused::bad_request(format!("limit is {limit}; it may be 1 to {PAGE_MAX}")));
    }
    let mut found = front.node.stored_artifacts(after.as_ref(), limit + 1);
    let is_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map(|last| last.stored.sha256).filter(|_| is_more);
    Ok(json(StatusCode::OK, &ArtifactsPage { artifacts: found.into_iter().map(listed).collect(), next }))
}

fn listed(listing: ArtifactListing) -> StoredArtifactView {
    let ArtifactListing { stored, is_pinned, standing, published, is_at_risk, place } = listing;
    let (coordinate, artifact_id) = published.unzip();
    let (package_type, package) = coordinate.map(|coordinate| (coordinate.package_type, coordinate.id.into())).unzip();
    StoredArtifactView {
        sha256: stored.sha256,
        size_bytes: stored.size_bytes,
        last_use_ms: stored.last_use.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        pinned: is_pinned,
        standing,
        package_type,
        package,
        artifact_id: artifact_id.map(|id| id.to_string()),
        at_risk: is_at_risk,
        place,
    }
}

pub(crate) fn store(front: &Front) -> Result<Response, Refused> {
    let StorageView { usage, budget_bytes, pinned, missing_pins, scrub, bucket } = front.node.storage();
    let view = StoreView {
        artifacts: usage.artifacts,
        bytes: usage.bytes,
        reserved_bytes: usage.reserved_bytes,
        budget_bytes,
        pinned,
        missing_pins,
        scrub,
        bucket,
    };
    Ok(json(StatusCode::OK, &view))
}

/// What an operator wants of artifacts.
#[derive(Clone, Copy)]
pub(crate) enum Wish {
    Pin,
    Unpin,
    Remove,
    /// From the bucket as well.
    RemoveEverywhere,
}

impl Wish {
    fn what(self) -> &'static str {
        match self {
            Self::Pin => "pinning an artifact",
            Self::Unpin => "unpinning an artifact",
            Self::Remove | Self::RemoveEverywhere => "removing an artifact",
        }
    }
}

pub(crate) async fn change(front: &Front, wish: Wish, mut request: Request) -> Result<Response, Refused> {
    let ArtifactsRequest { artifacts, bucket } = body::read(&mut request).await?;
    if !front.admin.is_known_to(request.headers()) {
        return Err(Refused::without_admin_token(wish.what()));
    }
    let wish = match wish {
        Wish::Remove if bucket => Wish::RemoveEverywhere,
        _ if bucket => return Err(Refused::bad_request("only removals are for the bucket as well".to_owned())),
        wish => wish,
    };
    let mut outcomes = vec![];
    for sha256 in artifacts {
        let outcome = match changed(front, wish, sha256).await {
            Ok(outcome) => outcome,
            Err(error) if outcomes.is_empty() => return Err(error.into()),
            // What became of the others is said all the same.
            Err(error) => {
                tracing::error!(%sha256, error = &error as &dyn std::error::Error, "{} failed", wish.what());
                ArtifactChange::Failed
            }
        };
        outcomes.push(ArtifactOutcome { sha256, outcome });
    }
    Ok(json(StatusCode::OK, &ArtifactsResponse { artifacts: outcomes }))
}

async fn changed(front: &Front, wish: Wish, sha256: Sha256Digest) -> Result<ArtifactChange, StorageError> {
    Ok(match wish {
        Wish::Pin => match front.node.pin(sha256).await {
            Ok(true) => ArtifactChange::Pinned,
            Ok(false) => ArtifactChange::PinnedNotHere,
            Err(StorageError::Unknown(_)) => ArtifactChange::Unknown,
            Err(error) => return Err(error),
        },
        Wish::Unpin => match front.node.unpin(sha256).await? {
            true => ArtifactChange::Unpinned,
            false => ArtifactChange::WasNotPinned,
        },
        Wish::Remove => match front.node.remove_artifact(sha256).await? {
            Leaving::Gone if front.node.has_copy(&sha256) => ArtifactChange::RemovedFromDisk,
            Leaving::Gone => ArtifactChange::Removed,
            Leaving::NotHere if front.node.has_copy(&sha256) => ArtifactChange::InBucketAlone,
            Leaving::NotHere => ArtifactChange::NotHere,
            Leaving::Pinned => ArtifactChange::IsPinned,
            Leaving::Needed | Leaving::InUse => ArtifactChange::IsNeeded,
        },
        Wish::RemoveEverywhere => remove_everywhere(front, sha256).await?,
    })
}

/// Nothing leaves the disk while there is no bucket that answers.
async fn remove_everywhere(front: &Front, sha256: Sha256Digest) -> Result<ArtifactChange, StorageError> {
    front.node.bucket_answers_about(&sha256).await?;
    Ok(match front.node.remove_artifact(sha256).await? {
        // What stays on the disk keeps its copy: it would be made again.
        Leaving::Pinned => ArtifactChange::IsPinned,
        Leaving::Needed | Leaving::InUse => ArtifactChange::IsNeeded,
        left @ (Leaving::Gone | Leaving::NotHere) => match front.node.remove_copy(sha256).await {
            Ok(was_there) if was_there || left == Leaving::Gone => ArtifactChange::Removed,
            Ok(_) => ArtifactChange::NotHere,
            Err(error) => {
                tracing::error!(%sha256, error = &error as &dyn std::error::Error, "the copy in the bucket cannot be removed");
                ArtifactChange::CopyStays
            }
        },
    })
}

pub(crate) async fn scrub(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let ScrubRequest { bytes_per_second, bucket } = body::read(&mut request).await?;
    if !front.admin.is_known_to(request.headers()) {
        return Err(Refused::without_admin_token("starting a scrub"));
    }
    let state = front.node.scrub(bytes_per_second, bucket);
    Ok(json(StatusCode::ACCEPTED, &ScrubResponse { state }))
}

pub(crate) async fn collect(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let CollectRequest { dry_run } = body::read(&mut request).await?;
    if !front.admin.is_known_to(request.headers()) {
        return Err(Refused::without_admin_token("removing leftovers"));
    }
    let found = front.node.leftovers(!dry_run).await?;
    let view = |leftovers: Vec<Leftover>| {
        leftovers.into_iter().map(|Leftover { sha256, size_bytes }| LeftoverView { sha256, size_bytes }).collect()
    };
    let (downloads, artifacts) = (view(found.downloads), view(found.artifacts));
    Ok(json(StatusCode::OK, &CollectResponse { dry_run, downloads, artifacts, young: found.young }))
}

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unknown(_) => Self::not_found(error.to_string()),
            StorageError::NoBucket => Self::bad_request(error.to_string()),
            // The text names the service, which the log alone is told.
            StorageError::Bucket(ref cause) => {
                tracing::error!(error = cause as &dyn std::error::Error, "the bucket cannot be changed");
                Self::unavailable("the bucket does not do what it is asked; the node's log says why".to_owned())
            }
            StorageError::Store(ref cause) => on_disk(cause),
            StorageError::Stopped => Self::unavailable(error.to_string()),
        }
    }
}

impl From<LeftoversError> for Refused {
    fn from(error: LeftoversError) -> Self {
        match error {
            LeftoversError::Store(ref cause) => on_disk(cause),
            LeftoversError::NoNetwork | LeftoversError::CatchingUp | LeftoversError::Stopped => {
                Self::unavailable(error.to_string())
            }
        }
    }
}

/// The text names folders of this machine, which the log alone is told.
fn on_disk(error: &pyrsia_node::artifacts::StoreError) -> Refused {
    tracing::error!(error = error as &dyn std::error::Error, "the artifact store cannot be changed");
    let message = "the artifact store cannot be read or written; the node's log says why".to_owned();
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "STORE", message)
}
