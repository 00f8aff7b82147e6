//! A Maven 2 repository to read from, for unmodified Maven and Gradle.
//!
//! Speaks the repository layout `default` with its checksums and metadata. What a path stands for and what a coordinate means is asked from the verifier of the
//! type, what is published from the node. Deploying is not served: what this repository has, the network has built.

mod artifact;
pub(crate) mod checksum;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod metadata;
mod path;
mod version;

use crate::conditions::{Condition, Validators};
use crate::mount;
use crate::server::Front;
use crate::uri::encode_segment;
use error::MavenError;
use path::Target;
use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::{PackageCoordinate, PackageType};

const PREFIX: &str = "/maven2";
/// What the ledger calls Maven packages.
const PACKAGE_TYPE: &str = "maven";

/// The rest of a path that belongs to this repository.
pub(crate) fn rest_of(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(crate) async fn answer(front: &Front, request: &Request) -> Response {
    mount::shielded(route(front, request).await.unwrap_or_else(MavenError::into_response))
}

async fn route(front: &Front, request: &Request) -> Result<Response, MavenError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(MavenError::MethodNotAllowed);
    }
    match Target::parse(rest_of(request.uri().path()).unwrap_or_default())? {
        Target::File(file) => artifact::answer(front, request, &file).await,
        Target::Checksum { of, algorithm } => artifact::checksum(front, request, &of, algorithm).await,
        Target::Metadata { package, checksum } => metadata::answer(front, request, &package, checksum).await,
    }
}

/// Where a published artifact is served, if it is one of a Maven package.
pub(crate) fn path_of(package_type: &PackageType, artifact: &BuiltArtifact) -> Option<String> {
    let (group, rest) = artifact.artifact_id.as_str().split_once('/')?;
    (package_type.as_str() == PACKAGE_TYPE).then(|| format!("{PREFIX}/{}/{rest}", group.replace('.', "/")))
}

/// The package URL of a Maven package (package-url, type `maven`).
pub(crate) fn package_url(coordinate: &PackageCoordinate) -> Option<String> {
    let [group, artifact, version] = coordinate.id.as_str().splitn(3, ':').collect::<Vec<_>>()[..] else { return None };
    let [group, artifact, version] = [group, artifact, version].map(|part| encode_segment(part, b""));
    (coordinate.package_type.as_str() == PACKAGE_TYPE).then(|| format!("pkg:{PACKAGE_TYPE}/{group}/{artifact}@{version}"))
}

fn package_type() -> PackageType {
    PackageType::new(PACKAGE_TYPE).expect("the constant is a package type")
}

/// A small answer that is made here.
fn document(request: &Request, validators: &Validators, media_type: &str, body: Vec<u8>) -> Response {
    let status = match validators.condition(request.headers()) {
        Condition::Holds => StatusCode::OK,
        Condition::NotModified => StatusCode::NOT_MODIFIED,
        Condition::Failed => StatusCode::PRECONDITION_FAILED,
    };
    let mut response = Response::builder().status(status).header(header::ETAG, &validators.etag);
    if let Some(date) = validators.last_modified() {
        response = response.header(header::LAST_MODIFIED, date);
    }
    if status == StatusCode::OK { response.header(header::CONTENT_TYPE, media_type).body(body) } else { response.finish() }
}
