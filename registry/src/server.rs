//! The HTTP server: accepts, bounds and at last drains connections.
//!
//! Speaks HTTP/1.1 through hyper. A connection carries one request at a time, so the limit on connections bounds everything
//! that is in work at once.

use crate::access::{self, AccessLog};
use crate::admin::AdminToken;
use crate::content::ShortArtifacts;
use crate::docker::{Catalog, Proofs};
use crate::management::{proofs, search};
use crate::maven::checksum::Checksums;
use crate::metrics::Metrics;
use crate::places::Places;
use crate::tlog::NewestNote;
use crate::tlog_tiles;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pyrsia_node::NodeHandle;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

mod guests;
#[cfg(target_os = "linux")]
mod outbox;
mod stall;
pub(crate) use guests::Guest;
use guests::Guests;
#[cfg(target_os = "linux")]
pub(crate) use outbox::Outbox;
use stall::StallGuard;

/// The most connections that are served at once. A further client has the place of one without a request; while there is none, it waits.
const CONNECTIONS_MAX: usize = 1_024;
/// One of so many files that the process may have open can be a connection of a client: the ledger, artifacts and peers
/// need the others.
const OPEN_FILES_FOR_EACH_CONNECTION: u64 = 4;
/// A client has this long to send the head of a request, and an idle connection to begin another one.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The most headers of a request, and the most bytes of its head.
const HEADERS_MAX: usize = 100;
const HEAD_BYTES_MAX: usize = 32 * 1_024;
/// A client that takes no byte of an answer for this long is cut off.
const WRITE_STALL_MAX: Duration = Duration::from_secs(120);
/// Answers in work are given this long when the server stops, unless the configuration says otherwise.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long accepting rests after the system refused a connection, usually for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct RegistryConfig {
    pub address: SocketAddr,
    /// What a caller must know to change who may build. An empty one lets nobody.
    pub admin_token: String,
    /// The address clients know this node by, where that is not the host they name, as behind a proxy: links in documents begin with it.
    pub public_url: Option<String>,
    pub access_log: AccessLog,
    /// For how long a stopping server answers as before while `/readyz` says that it stops, so that a load balancer sees it.
    pub stop_grace: Duration,
    /// Answers in work are given this long after that.
    pub drain_timeout: Duration,
}

