//! The paths of package types that have no protocol of their own here: `/TYPE/…`, as the type's verifier reads them.
//!
//! Sends what is published, and documents that the verifier makes. Knows no package type.

use crate::management::error::Refused;
use crate::ranges::{Selection, select};
use crate::server::Front;
use poem::http::{HeaderMap, Method, StatusCode, header};
use poem::{Body, Request, Response};
use pyrsia_ledger::{ArtifactId, PackageCoordinate, PackageType, Sha256Digest};
use pyrsia_node::{ArtifactError, MountError, MountTarget};
use std::io::SeekFrom;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// What one read takes from a file.
const READ_BYTES: usize = 256 * 1_024;
/// The longest host a client may know this node by: a name of DNS with a port.
const HOST_BYTES_MAX: usize = 260;

/// The package type and the rest of a path that lies below a mount of this node.
pub(crate) fn of<'p>(front: &Front, path: &'p str) -> Option<(&'p str, &'p str)> {
    let (package_type, _) = path.strip_prefix('/')?.split_once('/')?;
    let rest = &path[package_type.len() + 1..];
    front.node.has_mount(package_type).then_some((package_type, rest))
}

pub(crate) async fn answer(front: &Front, request: &Request, package_type: &str, rest: &str) -> Result<Response, Refused> {
    let (method, headers) = (request.method(), request.headers());
    if method != Method::GET && method != Method::HEAD {
        return Err(Refused::method_not_allowed(method, request.uri().path(), "GET, HEAD"));
    }
    let nothing = || Refused::not_found(format!("no {package_type} package has the path {rest}"));
    let path = decode(rest).ok_or_else(nothing)?;
    match front.node.mounted(package_type, &path).await? {
        None => Err(nothing()),
        Some(MountTarget::Artifact { package_type, id, coordinate }) => {
            artifact(front, method, headers, &package_type, &id, coordinate).await
        }
        Some(MountTarget::Document(document)) => {
            let mount = format!("http://{}/{package_type}", host(headers)?);
            let document = front.node.make_document(document, &mount).await?;
            let etag = etag(&Sha256Digest::of(&document.body));
            if has_it(headers, &etag) {
                return Ok(Response::builder().status(StatusCode::NOT_MODIFIED).header(header::ETAG, etag).finish());
            }
            let response = Response::builder().header(header::CONTENT_TYPE, document.media_type).header(header::ETAG, etag);
            // What is published next changes it.
            Ok(response.header(header::CACHE_CONTROL, "no-cache").header(header::VARY, "host").body(document.body))
        }
    }
}

async fn artifact(
    front: &Front,
    method: &Method,
    headers: &HeaderMap,
    package_type: &PackageType,
    id: &ArtifactId,
    coordinate: PackageCoordinate,
) -> Result<Response, Refused> {
    let record = match front.node.artifact_record(package_type, id) {
        Ok((_, record)) => record,
        Err(ArtifactError::Unpublished { .. }) => return Err(missing(front, coordinate)),
        Err(error) => return Err(withheld(error)),
    };
    let (size, etag) = (record.artifact.size_bytes, etag(&record.artifact.sha256));
    let head = |status, length: u64| {
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, &record.artifact.media_type)
            .header(header::CONTENT_LENGTH, length)
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::ETAG, &etag)
    };
    if has_it(headers, &etag) {
        return Ok(Response::builder().status(StatusCode::NOT_MODIFIED).header(header::ETAG, &etag).finish());
    }
    let same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).filter(|_| same && method == Method::GET);
    let (response, first, length) = match range.map_or(Selection::Whole, |range| select(range, size)) {
        Selection::Whole => (head(StatusCode::OK, size), 0, size),
        Selection::Part { first, last } => {
            let range = format!("bytes {first}-{last}/{size}");
            let length = last - first + 1;
            (head(StatusCode::PARTIAL_CONTENT, length).header(header::CONTENT_RANGE, range), first, length)
        }
        Selection::Unsatisfiable => {
            let range = format!("bytes */{size}");
            return Ok(head(StatusCode::RANGE_NOT_SATISFIABLE, 0).header(header::CONTENT_RANGE, range).finish());
        }
    };
    if method == Method::HEAD {
        return Ok(response.finish());
    }
    let opened = front.node.open_artifact(package_type, id).await.map_err(withheld)?;
    if opened.sha256 != record.artifact.sha256 {
        let message = format!("{id} was published anew meanwhile; try again");
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message));
    }
    let mut file = File::from_std(opened.file);
    file.set_max_buf_size(READ_BYTES);
    file.seek(SeekFrom::Start(first)).await.map_err(|error| {
        tracing::error!(%id, %error, "a stored artifact cannot be read");
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", format!("the stored copy of {id} cannot be read"))
    })?;
    Ok(response.body(Body::from_bytes_stream(ReaderStream::with_capacity(file.take(length), READ_BYTES))))
}

/// Says that a package is not published, and what is done about it.
fn missing(front: &Front, coordinate: PackageCoordinate) -> Refused {
    let package = coordinate.clone();
    Refused::not_found(match front.node.wish_in_background(coordinate) {
        Ok(()) => format!("{package} is not published in this network; a build was requested, ask again when it is done"),
        Err(error) => format!("{package} is not published in this network, and no build was requested: {error}"),
    })
}

fn withheld(error: ArtifactError) -> Refused {
    match error {
        ArtifactError::Unpublished { .. } => Refused::not_found(error.to_string()),
        ArtifactError::AtRisk(_) => Refused::new(StatusCode::FORBIDDEN, "AT_RISK", error.to_string()),
        _ => Refused::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", error.to_string()),
    }
}

impl From<MountError> for Refused {
    fn from(error: MountError) -> Self {
        match error {
            MountError::Wish(error) => error.into(),
            MountError::NoDocument(refusal) => Self::not_found(refusal.sentence),
            error @ (MountError::Abstained(_) | MountError::TooLarge) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "NO_ANSWER", error.to_string())
            }
            error @ MountError::Stopped => Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", error.to_string()),
        }
    }
}

fn etag(sha256: &Sha256Digest) -> String {
    format!("\"{sha256}\"")
}

fn has_it(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    known.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == etag || known == "*")
}

/// How the client calls this node, for links.
fn host(headers: &HeaderMap) -> Result<&str, Refused> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(allowed) {
        return Err(Refused::bad_request("the request has no Host header that links could be made of".into()));
    }
    Ok(host)
}

/// Resolves percent escapes, also those of slashes: some clients send a name with one that way. None for what no id could have.
fn decode(path: &str) -> Option<String> {
    let mut decoded = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            plain => plain,
        };
        if !byte.is_ascii_graphic() {
            return None;
        }
        decoded.push(char::from(byte));
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_once_and_only_to_what_an_id_can_have() {
        assert_eq!(decode("/@scope%2fname").as_deref(), Some("/@scope/name"));
        assert_eq!(decode("/a%252fb").as_deref(), Some("/a%2fb"));
        for wrong in ["/%", "/%4", "/%zz", "/%00", "/%20", "/%c3%a9", "/é"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn links_are_made_of_a_host_and_of_nothing_else() {
        let with = |host: &str| HeaderMap::from_iter([(header::HOST, host.parse().expect("a header"))]);
        for sound in ["localhost:7888", "[::1]:7888", "node.example"] {
            assert_eq!(host(&with(sound)).expect("a host"), sound);
        }
        for wrong in ["", "evil/path", "a b", "a\"b", "user@host"] {
            assert!(host(&with(wrong)).is_err(), "{wrong}");
        }
    }
}
