//! The pull side of the OCI distribution specification 1.1, for unmodified Docker clients.
//!
//! Reads names the way Docker users write them, and asks the node about artifact ids. Pushing is not served: what this
//! registry has, the network has built.

mod blob;
mod error;
mod manifest;
mod path;
mod tags;

use crate::content::SendError;
use crate::server::Front;
use error::DockerError;
use path::Target;
use poem::http::{HeaderName, HeaderValue, Method, header};
use poem::{Request, Response};
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{ArtifactId, PackageType};
use pyrsia_node::ArtifactError;

const CONTENT_DIGEST: &str = "docker-content-digest";
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The registry that a mirror of official images stands for, as containerd names it in `ns`.
const MIRRORED_HOST: &str = "docker.io";

pub(crate) async fn answer(front: &Front, request: &Request) -> Response {
    let mut response = route(front, request).await.unwrap_or_else(DockerError::into_response);
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

async fn route(front: &Front, request: &Request) -> Result<Response, DockerError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(DockerError::MethodNotAllowed(
            "nothing can be pushed here: the network builds images from source, ask for one with `pyrsia build docker --image NAME:TAG`",
        ));
    }
    let rest = request.uri().path().strip_prefix("/v2/").unwrap_or_default();
    if rest.is_empty() {
        return Ok(Response::builder().header(header::CONTENT_TYPE, "application/json").body("{}"));
    }
    let target = Target::parse(rest)?;
    let query = Query::of(request);
    if let Some(other) = query.get("ns").filter(|host| *host != MIRRORED_HOST) {
        return Err(DockerError::NameUnknown(format!("this registry mirrors {MIRRORED_HOST}, not {other:?}")));
    }
    match target {
        Target::Manifest { name, reference } => manifest::answer(front, request, &name, &reference).await,
        Target::Blob { name, digest } => blob::answer(front, request, &name, &digest).await,
        Target::Tags { name } => tags::answer(front, &name, &query),
        Target::Referrers => Err(DockerError::Unsupported("this registry does not serve referrers")),
        Target::Catalog => Err(DockerError::Unsupported("this registry does not list its repositories")),
        Target::Upload => Err(DockerError::Unsupported("there are no uploads here")),
    }
}

/// The parameters of a query, of which the first of each name counts.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Request) -> Self {
        Self(request.params().unwrap_or_default())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What the ledger calls container images.
const PACKAGE_TYPE: &str = "docker";

fn package_type() -> PackageType {
    PackageType::new(PACKAGE_TYPE).expect("the constant is a package type")
}

/// An id of the grammar in [`path`], which is far stricter than what an artifact id may be.
fn artifact_id(id: String) -> ArtifactId {
    ArtifactId::new(id).expect("a name of 255 bytes with a tag or digest is an artifact id")
}

/// Where a published artifact is served, if it is one of an image.
pub(crate) fn path_of(package_type: &PackageType, artifact: &BuiltArtifact) -> Option<String> {
    if package_type.as_str() != PACKAGE_TYPE {
        return None;
    }
    let id = artifact.artifact_id.as_str();
    let (name, reference) = id.split_once('@').or_else(|| id.rsplit_once(':'))?;
    let kind = if manifest::is_manifest(&artifact.media_type) { "manifests" } else { "blobs" };
    Some(format!("/v2/{name}/{kind}/{reference}"))
}

/// Why an artifact that is published is not handed out; `unpublished` says what it means that it is not.
fn withheld(error: ArtifactError, unpublished: impl FnOnce() -> DockerError) -> DockerError {
    match error {
        ArtifactError::Unpublished { .. } => unpublished(),
        ArtifactError::AtRisk(_) => DockerError::Denied(error.to_string()),
        ArtifactError::NoNetwork => DockerError::Unavailable(error.to_string()),
        ArtifactError::Unavailable { .. } | ArtifactError::Busy => {
            tracing::warn!(%error, "a published artifact could not be served");
            DockerError::Unavailable(error.to_string())
        }
        ArtifactError::Damaged { ref id, .. } => {
            tracing::error!(%error, "a published artifact could not be served");
            // The reason names folders of this machine.
            DockerError::Unavailable(format!("the copy of {id} on this node cannot be read or written; the node's log says why"))
        }
    }
}

/// Why an artifact that was found is not sent after all.
fn unsent(error: SendError, unpublished: impl FnOnce() -> DockerError) -> DockerError {
    match error {
        SendError::Withheld(error) => withheld(error, unpublished),
        error @ SendError::Unreadable { .. } => DockerError::Unavailable(error.to_string()),
    }
}
