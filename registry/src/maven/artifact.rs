//! Files of packages and their checksums; a miss of a package's own file asks the network for a build.

use super::checksum::{Algorithm, ChecksumError, Sums};
use super::error::MavenError;
use super::path::FilePath;
use super::{PACKAGE_TYPE, document};
use crate::conditions::Validators;
use crate::content::{self, Form, MediaType, etag};
use crate::server::Front;
use poem::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};
use pyrsia_ledger::projection::builds::BuildStatus;
use pyrsia_ledger::{ArtifactId, PackageCoordinate, PackageType, Sha256Digest};
use pyrsia_node::MountTarget;
use std::time::SystemTime;

/// The largest file whose checksums are made before its first byte is sent: about 30 ms of reading.
const SUMMED_FIRST_BYTES_MAX: u64 = 8 << 20;
/// How often a stored copy with the wrong bytes is given up for another one before one request is refused.
const OPENED_AGAIN_MAX: usize = 2;
/// Files of a package that a refusal names.
const NAMED_FILES_MAX: usize = 12;

const FORM: &Form = &Form { media_type: MediaType::Recorded, ranges: true, digest_header: None };

/// What a path stands for.
struct Located {
    package_type: PackageType,
    id: ArtifactId,
    coordinate: PackageCoordinate,
}

pub(super) async fn answer(front: &Front, request: &Request, file: &FilePath) -> Result<Response, MavenError> {
    let located = locate(front, file).await?;
    let Located { package_type, id, .. } = &located;
    let record = match front.node.artifact_record(package_type, id) {
        Ok((_, record)) => record,
        Err(error) => return Err(MavenError::withheld(error, |_, _| missing(front, file, &located))),
    };
    let mut response = content::answer(front, request, package_type, id, &record, FORM).await?;
    let sha256 = record.artifact.sha256;
    let is_sent = matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) && request.method() == Method::GET;
    let is_small = record.artifact.size_bytes <= SUMMED_FIRST_BYTES_MAX;
    if is_sent && is_small && front.checksums.known(&sha256).is_none() {
        sums_of(front, package_type, id, sha256).await?;
        // The copy that was opened before may have been the one that turned out to be damaged.
        response = content::answer(front, request, package_type, id, &record, FORM).await?;
    }
    // An id can have got a new build meanwhile, whose checksums are others.
    if response.header(header::ETAG) == Some(&etag(&sha256)) {
        let sums = front.checksums.known(&sha256);
        for algorithm in Algorithm::ALL {
            let digits = match algorithm {
                Algorithm::Sha256 => Some(sha256.to_string()),
                _ => sums.as_ref().map(|sums| sums.get(algorithm).to_owned()),
            };
            if let Some(value) = digits.and_then(|digits| HeaderValue::try_from(digits).ok()) {
                response.headers_mut().insert(HeaderName::from_static(algorithm.header()), value);
            }
        }
    }
    Ok(response)
}

/// The checksums of an artifact. A stored copy with other bytes is given up for one of another node.
async fn sums_of(front: &Front, package_type: &PackageType, id: &ArtifactId, sha256: Sha256Digest) -> Result<Sums, MavenError> {
    for _ in 0..OPENED_AGAIN_MAX {
        let opened = front.node.open_artifact(package_type, id).await?;
        if opened.sha256 != sha256 {
            return Err(MavenError::Unavailable(format!("{id} was published anew this moment, ask again")));
        }
        match front.checksums.of(sha256, opened.file).await {
            Err(ChecksumError::Damaged(_)) => front.node.discard_damaged(sha256).await,
            made => return Ok(made?),
        }
    }
    Err(ChecksumError::Damaged(sha256).into())
}

