//! Blobs by digest: configurations and layers. A miss never asks for a build, for no package is a blob.

use super::error::DockerError;
use super::path::{Digest, Name};
use super::{CONTENT_DIGEST, artifact_id, package_type, proof, unsent, withheld};
use crate::content::{self, Form, MediaType};
use crate::server::Front;
use poem::{Request, Response};
use pyrsia_node::ArtifactError;

const FORM: &Form = &Form { media_type: MediaType::OctetStream, ranges: true, digest_header: Some(CONTENT_DIGEST) };

pub(super) async fn answer(front: &Front, request: &Request, name: &Name, digest: &Digest) -> Result<Response, DockerError> {
    let id = artifact_id(digest.id_in(name));
    let unknown = || DockerError::BlobUnknown(format!("{id} is not published in this network"));
    let record = match front.node.artifact_record(&package_type(), &id) {
        Ok((_, record)) => record,
        Err(error) => {
            if let (ArtifactError::Unpublished { .. }, Digest::Sha256(digest)) = (&error, digest)
                && let Some(response) = proof::blob(front, request, name, digest).await?
            {
                return Ok(response);
            }
            return Err(withheld(error, unknown));
        }
    };
    content::answer(front, request, &package_type(), &id, &record, FORM).await.map_err(|error| unsent(error, unknown))
}
