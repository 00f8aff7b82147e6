//! Sends a published artifact, whole or in part, without ever holding more of it than one read.
//!
//! Conditions and ranges are those of RFC 9110, sections 13 and 14. What a protocol adds to the headers stands in its [`Form`].

use crate::conditions::{Condition, Validators};
use crate::ranges::{Selection, select};
use crate::server::Front;
#[cfg(target_os = "linux")]
use crate::server::Outbox;
use hyper::body::Bytes;
use poem::http::{HeaderMap, Method, StatusCode, header};
use poem::{Body, Request, Response, ResponseBuilder};
use pyrsia_ledger::event::BuiltArtifact;
use pyrsia_ledger::projection::packages::ArtifactRecord;
use pyrsia_ledger::{ArtifactId, PackageType, Sha256Digest};
use pyrsia_node::{ArtifactError, OpenArtifact, ServedArtifact};
use std::io::{self, Read as _, SeekFrom};
use std::time::SystemTime;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

mod arriving;
mod short;
use short::SHORT_BYTES_MAX;
pub(crate) use short::ShortArtifacts;

/// What one read takes from a file where it cannot be sent without reading it: larger ones send no faster.
const READ_BYTES: usize = 256 * 1_024;

/// How artifacts of a kind are sent.
pub(crate) struct Form {
    pub(crate) media_type: MediaType,
    /// Whether parts of it are of use to a client, also while the rest is on its way here.
    pub(crate) ranges: bool,
    /// A header that repeats the digest, as some protocols want it.
    pub(crate) digest_header: Option<&'static str>,
}

pub(crate) enum MediaType {
    /// As the ledger has it.
    Recorded,
    /// Blobs are bytes to whoever moves them; what they are stands in the manifest.
    OctetStream,
}

impl MediaType {
    fn of<'m>(&self, recorded: &'m str) -> &'m str {
        match self {
            Self::Recorded => recorded,
            Self::OctetStream => "application/octet-stream",
        }
    }
}

/// Why a published artifact is not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Withheld(#[from] ArtifactError),
    #[error("the stored copy of {id} cannot be read")]
    Unreadable { id: ArtifactId },
}

/// Answers GET and HEAD for an artifact that `record` vouches for.
pub(crate) async fn answer(
    front: &Front,
    request: &Request,
    package_type: &PackageType,
    id: &ArtifactId,
    record: &ArtifactRecord,
    form: &Form,
) -> Result<Response, SendError> {
    let now = SystemTime::now();
    let known = Facts::new(form, record, now);
    let plan = match known.plan(request.method(), request.headers()) {
        Plan::Done(response) => return Ok(response),
        plan @ Plan::Send { .. } => plan,
    };
    let sha256 = record.artifact.sha256;
    if let Some(bytes) = front.short.get(&sha256)
        && front.node.has_unchanged(&sha256)
    {
        return Ok(plan.with_bytes(&bytes));
    }
    let opened = match form.ranges {
        true => front.node.serve_artifact(package_type, id).await?,
        false => ServedArtifact::Stored(front.node.open_artifact(package_type, id).await?),
    };
    let opened = match opened {
        ServedArtifact::Stored(opened) => opened,
        ServedArtifact::Arriving(artifact) => {
            let plan = Facts::new(form, &artifact.record, now).plan(request.method(), request.headers());
            return Ok(arriving::answer(request, plan, artifact).await?);
        }
    };
    // An id can have got a new build meanwhile: what was opened is what is described.
    let plan = Facts::new(form, &opened.record, now).plan(request.method(), request.headers());
    let unreadable = |error| {
        tracing::error!(%id, %error, "a stored artifact cannot be read");
        SendError::Unreadable { id: id.clone() }
    };
    if opened.size_bytes <= SHORT_BYTES_MAX {
        let sha256 = opened.sha256;
        let mut bytes = whole(opened).await.map_err(unreadable)?;
        if Sha256Digest::of(&bytes) != sha256 {
            front.node.discard_damaged(sha256).await;
            bytes = whole(front.node.open_artifact(package_type, id).await?).await.map_err(unreadable)?;
            if Sha256Digest::of(&bytes) != sha256 {
                return Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, "its bytes are not those of its digest")));
            }
        }
        front.short.keep(sha256, bytes.clone());
        return Ok(plan.with_bytes(&bytes));
    }
    match plan {
        Plan::Done(response) => Ok(response),
        Plan::Send { mut response, first, size_bytes } => {
            response.set_body(part(request, opened, first, size_bytes).await.map_err(unreadable)?);
            Ok(response)
        }
    }
}

