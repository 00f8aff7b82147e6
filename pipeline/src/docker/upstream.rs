//! A client of one repository of an upstream registry: reads manifests and blobs, verified, with bounded patience.
//!
//! Reference: OCI distribution specification 1.1, "Pull". Faults that may pass (429, 5xx, broken connections, short
//! bodies) are tried again a few times, blobs from where they broke off; everything else is an error at once. A blob is
//! written to the path it was asked for and is whole and verified when the call returns without an error. Redirects are
//! followed by hand, because only here it is known which hosts may see the credentials.

use std::io::SeekFrom;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::TryFutureExt;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Response};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use url::Url;

use self::challenge::Challenge;
use self::credentials::Credentials;
pub(crate) use self::error::UpstreamError;
use super::BuildContext;
use super::image_name::{Digest, Reference};
use super::manifest::{self, Descriptor, MAX_MANIFEST_BYTES, Manifest};
use crate::build_log::BuildLog;
use crate::http_client;

mod challenge;
mod credentials;
mod error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Silence for this long breaks a connection; a slow transfer that goes on does not.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ATTEMPTS: u32 = 5;
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 5;
const MAX_TOKEN_BYTES: usize = 64 << 10;

/// Why one attempt did not succeed.
enum Fault {
    /// May be gone soon.
    Passing {
        error: UpstreamError,
        retry_after: Option<Duration>,
    },
    Lasting(UpstreamError),
}

/// A manifest and its bytes, which have this digest.
#[derive(Debug)]
pub(crate) struct FetchedManifest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    base: Url,
    repository: String,
    credentials: Option<Credentials>,
    http: Client,
    retry_delay: Duration,
    /// What the registry wants to see with each request, once it said so.
    authorization: Mutex<Option<String>>,
    log: BuildLog,
}

#[derive(Deserialize)]
struct TokenJson {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// The client for all upstreams of a pipeline.
pub(crate) fn http_client() -> Client {
    http_client::client(|builder| {
        builder.connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).redirect(reqwest::redirect::Policy::none())
    })
}

impl Upstream {
    pub(crate) fn of_build(url: &Url, repository: &str, context: &BuildContext) -> Self {
        Self::new(url, repository, &context.http, context.retry_delay, &context.log)
    }

    pub(crate) fn new(url: &Url, repository: &str, http: &Client, retry_delay: Duration, log: &BuildLog) -> Self {
        let mut base = url.clone();
        // Neither fails for the http and https urls that a recipe can hold.
        let _ = base.set_username("");
        let _ = base.set_password(None);
        Self {
            base,
            repository: repository.to_owned(),
            credentials: Credentials::of(url),
            http: http.clone(),
            retry_delay,
            authorization: Mutex::new(None),
            log: log.clone(),
        }
    }

    /// Where the image comes from, without user and password.
    pub(crate) fn location(&self) -> String {
        format!("{}/{}", self.base.as_str().trim_end_matches('/'), self.repository)
    }

    pub(crate) async fn manifest(&self, reference: &Reference) -> Result<FetchedManifest, UpstreamError> {
        let what = format!("manifest {}:{reference}", self.repository).replace(":sha256:", "@sha256:");
        let mut retries = Retries::new(self);
        loop {
            match self.manifest_once(&what, reference).await {
                Ok(manifest) => return Ok(manifest),
                Err(fault) => retries.wait_after(fault).await?,
            }
        }
    }

