//! Starting and stopping the service.
//!
//! A data directory belongs to one running pipeline at a time. Stopping ends the builds, writes their records, lets
//! answers that are on their way finish for a moment, and then closes what is left.

use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::builds::{Builds, OpenError};
use crate::config::Config;
use crate::http::{self, connections};
use crate::mapping::RulesError;

/// A program that was killed a moment ago may still hold the directory.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: is another program using the port?")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot use the data directory {path:?}")]
    DataDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another pipeline uses the data directory {path:?}")]
    DataDirInUse { path: PathBuf },
    #[error("the mapping cannot be used: {0}")]
    Mapping(#[from] RulesError),
    #[error("{path:?} is in {folder:?}, which builds do not see: put it elsewhere")]
    Hidden { path: PathBuf, folder: PathBuf },
    #[error("the server failed")]
    Serve(#[source] io::Error),
}

/// The service; see [`Pipeline::start`].
#[derive(Debug)]
pub struct Pipeline;

/// A service that runs in the background; dropping it stops it, [`RunningPipeline::stop`] waits for that.
#[derive(Debug)]
pub struct RunningPipeline {
    addr: SocketAddr,
    shutdown: DropGuard,
    task: JoinHandle<()>,
}

impl Pipeline {
    /// Starts a pipeline; it answers requests when this returns.
    pub async fn start(config: Config) -> Result<RunningPipeline, ServeError> {
        let broken = |source| ServeError::DataDir { path: config.data_dir.clone(), source };
        std::fs::create_dir_all(&config.data_dir).map_err(broken)?;
        let lock = File::create(config.data_dir.join("lock")).map_err(broken)?;
        let deadline = Instant::now() + LOCK_WAIT;
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::Error(source) => return Err(broken(source)),
                TryLockError::WouldBlock if Instant::now() > deadline => {
                    return Err(ServeError::DataDirInUse { path: config.data_dir.clone() });
                }
                TryLockError::WouldBlock => tokio::time::sleep(LOCK_RETRY).await,
            }
        }
        let address = config.listen;
        let builds = Builds::open(config).map_err(|error| match error {
            OpenError::DataDir { path, source } => ServeError::DataDir { path, source },
            OpenError::Rules(error) => ServeError::Mapping(error),
            OpenError::Hidden { path, folder } => ServeError::Hidden { path, folder },
        })?;
        let listen = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let shutdown = CancellationToken::new();
        let stopping = shutdown.clone();
        let task = tokio::spawn(async move {
            let routes = http::routes(builds.clone());
            let stop = async {
                stopping.cancelled().await;
                builds.stop().await;
            };
            connections::serve(listener, routes, stop).await;
            drop(lock);
        });
        Ok(RunningPipeline { addr, shutdown: shutdown.drop_guard(), task })
    }
}

impl RunningPipeline {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where clients reach it, for `--pipeline-service-endpoint`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Returns when all builds are ended and the port is closed.
    pub async fn stop(self) -> Result<(), ServeError> {
        drop(self.shutdown);
        self.task.await.map_err(|error| ServeError::Serve(io::Error::other(error)))
    }
}

/// Runs a pipeline until the token is cancelled.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    let mut running = Pipeline::start(config).await?;
    tracing::info!("Pyrsia build pipeline listening on {}", running.url());
    tokio::select! {
        () = shutdown.cancelled() => running.stop().await,
        served = &mut running.task => served.map_err(|error| ServeError::Serve(io::Error::other(error))),
    }
}
