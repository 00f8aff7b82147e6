//! The pull side of the OCI distribution specification 1.1, for unmodified Docker clients.
//!
//! Reads names the way Docker users write them, and asks the node about artifact ids. Pushing is not served: what this
//! registry has, the network has built; all it adds by itself is the proof of that, as a referrer of each image.

mod blob;
mod catalog;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod manifest;
mod page;
mod path;
mod proof;
mod referrers;
mod tags;
mod warning;

pub(crate) use catalog::Catalog;
pub(crate) use proof::Proofs;

use crate::content::SendError;
use crate::not_served::NotServed;
use crate::server::Front;
use crate::uri::encode_segment;
use error::DockerError;
use path::Target;
use poem::http::{HeaderName, HeaderValue, Method, header};
use poem::{Request, Response};
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{ArtifactId, PackageCoordinate, PackageType};
use pyrsia_node::ArtifactError;

const CONTENT_DIGEST: &str = "docker-content-digest";
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The registry that a mirror of official images stands for, as containerd names it in `ns`.
const MIRRORED_HOST: &str = "docker.io";

pub(crate) async fn answer(front: &Front, request: &Request) -> Response {
    let mut response = match route(front, request).await {
        Ok(response) => response,
        Err(error) => {
            let sentence = (request.method() == Method::HEAD).then(|| error.to_string());
            let mut response = error.into_response();
            // The answer to a HEAD has no body that could say it.
            if let Some(sentence) = sentence {
                warning::add(&mut response, &sentence);
            }
            response
        }
    };
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

const NO_PUSH: &str =
    "nothing can be pushed here: the network builds images from source, ask for one with `pyrsia build docker --image NAME:TAG`";
const NO_DELETE: &str = "nothing can be deleted here: what the network published stands in its ledger";

async fn route(front: &Front, request: &Request) -> Result<Response, DockerError> {
    let rest = request.uri().path().strip_prefix("/v2/").unwrap_or_default();
    // What is no name, tag or digest is that whatever the method, as clients of registries that take pushes expect.
    let target = if rest.is_empty() { None } else { Some(Target::parse(rest)?) };
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::DELETE => return Err(DockerError::MethodNotAllowed(NO_DELETE)),
        _ => return Err(DockerError::MethodNotAllowed(NO_PUSH)),
    }
    let Some(target) = target else {
        return Ok(Response::builder().header(header::CONTENT_TYPE, "application/json").body("{}"));
    };
    let query = Query::of(request);
    if let Some(other) = query.get("ns").filter(|host| *host != MIRRORED_HOST) {
        return Err(DockerError::NameUnknown(format!("this registry mirrors {MIRRORED_HOST}, not {other:?}")));
    }
    let mut response = match target {
        // What a digest names is the same whatever came later.
        Target::Blob { name, digest } => return blob::answer(front, request, &name, &digest).await,
        Target::Upload => return Err(DockerError::UploadUnknown("there are no uploads here")),
        Target::Manifest { name, reference } => manifest::answer(front, request, &name, &reference).await?,
        Target::Tags { name } => tags::answer(front, &name, &query)?,
        Target::Referrers { name, digest } => referrers::answer(front, &name, &digest, &query).await?,
        Target::Catalog => catalog::answer(front, &query).await?,
    };
    if let Some(text) = warning::cut_off(front) {
        warning::add(&mut response, &text);
    }
    Ok(response)
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

/// The package URL of an image (package-url, type `docker`).
pub(crate) fn package_url(coordinate: &PackageCoordinate) -> Option<String> {
    if coordinate.package_type.as_str() != PACKAGE_TYPE {
        return None;
    }
    let id = coordinate.id.as_str();
    let (name, version) = id.split_once('@').or_else(|| id.rsplit_once(':'))?;
    Some(format!("pkg:{PACKAGE_TYPE}/{}@{}", encode_segment(name, b"/"), encode_segment(version, b":")))
}

/// Why an artifact that is published is not handed out; `unpublished` says what it means that it is not.
fn withheld(error: ArtifactError, unpublished: impl FnOnce() -> DockerError) -> DockerError {
    match error.into() {
        NotServed::Unpublished { .. } => unpublished(),
        NotServed::AtRisk(text) => DockerError::Denied(text),
        NotServed::Unavailable(text) => DockerError::Unavailable(text),
    }
}

/// Why an artifact that was found is not sent after all.
fn unsent(error: SendError, unpublished: impl FnOnce() -> DockerError) -> DockerError {
    match error {
        SendError::Withheld(error) => withheld(error, unpublished),
        error @ SendError::Unreadable { .. } => DockerError::Unavailable(error.to_string()),
    }
}