/// The same for a short document that was made here, of what the block of `time_ms` says.
pub(crate) fn answer_made(request: &Request, bytes: &[u8], media_type: &str, time_ms: u64, form: &Form) -> Response {
    let sha256 = Sha256Digest::of(bytes);
    let media_type = form.media_type.of(media_type);
    let validators = Validators::new(etag(&sha256), Some(time_ms), SystemTime::now());
    let facts = Facts { sha256, size_bytes: bytes.len() as u64, media_type, validators, form };
    facts.plan(request.method(), request.headers()).with_bytes(&Bytes::copy_from_slice(bytes))
}

/// All bytes of a short artifact.
async fn whole(opened: OpenArtifact) -> io::Result<Bytes> {
    let read = move || {
        let mut bytes = Vec::with_capacity(opened.size_bytes as usize);
        opened.file.take(opened.size_bytes).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == opened.size_bytes { Ok(bytes.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// So many bytes of a file from `first` on.
async fn part(request: &Request, opened: OpenArtifact, first: u64, size_bytes: u64) -> io::Result<Body> {
    #[cfg(target_os = "linux")]
    if let Some(outbox) = request.extensions().get::<Outbox>() {
        return Ok(outbox.body(opened.file, first, size_bytes));
    }
    let mut file = File::from_std(opened.file);
    file.set_max_buf_size(READ_BYTES);
    if first > 0 {
        file.seek(SeekFrom::Start(first)).await?;
    }
    Ok(Body::from_bytes_stream(ReaderStream::with_capacity(file.take(size_bytes), READ_BYTES)))
}

/// The entity tag of bytes with this digest.
pub(crate) fn etag(sha256: &Sha256Digest) -> String {
    format!("\"{}\"", sha256.to_oci())
}

/// Whether the client has what `etag` names (RFC 9110, section 13.1.2).
pub(crate) fn client_has_it(headers: &HeaderMap, etag: &str) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|tags| tags.split(',')).map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// What the headers of an answer follow from.
struct Facts<'a> {
    sha256: Sha256Digest,
    size_bytes: u64,
    media_type: &'a str,
    validators: Validators,
    form: &'a Form,
}

enum Plan {
    /// No byte of the artifact is needed.
    Done(Response),
    Send {
        response: Response,
        first: u64,
        size_bytes: u64,
    },
}

impl Plan {
    /// The answer out of all bytes of the artifact.
    fn with_bytes(self, bytes: &Bytes) -> Response {
        match self {
            Self::Done(response) => response,
            Self::Send { mut response, first, size_bytes } => {
                let first = usize::try_from(first).expect("a range lies within the bytes");
                let count = usize::try_from(size_bytes).expect("a range lies within the bytes");
                response.set_body(bytes.slice(first..first + count));
                response
            }
        }
    }
}

impl<'a> Facts<'a> {
    fn new(form: &'a Form, record: &'a ArtifactRecord, now: SystemTime) -> Self {
        let BuiltArtifact { sha256, size_bytes, media_type, .. } = &record.artifact;
        let media_type = form.media_type.of(media_type);
        let validators = Validators::new(etag(sha256), Some(record.time_ms), now);
        Self { sha256: *sha256, size_bytes: *size_bytes, media_type, validators, form }
    }

    /// Conditions first, then the range (RFC 9110, section 13.2.2).
    fn plan(&self, method: &Method, headers: &HeaderMap) -> Plan {
        match self.validators.condition(headers) {
            Condition::Holds => {}
            Condition::NotModified => return Plan::Done(self.response(StatusCode::NOT_MODIFIED).finish()),
            Condition::Failed => return Plan::Done(self.response(StatusCode::PRECONDITION_FAILED).finish()),
        }
        let selection = match self.range(method, headers) {
            Some(range) => select(range, self.size_bytes),
            None => Selection::Whole,
        };
        let (status, first, size_bytes) = match selection {
            Selection::Unsatisfiable => {
                let range = format!("bytes */{}", self.size_bytes);
                let refused = self.response(StatusCode::RANGE_NOT_SATISFIABLE).header(header::CONTENT_RANGE, range);
                return Plan::Done(refused.finish());
            }
            Selection::Whole => (StatusCode::OK, 0, self.size_bytes),
            Selection::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        };
        let mut response =
            self.response(status).header(header::CONTENT_TYPE, self.media_type).header(header::CONTENT_LENGTH, size_bytes);
        if let Selection::Part { first, last } = selection {
            response = response.header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", self.size_bytes));
        }
        let response = response.finish();
        if method == Method::HEAD { Plan::Done(response) } else { Plan::Send { response, first, size_bytes } }
    }

    fn response(&self, status: StatusCode) -> ResponseBuilder {
        let mut response = Response::builder().status(status).header(header::ETAG, &self.validators.etag);
        if let Some(date) = self.validators.last_modified() {
            response = response.header(header::LAST_MODIFIED, date);
        }
        if let Some(name) = self.form.digest_header {
            response = response.header(name, self.sha256.to_oci());
        }
        if self.form.ranges { response.header(header::ACCEPT_RANGES, "bytes") } else { response }
    }

    /// The range that counts: of a GET, and of the file the client began with, if it says which that is.
    fn range<'h>(&self, method: &Method, headers: &'h HeaderMap) -> Option<&'h str> {
        let same = self.validators.allow_a_range(headers);
        let mut ranges = headers.get_all(header::RANGE).iter();
        let (range, more) = (ranges.next()?, ranges.next());
        if self.form.ranges && method == Method::GET && same && more.is_none() { range.to_str().ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderName;

    const DIGEST: &str = "x-digest";
    const FORM: &Form = &Form { media_type: MediaType::OctetStream, ranges: true, digest_header: Some(DIGEST) };

    fn facts() -> Facts<'static> {
        let sha256 = Sha256Digest::of(b"0123456789");
        let validators = Validators::new(etag(&sha256), Some(1_000), SystemTime::now());
        Facts { sha256, size_bytes: 10, media_type: "application/octet-stream", validators, form: FORM }
    }

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header"))).collect()
    }

    #[track_caller]
    fn check(method: Method, lines: &[(HeaderName, &str)], status: u16, bytes: Option<(u64, u64)>) -> Response {
        let (response, sent) = match facts().plan(&method, &headers(lines)) {
            Plan::Done(response) => (response, None),
            Plan::Send { response, first, size_bytes } => (response, Some((first, size_bytes))),
        };
        assert_eq!((response.status().as_u16(), sent), (status, bytes), "{method} {lines:?}");
        assert_eq!(response.header(header::ACCEPT_RANGES), Some("bytes"));
        assert_eq!(response.header(DIGEST), Some(Sha256Digest::of(b"0123456789").to_oci().as_str()));
        assert_eq!(response.header(header::LAST_MODIFIED), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
        response
    }

    #[test]
    fn a_part_is_sent_with_its_place_in_the_whole() {
        let response = check(Method::GET, &[(header::RANGE, "bytes=2-4")], 206, Some((2, 3)));
        assert_eq!(response.header(header::CONTENT_RANGE), Some("bytes 2-4/10"));
        assert_eq!(response.header(header::CONTENT_LENGTH), Some("3"));
        let response = check(Method::GET, &[(header::RANGE, "bytes=10-")], 416, None);
        assert_eq!(response.header(header::CONTENT_RANGE), Some("bytes */10"));
        check(Method::GET, &[(header::RANGE, "bytes=0-1,4-5")], 200, Some((0, 10)));
        check(Method::GET, &[(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=4-5")], 200, Some((0, 10)));
    }

    #[test]
    fn a_head_is_a_get_without_its_body() {
        let response = check(Method::HEAD, &[(header::RANGE, "bytes=2-4")], 200, None);
        assert_eq!(response.header(header::CONTENT_LENGTH), Some("10"));
        assert_eq!(response.header(header::CONTENT_TYPE), Some("application/octet-stream"));
    }

    #[test]
    fn a_client_that_has_the_file_gets_no_byte_of_it() {
        let etag = facts().validators.etag;
        check(Method::GET, &[(header::IF_NONE_MATCH, &etag)], 304, None);
        check(Method::GET, &[(header::IF_NONE_MATCH, &format!("\"x\", W/{etag}"))], 304, None);
        check(Method::HEAD, &[(header::IF_NONE_MATCH, "*")], 304, None);
        check(Method::GET, &[(header::IF_NONE_MATCH, "\"x\"")], 200, Some((0, 10)));
    }

    #[test]
    fn a_download_that_began_with_another_file_ends() {
        let (range, earlier) = ((header::RANGE, "bytes=2-4"), "Thu, 01 Jan 1970 00:00:00 GMT");
        check(Method::GET, &[range.clone(), (header::IF_UNMODIFIED_SINCE, earlier)], 412, None);
        check(Method::GET, &[range, (header::IF_UNMODIFIED_SINCE, "Thu, 01 Jan 1970 00:01:00 GMT")], 206, Some((2, 3)));
    }

    #[test]
    fn a_download_of_another_file_is_not_resumed_with_this_one() {
        let (etag, range) = (facts().validators.etag, (header::RANGE, "bytes=2-4"));
        check(Method::GET, &[range.clone(), (header::IF_RANGE, &etag)], 206, Some((2, 3)));
        check(Method::GET, &[range, (header::IF_RANGE, "\"other\"")], 200, Some((0, 10)));
    }
}