    async fn manifest_once(&self, what: &str, reference: &Reference) -> Result<FetchedManifest, Fault> {
        let mut response = self.get(&format!("manifests/{reference}"), what, None).await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (content_type, promised) = (header(CONTENT_TYPE.as_str()), header("docker-content-digest"));
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|source| self.broken(what, source))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_MANIFEST_BYTES {
                return Err(Fault::Lasting(UpstreamError::Long {
                    location: self.place(),
                    what: what.to_owned(),
                    size_bytes: MAX_MANIFEST_BYTES as u64,
                }));
            }
        }
        // First the form, so that an error page is named as such; nothing of it is kept before the digest is right.
        let manifest = manifest::parse(content_type.as_deref(), &bytes).map_err(|source| {
            Fault::Lasting(UpstreamError::Manifest { location: self.place(), what: what.to_owned(), source })
        })?;
        let digest = Digest::of(&bytes);
        let wanted = match reference {
            Reference::Digest(digest) => Some(digest.as_str()),
            Reference::Tag(_) => promised.as_deref().filter(|promised| promised.starts_with("sha256:")),
        };
        if wanted.is_some_and(|wanted| wanted != digest.as_str()) {
            return Err(Fault::Lasting(UpstreamError::WrongDigest {
                location: self.place(),
                what: what.to_owned(),
                got: digest,
            }));
        }
        Ok(FetchedManifest { bytes, digest, manifest })
    }

    /// Streams a blob to a new file.
    pub(crate) async fn blob(&self, descriptor: &Descriptor, path: &Path) -> Result<(), UpstreamError> {
        let what = format!("blob {}@{}", self.repository, descriptor.digest);
        let broken = |source| UpstreamError::Io { what: what.clone(), source };
        let mut partial =
            Partial { file: File::create_new(path).await.map_err(broken)?, hash: Sha256::new(), got_bytes: 0, resumed: false };
        let mut retries = Retries::new(self);
        while let Err(fault) = self.blob_once(&what, descriptor, &mut partial).await {
            retries.wait_after(fault).await?;
        }
        partial.file.flush().await.map_err(broken)
    }

    async fn blob_once(&self, what: &str, descriptor: &Descriptor, partial: &mut Partial) -> Result<(), Fault> {
        let broken = |source| Fault::Lasting(UpstreamError::Io { what: what.to_owned(), source });
        let from = (partial.got_bytes > 0).then_some(partial.got_bytes);
        let mut response = self.get(&format!("blobs/{}", descriptor.digest), what, from).await?;
        let resumes = from.is_some_and(|from| {
            let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            response.status() == 206 && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
        });
        if resumes {
            partial.resumed = true;
        } else {
            partial.restart().await.map_err(broken)?;
        }
        let (location, size_bytes) = (self.place(), descriptor.size_bytes);
        while let Some(chunk) = response.chunk().await.map_err(|source| self.broken(what, source))? {
            partial.got_bytes += chunk.len() as u64;
            if partial.got_bytes > size_bytes {
                return Err(Fault::Lasting(UpstreamError::Long { location, what: what.to_owned(), size_bytes }));
            }
            partial.hash.update(&chunk);
            partial.file.write_all(&chunk).await.map_err(broken)?;
        }
        if partial.got_bytes < size_bytes {
            let got_bytes = partial.got_bytes;
            let error = UpstreamError::Short { location, what: what.to_owned(), got_bytes, size_bytes };
            return Err(Fault::Passing { error, retry_after: None });
        }
        let got = Digest::from_hash(partial.hash.clone().finalize());
        if got == descriptor.digest {
            return Ok(());
        }
        let resumed = partial.resumed;
        partial.restart().await.map_err(broken)?;
        let error = UpstreamError::WrongDigest { location, what: what.to_owned(), got };
        // Pieces of two answers need not fit together; one whole answer does or is wrong.
        Err(if resumed { Fault::Passing { error, retry_after: None } } else { Fault::Lasting(error) })
    }

    /// One successful answer of the registry, after meeting its challenge at most once.
    async fn get(&self, path: &str, what: &str, from: Option<u64>) -> Result<Response, Fault> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v2/{}/{path}", self.base.path().trim_end_matches('/'), self.repository));
        let mut challenged = false;
        loop {
            let response = self.follow(url.clone(), what, from).await?;
            let status = response.status().as_u16();
            let (location, what) = (self.place(), what.to_owned());
            match status {
                200 => return Ok(response),
                206 if from.is_some() => return Ok(response),
                401 if !challenged && challenge::same_origin(response.url(), &self.base) => {
                    challenged = true;
                    self.authorize(&response).await?;
                }
                401 | 403 => return Err(Fault::Lasting(UpstreamError::Refused { location, what, status })),
                404 => return Err(Fault::Lasting(UpstreamError::NotFound { location, what })),
                429 => {
                    let retry_after = retry_after(&response);
                    return Err(Fault::Passing { error: UpstreamError::TooManyRequests { location, what }, retry_after });
                }
                500..=599 => {
                    let retry_after = retry_after(&response);
                    return Err(Fault::Passing { error: UpstreamError::Status { location, what, status }, retry_after });
                }
                _ => return Err(Fault::Lasting(UpstreamError::Status { location, what, status })),
            }
        }
    }

    async fn follow(&self, mut url: Url, what: &str, from: Option<u64>) -> Result<Response, Fault> {
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.http.get(url.clone());
            for media_type in
                [manifest::DOCKER_MANIFEST, manifest::DOCKER_INDEX, manifest::OCI_MANIFEST, manifest::OCI_INDEX, "*/*;q=0.1"]
            {
                request = request.header(ACCEPT, media_type);
            }
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(authorization) = authorization
                && challenge::same_origin(&url, &self.base)
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.send().map_err(|source| self.broken(what, source)).await?;
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let (true, Some(location)) = (response.status().is_redirection(), location) else {
                return Ok(response);
            };
            url = challenge::redirect_target(&self.base, &url, location).map_err(|problem| self.lost(what, problem))?;
        }
        Err(self.lost(what, "there are too many redirects"))
    }

    /// Meets the challenge of a 401 and remembers what to show from then on.
    async fn authorize(&self, response: &Response) -> Result<(), Fault> {
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .collect();
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let authorization = match (bearer.or(challenges.first()), &self.credentials) {
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                format!("Bearer {}", self.token(realm, service.as_deref(), scope.as_deref()).await?)
            }
            (Some(Challenge::Basic), Some(credentials)) => credentials.basic(),
            (Some(Challenge::Basic), None) | (None, _) => {
                let what = format!("repository {}", self.repository);
                return Err(Fault::Lasting(UpstreamError::Refused { location: self.place(), what, status: 401 }));
            }
        };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    async fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String, Fault> {
        let location = self.place();
        let what = format!("a token for {}", self.repository);
        let mut url = challenge::token_server(&self.base, realm).map_err(|problem| {
            Fault::Lasting(UpstreamError::Realm { location: location.clone(), realm: realm.to_owned(), problem })
        })?;
        let pull = format!("repository:{}:pull", self.repository);
        url.query_pairs_mut().extend_pairs(service.map(|service| ("service", service)));
        url.query_pairs_mut().append_pair("scope", scope.unwrap_or(&pull));
        let mut request = self.http.get(url.clone());
        if let Some(credentials) = &self.credentials
            && challenge::may_see_credentials(&self.base, &url)
        {
            request = request.header(AUTHORIZATION, credentials.basic());
        }
        let mut response = request.send().map_err(|source| self.broken(&what, source)).await?;
        let status = response.status().as_u16();
        match status {
            200 => {}
            429 => {
                let error = UpstreamError::TooManyRequests { location, what };
                return Err(Fault::Passing { error, retry_after: retry_after(&response) });
            }
            500..=599 => {
                let error = UpstreamError::Status { location, what, status };
                return Err(Fault::Passing { error, retry_after: retry_after(&response) });
            }
            _ => return Err(Fault::Lasting(UpstreamError::Refused { location, what, status })),
        }
        let no_token = || Fault::Lasting(UpstreamError::NoToken { location: location.clone() });
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|source| self.broken(&what, source))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_TOKEN_BYTES {
                return Err(no_token());
            }
        }
        let answer: TokenJson = serde_json::from_slice(&body).map_err(|_| no_token())?;
        let token = answer.token.or(answer.access_token).ok_or_else(no_token)?;
        // It becomes a header; what cannot stand in one is no token.
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) { Err(no_token()) } else { Ok(token) }
    }

    fn place(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    fn broken(&self, what: &str, source: reqwest::Error) -> Fault {
        let error = UpstreamError::Unreachable { location: self.place(), what: what.to_owned(), source: source.without_url() };
        Fault::Passing { error, retry_after: None }
    }

    fn lost(&self, what: &str, problem: &'static str) -> Fault {
        Fault::Lasting(UpstreamError::Redirect { location: self.place(), what: what.to_owned(), problem })
    }
}

