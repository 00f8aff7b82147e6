//! The connections of the HTTP API: accepted, bounded, and drained at the end.
//!
//! Speaks HTTP/1.1 through hyper. A connection carries one request at a time, so the limit on connections bounds
//! everything that is in work at once. What is answered is the routes' business.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The most connections that are open at once; further clients wait in the backlog of the socket.
const CONNECTIONS_MAX: usize = 256;
/// A client has this long to send the head of a request, and an idle connection to begin another one.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// How long accepting rests after the system refused a connection, usually for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long downloads may go on while the service stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Serves until `stop` is ready, and then lets the answers that are on their way finish for a moment.
pub(crate) async fn serve<R>(listener: TcpListener, routes: R, stop: impl Future<Output = ()>)
where
    R: Endpoint<Output = Response> + 'static,
{
    let (routes, places) = (Arc::new(routes), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let (draining, mut connections) = (CancellationToken::new(), JoinSet::new());
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let connection = serve_connection(stream, peer, routes.clone(), draining.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    draining.cancel();
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
        tracing::warn!("downloads that were still on their way have been cut off");
        connections.shutdown().await;
    }
}

async fn serve_connection<R>(stream: TcpStream, peer: SocketAddr, routes: Arc<R>, draining: CancellationToken)
where
    R: Endpoint<Output = Response> + 'static,
{
    // Small answers must not wait for the acknowledgement of what went before.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let routes = routes.clone();
        async move {
            let request: Request = (request, LocalAddr::default(), RemoteAddr::default(), Scheme::HTTP).into();
            Ok::<hyper::Response<_>, Infallible>(routes.get_response(request).await.into())
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIMEOUT)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke off");
    }
}
