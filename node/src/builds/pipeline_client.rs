//! The client of the build pipeline's HTTP API, with a bound on everything a pipeline could do to this node.
//!
//! It owns requests, answers and their limits; what to do about an error is decided in [`super::run`]. The pipeline is
//! another program, trusted with nothing: its answers are parsed strictly, and only what lies below its own endpoint is fetched.

use std::time::Duration;

use pyrsia_ledger::PackageCoordinate;
use pyrsia_ledger::event::{ARTIFACTS_PER_BUILD_MAX, BuildSource};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::mapping_info::{MappingInfo, PinnedMapping};
use crate::request_context;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A pipeline that sends nothing for so long hangs. There is no limit on a whole download: artifacts may be large.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers other than artifacts: a list of some hundred URLs.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How much of a text by the pipeline is repeated in an error.
const QUOTED_CHARS_MAX: usize = 300;
/// The kind of the source of a build whose pipeline does not tell.
pub(super) const UNKNOWN_SOURCE: &str = "unknown";
/// The longest file name of an artifact, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    #[error("Failed to connect to pipeline service endpoint: {0}")]
    Connect(String),
    #[error("Request to pipeline service endpoint failed with status {status}{}", detail(text))]
    Status { status: StatusCode, text: String },
    #[error("Invalid response from pipeline service endpoint: {0}")]
    Invalid(String),
}

fn detail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl PipelineError {
    /// Whether the pipeline understood the request and will not do it: the same request gets the same answer.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status, .. } if status.is_client_error()
            && ![StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS, StatusCode::NOT_FOUND].contains(status))
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// Whether the pipeline does not know the call at all.
    pub(super) fn is_unknown_call(&self) -> bool {
        let unknown = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
        self.status().is_some_and(|status| unknown.contains(&status))
    }

    pub(super) const fn status(&self) -> Option<StatusCode> {
        if let Self::Status { status, .. } = self { Some(*status) } else { None }
    }

    /// What the pipeline said itself, or else what went wrong.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Status { text, .. } if !text.is_empty() => text.clone(),
            other => other.to_string(),
        }
    }
}

impl From<reqwest::Error> for PipelineError {
    fn from(error: reqwest::Error) -> Self {
        // The URL is the operator's own and may carry a password.
        Self::Connect(causes(&error.without_url()))
    }
}

/// An error with everything under it: what reqwest says itself is rarely the reason.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The answer to `GET /build/{id}`. Pipelines of other makers may leave out `phase` and `source`.
#[derive(Debug, Deserialize)]
pub(crate) struct PipelineBuild {
    pub(crate) status: PipelineStatus,
    #[serde(default)]
    pub(crate) phase: Option<String>,
    #[serde(default)]
    source: Option<PipelineSource>,
}

#[derive(Debug, Deserialize)]
pub(crate) enum PipelineStatus {
    Running,
    Success { artifact_urls: Vec<String> },
    Failure(String),
}

#[derive(Debug, Deserialize)]
struct PipelineSource {
    kind: String,
    location: String,
    revision: String,
}

impl PipelineBuild {
    /// Whether the pipeline ended before the build did: that says nothing of the package.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.phase.as_deref() == Some("interrupted")
    }

    /// What was built from; a pipeline that does not say leaves it unknown.
    pub(crate) fn source(&self) -> BuildSource {
        match &self.source {
            Some(PipelineSource { kind, location, revision }) => {
                BuildSource { kind: kind.clone(), location: location.clone(), revision: revision.clone() }
            }
            None => BuildSource { kind: UNKNOWN_SOURCE.into(), location: String::new(), revision: String::new() },
        }
    }
}

/// An artifact of a pipeline's build that may be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArtifactUrl {
    path: String,
    file_name: String,
}

impl ArtifactUrl {
    /// Accepts only an absolute path of plain segments: appended to the endpoint it stays below it.
    pub(crate) fn parse(text: &str) -> Result<Self, PipelineError> {
        let invalid = || PipelineError::Invalid(format!("{:?} is no path of an artifact", quoted(text)));
        let segments: Vec<&str> = text.strip_prefix('/').ok_or_else(invalid)?.split('/').collect();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:@+".contains(&b);
        let fits = |segment: &&str| {
            (1..=FILE_NAME_BYTES_MAX).contains(&segment.len()) && !segment.starts_with('.') && segment.bytes().all(plain)
        };
        if !segments.iter().all(fits) {
            return Err(invalid());
        }
        let file_name = segments.last().copied().ok_or_else(invalid)?.to_owned();
        Ok(Self { path: text.to_owned(), file_name })
    }

    pub(crate) fn file_name(&self) -> &str {
        &self.file_name
    }
}

#[derive(Clone)]
pub(crate) struct PipelineClient {
    http: Client,
    /// Without a slash at its end.
    endpoint: String,
}

impl PipelineClient {
    /// `patience` bounds how long one silent pipeline may hold up a request.
    pub(crate) fn new(endpoint: &Url, patience: Duration) -> Result<Self, PipelineError> {
        let http = crate::http_client::client(|builder| {
            builder
                .connect_timeout(CONNECT_TIMEOUT.min(patience))
                .read_timeout(READ_TIMEOUT.min(patience))
                // An endpoint is configured; where else it would like to send the node is not.
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
        })?;
        Ok(Self { http, endpoint: endpoint.as_str().trim_end_matches('/').to_owned() })
    }