impl RegistryConfig {
    /// One that logs requests, and stops without a grace.
    pub fn new(address: SocketAddr, admin_token: String) -> Self {
        Self {
            address,
            admin_token,
            public_url: None,
            access_log: AccessLog::default(),
            stop_grace: Duration::ZERO,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("cannot listen on {address}: is another program using the port? choose one with --port")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// What every request is answered from.
pub(crate) struct Front {
    pub(crate) node: NodeHandle,
    pub(crate) admin: AdminToken,
    pub(crate) metrics: Metrics,
    pub(crate) short: ShortArtifacts,
    pub(crate) checksums: Checksums,
    /// For bundles of entries, searches, and proofs that are made.
    pub(crate) bundles: Places,
    pub(crate) searches: Places,
    pub(crate) proving: Places,
    pub(crate) checkpoint: NewestNote,
    pub(crate) catalog: Catalog,
    pub(crate) proofs: Proofs,
    pub(crate) public_url: Option<String>,
    pub(crate) access_log: AccessLog,
    /// Cancelled when the server begins to stop; it still answers then.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when answers in work are cut off.
    pub(crate) cut: CancellationToken,
}

/// A running HTTP server in front of a node.
pub struct Registry {
    address: SocketAddr,
    front: Arc<Front>,
    stop: CancellationToken,
    stop_grace: Duration,
    drain_timeout: Duration,
    /// None once it has been joined.
    task: Option<JoinHandle<()>>,
}

impl Registry {
    pub async fn start(node: NodeHandle, config: RegistryConfig) -> Result<Self, RegistryError> {
        let bind = |source| RegistryError::Bind { address: config.address, source };
        let listener = TcpListener::bind(config.address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let admin = AdminToken::new(&config.admin_token);
        let front = Front {
            node,
            admin,
            metrics: Metrics::new(),
            short: ShortArtifacts::default(),
            checksums: Checksums::new(),
            bundles: tlog_tiles::places(),
            searches: search::places(),
            proving: proofs::places(),
            checkpoint: NewestNote::default(),
            catalog: Catalog::default(),
            proofs: Proofs::new(),
            public_url: config.public_url,
            access_log: config.access_log,
            leaving: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        let (front, stop) = (Arc::new(front), CancellationToken::new());
        let task = Some(tokio::spawn(accept(listener, front.clone(), stop.clone())));
        let RegistryConfig { stop_grace, drain_timeout, .. } = config;
        Ok(Self { address, front, stop, stop_grace, drain_timeout, task })
    }

    /// Where it listens, with the port the system chose when none was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drains, and closes.
    pub async fn stop(mut self) {
        self.drain().await;
        self.close().await;
    }

    /// Says that it stops and answers on for the grace; then takes no new connection, closes idle ones, and waits until the answers
    /// in work have come to their end or their time is over. May be given up at any moment.
    pub async fn drain(&mut self) {
        self.front.leaving.cancel();
        if !self.stop_grace.is_zero() {
            tracing::info!("/readyz says that the node stops; requests are answered for another {:?}", self.stop_grace);
            tokio::time::sleep(self.stop_grace).await;
        }
        self.stop.cancel();
        let in_work = self.front.metrics.in_flight();
        if in_work > 0 {
            tracing::info!("answers in work: {in_work}; they have {:?} to come to their end", self.drain_timeout);
        }
        let Some(task) = &mut self.task else { return };
        match tokio::time::timeout(self.drain_timeout, task).await {
            Ok(ended) => {
                report(ended);
                self.task = None;
                if in_work > 0 {
                    tracing::info!("every answer in work has come to its end");
                }
            }
            Err(_) => tracing::warn!("answers still in work when their time was over: {}", self.front.metrics.in_flight()),
        }
    }

    /// Closes at once; answers in work are cut off.
    pub async fn close(mut self) {
        self.front.leaving.cancel();
        self.stop.cancel();
        self.front.cut.cancel();
        if let Some(task) = self.task.take() {
            report(task.await);
        }
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the HTTP server did not end in order");
    }
}

#[cfg(unix)]
fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn open_files_max() -> Option<u64> {
    None
}

fn connections_max(open_files_max: Option<u64>) -> usize {
    let share = open_files_max.map(|files| usize::try_from(files / OPEN_FILES_FOR_EACH_CONNECTION).unwrap_or(usize::MAX));
    share.unwrap_or(CONNECTIONS_MAX).clamp(1, CONNECTIONS_MAX)
}

async fn accept(listener: TcpListener, front: Arc<Front>, stop: CancellationToken) {
    let guests = Guests::new(connections_max(open_files_max()));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let guest = Arc::new(Guest::new(peer));
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = guests.admit(guest.clone()) => place,
        };
        while connections.try_join_next().is_some() {}
        let (front, stop) = (front.clone(), stop.clone());
        connections.spawn(async move {
            let counted = front.metrics.connection();
            serve(stream, guest, front.clone(), stop).await;
            drop((counted, place));
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = drained => {}
        () = front.cut.cancelled() => connections.shutdown().await,
    }
}

async fn serve(stream: TcpStream, guest: Arc<Guest>, front: Arc<Front>, stop: CancellationToken) {
    // Small answers must not wait for the acknowledgement of what went before.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let (stream, outbox) = {
        let outbox = Outbox::default();
        (outbox::FileSocket::new(stream, outbox.clone()), outbox)
    };
    let served = guest.clone();
    let service = service_fn(move |request| {
        let (front, guest) = (front.clone(), served.clone());
        #[cfg(target_os = "linux")]
        let request = {
            let mut request: hyper::Request<hyper::body::Incoming> = request;
            request.extensions_mut().insert(outbox.clone());
            request
        };
        async move { Ok::<_, Infallible>(access::answer(front, guest, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Gathered into one buffer, a stand-in of the outbox would be what is sent.
        .writev(true)
        .header_read_timeout(HEAD_READ_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(StallGuard::new(stream, WRITE_STALL_MAX, guest.clone())), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // A request that came just now is still answered.
        () = guest.told_to_leave() => match guest.may_be_closed() {
            true => return,
            false => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        },
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %guest.peer, %error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_use_up_the_files_that_the_node_needs() {
        let limits = [None, Some(0), Some(256), Some(1_024), Some(u64::MAX)];
        assert_eq!(limits.map(connections_max), [1_024, 1, 64, 256, 1_024]);
    }
}