/// The patience for one object.
struct Retries<'a> {
    upstream: &'a Upstream,
    failed: u32,
    pause: Duration,
}

impl<'a> Retries<'a> {
    fn new(upstream: &'a Upstream) -> Self {
        Self { upstream, failed: 0, pause: upstream.retry_delay }
    }

    /// Returns when it is time to try again, or with the fault when it is not worth it.
    async fn wait_after(&mut self, fault: Fault) -> Result<(), UpstreamError> {
        self.failed += 1;
        let (error, retry_after) = match fault {
            Fault::Lasting(error) => return Err(error),
            Fault::Passing { error, .. } if self.failed == MAX_ATTEMPTS => return Err(error),
            Fault::Passing { error, retry_after } => (error, retry_after),
        };
        self.upstream.log.line(format!("{error}; attempt {} of {MAX_ATTEMPTS} follows", self.failed + 1));
        tokio::time::sleep(retry_after.unwrap_or(self.pause).min(MAX_RETRY_PAUSE)).await;
        self.pause *= 2;
        Ok(())
    }
}

/// A blob on its way to the disk.
struct Partial {
    file: File,
    hash: Sha256,
    got_bytes: u64,
    /// Made of more than one answer.
    resumed: bool,
}

impl Partial {
    async fn restart(&mut self) -> std::io::Result<()> {
        self.file.set_len(0).await?;
        self.file.seek(SeekFrom::Start(0)).await?;
        self.hash = Sha256::new();
        self.got_bytes = 0;
        self.resumed = false;
        Ok(())
    }
}

/// Seconds; the form with a date is rare and treated as absent.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
