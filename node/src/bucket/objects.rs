//! Single requests to the bucket: each is asked only while the bucket is well, and says whether it still is.

use super::{Bucket, BucketError, REASON_CHARS_MAX, add};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use pyrsia_ledger::Sha256Digest;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Instant;

/// What every object of artifacts lies under.
const FOLDER: &str = "sha256";
/// What a bucket is known by: in a folder whose disk is not mounted, or an emptied bucket, it is not.
const MARK: &str = "pyrsia";
/// Where the bucket is tried out.
const PROBES: &str = "probes";
const LIST_SUFFIX: &str = ".chunks";

/// What became of the wish to make an object that is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    Made,
    WasThere,
    /// The service cannot tell.
    NotSupported,
}

impl Bucket {
    /// Looks for the mark, and puts, gets and removes an object of its own.
    pub(super) async fn probe(&self) -> Result<(), BucketError> {
        self.see_mark().await?;
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| BucketError::Unusable { why: error.to_string() })?;
        let path = self.0.location.prefix.clone().join(PROBES).join(hex::encode(name));
        let bytes = Bytes::copy_from_slice(&name);
        self.put(&path, bytes.clone().into()).await?;
        let given_back = self.get(&path, None).await;
        // Whatever came of the rest, nothing is left behind where that can be.
        let removed = self.delete(&path).await;
        if given_back? != Some(bytes) {
            return Err(BucketError::Wrong { why: "is not what was put there a moment ago".into() });
        }
        removed
    }

    /// Whether it says at this time if it has the copy of an artifact.
    pub(crate) async fn answers_about(&self, sha256: &Sha256Digest) -> Result<(), BucketError> {
        self.size(&self.artifact_path(sha256)).await.map(drop)
    }

    pub(super) fn mark_path(&self) -> Path {
        self.0.location.prefix.clone().join(MARK)
    }

    /// Whether the bucket is the one that this node knows. One that it has never seen gets the mark.
    pub(super) async fn see_mark(&self) -> Result<(), BucketError> {
        let path = self.mark_path();
        self.0.health.may_ask(Instant::now())?;
        match self.0.location.objects.head(&path).await {
            Err(error @ object_store::Error::NotFound { .. }) if self.0.copies.is_marked() => {
                let _ = self.judged::<()>(Err(error));
                return Err(BucketError::Unmarked { mark: path.to_string() });
            }
            Err(object_store::Error::NotFound { .. }) => {
                self.put(&path, PutPayload::new()).await?;
            }
            seen => {
                self.judged(seen)?;
            }
        }
        if self.0.copies.is_marked() {
            return Ok(());
        }
        self.on_disk(|copies| copies.note_mark()).await.map_err(BucketError::Records)
    }

    pub(super) fn artifact_path(&self, sha256: &Sha256Digest) -> Path {
        let name = sha256.to_string();
        self.0.location.prefix.clone().join(FOLDER).join(&name[..2]).join(name)
    }

    pub(super) fn list_path(&self, sha256: &Sha256Digest) -> Path {
        let name = sha256.to_string();
        self.0.location.prefix.clone().join(FOLDER).join(&name[..2]).join(name + LIST_SUFFIX)
    }

    /// The size of an object, none where there is none.
    pub(super) async fn size(&self, path: &Path) -> Result<Option<u64>, BucketError> {
        self.ask(self.0.location.objects.head(path)).await.map(|found| found.map(|meta| meta.size))
    }

    /// An object, or the range of it, none where there is none.
    pub(super) async fn get(&self, path: &Path, range: Option<Range<u64>>) -> Result<Option<Bytes>, BucketError> {
        let options = GetOptions { range: range.map(Into::into), ..GetOptions::default() };
        let got = async { self.0.location.objects.get_opts(path, options).await?.bytes().await };
        let bytes = self.ask(got).await?;
        add(&self.0.counts.read_bytes, bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(bytes)
    }

    pub(super) async fn put(&self, path: &Path, payload: PutPayload) -> Result<(), BucketError> {
        let size_bytes = payload.content_length() as u64;
        self.ask_for(self.0.location.objects.put(path, payload)).await?;
        add(&self.0.counts.written_bytes, size_bytes);
        Ok(())
    }

    /// Puts an object that nobody has put there yet.
    pub(super) async fn create(&self, path: &Path, payload: PutPayload) -> Result<Created, BucketError> {
        let size_bytes = payload.content_length() as u64;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.0.health.may_ask(Instant::now())?;
        match self.0.location.objects.put_opts(path, payload, options).await {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(Created::WasThere),
            Err(error) if is_unsupported(&error) => Ok(Created::NotSupported),
            put => {
                self.judged(put)?;
                add(&self.0.counts.written_bytes, size_bytes);
                Ok(Created::Made)
            }
        }
    }

    /// Also where there is none.
    pub(super) async fn delete(&self, path: &Path) -> Result<(), BucketError> {
        self.ask(self.0.location.objects.delete(path)).await.map(|_| ())
    }

    /// Every object of an artifact or of its chunk list.
    pub(super) fn objects(&self) -> BoxStream<'static, Result<ObjectMeta, BucketError>> {
        let (bucket, folder) = (self.clone(), self.0.location.prefix.clone().join(FOLDER));
        let listed = self.0.location.objects.list(Some(&folder));
        listed.map(move |object| bucket.judged(object)).boxed()
    }

    /// The artifact that an object is the copy of, none for other objects.
    pub(super) fn artifact_of(&self, object: &ObjectMeta) -> Option<Sha256Digest> {
        let sha256 = object.location.filename()?.parse().ok()?;
        (self.artifact_path(&sha256) == object.location).then_some(sha256)
    }

    /// The artifact that an object is the chunk list of, none for other objects.
    pub(super) fn artifact_of_list(&self, object: &ObjectMeta) -> Option<Sha256Digest> {
        let sha256 = object.location.filename()?.strip_suffix(LIST_SUFFIX)?.parse().ok()?;
        (self.list_path(&sha256) == object.location).then_some(sha256)
    }

    /// A request whose answer may be that there is no such object.
    async fn ask<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> Result<Option<T>, BucketError> {
        self.0.health.may_ask(Instant::now())?;
        match request.await {
            Err(object_store::Error::NotFound { .. }) => {
                // Where the bucket itself is not, there is nothing either: one that did not answer shows that it is back.
                if !self.is_well() && self.0.copies.is_marked() {
                    self.see_mark().await?;
                }
                self.note_answer();
                Ok(None)
            }
            answer => self.judged(answer).map(Some),
        }
    }

    pub(super) async fn ask_for<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> Result<T, BucketError> {
        self.0.health.may_ask(Instant::now())?;
        self.judged(request.await)
    }

    fn note_answer(&self) {
        if self.0.health.answered() {
            tracing::info!("the bucket answers again");
        }
    }

    pub(super) fn judged<T>(&self, answer: object_store::Result<T>) -> Result<T, BucketError> {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let error = match answer {
            Ok(value) => {
                self.note_answer();
                return Ok(value);
            }
            Err(error) => error,
        };
        let why = in_words(&error);
        add(&self.0.counts.failures, 1);
        if self.0.health.failed(Instant::now(), &why) {
            tracing::error!(why, "the bucket cannot be used; the node goes on with its disk and its peers");
        }
        match error {
            // What is looked for in a bucket that is there is not found by `ask`; here the bucket itself is not.
            PermissionDenied { .. } | Unauthenticated { .. } | NotFound { .. } => Err(BucketError::Refused { why }),
            error if is_refusal(&error) => Err(BucketError::Refused { why }),
            _ => Err(BucketError::Unusable { why }),
        }
    }
}

