//! Sending an artifact while other nodes send it here.
//!
//! The head of the answer leaves when the first byte can; a failure after that breaks the connection off, because the client must never take a part for the
//! whole.

use super::Plan;
#[cfg(target_os = "linux")]
use crate::server::Outbox;
use futures::{Stream, stream};
use poem::{Body, Request, Response};
use pyrsia_ledger::ArtifactId;
use pyrsia_node::{ArrivingArtifact, ArtifactError, Feed};
use std::io;
use std::ops::Range;

pub(super) async fn answer(request: &Request, plan: Plan, artifact: ArrivingArtifact) -> Result<Response, ArtifactError> {
    match plan {
        Plan::Done(response) => Ok(response),
        Plan::Send { mut response, first, size_bytes } => {
            response.set_body(body(request, artifact, first..first + size_bytes).await?);
            Ok(response)
        }
    }
}

/// The bytes of a range.
async fn body(request: &Request, artifact: ArrivingArtifact, range: Range<u64>) -> Result<Body, ArtifactError> {
    let id = artifact.record.artifact.artifact_id.clone();
    let feed = artifact.feed(range).await?;
    #[cfg(target_os = "linux")]
    if let Some(outbox) = request.extensions().get::<Outbox>() {
        return Ok(outbox.body_of(feed.file(), pieces(id, feed, Feed::next_chunk)));
    }
    Ok(Body::from_bytes_stream(pieces(id, feed, Feed::next)))
}

/// What a feed gives out until it ends or fails.
fn pieces<T>(
    id: ArtifactId,
    feed: Feed,
    next: impl AsyncFn(&mut Feed) -> Option<io::Result<T>>,
) -> impl Stream<Item = io::Result<T>> {
    stream::unfold((Some(feed), next), move |(feed, next)| {
        let id = id.clone();
        async move {
            let mut feed = feed?;
            match next(&mut feed).await? {
                Ok(piece) => Some((Ok(piece), (Some(feed), next))),
                Err(error) => {
                    tracing::warn!(%id, %error, "an answer is broken off, which was sent while the artifact came in");
                    Some((Err(error), (None, next)))
                }
            }
        }
    })
}
