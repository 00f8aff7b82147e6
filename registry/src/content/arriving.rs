//! Sending an artifact while other nodes send it here.
//!
//! The head of the answer leaves when the first byte can; a failure after that breaks the connection off, because the client must never take a part for the
//! whole.

use super::Plan;
use futures::stream;
use poem::{Body, Response};
use pyrsia_node::{ArrivingArtifact, ArtifactError, Feed};
use std::ops::Range;

pub(super) async fn answer(plan: Plan, artifact: ArrivingArtifact) -> Result<Response, ArtifactError> {
    match plan {
        Plan::Done(response) => Ok(response),
        Plan::Send { mut response, first, size_bytes } => {
            response.set_body(body(artifact, first..first + size_bytes).await?);
            Ok(response)
        }
    }
}

/// The bytes of a range.
async fn body(artifact: ArrivingArtifact, range: Range<u64>) -> Result<Body, ArtifactError> {
    let id = artifact.record.artifact.artifact_id.clone();
    let feed = artifact.feed(range).await?;
    let pieces = stream::unfold(Some(feed), move |feed| {
        let id = id.clone();
        async move {
            let mut feed: Feed = feed?;
            match feed.next().await? {
                Ok(piece) => Some((Ok(piece), Some(feed))),
                Err(error) => {
                    tracing::warn!(%id, %error, "an answer is broken off, which was sent while the artifact came in");
                    Some((Err(error), None))
                }
            }
        }
    });
    Ok(Body::from_bytes_stream(pieces))
}