/// An error with its causes, as long as a line of the log may be.
fn in_words(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(REASON_CHARS_MAX).collect()
}

/// Whether a service does not know `If-None-Match`; some answer that it is not implemented, with the status 501.
fn is_unsupported(error: &object_store::Error) -> bool {
    use object_store::Error::{NotImplemented, NotSupported};
    matches!(error, NotImplemented { .. } | NotSupported { .. }) || status(error) == Some(501)
}

/// Whether a service will not do it however often it is asked (RFC 9110, section 15.5), as where the endpoint or the region is another one's.
fn is_refusal(error: &object_store::Error) -> bool {
    const REQUEST_TIMEOUT: u16 = 408;
    const TOO_MANY_REQUESTS: u16 = 429;
    is_bare_redirect(error)
        || status(error)
            .is_some_and(|status| (400..500).contains(&status) && !matches!(status, REQUEST_TIMEOUT | TOO_MANY_REQUESTS))
}

/// Whether a service says that the bucket is elsewhere and not where, as S3 does of another region (301 without `Location`).
fn is_bare_redirect(error: &object_store::Error) -> bool {
    let object_store::Error::Generic { source, .. } = error else { return false };
    // This too is not given but in words.
    source.to_string().contains("Received redirect without LOCATION")
}

/// The status of an answer that no kind of error stands for.
fn status(error: &object_store::Error) -> Option<u16> {
    let object_store::Error::Generic { source, .. } = error else { return None };
    // It is not given but in words.
    let said = source.to_string();
    let (_, rest) = said.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_calls_the_request_wrong_refuses_and_one_that_is_busy_or_broken_does_not() {
        let generic = |why: &str| object_store::Error::Generic { store: "test", source: why.into() };
        let answer = |status| generic(&format!("Error performing HEAD in 8ms - Server returned non-2xx status code: {status}: "));
        for (status, refuses) in [
            ("400 Bad Request", true),
            ("405 Method Not Allowed", true),
            ("408 Request Timeout", false),
            ("429 Too Many Requests", false),
        ] {
            assert_eq!(is_refusal(&answer(status)), refuses, "{status}");
        }
        for broken in [
            answer("500 Internal Server Error"),
            answer("503 Service Unavailable"),
            generic("connection refused"),
            generic("status code: "),
        ] {
            assert!(!is_refusal(&broken) && !is_unsupported(&broken), "{broken}");
        }
        let elsewhere = "Error performing HEAD in 8ms - Received redirect without LOCATION, this normally indicates an incorrectly configured region";
        assert!(is_refusal(&generic(elsewhere)));
        assert!(is_unsupported(&answer("501 Not Implemented")) && !is_refusal(&answer("501 Not Implemented")));
    }
}
