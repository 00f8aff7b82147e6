//! Searching the ledger.

use super::{body, error::Refused, json};
use crate::places::Places;
use crate::server::Front;
use crate::wire::{FoundEvent, SearchOrder, SearchPage, SearchRequest, event_in_words};
use poem::http::StatusCode;
use poem::{Request, Response};
use pyrsia_ledger::Projections;
use pyrsia_ledger::event::Event;
use pyrsia_ledger::log::{StoredTree, TreeError};
use pyrsia_ledger::search::{Found, Order, Page, build_of, coordinate_of};
use pyrsia_node::NodeHandle;
use std::time::Duration;

/// How many searches read the log at once; each takes some tens of milliseconds.
const SEARCHES_AT_ONCE_MAX: usize = 4;
/// How long a request waits for a place among them.
const SEARCH_WAIT: Duration = Duration::from_secs(1);

/// The places for searches.
pub(crate) fn places() -> Places {
    Places::new(SEARCHES_AT_ONCE_MAX, SEARCH_WAIT, "too much is searched for")
}

/// Asks the log in one of the places.
pub(crate) async fn ask<T: Send + 'static>(
    searches: &Places,
    node: &NodeHandle,
    question: impl FnOnce(&StoredTree) -> Result<T, TreeError> + Send + 'static,
) -> Result<T, Refused> {
    let place = searches.take().await?;
    let asked = node.ask_log(move |tree| {
        let _place = place;
        question(tree)
    });
    let read = asked.await.ok_or_else(|| Refused::unavailable("the node is stopping".into()))?;
    read.map_err(|error| Refused::unavailable(format!("the log cannot be read: {error}")))
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
    let asked = ask(&front.searches, &front.node, move |tree| {
        let found = tree.search(&state, &query, &page)?;
        Ok(SearchPage::of(&state, page.order, found))
    });
    asked.await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lone_node::lone_node;
    use std::sync::{Arc, mpsc};

    /// How long anything may take that a test waits for.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_hangs_up_frees_no_place_while_the_log_is_read() {
        let (node, _folder) = lone_node().await;
        let (handle, searches) = (node.handle(), Arc::new(places()));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (end, must_end) = mpsc::channel::<()>();
        let asked = tokio::spawn({
            let searches = searches.clone();
            async move {
                let reading = move |_: &StoredTree| {
                    begun.send(()).expect("somebody waits");
                    must_end.recv_timeout(PATIENCE).expect("is told to end");
                    Ok(())
                };
                ask(&searches, &handle, reading).await.is_ok()
            }
        });
        tokio::time::timeout(PATIENCE, has_begun).await.expect("in time").expect("the log is asked");
        asked.abort();
        assert!(asked.await.expect_err("it hung up").is_cancelled());
        assert_eq!(searches.free(), SEARCHES_AT_ONCE_MAX - 1, "the reading goes on");

        end.send(()).expect("the reading goes on");
        tokio::time::timeout(PATIENCE, searches.are_free(SEARCHES_AT_ONCE_MAX)).await.expect("in time");
        node.stop().await;
    }
}
