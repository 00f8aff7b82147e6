//! Blobs by digest: configurations and layers. A miss never asks for a build, for no package is a blob.

use super::content::{self, Form, MediaType};
use super::error::DockerError;
use super::path::{Digest, Name};
use super::{artifact_id, package_type, withheld};
use crate::server::Front;
use poem::{Request, Response};

pub(super) async fn answer(front: &Front, request: &Request, name: &Name, digest: &Digest) -> Result<Response, DockerError> {
    let id = artifact_id(digest.id_in(name));
    let unknown = || DockerError::BlobUnknown(format!("{id} is not published in this network"));
    let (_, record) = front.node.artifact_record(&package_type(), &id).map_err(|error| withheld(error, unknown))?;
    let form = Form { media_type: MediaType::OctetStream, ranges: true };
    content::answer(front, request, &id, &record, form, unknown).await
}
