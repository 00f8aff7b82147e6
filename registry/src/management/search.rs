//! Searching the ledger.

use super::{body, error::Refused, json};
use crate::server::Front;
use crate::wire::{FoundEvent, SearchOrder, SearchPage, SearchRequest, event_in_words};
use poem::http::StatusCode;
use poem::{Request, Response};
use pyrsia_ledger::Projections;
use pyrsia_ledger::event::Event;
use pyrsia_ledger::search::{Found, Order, Page, build_of, coordinate_of};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many searches read the log at once; each takes some tens of milliseconds.
const SEARCHES_AT_ONCE_MAX: usize = 4;
/// How long a request waits for a place among them.
const SEARCH_WAIT: Duration = Duration::from_secs(1);
const RETRY_AFTER_SECONDS: u64 = 2;

/// The places for searches.
pub(crate) struct Searches {
    places: Arc<Semaphore>,
}

impl Searches {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(SEARCHES_AT_ONCE_MAX)) }
    }

    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let place = tokio::time::timeout(SEARCH_WAIT, self.places.clone().acquire_owned()).await;
        let busy = || Refused::busy("too much is searched for at once, try again later".into(), RETRY_AFTER_SECONDS);
        place.ok().and_then(Result::ok).ok_or_else(busy)
    }
}

pub(crate) async fn search(front: &Front, request: &Request) -> Result<Response, Refused> {
    Ok(json(StatusCode::OK, &found(front, &asked(request)?).await?))
}

pub(crate) fn asked(request: &Request) -> Result<SearchRequest, Refused> {
    body::query(request)
}

/// A page of what is found.
pub(crate) async fn found(front: &Front, asked: &SearchRequest) -> Result<SearchPage, Refused> {
    let (query, page) = asked.read().map_err(|error| Refused::bad_request(error.to_string()))?;
    let ledger = front.node.ledger();
    let state = ledger.state.clone().ok_or_else(Refused::no_network)?;
    let place = front.searches.place().await?;
    // The place goes along: a client that goes away does not end the reading.
    let asked = front.node.ask_log(move |tree| {
        let _place = place;
        let found = tree.search(&state, &query, &page)?;
        Ok(SearchPage::of(&state, page.order, found))
    });
    let found = asked.await.ok_or_else(|| Refused::unavailable("the node is stopping".into()))?;
    found.map_err(|error| Refused::unavailable(format!("the log cannot be read: {error}")))
}

impl SearchPage {
    /// A page as it is shown; `state` is the one it was searched with.
    pub fn of(state: &Projections, order: Order, page: Page) -> Self {
        Self {
            network: *state.network(),
            holds_to_height: state.height(),
            holds_to_time_ms: state.time_ms(),
            order: match order {
                Order::Newest => SearchOrder::Newest,
                Order::Oldest => SearchOrder::Oldest,
            },
            complete: page.next.is_none(),
            searched_to_height: page.searched_to,
            cursor: page.next.map(|cursor| cursor.0.to_string()),
            events: page.events.iter().map(|found| shown(state, found)).collect(),
        }
    }
}

fn shown(state: &Projections, found: &Found) -> FoundEvent {
    let (author, event) = (found.event.author(), found.event.event());
    let coordinate = coordinate_of(state, event);
    let package_type = match event {
        Event::VerifierApproved(body) => Some(&body.package_type),
        _ => coordinate.map(|coordinate| &coordinate.package_type),
    };
    let stands = match event {
        Event::BuildResultRevealed(body) => Some(state.builds.judge_state(&body.build_id, &author)),
        _ => None,
    };
    FoundEvent {
        index: found.index,
        height: found.height,
        block: found.block,
        time_ms: found.time_ms,
        operation: event.kind().to_owned(),
        package_type: package_type.cloned(),
        package: coordinate.map(|coordinate| coordinate.id.to_string()),
        build_id: build_of(event),
        stands,
        says: event_in_words(author, event),
        event: super::log::event(&found.event),
    }
}
