//! The body of an answer, watched until its last byte or its early end.

use super::exchange::Exchange;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The exchange ends when the server lets go of the body, which is when it has all of it or the connection broke off.
pub(super) struct WatchedBody<B> {
    body: B,
    exchange: Exchange,
}

impl<B> WatchedBody<B> {
    pub(super) fn new(body: B, exchange: Exchange) -> Self {
        Self { body, exchange }
    }
}

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.exchange.handed_over(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(error)) => self.exchange.failed(error),
            None => self.exchange.completed(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
