//! The repository that a build sees: the configured ones in their order, as one, and nothing else of the world.
//!
//! Speaks the HTTP of the Maven repository layout: GET and HEAD of files. Released files come from the cache of the pipeline or
//! go into it; lists of versions and snapshots are asked for each time, and of these the first repository that has one counts.
//! Everything that a build got is noted, so that its log says what went into the result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use poem::http::{Method, StatusCode, header};
use poem::{Body, Endpoint, Request, Response};
use reqwest::Client;
use tokio::io::AsyncReadExt as _;
use url::Url;

use super::cache::{Cache, CachedFile, Found, Sums};
use super::path::{Checksum, Kind, RepositoryPath};
use super::upstream::{Budget, FetchError, Repository};
use crate::build_log::BuildLog;

/// All that one build may fetch: several times what the largest ones do.
const MAX_BUILD_BYTES: u64 = 32 << 30;
/// And ask for: what it got is in memory until its end.
const MAX_BUILD_REQUESTS: u64 = 200_000;
/// Requests that are told one by one in the log of the build.
const TOLD_REFUSALS: u64 = 100;
/// Files that are listed at its end. With paths as long as they may be, all that fits into what a log keeps for the pipeline.
const LISTED_FILES: usize = 5_000;
const LISTED_MISSES: usize = 100;

/// Cheap to clone; all clones are of one build.
#[derive(Debug, Clone)]
pub(super) struct BuildRepository(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    repositories: Vec<Repository>,
    cache: Cache,
    log: BuildLog,
    budget: Budget,
    requests: AtomicU64,
    refusals: AtomicU64,
    notes: Mutex<Notes>,
}

/// What was asked for.
#[derive(Debug, Default)]
struct Notes {
    /// Path to digest and repository.
    resolved: BTreeMap<String, (Sums, String)>,
    /// Path and SHA-256, to repository: the same path can have been several files.
    changing: BTreeMap<(String, String), String>,
    /// The first of those that were not there.
    missing: BTreeSet<String>,
    missing_requests: u64,
}

/// Why a request has no file for an answer.
enum Refusal {
    Method,
    Proxy,
    Path,
    Missing,
    TooMuch,
    TooOften,
    Fetch(FetchError),
}

impl From<FetchError> for Refusal {
    fn from(error: FetchError) -> Self {
        if matches!(error, FetchError::BudgetSpent) { Self::TooMuch } else { Self::Fetch(error) }
    }
}

enum Answer {
    File(CachedFile),
    Text(String),
}

impl BuildRepository {
    pub(super) fn new(urls: &[Url], http: &Client, cache: &Cache, retry_delay: Duration, log: &BuildLog) -> Self {
        let repositories = urls.iter().map(|url| Repository::new(url.clone(), http.clone(), retry_delay)).collect();
        Self(Arc::new(Inner {
            repositories,
            cache: cache.clone(),
            log: log.clone(),
            budget: Budget::new(MAX_BUILD_BYTES),
            requests: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            notes: Mutex::default(),
        }))
    }

    async fn answer(&self, request: &Request) -> Result<Answer, Refusal> {
        if self.0.requests.fetch_add(1, Ordering::Relaxed) >= MAX_BUILD_REQUESTS {
            return Err(Refusal::TooOften);
        }
        if request.uri().authority().is_some() {
            return Err(Refusal::Proxy);
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(Refusal::Method);
        }
        let path = RepositoryPath::parse(request.uri().path()).ok_or(Refusal::Path)?;
        // What a repository says of itself alone (`.meta/prefixes.txt`) would be wrong for several as one.
        if path.text.starts_with('.') {
            return Err(Refusal::Missing);
        }
        if let Kind::ChecksumOf(file, checksum) = &path.kind
            && let Some(sums) = self.noted(file)
        {
            return Ok(Answer::Text(match checksum {
                Checksum::Sha1 => sums.sha1,
                Checksum::Sha256 => sums.sha256,
            }));
        }
        for repository in &self.0.repositories {
            if let Some(found) = self.find(repository, &path).await? {
                let (sums, name) = (found.sums.clone(), repository.name.clone());
                if path.kind == Kind::Released {
                    self.notes().resolved.insert(path.text, (sums, name));
                } else {
                    self.notes().changing.insert((path.text, sums.sha256), name);
                }
                return Ok(Answer::File(found));
            }
        }
        let mut notes = self.notes();
        notes.missing_requests += 1;
        if notes.missing.len() < LISTED_MISSES {
            notes.missing.insert(path.text);
        }
        Err(Refusal::Missing)
    }

