//! The request of a client that something is done for: its id, its place in a trace, and the verdict on what it asked for.
//!
//! Owns how these travel: with the task that answers the request, down to the node's own requests to its pipeline and its
//! mapping service (`X-Request-Id`, and `traceparent` of W3C Trace Context where traces are made). To other nodes nothing of it goes.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_http::HeaderInjector;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::verification::Withheld;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer request id of a client is not taken over.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// What the one verdict said of the artifact that a request named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Published,
    Unpublished,
    AtRisk,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Unpublished => "unpublished",
            Self::AtRisk => "at_risk",
        }
    }
}

/// A cheap clone.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    id: String,
    verdict: Mutex<Option<Verdict>>,
}

impl RequestContext {
    /// Of a request that came with `given` as its id: that is kept when it can stand in a log and a header, else a new one is made.
    pub fn new(given: Option<&[u8]>) -> Self {
        let sane = |id: &&[u8]| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
        let id = match given.filter(sane).and_then(|id| std::str::from_utf8(id).ok()) {
            Some(id) => id.to_owned(),
            None => uuid::Uuid::new_v4().to_string(),
        };
        Self(Arc::new(Facts { id, verdict: Mutex::default() }))
    }

    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The newest verdict that answering the request took; none when it was about no artifact.
    pub fn verdict(&self) -> Option<Verdict> {
        *self.0.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That of the request whose task this is.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Does `work` for this request.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }
}

/// Keeps a verdict for the request it was asked for.
pub(crate) fn note_verdict<T>(verdict: &Result<T, Withheld>) {
    let noted = match verdict {
        Ok(_) => Verdict::Published,
        Err(Withheld::AtRisk { .. }) => Verdict::AtRisk,
        Err(Withheld::Unpublished { .. } | Withheld::UnpublishedBytes { .. }) => Verdict::Unpublished,
    };
    // What the node asks for itself belongs to no request.
    let _ = CURRENT.try_with(|request| *request.0.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(noted));
}

/// What goes with a request of this node to one of its own services.
pub(crate) fn outgoing_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(request) = RequestContext::current()
        && let Ok(id) = HeaderValue::from_str(request.id())
    {
        headers.insert(REQUEST_ID, id);
    }
    let context = tracing::Span::current().context();
    opentelemetry::global::get_text_map_propagator(|trace| trace.inject_context(&context, &mut HeaderInjector(&mut headers)));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_the_id_it_came_with_unless_it_is_unfit() {
        assert_eq!(RequestContext::new(Some(b"abc-1")).id(), "abc-1");
        let long = "a".repeat(REQUEST_ID_BYTES_MAX + 1);
        for unfit in [b"".as_slice(), b"a b", b"a\nb", "ä".as_bytes(), long.as_bytes()] {
            assert_eq!(RequestContext::new(Some(unfit)).id().len(), 36, "{unfit:?}");
        }
        assert_ne!(RequestContext::new(None).id(), RequestContext::new(None).id());
    }

    #[tokio::test]
    async fn the_nodes_own_requests_carry_the_id_of_the_one_they_are_made_for() {
        let request = RequestContext::new(Some(b"abc-1"));
        assert_eq!(request.scope(async { outgoing_headers() }).await[REQUEST_ID], "abc-1");
        assert!(!outgoing_headers().contains_key(REQUEST_ID));
    }

    #[tokio::test]
    async fn a_verdict_stays_with_the_request_it_was_asked_for() {
        let (asked, other) = (RequestContext::new(None), RequestContext::new(None));
        asked.clone().scope(async { note_verdict::<()>(&Ok(())) }).await;
        note_verdict::<()>(&Ok(()));
        assert_eq!((asked.verdict(), other.verdict()), (Some(Verdict::Published), None));
    }
}
