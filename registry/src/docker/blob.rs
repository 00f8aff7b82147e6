//! Blobs by digest: configurations and layers. A miss never asks for a build, for no package is a blob.

use super::error::DockerError;
use super::path::{Digest, Name};
use super::{CONTENT_DIGEST, artifact_id, package_type, unsent, withheld};
use crate::content::{self, Form, MediaType};
use crate::server::Front;
use poem::{Request, Response};

const FORM: &Form = &Form { media_type: MediaType::OctetStream, ranges: true, digest_header: Some(CONTENT_DIGEST) };

pub(super) async fn answer(front: &Front, request: &Request, name: &Name, digest: &Digest) -> Result<Response, DockerError> {
    let id = artifact_id(digest.id_in(name));
    let unknown = || DockerError::BlobUnknown(format!("{id} is not published in this network"));
    let (_, record) = front.node.artifact_record(&package_type(), &id).map_err(|error| withheld(error, unknown))?;
    content::answer(front, request, &package_type(), &id, &record, FORM).await.map_err(|error| unsent(error, unknown))
}
