//! Proofs of publication, made from the ledger of this node: of the newest publication of a package, or of bytes by their digest.
//!
//! A proof is checked before it leaves, and says what it says whoever serves it. What is at risk is still proved to have been
//! published; no attestation is signed of it.

use super::{body, error::Refused};
use crate::attestations::{BUNDLE_MEDIA_TYPE, PAYLOAD_TYPE, PROOF_MEDIA_TYPE, Publication};
use crate::server::Front;
use poem::http::{StatusCode, header};
use poem::{Request, Response};
use pyrsia_ledger::publication_proof::{ProveError, PublicationProof};
use pyrsia_ledger::{ArtifactId, BuildId, Projections, Sha256Digest};
use pyrsia_node::verification::newest_publication;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How many proofs are made at once: each reads the log, and verifies signatures on one core.
const PROOFS_AT_ONCE_MAX: usize = 2;
/// How long a request waits for its turn.
const PROOF_WAIT: Duration = Duration::from_secs(5);
const RETRY_AFTER_SECONDS: u64 = 2;
/// The most artifacts one request names: a build has no more.
const ARTIFACTS_ASKED_MAX: usize = 256;

/// The turns of those who ask for proofs.
pub(crate) struct Proving {
    places: Semaphore,
}

impl Proving {
    pub(crate) fn new() -> Self {
        Self { places: Semaphore::new(PROOFS_AT_ONCE_MAX) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Proof,
    TlogProof,
    Slsa,
}

/// What is asked for, in the query.
#[derive(Debug)]
struct Asked {
    /// The coordinate or the digest.
    of: String,
    artifacts: Vec<ArtifactId>,
    format: Format,
}

impl Asked {
    /// `of` is the name of the one parameter that must be there.
    fn read(request: &Request, of: &str) -> Result<Self, Refused> {
        let (mut found, mut artifacts, mut format) = (None, vec![], Format::Proof);
        for (name, value) in body::query::<Vec<(String, String)>>(request)? {
            match name.as_str() {
                "artifact" if artifacts.len() == ARTIFACTS_ASKED_MAX => {
                    return Err(Refused::bad_request(format!("more than {ARTIFACTS_ASKED_MAX} artifacts are asked for")));
                }
                "artifact" => artifacts.push(
                    ArtifactId::new(value)
                        .map_err(|error| Refused::bad_request(format!("this is the id of no artifact: {error}")))?,
                ),
                "format" => format = format_of(&value)?,
                _ if name == of => found = Some(value),
                _ => {}
            }
        }
        let of = found.ok_or_else(|| Refused::bad_request(format!("the query has no `{of}`")))?;
        Ok(Self { of, artifacts, format })
    }
}

fn format_of(text: &str) -> Result<Format, Refused> {
    match text {
        "proof" => Ok(Format::Proof),
        "tlog-proof" => Ok(Format::TlogProof),
        "slsa" => Ok(Format::Slsa),
        _ => Err(Refused::bad_request(format!("{text:?} is no format of a proof: proof, tlog-proof or slsa"))),
    }
}

pub(crate) async fn of_package(front: &Front, package_type: &str, request: &Request) -> Result<Response, Refused> {
    let asked = Asked::read(request, "id")?;
    let coordinate = front.node.parse_coordinate(package_type, &asked.of).await?;
    let state = front.node.ledger().state.clone().ok_or_else(Refused::no_network)?;
    let build = newest_publication(&state, &coordinate).ok_or_else(|| {
        Refused::not_found(format!("{coordinate} is not published: ask for a build with `pyrsia build {coordinate}`"))
    })?;
    of_build(front, state, build, asked).await
}

pub(crate) async fn of_digest(front: &Front, request: &Request) -> Result<Response, Refused> {
    let asked = Asked::read(request, "sha256")?;
    let sha256: Sha256Digest = asked.of.parse().map_err(|error| Refused::bad_request(format!("{error}")))?;
    let state = front.node.ledger().state.clone().ok_or_else(Refused::no_network)?;
    let found = state.packages.digest(&sha256).map(|(_, record)| record.build_id);
    let build = found.ok_or_else(|| Refused::not_found(format!("nothing with sha256 {sha256} is published")))?;
    of_build(front, state, build, asked).await
}

async fn of_build(front: &Front, state: Arc<Projections>, build: BuildId, asked: Asked) -> Result<Response, Refused> {
    if asked.format == Format::Slsa {
        refuse_at_risk(&state, &build)?;
    }
    let turn = tokio::time::timeout(PROOF_WAIT, front.proving.places.acquire()).await;
    let busy = || Refused::busy("too many proofs are asked for at once, try again later".into(), RETRY_AFTER_SECONDS);
    let _turn = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
    let artifacts = (!asked.artifacts.is_empty()).then(|| asked.artifacts.clone());
    let proof = match front.node.prove(state.clone(), build, artifacts).await {
        Some(proof) => proof.map_err(|error| not_proved(&build, &error))?,
        None => return Err(Refused::unavailable("the node is stopping".into())),
    };
    match asked.format {
        Format::Proof => Ok(answer(PROOF_MEDIA_TYPE, proof.to_text())),
        Format::TlogProof => tlog_proof(front, &proof, &asked.artifacts),
        Format::Slsa => attested(front, &state, &proof).map(|bundle| answer(BUNDLE_MEDIA_TYPE, bundle)),
    }
}

/// What is served can be superseded by a newer build.
fn answer(media_type: &str, text: String) -> Response {
    Response::builder().content_type(media_type).header(header::CACHE_CONTROL, "no-cache").body(text)
}

fn tlog_proof(front: &Front, proof: &PublicationProof, artifacts: &[ArtifactId]) -> Result<Response, Refused> {
    let [artifact] = artifacts else {
        let message = "such a proof is of one artifact: name it with `artifact`".to_owned();
        return Err(Refused::bad_request(message));
    };
    let text = front.node.tlog_proof(proof, artifact).expect("the proof is of this artifact alone");
    Ok(answer("text/plain; charset=utf-8", text))
}

fn attested(front: &Front, state: &Projections, proof: &PublicationProof) -> Result<String, Refused> {
    let shown = proof.verify(Some(*state.network())).map_err(|error| {
        tracing::error!(%error, "a proof of this node's own ledger does not hold");
        Refused::unavailable(format!("the proof does not hold: {error}"))
    })?;
    let publication = Publication::new(state, proof, shown, front.node.node_id());
    Ok(publication.bundle(jiff::Timestamp::now(), |payload| front.node.sign_attestation(PAYLOAD_TYPE, payload)))
}

fn refuse_at_risk(state: &Projections, build: &BuildId) -> Result<(), Refused> {
    let Some(risk) = state.builds.at_risk(build) else { return Ok(()) };
    let message = format!(
        "build {build} is at risk since height {}: without nodes whose word counts no more no majority stands behind it, so this node attests nothing of it",
        risk.height
    );
    Err(Refused::new(StatusCode::FORBIDDEN, "AT_RISK", message))
}

fn not_proved(build: &BuildId, error: &ProveError) -> Refused {
    match error {
        ProveError::UnknownBuild(_) | ProveError::NotPublished { .. } | ProveError::UnknownArtifact { .. } => {
            Refused::not_found(error.to_string())
        }
        ProveError::Missing(_) | ProveError::Source(_) | ProveError::TooLarge { .. } | ProveError::Unsound(_) => {
            tracing::error!(%build, %error, "a publication cannot be proved");
            Refused::unavailable(format!("the publication cannot be proved by this node: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_what_is_to_be_proved_and_how() {
        let read = |query: &str, of: &str| {
            let uri = format!("/api/v1/proofs?{query}").parse().expect("a URI");
            Asked::read(&Request::builder().uri(uri).finish(), of)
        };
        let asked = read("id=a%3A1&artifact=a%401&artifact=b&format=tlog-proof", "id").expect("it is understood");
        assert_eq!((asked.of.as_str(), asked.format), ("a:1", Format::TlogProof));
        assert_eq!(asked.artifacts.iter().map(ArtifactId::as_str).collect::<Vec<_>>(), ["a@1", "b"]);
        assert_eq!(read("sha256=00", "sha256").expect("it is understood").format, Format::Proof);
        let many = "artifact=a&".repeat(ARTIFACTS_ASKED_MAX + 1);
        for wrong in ["", "sha256=00", "id=a&format=pdf", "id=a&artifact=", "id=a&artifact=a%20b", &format!("{many}id=a")] {
            assert_eq!(read(wrong, "id").expect_err(wrong).status(), StatusCode::BAD_REQUEST, "{wrong}");
        }
    }
}
