//! The HTTP API: the prototype's three calls, and logs, lists, cancelling and health beside them.
//!
//! ```text
//! PUT    /build                         ask for a build      200 "<id>"
//! PUT    /mapping                       what would be built  200, 422
//! GET    /build                         all builds
//! GET    /build/{id}                    one build            404
//! DELETE /build/{id}                    cancel it            404, 409
//! GET    /build/{id}/log[?follow=true]  its log, as it grows 404
//! GET    /build/{id}/artifacts/{file}   a result             202 running, 410 failed, 404
//! GET    /status                        health
//! ```
//!
//! Only parsing and answering happen here.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use futures::stream;
use poem::error::ReadBodyError;
use poem::http::{HeaderMap, StatusCode, header};
use poem::web::{Data, Json, Path as PathParameter, Query};
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Response, Route, get, handler, put};
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use uuid::Uuid;

use self::error::{ApiError, any_error};
use crate::artifacts::is_file_name;
use crate::build_log::BuildLog;
use crate::builds::{Builds, Cancellation};
use crate::maven::installation::MavenBuilder;
use crate::records::{INTERRUPTED, Outcome};
use crate::wire::{BuildView, MappingInfo, PinnedMapping};

pub(crate) mod connections;
mod download;
mod error;

/// A build request is a few hundred bytes.
pub(crate) const MAX_REQUEST_BYTES: usize = 64 << 10;
/// A client has this long to send it.
const REQUEST_READ_TIMEOUT: Duration = Duration::from_secs(10);
const LOG_PIECE_BYTES: u64 = 64 << 10;

pub(crate) fn routes(builds: Builds) -> impl Endpoint<Output = Response> {
    Route::new()
        .at("/build", put(request_build).get(list_builds))
        .at("/mapping", put(pin_mapping))
        .at("/build/:id", get(show_build).delete(cancel_build))
        .at("/build/:id/log", get(show_log))
        .at("/build/:id/artifacts/:file", get(download_artifact))
        .at("/status", get(show_status))
        .data(builds)
        .catch_all_error(any_error)
        .map_to_response()
}

#[handler]
async fn request_build(Data(builds): Data<&Builds>, headers: &HeaderMap, body: Body) -> poem::Result<Json<String>> {
    refuse_web_pages(headers)?;
    let id = builds.submit(read_request(body).await?).await.map_err(ApiError::from)?;
    Ok(Json(id.to_string()))
}

#[handler]
async fn pin_mapping(Data(builds): Data<&Builds>, headers: &HeaderMap, body: Body) -> poem::Result<Json<PinnedMapping>> {
    refuse_web_pages(headers)?;
    Ok(Json(builds.pin(read_request(body).await?).await.map_err(ApiError::from)?))
}

async fn read_request(body: Body) -> Result<MappingInfo, ApiError> {
    let read = tokio::time::timeout(REQUEST_READ_TIMEOUT, body.into_bytes_limit(MAX_REQUEST_BYTES)).await.map_err(|_| {
        let message = format!("the body did not arrive within {} s", REQUEST_READ_TIMEOUT.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "TIMEOUT", message)
    })?;
    let bytes = read.map_err(|error| match error {
        ReadBodyError::PayloadTooLarge => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", format!("the body has more than {MAX_REQUEST_BYTES} bytes"))
        }
        other => ApiError::new(StatusCode::BAD_REQUEST, "BODY_INVALID", other.to_string()),
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "BODY_INVALID", format!("the body is no build request: {error}")))
}

#[handler]
fn list_builds(Data(builds): Data<&Builds>) -> Json<Vec<BuildView>> {
    Json(builds.list())
}

#[handler]
fn show_build(Data(builds): Data<&Builds>, PathParameter(id): PathParameter<String>) -> poem::Result<Json<BuildView>> {
    let record = parse_id(&id).and_then(|id| builds.record(id)).ok_or_else(|| ApiError::unknown_build(&id))?;
    Ok(Json(record.view()))
}

#[handler]
async fn cancel_build(
    Data(builds): Data<&Builds>,
    PathParameter(id): PathParameter<String>,
    headers: &HeaderMap,
) -> poem::Result<Json<BuildView>> {
    refuse_web_pages(headers)?;
    let parsed = parse_id(&id).ok_or_else(|| ApiError::unknown_build(&id))?;
    match builds.cancel(parsed).await {
        Cancellation::Unknown => Err(ApiError::unknown_build(&id).into()),
        Cancellation::AlreadyFinished => {
            Err(ApiError::new(StatusCode::CONFLICT, "BUILD_FINISHED", format!("the build {id} has ended already")).into())
        }
        Cancellation::Cancelled(view) => Ok(Json(*view)),
    }
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default)]
    follow: bool,
}

