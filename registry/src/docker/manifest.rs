//! Manifests by tag and by digest; a miss asks the network for a build.

use super::error::DockerError;
use super::path::{Digest, Name, Reference};
use super::{CONTENT_DIGEST, PACKAGE_TYPE, artifact_id, package_type, proof, unsent, withheld};
use crate::content::{self, Form, MediaType};
use crate::server::Front;
use poem::{Request, Response};
use pyrsia_node::ArtifactError;

/// What clients take for a manifest: Docker schema 2 and OCI, of one platform and of several.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

const FORM: &Form = &Form { media_type: MediaType::Recorded, ranges: false, digest_header: Some(CONTENT_DIGEST) };

pub(super) fn is_manifest(media_type: &str) -> bool {
    MEDIA_TYPES.contains(&media_type)
}

pub(super) async fn answer(
    front: &Front,
    request: &Request,
    name: &Name,
    reference: &Reference,
) -> Result<Response, DockerError> {
    let id = artifact_id(reference.id_in(name));
    let record = match front.node.artifact_record(&package_type(), &id) {
        Ok((_, record)) => record,
        Err(ArtifactError::Unpublished { .. }) => {
            if let Reference::Digest(Digest::Sha256(digest)) = reference
                && let Some(response) = proof::manifest(front, request, name, digest).await?
            {
                return Ok(response);
            }
            return Err(missing(front, name, reference).await);
        }
        Err(other) => return Err(withheld(other, || unreachable!("the arm before is for what is not published"))),
    };
    if !is_manifest(&record.artifact.media_type) {
        return Err(DockerError::ManifestUnknown(format!("{id} is a blob, not a manifest")));
    }
    let gone = || DockerError::ManifestUnknown(format!("{id} is not published"));
    content::answer(front, request, &package_type(), &id, &record, FORM).await.map_err(|error| unsent(error, gone))
}

/// Says that an image is not published, and what is done about it.
async fn missing(front: &Front, name: &Name, reference: &Reference) -> DockerError {
    let image = reference.id_in(name);
    if !may_be_built(reference) {
        return DockerError::ManifestUnknown(format!("{image} is not published in this network"));
    }
    let wished = match front.node.parse_coordinate(PACKAGE_TYPE, &image).await {
        Ok(coordinate) => front.node.wish_in_background(coordinate),
        Err(error) => Err(error),
    };
    DockerError::ManifestUnknown(match wished {
        Ok(()) => format!(
            "{image} is not published in this network; a build was requested, pull it again when it is done: \
             `pyrsia inspect-log docker --image {image}` shows its records then"
        ),
        Err(error) => format!("{image} is not published in this network, and no build was requested: {error}"),
    })
}

/// Signing tools look for what belongs to an image under tags made of its digest; nobody builds these.
fn may_be_built(reference: &Reference) -> bool {
    match reference {
        Reference::Digest(digest) => matches!(digest, Digest::Sha256(_)),
        Reference::Tag(tag) => {
            let rest = tag.strip_prefix("sha256-").unwrap_or_default();
            let hex = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
            hex != 64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_of_a_signature_asks_for_no_build() {
        let hex = "4ff3ca91275773af45cb4b0834e12b7eb47d1c18f770a0b151381cd227f4c253";
        for tag in [format!("sha256-{hex}"), format!("sha256-{hex}.sig"), format!("sha256-{hex}.att")] {
            assert!(!may_be_built(&Reference::Tag(tag)));
        }
        assert!(!may_be_built(&Reference::Digest(Digest::Other(format!("sha512:{hex}{hex}")))));
        for tag in ["3.16.0", "latest", "sha256-abc", hex] {
            assert!(may_be_built(&Reference::Tag(tag.to_owned())), "{tag}");
        }
    }
}
