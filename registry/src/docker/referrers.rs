//! What refers to an image: its proof of publication (OCI distribution specification 1.1, "Listing Referrers").
//!
//! Nobody pushed it and no build made it: the node makes it of its ledger when it is asked, and it is the same bytes each time. An image that is at
//! risk still has one, because the proof says what was published and not that it can be trusted; the answer says that in a warning.

use super::error::DockerError;
use super::path::{Digest, Name};
use super::proof::{self, ARTIFACT_TYPE, Descriptor};
use super::{Query, warning};
use crate::server::Front;
use poem::Response;
use poem::http::{HeaderName, header};
use serde::Serialize;

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// An image index (OCI image specification 1.1), as the answer of this endpoint.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

/// Never 404: a client would take that for a registry without this endpoint.
pub(super) async fn answer(front: &Front, name: &Name, digest: &Digest, query: &Query) -> Result<Response, DockerError> {
    let filter = query.get("artifactType").filter(|wanted| !wanted.is_empty());
    let subject = proof::subject(front, name, digest)?;
    let wanted = filter.is_none_or(|wanted| wanted == ARTIFACT_TYPE);
    let (mut manifests, mut risk) = (Vec::new(), None);
    if let Some(subject) = subject.filter(|_| wanted) {
        manifests.push(proof::attached_to(front, &subject).await?.descriptor());
        risk = subject.risk;
    }
    let mut response = Response::builder().header(header::CONTENT_TYPE, INDEX_TYPE);
    if filter.is_some() {
        response = response.header(FILTERS_APPLIED, "artifactType");
    }
    let index = Index { schema_version: 2, media_type: INDEX_TYPE, manifests };
    let mut response = response.body(serde_json::to_vec(&index).expect("text serializes"));
    if let Some(risk) = risk {
        warning::add(&mut response, &risk);
    }
    Ok(response)
}