/// The checksum of a file. That of a file that is not published is not published either, and asks for nothing.
pub(super) async fn checksum(
    front: &Front,
    request: &Request,
    file: &FilePath,
    algorithm: Algorithm,
) -> Result<Response, MavenError> {
    let Located { package_type, id, coordinate } = locate(front, file).await?;
    let unpublished =
        |_: &_, _: &_| format!("{} of {coordinate} is not published in this network, and nor is a checksum of it", file.name);
    let verdict = front.node.artifact_record(&package_type, &id);
    let (_, record) = verdict.map_err(|error| MavenError::withheld(error, unpublished))?;
    let sha256 = record.artifact.sha256;
    // It changes when the file does.
    let tag = format!("\"{}+{}\"", sha256.to_oci(), algorithm.name());
    let validators = Validators::new(tag, Some(record.time_ms), SystemTime::now());
    let known = match algorithm {
        Algorithm::Sha256 => Some(sha256.to_string()),
        _ => front.checksums.known(&sha256).map(|sums| sums.get(algorithm).to_owned()),
    };
    let digits = match known {
        Some(digits) => digits,
        // What a HEAD tells of it are its length and its validators, for which no byte has to be read.
        None if request.method() == Method::HEAD => "0".repeat(algorithm.hex_digits()),
        None => sums_of(front, &package_type, &id, sha256).await?.get(algorithm).to_owned(),
    };
    Ok(document(request, &validators, "text/plain", digits.into_bytes()))
}

/// What the verifier of the type says a path stands for, or why it stands for nothing.
async fn locate(front: &Front, file: &FilePath) -> Result<Located, MavenError> {
    if let Some(MountTarget::Artifact { package_type, id, coordinate }) =
        front.node.mounted(PACKAGE_TYPE, &file.for_verifier()).await?
    {
        return Ok(Located { package_type, id, coordinate });
    }
    // A coordinate that is none is refused with the reason, a snapshot for example.
    let coordinate = front.node.parse_coordinate(PACKAGE_TYPE, &file.coordinate()).await?;
    Err(MavenError::NeverPublished(format!(
        "{} is no name of a file of {coordinate}: names are the artifact, the version, a classifier where there is one, and an extension",
        file.name
    )))
}

/// Says that a file is not published, and what is done about it.
fn missing(front: &Front, file: &FilePath, located: &Located) -> String {
    let Located { package_type, coordinate, .. } = located;
    let view = front.node.ledger();
    let published = view.state.as_deref().map(|state| {
        let of_type = state.packages.published_with_prefix(package_type, &coordinate.id);
        let of_package = of_type.take_while(|(found, _)| *found == coordinate);
        let names =
            of_package.map(|(_, record)| record.artifact.artifact_id.as_str().rsplit('/').next().unwrap_or_default().to_owned());
        names.take(NAMED_FILES_MAX).collect::<Vec<String>>()
    });
    let published = published.unwrap_or_default();
    if !published.is_empty() {
        return format!(
            "{coordinate} is published in this network, and {} is not among its files: {}",
            file.name,
            published.join(", ")
        );
    }
    if !file.is_main() {
        return format!("{coordinate} is not published in this network, and its pom asks for a build, not {}", file.name);
    }
    let newest = front.node.builds_of(coordinate).into_iter().next().and_then(|id| front.node.build(&id));
    if newest.is_some_and(|build| matches!(build.status, BuildStatus::Failed | BuildStatus::Disputed { .. })) {
        return format!(
            "{coordinate} is not published in this network, and its newest build came to nothing: `pyrsia inspect-log maven --gav {}` says why, \
             and `pyrsia build maven --gav {} --again` asks for another one",
            coordinate.id, coordinate.id
        );
    }
    match front.node.wish_in_background(coordinate.clone()) {
        Ok(()) => format!(
            "{coordinate} is not published in this network; a build was requested, ask again when it is done (with `-U`, where Maven remembers the miss): \
             `pyrsia inspect-log maven --gav {}` shows its records then",
            coordinate.id
        ),
        Err(error) => format!("{coordinate} is not published in this network, and no build was requested: {error}"),
    }
}