    /// Starts a build and returns the pipeline's id of it.
    pub(super) async fn start(&self, mapping: &MappingInfo) -> Result<String, PipelineError> {
        let id: String = parsed(&answer(self.request(Method::PUT, "/build").json(mapping.as_json())).await?)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
            return Ok(id);
        }
        Err(PipelineError::Invalid(format!("{:?} is no build id", quoted(&id))))
    }

    /// Asks what a package would be built from, without building it.
    pub(super) async fn pin(
        &self,
        coordinate: &PackageCoordinate,
        mapping: &MappingInfo,
    ) -> Result<PinnedMapping, PipelineError> {
        let body = answer(self.request(Method::PUT, "/mapping").json(mapping.as_json())).await?;
        let pinned = MappingInfo::about(coordinate, &body).and_then(PinnedMapping::new);
        pinned.map_err(|error| not_understood(&body, &error))
    }

    pub(crate) async fn build(&self, id: &str) -> Result<PipelineBuild, PipelineError> {
        let build: PipelineBuild = parsed(&answer(self.request(Method::GET, &format!("/build/{id}"))).await?)?;
        match &build.status {
            PipelineStatus::Success { artifact_urls } if !(1..=ARTIFACTS_PER_BUILD_MAX).contains(&artifact_urls.len()) => {
                Err(PipelineError::Invalid(format!(
                    "a build has 1 to {ARTIFACTS_PER_BUILD_MAX} artifacts, not {}",
                    artifact_urls.len()
                )))
            }
            _ => Ok(build),
        }
    }

    /// The response whose body is the artifact.
    pub(crate) async fn artifact(&self, url: &ArtifactUrl) -> Result<Response, PipelineError> {
        let response = self.request(Method::GET, &url.path).send().await?;
        // 202 says that the build still runs.
        if response.status() == StatusCode::OK { Ok(response) } else { Err(refused(response).await) }
    }

    /// Tells the pipeline that nobody waits for a build any more. Pipelines without this call answer with an error.
    pub(crate) async fn cancel(&self, id: &str) {
        let _ = self.request(Method::DELETE, &format!("/build/{id}")).timeout(CONNECT_TIMEOUT).send().await;
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.endpoint)).headers(request_context::outgoing_headers())
    }
}

/// The body of an answer that is success.
async fn answer(request: RequestBuilder) -> Result<Vec<u8>, PipelineError> {
    let response = request.send().await?;
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    bounded(response).await
}

fn parsed<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, PipelineError> {
    serde_json::from_slice(body).map_err(|error| not_understood(body, &error.to_string()))
}

fn not_understood(body: &[u8], problem: &str) -> PipelineError {
    let (problem, begin) = (quoted(problem), quoted(&String::from_utf8_lossy(body)));
    PipelineError::Invalid(format!("{problem}, in an answer that begins {begin:?}"))
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, PipelineError> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        if body.len() + bytes.len() > ANSWER_BYTES_MAX {
            return Err(PipelineError::Invalid(format!("more than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// An answer that is not success, with the pipeline's own words when it has any.
async fn refused(response: Response) -> PipelineError {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let status = response.status();
    let body = bounded(response).await.unwrap_or_default();
    let text = match serde_json::from_slice::<Errors>(&body) {
        Ok(Errors { errors }) => errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; "),
        Err(_) => String::new(),
    };
    PipelineError::Status { status, text: quoted(&text) }
}

/// A text of the pipeline as it may be shown.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_endpoint_are_fetched() {
        let url = ArtifactUrl::parse("/build/1a-2b/artifacts/sha256:00ff.blob").unwrap();
        assert_eq!(url.file_name(), "sha256:00ff.blob");
        for wrong in [
            "",
            "/",
            "build/1/artifacts/a",
            "//elsewhere/a",
            "http://elsewhere/a",
            "/build/../../a",
            "/build/%2e%2e/a",
            "/build/.hidden",
            "/build/1/artifacts/",
            "/build/1/a?b",
            "/build/1/a#b",
            "@elsewhere/a",
            "/build/a b",
            "/build/a\r\nb",
        ] {
            assert!(ArtifactUrl::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_prototypes_answers_are_understood() {
        let running: PipelineBuild = serde_json::from_str(r#"{"id":"x","status":"Running"}"#).unwrap();
        assert!(matches!(running.status, PipelineStatus::Running));
        assert_eq!(running.source().kind, "unknown");
        let failed: PipelineBuild = serde_json::from_str(r#"{"id":"x","status":{"Failure":"1"}}"#).unwrap();
        assert!(matches!(failed.status, PipelineStatus::Failure(text) if text == "1"));
        let done = r#"{"id":"x","status":{"Success":{"artifact_urls":["/a"]}},"phase":"done",
            "source":{"kind":"git","location":"https://git.example/a","revision":"00","tree":null},"queued_at":1}"#;
        assert_eq!(serde_json::from_str::<PipelineBuild>(done).unwrap().source().kind, "git");
    }
}
