//! One repository that builds may fetch from, and how a file of it gets here: with bounded patience, counted, and checked
//! against the repository's own checksum before anybody sees it.
//!
//! Follows the repository layout of Maven ("Repository Layout - Default"): a file's checksum stands beside it with another ending. Repositories
//! that send it as the header `x-checksum-sha1` save the second request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response, StatusCode, redirect};
use url::Url;

use super::cache::{Cache, CachedFile, MAX_FILE_BYTES, Sums};
use super::installation::without_password;
use super::path::{Kind, RepositoryPath};
use crate::http_client;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Silence for this long breaks a connection; a slow transfer that goes on does not.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ATTEMPTS: u32 = 4;
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 5;
/// A checksum with the name of its file.
const MAX_CHECKSUM_BYTES: usize = 4 << 10;

#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the repository {repository} cannot be reached: {problem}")]
    Unreachable { repository: String, problem: String },
    #[error("the repository {repository} answered with status {status}")]
    Status { repository: String, status: u16 },
    #[error("{path} of the repository {repository} is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge { repository: String, path: String },
    #[error("the build has fetched as much as one may")]
    BudgetSpent,
    #[error("{path} of the repository {repository} is not what its checksum says: {problem}")]
    Checksum { repository: String, path: String, problem: String },
    #[error("cannot keep a file")]
    Io(#[from] std::io::Error),
    #[error("a worker broke down")]
    Worker(#[from] tokio::task::JoinError),
}

impl FetchError {
    /// Whether the same request may work soon.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::TooLarge { .. } | Self::BudgetSpent | Self::Checksum { .. } | Self::Io(_) | Self::Worker(_) => false,
        }
    }
}

/// The client for all repositories. A redirect from https to plain http is not followed.
pub(crate) fn http_client() -> Client {
    let policy = || {
        redirect::Policy::custom(|attempt| {
            let was_secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
            let too_many = attempt.previous().len() > MAX_REDIRECTS;
            if too_many || (was_secure && attempt.url().scheme() != "https") { attempt.stop() } else { attempt.follow() }
        })
    };
    http_client::client(|builder| builder.connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).redirect(policy()))
}

/// The bytes that one build may still fetch.
#[derive(Debug)]
pub(super) struct Budget {
    left_bytes: AtomicU64,
}

impl Budget {
    pub(super) const fn new(bytes: u64) -> Self {
        Self { left_bytes: AtomicU64::new(bytes) }
    }

    /// Before they are written, so that fetches at the same time do not take more together.
    fn take(&self, bytes: usize) -> Result<(), FetchError> {
        let less = |left: u64| left.checked_sub(bytes as u64);
        match self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(FetchError::BudgetSpent),
        }
    }
}

#[derive(Debug)]
pub(super) struct Repository {
    base: Url,
    /// For people, and as a key: without user and password.
    pub(super) name: String,
    http: Client,
    retry_delay: Duration,
}

impl Repository {
    pub(super) fn new(base: Url, http: Client, retry_delay: Duration) -> Self {
        Self { name: without_password(&base), base, http, retry_delay }
    }

    /// The file, kept where it never changes. `None` where the repository does not have it.
    pub(super) async fn fetch(
        &self,
        path: &RepositoryPath,
        cache: &Cache,
        budget: &Budget,
    ) -> Result<Option<CachedFile>, FetchError> {
        self.patiently(|| self.fetch_once(path, cache, budget)).await
    }