    async fn find(&self, repository: &Repository, path: &RepositoryPath) -> Result<Option<CachedFile>, Refusal> {
        let (cache, name) = (&self.0.cache, &repository.name);
        if path.kind == Kind::Released {
            let work = {
                let (cache, name, text) = (cache.clone(), name.clone(), path.text.clone());
                move || cache.find(&name, &text)
            };
            match tokio::task::spawn_blocking(work).await.map_err(FetchError::from)? {
                Found::Known(found) => return Ok(Some(found)),
                Found::Unknown(CachedFile { file, sums }) => {
                    if let Some(sums) = repository.confirm(path, &sums).await? {
                        cache.confirm(name, &path.text, sums.clone());
                        return Ok(Some(CachedFile { file, sums }));
                    }
                }
                Found::Nothing => {}
            }
        }
        Ok(repository.fetch(path, cache, &self.0.budget).await?)
    }

    /// The digests of a file that this build got.
    fn noted(&self, path: &str) -> Option<Sums> {
        self.notes().resolved.get(path).map(|(sums, _)| sums.clone())
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, request: &Request, refusal: &Refusal) {
        let about = match refusal {
            // Asking for what is not there is how Maven looks for it; the end of the log lists it.
            Refusal::Missing => return,
            Refusal::Method => "which only reads are answered for".to_owned(),
            Refusal::Proxy => "which is not in the configured repositories".to_owned(),
            Refusal::Path => "which is no path of a repository".to_owned(),
            Refusal::TooMuch => format!("and has fetched {MAX_BUILD_BYTES} bytes already"),
            Refusal::TooOften => format!("after {MAX_BUILD_REQUESTS} requests"),
            Refusal::Fetch(error) => format!("and {}", crate::builds::with_causes(error)),
        };
        match self.0.refusals.fetch_add(1, Ordering::Relaxed) {
            told if told < TOLD_REFUSALS => {
                self.0.log.line(format!("the build asked for {} {}, {about}", request.method(), request.uri()));
            }
            TOLD_REFUSALS => self.0.log.line("further refused requests are not listed"),
            _ => {}
        }
    }

    /// Writes what the build got, and what it did not, into its log.
    pub(super) fn list(&self) {
        let (notes, log) = (self.notes(), &self.0.log);
        if notes.missing_requests > 0 {
            log.line(format!("not in the configured repositories: {} requests", notes.missing_requests));
            notes.missing.iter().for_each(|path| log.line(format!("  {path}")));
        }
        let all = notes.resolved.len() + notes.changing.len();
        log.line(format!("resolved {all} files:"));
        let released = notes.resolved.iter().map(|(path, (sums, repository))| {
            let unconfirmed = if sums.is_confirmed { "" } else { " (the repository has no checksum of it)" };
            format!("  {} {path} {repository}{unconfirmed}", sums.sha256)
        });
        let changing =
            notes.changing.iter().map(|((path, sha256), repository)| format!("  {sha256} {path} {repository} (may change)"));
        released.chain(changing).take(LISTED_FILES).for_each(|line| log.line(line));
        if all > LISTED_FILES {
            log.line(format!("  and {} more", all - LISTED_FILES));
        }
    }

    /// How many files below this path the build got.
    pub(super) fn resolved_below(&self, folder: &str) -> usize {
        let below = format!("{folder}/");
        self.notes().resolved.keys().filter(|path| path.starts_with(&below)).count()
    }
}

impl Endpoint for BuildRepository {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let answer = self.answer(&request).await;
        let response = Response::builder().header(header::CACHE_CONTROL, "no-store");
        Ok(match answer {
            Ok(Answer::Text(text)) => response.content_type("text/plain").body(text),
            Ok(Answer::File(CachedFile { file, sums })) => {
                // With it the newer clients save the request for the checksum.
                let response = response
                    .header("x-checksum-sha1", &sums.sha1)
                    .header(header::CONTENT_LENGTH, sums.size_bytes)
                    .content_type("application/octet-stream");
                if request.method() == Method::HEAD {
                    response.finish()
                } else {
                    // What somebody appends meanwhile is not of it.
                    response.body(Body::from_async_read(tokio::fs::File::from_std(file).take(sums.size_bytes)))
                }
            }
            Err(refusal) => {
                self.tell(&request, &refusal);
                let (status, text) = match refusal {
                    Refusal::Missing => (StatusCode::NOT_FOUND, "not in the configured repositories".to_owned()),
                    Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "repositories are only read".to_owned()),
                    Refusal::Proxy => (StatusCode::FORBIDDEN, "only the configured repositories are reached".to_owned()),
                    Refusal::Path => (StatusCode::BAD_REQUEST, "no path of a repository".to_owned()),
                    Refusal::TooMuch => (StatusCode::FORBIDDEN, "the build has fetched too much".to_owned()),
                    Refusal::TooOften => (StatusCode::FORBIDDEN, "the build has asked too often".to_owned()),
                    Refusal::Fetch(error) => (StatusCode::BAD_GATEWAY, crate::builds::with_causes(&error)),
                };
                response.status(status).content_type("text/plain").body(text)
            }
        })
    }
}
