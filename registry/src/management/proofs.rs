//! Proofs of publication, made from the ledger of this node: of the newest publication of a package, or of bytes by their digest.
//!
//! A proof is checked before it leaves, and says what it says whoever serves it. What is at risk is still proved to have been
//! published; no attestation is signed of it.

use super::{body, error::Refused};
use crate::attestations::{BUNDLE_MEDIA_TYPE, PAYLOAD_TYPE, PROOF_MEDIA_TYPE, Publication};
use crate::places::{Place, Places};
use crate::server::Front;
use poem::http::{StatusCode, header};
use poem::{Request, Response};
use pyrsia_ledger::publication_proof::{ProveError, PublicationProof};
use pyrsia_ledger::{ArtifactId, BuildId, Projections, Sha256Digest};
use pyrsia_node::NodeHandle;
use pyrsia_node::verification::newest_publication;
use std::sync::Arc;
use std::time::Duration;

/// How many proofs are made at once, of images or of anything: each reads the log, and verifies signatures on one core.
const PROOFS_AT_ONCE_MAX: usize = 2;
/// How long a request waits for its turn.
const PROOF_WAIT: Duration = Duration::from_secs(5);
const TLOG_PROOF_MEDIA_TYPE: &str = "text/plain; charset=utf-8";
/// The most artifacts one request names: a build has no more.
const ARTIFACTS_ASKED_MAX: usize = 256;

/// The places for proofs that are made.
pub(crate) fn places() -> Places {
    Places::new(PROOFS_AT_ONCE_MAX, PROOF_WAIT, "too many proofs are asked for")
}

/// Proves a build in `place`, and answers what `with` makes of the proof. None when the node is stopping.
pub(crate) async fn prove<T: Send + 'static>(
    place: Place,
    node: &NodeHandle,
    state: Arc<Projections>,
    build: BuildId,
    artifacts: Option<Vec<ArtifactId>>,
    with: impl FnOnce(Result<PublicationProof, ProveError>) -> T + Send + 'static,
) -> Option<T> {
    let in_place = move |proof| {
        let _place = place;
        with(proof)
    };
    node.prove(state, build, artifacts, in_place).await
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
    let place = front.proving.take().await?;
    let Asked { artifacts, format, .. } = asked;
    let named = (!artifacts.is_empty()).then(|| artifacts.clone());
    let (node, of) = (front.node.clone(), state.clone());
    let written = move |proof: Result<PublicationProof, ProveError>| {
        let proof = proof.map_err(|error| not_proved(&build, &error))?;
        match format {
            Format::Proof => Ok((PROOF_MEDIA_TYPE, proof.to_text())),
            Format::TlogProof => tlog_proof(&node, &proof, &artifacts).map(|text| (TLOG_PROOF_MEDIA_TYPE, text)),
            Format::Slsa => attested(&node, &of, &proof).map(|bundle| (BUNDLE_MEDIA_TYPE, bundle)),
        }
    };
    let made = prove(place, &front.node, state, build, named, written).await;
    let (media_type, text) = made.ok_or_else(|| Refused::unavailable("the node is stopping".into()))??;
    Ok(answer(media_type, text))
}

/// What is served can be superseded by a newer build.
fn answer(media_type: &str, text: String) -> Response {
    Response::builder().content_type(media_type).header(header::CACHE_CONTROL, "no-cache").body(text)
}

fn tlog_proof(node: &NodeHandle, proof: &PublicationProof, artifacts: &[ArtifactId]) -> Result<String, Refused> {
    let [artifact] = artifacts else {
        let message = "such a proof is of one artifact: name it with `artifact`".to_owned();
        return Err(Refused::bad_request(message));
    };
    Ok(node.tlog_proof(proof, artifact).expect("the proof is of this artifact alone"))
}

fn attested(node: &NodeHandle, state: &Projections, proof: &PublicationProof) -> Result<String, Refused> {
    let shown = proof.verify(Some(*state.network())).map_err(|error| {
        tracing::error!(%error, "a proof of this node's own ledger does not hold");
        Refused::unavailable(format!("the proof does not hold: {error}"))
    })?;
    let publication = Publication::new(state, proof, shown, node.node_id());
    Ok(publication.bundle(jiff::Timestamp::now(), |payload| node.sign_attestation(PAYLOAD_TYPE, payload)))
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
    use crate::lone_node::lone_node;
    use pyrsia_ledger::PackageCoordinate;
    use std::sync::mpsc;

    /// How long anything may take that a test waits for.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_hangs_up_frees_no_place_while_its_proof_is_made() {
        let (node, _folder) = lone_node().await;
        let handle = node.handle();
        let state = handle.ledger().state.clone().expect("a network");
        let build = BuildId::of(state.network(), &PackageCoordinate::new("docker", "hello:1.0").expect("a coordinate"), 0);

        let proving = Arc::new(places());
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (end, must_end) = mpsc::channel::<()>();
        let asked = tokio::spawn({
            let proving = proving.clone();
            async move {
                let working = move |proof: Result<PublicationProof, ProveError>| {
                    begun.send(proof.is_err()).expect("somebody waits");
                    must_end.recv_timeout(PATIENCE).expect("is told to end");
                };
                prove(proving.take().await.ok()?, &handle, state, build, None, working).await
            }
        });
        let unknown = tokio::time::timeout(PATIENCE, has_begun).await.expect("in time").expect("the proof is asked for");
        assert!(unknown, "nobody asked for this build");
        asked.abort();
        assert!(asked.await.expect_err("it hung up").is_cancelled());
        assert_eq!(proving.free(), PROOFS_AT_ONCE_MAX - 1, "the work goes on");

        end.send(()).expect("the work goes on");
        tokio::time::timeout(PATIENCE, proving.are_free(PROOFS_AT_ONCE_MAX)).await.expect("in time");
        node.stop().await;
    }

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