#[handler]
async fn show_log(
    Data(builds): Data<&Builds>,
    PathParameter(id): PathParameter<String>,
    Query(LogQuery { follow }): Query<LogQuery>,
) -> poem::Result<Response> {
    let (log, path) = parse_id(&id).and_then(|id| builds.log(id)).ok_or_else(|| ApiError::unknown_build(&id))?;
    let response = Response::builder().content_type("text/plain; charset=utf-8").header("x-content-type-options", "nosniff");
    let length_bytes = log.subscribe().borrow().length_bytes;
    if length_bytes == 0 && !follow {
        return Ok(response.body(Body::empty()));
    }
    let file = open(&path, &id).await?;
    if follow {
        return Ok(response.body(Body::from_bytes_stream(follow_log(log, file))));
    }
    let response = response.header(header::CONTENT_LENGTH, length_bytes);
    Ok(response.body(Body::from_async_read(file.take(length_bytes))))
}

/// The log from its beginning, and what is added until it is complete.
fn follow_log(log: BuildLog, file: File) -> impl futures::Stream<Item = std::io::Result<Vec<u8>>> + Send {
    let state = log.subscribe();
    stream::try_unfold((state, file, 0_u64), |(mut state, mut file, sent)| async move {
        loop {
            let now = *state.borrow_and_update();
            let waiting = now.length_bytes.saturating_sub(sent).min(LOG_PIECE_BYTES);
            if waiting > 0 {
                let mut piece = vec![0; waiting as usize];
                file.seek(SeekFrom::Start(sent)).await?;
                file.read_exact(&mut piece).await?;
                return Ok(Some((piece, (state, file, sent + waiting))));
            }
            if now.complete || state.changed().await.is_err() {
                return Ok(None);
            }
        }
    })
}

#[handler]
async fn download_artifact(
    Data(builds): Data<&Builds>,
    PathParameter((id, file)): PathParameter<(String, String)>,
) -> poem::Result<Response> {
    let build = parse_id(&id).ok_or_else(|| ApiError::unknown_build(&id))?;
    let record = builds.record(build).ok_or_else(|| ApiError::unknown_build(&id))?;
    let artifacts = match record.outcome {
        None => {
            let message = format!("the build {id} is running");
            return Ok(message.with_status(StatusCode::ACCEPTED).into_response());
        }
        Some(Outcome::Failure { reason }) => {
            return Err(ApiError::new(StatusCode::GONE, "BUILD_FAILED", reason).into());
        }
        Some(Outcome::Interrupted) => {
            return Err(ApiError::new(StatusCode::GONE, "BUILD_FAILED", INTERRUPTED.to_owned()).into());
        }
        Some(Outcome::Success { artifacts }) => artifacts,
    };
    // Only what the record lists is served, and only under names that cannot leave the folder.
    let artifact = artifacts.iter().find(|artifact| artifact.file == file && is_file_name(&file)).ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "ARTIFACT_UNKNOWN", format!("the build {id} has no artifact {file:?}"))
    })?;
    let opened = open(&builds.artifact_path(build, &file), &id).await?;
    let broken = |error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "STORAGE", format!("cannot read {file}: {error}"));
    let Some(bytes) = download::bytes_of(opened, artifact).await.map_err(broken)? else {
        let message = format!("the artifact {file} is damaged on the disk of the pipeline: build it again");
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "ARTIFACT_DAMAGED", message).into());
    };
    Ok(Response::builder()
        .content_type("application/octet-stream")
        .header(header::CONTENT_LENGTH, artifact.size_bytes)
        .header("x-content-type-options", "nosniff")
        .body(Body::from_bytes_stream(bytes)))
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
    version: &'static str,
    package_types: Vec<String>,
    /// What Maven packages are built with; null without a builder for them.
    maven: Option<MavenStatus>,
    queued: usize,
    running: usize,
    finished: usize,
    max_concurrent_builds: usize,
    max_queued_builds: usize,
}

#[derive(Serialize)]
struct MavenStatus {
    versions: Vec<String>,
    jdks: Vec<String>,
    repositories: Vec<String>,
}

impl MavenStatus {
    fn of(builder: &MavenBuilder) -> Self {
        Self { versions: builder.versions(), jdks: builder.jdk_versions(), repositories: builder.repository_names() }
    }
}

#[handler]
fn show_status(Data(builds): Data<&Builds>) -> Json<Status> {
    let load = builds.load();
    Json(Status {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        package_types: builds.package_types(),
        maven: builds.config().maven.as_ref().map(MavenStatus::of),
        queued: load.queued,
        running: load.running,
        finished: load.finished,
        max_concurrent_builds: builds.config().max_concurrent_builds,
        max_queued_builds: builds.config().max_queued_builds,
    })
}

/// A build runs what its source says, on the operator's machine. A browser names the page that such a request comes from
/// (RFC 6454, section 7), also where a host name was made to point at this machine; other programs do not.
fn refuse_web_pages(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(header::ORIGIN) {
        let message = "a web page may neither start nor cancel builds, nor have sources looked at";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", message));
    }
    Ok(())
}

/// The form in which ids are given out; other spellings of the same number are no ids.
fn parse_id(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text).ok().filter(|id| id.to_string() == text)
}

/// A build that is removed between two calls is one that is not there.
async fn open(path: &Path, id: &str) -> Result<File, ApiError> {
    File::open(path).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ApiError::unknown_build(id),
        _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "STORAGE", format!("cannot read the build {id}: {error}")),
    })
}