    /// What is known of a file of these digests once the repository has said that it is the one. `None` where it does not say so.
    pub(super) async fn confirm(&self, path: &RepositoryPath, sums: &Sums) -> Result<Option<Sums>, FetchError> {
        match self.patiently(|| self.confirmed(path, sums, None)).await {
            Ok(sums) => Ok(sums.is_confirmed.then_some(sums)),
            Err(FetchError::Checksum { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn patiently<T, F: Future<Output = Result<T, Passing>>>(&self, ask: impl Fn() -> F) -> Result<T, FetchError> {
        let mut pause = self.retry_delay;
        for attempt in 1.. {
            match ask().await {
                Err(Passing { error, retry_after }) if attempt < MAX_ATTEMPTS && error.may_pass() => {
                    tracing::debug!(%error, attempt, "asking a repository failed and is tried again");
                    tokio::time::sleep(retry_after.unwrap_or(pause).min(MAX_RETRY_PAUSE)).await;
                    pause *= 2;
                }
                answer => return answer.map_err(|Passing { error, .. }| error),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn fetch_once(&self, path: &RepositoryPath, cache: &Cache, budget: &Budget) -> Result<Option<CachedFile>, Passing> {
        let Some(mut response) = self.get(&path.text).await? else { return Ok(None) };
        let header = response.headers().get("x-checksum-sha1").and_then(|value| value.to_str().ok());
        let told = header.and_then(|text| digits(text, SHA1_CHARS));
        let mut unfinished = blocking({
            let cache = cache.clone();
            move || cache.unfinished()
        })
        .await?;
        let mut size_bytes = 0_u64;
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            size_bytes += piece.len() as u64;
            if size_bytes > MAX_FILE_BYTES {
                return Err(FetchError::TooLarge { repository: self.name.clone(), path: path.text.clone() }.into());
            }
            budget.take(piece.len())?;
            // Pieces are a few kilobytes, which go into the memory of the system.
            unfinished.write(&piece).map_err(FetchError::Io)?;
        }
        if path.kind != Kind::Released {
            return Ok(Some(unfinished.use_once().map_err(FetchError::Io)?));
        }
        let sums = self.confirmed(path, &unfinished.sums(), told).await?;
        let (cache, name, text) = (cache.clone(), self.name.clone(), path.text.clone());
        Ok(Some(blocking(move || cache.keep(unfinished, sums, &name, &text)).await?))
    }

    /// The digests of the file, held against what the repository says they are.
    async fn confirmed(&self, path: &RepositoryPath, sums: &Sums, told: Option<String>) -> Result<Sums, Passing> {
        let check = |name: &str, got: &str, wanted: String| {
            if got == wanted {
                return Ok(Sums { is_confirmed: true, ..sums.clone() });
            }
            let (repository, path) = (self.name.clone(), path.text.clone());
            let problem = format!("{name} is {got}, and should be {wanted}");
            Err(Passing::from(FetchError::Checksum { repository, path, problem }))
        };
        let told = match told {
            Some(told) => Some(told),
            None => self.checksum(&format!("{}.sha1", path.text), SHA1_CHARS).await?,
        };
        if let Some(wanted) = told {
            return check("SHA-1", &sums.sha1, wanted);
        }
        match self.checksum(&format!("{}.sha256", path.text), SHA256_CHARS).await? {
            Some(wanted) => check("SHA-256", &sums.sha256, wanted),
            None => Ok(sums.clone()),
        }
    }

    async fn checksum(&self, path: &str, chars: usize) -> Result<Option<String>, Passing> {
        let Some(mut response) = self.get(path).await? else { return Ok(None) };
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_CHECKSUM_BYTES {
                return Ok(None);
            }
        }
        Ok(digits(&String::from_utf8_lossy(&body), chars))
    }

    async fn get(&self, path: &str) -> Result<Option<Response>, Passing> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        let response = self.http.get(url).send().await.map_err(|error| self.unreachable(error))?;
        match response.status() {
            StatusCode::OK => Ok(Some(response)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status => {
                let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let error = FetchError::Status { repository: self.name.clone(), status: status.as_u16() };
                Err(Passing { error, retry_after: seconds.map(Duration::from_secs) })
            }
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> Passing {
        let problem = crate::builds::with_causes(&error.without_url());
        FetchError::Unreachable { repository: self.name.clone(), problem }.into()
    }
}

/// An error, and when the repository wants to be asked again.
struct Passing {
    error: FetchError,
    retry_after: Option<Duration>,
}

impl From<FetchError> for Passing {
    fn from(error: FetchError) -> Self {
        Self { error, retry_after: None }
    }
}

const SHA1_CHARS: usize = 40;
const SHA256_CHARS: usize = 64;

/// The checksum in a text that may have the file's name beside it.
fn digits(text: &str, chars: usize) -> Option<String> {
    let is_it = |word: &&str| word.len() == chars && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split(|c: char| c.is_whitespace() || c == '=' || c == '"').find(is_it).map(str::to_ascii_lowercase)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, FetchError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_found_beside_the_name_of_its_file() {
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        for text in
            [sha1.to_owned(), format!("{sha1}  a.jar\n"), format!("SHA1(a.jar)= {}", sha1.to_uppercase()), format!("\"{sha1}\"")]
        {
            assert_eq!(digits(&text, SHA1_CHARS).as_deref(), Some(sha1), "{text}");
        }
        for text in ["", "a9993e", "<html>not found</html>", &sha1.replace('a', "g")] {
            assert_eq!(digits(text, SHA1_CHARS), None, "{text}");
        }
    }

    #[test]
    fn fetches_at_the_same_time_take_no_more_than_there_is() {
        let budget = Budget::new(1000);
        let taken: usize = std::thread::scope(|scope| {
            let fetches: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..100).filter(|_| budget.take(7).is_ok()).count() * 7)).collect();
            fetches.into_iter().map(|fetch| fetch.join().unwrap()).sum()
        });
        assert_eq!(taken, 994);
        assert!(matches!(budget.take(7), Err(FetchError::BudgetSpent)) && budget.take(6).is_ok());
    }

    #[test]
    fn a_password_of_a_repository_never_shows() {
        let url = Url::parse("https://me:secret@maven.example/releases/").unwrap();
        assert_eq!(Repository::new(url, http_client(), Duration::ZERO).name, "https://maven.example/releases");
    }
}
