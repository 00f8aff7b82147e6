//! The paths of package types that have no protocol of their own here: `/TYPE/…`, as the type's verifier reads them.
//!
//! Sends what is published, and documents that the verifier makes. Knows no package type. A path is decoded and bounded before a verifier sees
//! it, and links are made of the address the operator gave or the client used, never of what a proxy may have added to the request.

use crate::content::{self, Form, MediaType, SendError, client_has_it, etag};
use crate::management::error::{Dialect, Refused};
use crate::not_served::NotServed;
use crate::server::Front;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};
use pyrsia_ledger::{ArtifactId, PackageCoordinate, PackageType, Sha256Digest};
use pyrsia_node::{ArtifactError, MountError, MountTarget, MountedDocument};

/// The longest path below a mount, with its escapes: an artifact id of 512 bytes fits with each byte escaped.
const PATH_BYTES_MAX: usize = 2_048;
/// The longest host a client may know this node by: a name of DNS with a port.
const HOST_BYTES_MAX: usize = 260;
/// How long a client should wait before it asks again for something that is published but cannot be had.
const RETRY_AFTER_SECONDS: u64 = 5;

const FORM: &Form = &Form { media_type: MediaType::Recorded, ranges: true, digest_header: None };

/// The package type and the rest of a path that lies below a mount of this node.
pub(crate) fn of<'p>(front: &Front, path: &'p str) -> Option<(&'p str, &'p str)> {
    let path = path.strip_prefix('/')?;
    let (word, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    front.node.has_mount(word).then_some((word, rest))
}

pub(crate) async fn answer(front: &Front, request: &Request, word: &str, rest: &str) -> Response {
    let answered = route(front, request, word, rest).await;
    shielded(answered.unwrap_or_else(|refused| refused.into_response(Dialect::Problem)))
}

async fn route(front: &Front, request: &Request, word: &str, rest: &str) -> Result<Response, Refused> {
    let (method, headers) = (request.method(), request.headers());
    if method != Method::GET && method != Method::HEAD {
        return Err(Refused::method_not_allowed(method, request.uri().path(), "GET, HEAD"));
    }
    let path = path_for_verifier(rest)?;
    match front.node.mounted(word, &path).await? {
        None => Err(Refused::not_found(format!("no {word} package has the path {path}"))),
        Some(MountTarget::Artifact { package_type, id, coordinate }) => {
            artifact(front, request, &package_type, &id, Some(coordinate)).await
        }
        Some(MountTarget::Document(document)) => {
            let mount = match &front.public_url {
                Some(url) => format!("{}/{word}", url.trim_end_matches('/')),
                None => format!("http://{}/{word}", host(headers)?),
            };
            made(front, document, headers, &mount).await
        }
    }
}

/// A document, which the host of the request has a part in.
async fn made(front: &Front, document: MountedDocument, headers: &HeaderMap, mount: &str) -> Result<Response, Refused> {
    let document = front.node.make_document(document, mount).await?;
    let etag = etag(&Sha256Digest::of(&document.body));
    let response = Response::builder().header(header::ETAG, &etag).header(header::VARY, "host");
    if client_has_it(headers, &etag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    Ok(response.header(header::CONTENT_TYPE, document.media_type).body(document.body))
}

/// The bytes of an artifact. Where it is not published and belongs to `wished`, a build of that is asked for.
pub(crate) async fn artifact(
    front: &Front,
    request: &Request,
    package_type: &PackageType,
    id: &ArtifactId,
    wished: Option<PackageCoordinate>,
) -> Result<Response, Refused> {
    let record = match (front.node.artifact_record(package_type, id), wished) {
        (Ok((_, record)), _) => record,
        (Err(ArtifactError::Unpublished { .. }), Some(coordinate)) => return Err(missing(front, &coordinate).await),
        (Err(error), _) => return Err(withheld(error)),
    };
    content::answer(front, request, package_type, id, &record, FORM).await.map_err(|error| match error {
        SendError::Withheld(error) => withheld(error),
        error @ SendError::Unreadable { .. } => Refused::unavailable(error.to_string()),
    })
}

/// What is sent here was made by others, and what stands under a path can change with the next block.
pub(crate) fn shielded(mut response: Response) -> Response {
    let unavailable = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A browser that is shown a page of a package runs nothing of it in the node's name.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    if unavailable {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}

/// Says that a package is not published, and what is done about it.
async fn missing(front: &Front, package: &PackageCoordinate) -> Refused {
    // The verifier of the network says how the package is written, whatever made it of the path.
    let wished = match front.node.parse_coordinate(package.package_type.as_str(), package.id.as_str()).await {
        Ok(coordinate) => front.node.wish_in_background(coordinate),
        Err(error) => Err(error),
    };
    Refused::not_found(match wished {
        Ok(()) => format!(
            "{package} is not published in this network; a build was requested, ask again when it is done: `pyrsia inspect-log {} {}` shows its \
             records then",
            package.package_type, package.id
        ),
        Err(error) => format!("{package} is not published in this network, and no build was requested: {error}"),
    })
}

fn withheld(error: ArtifactError) -> Refused {
    match error.into() {
        NotServed::Unpublished { package_type, id } => {
            Refused::not_found(ArtifactError::Unpublished { package_type, id }.to_string())
        }
        NotServed::AtRisk(text) => Refused::new(StatusCode::FORBIDDEN, "AT_RISK", text),
        NotServed::Unavailable(text) => Refused::unavailable(text),
    }
}

impl From<MountError> for Refused {
    fn from(error: MountError) -> Self {
        match error {
            MountError::Wish(error) => error.into(),
            MountError::NoDocument(refusal) => Self::not_found(refusal.sentence),
            error @ (MountError::Abstained(_) | MountError::TooLarge) => {
                tracing::warn!(%error, "a verifier gave no answer to a path");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "NO_ANSWER", error.to_string())
            }
            error @ MountError::Stopped => Self::unavailable(error.to_string()),
        }
    }
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

/// What a verifier is asked about: the path with its escapes resolved, and a slash at its beginning but not at its end.
fn path_for_verifier(rest: &str) -> Result<String, Refused> {
    if rest.len() > PATH_BYTES_MAX {
        let message = format!("the path has {} bytes, at most {PATH_BYTES_MAX} are read", rest.len());
        return Err(Refused::new(StatusCode::URI_TOO_LONG, "TOO_LONG", message));
    }
    let Some(path) = decode(rest) else {
        return Err(Refused::not_found("no package has a path with such a character in it".into()));
    };
    if path.split('/').any(|step| matches!(step, "." | "..")) {
        return Err(Refused::bad_request("a path of a package has no steps `.` and `..`".into()));
    }
    let path = path.strip_suffix('/').unwrap_or(&path);
    Ok(if path.is_empty() { "/".to_owned() } else { path.to_owned() })
}

/// Resolves percent escapes once, also those of slashes: some clients send a name with one that way. None for what no id could have.
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
    fn a_verifier_is_asked_about_sound_paths_only() {
        let read = |rest: &str| path_for_verifier(rest).map_err(|refused| refused.status().as_u16());
        for (rest, path) in [("", "/"), ("/", "/"), ("/a/", "/a"), ("/a%2f", "/a"), ("/@s%2Fn", "/@s/n"), ("/a..b", "/a..b")] {
            assert_eq!(read(rest).as_deref(), Ok(path), "{rest}");
        }
        for rest in ["/..", "/../x", "/a/%2e%2E/b", "/a%2f..%2fb", "/.", "/%2e/"] {
            assert_eq!(read(rest), Err(400), "{rest}");
        }
        assert_eq!(read("/%00"), Err(404));
        let long = "/".repeat(PATH_BYTES_MAX);
        assert!(read(&long).is_ok());
        assert_eq!(read(&format!("{long}x")), Err(414));
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
