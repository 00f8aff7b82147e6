//! Requests of the seed documents that call the package by a name of its type: `image`, `gav`.
//!
//! The same as the requests for any type, which clients of the predecessor do not know.

use super::{body, builds, error::Refused, inspect};
use crate::server::Front;
use crate::wire::{BuildDockerRequest, BuildMavenRequest, InspectDockerRequest, InspectMavenRequest};
use poem::{Request, Response};

const DOCKER: &str = "docker";
const MAVEN: &str = "maven";

pub(crate) async fn build_docker(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let asked: BuildDockerRequest = body::read(&mut request).await?;
    builds::request_by_name(front, DOCKER, &asked.image).await
}

pub(crate) async fn build_maven(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let asked: BuildMavenRequest = body::read(&mut request).await?;
    builds::request_by_name(front, MAVEN, &asked.gav).await
}

pub(crate) async fn inspect_docker(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let asked: InspectDockerRequest = body::read(&mut request).await?;
    inspect::by_name(front, DOCKER, &asked.image, asked.view).await
}

pub(crate) async fn inspect_maven(front: &Front, mut request: Request) -> Result<Response, Refused> {
    let asked: InspectMavenRequest = body::read(&mut request).await?;
    inspect::by_name(front, MAVEN, &asked.gav, asked.view).await
}
