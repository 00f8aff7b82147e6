//! The serving side of the exchange.
//!
//! Bytes go from the file to the stream in pieces, the next one read while the last one is sent; how many streams are
//! served at once is bounded, in all and for each peer.

use super::{PROTOCOL, REQUEST_BYTES_MAX, Request, Response};
use crate::artifacts::ArtifactStore;
use crate::artifacts::chunks::{CHUNKS_PER_RANGE, bytes_of};
use crate::consensus::LedgerView;
use crate::p2p::frame::{read_message, write_message};
use crate::p2p::metrics::Metrics;
use crate::p2p::peer_id::node_of;
use crate::p2p::tasks::Tasks;
use crate::verification;
use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::Stream;
use libp2p_stream::{AlreadyRegistered, Control, IncomingStreams};
use pyrsia_ledger::{NodeId, Sha256Digest};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How many streams are served at once: with two buffers each, 32 MiB.
const STREAMS_MAX: usize = 64;
const STREAMS_PER_PEER_MAX: usize = 16;
/// How much of a file is read at once, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// A stream on which nothing is asked for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A peer that does not take a piece in this time is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

pub(in crate::p2p) struct Server {
    pub(in crate::p2p) store: ArtifactStore,
    pub(in crate::p2p) ledger: watch::Receiver<Arc<LedgerView>>,
    pub(in crate::p2p) metrics: Metrics,
}

/// How many streams each peer has open.
#[derive(Default)]
struct OpenStreams(Mutex<BTreeMap<NodeId, usize>>);

/// One place among the streams that are served; free again when dropped.
struct Place {
    streams: Arc<OpenStreams>,
    peer: NodeId,
}

impl OpenStreams {
    fn enter(self: &Arc<Self>, peer: NodeId) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = open.values().sum();
        let own = open.entry(peer).or_default();
        if total >= STREAMS_MAX || *own >= STREAMS_PER_PEER_MAX {
            return None;
        }
        *own += 1;
        Some(Place { streams: self.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

/// Starts to serve.
pub(in crate::p2p) fn start(mut control: Control, server: Server, tasks: &Tasks) -> Result<(), AlreadyRegistered> {
    let incoming = control.accept(PROTOCOL)?;
    tasks.spawn(accept(incoming, Arc::new(server), tasks.clone()));
    Ok(())
}

/// libp2p drops streams that are not accepted at once, so this only spawns.
async fn accept(mut incoming: IncomingStreams, server: Arc<Server>, tasks: Tasks) {
    let streams = Arc::new(OpenStreams::default());
    while let Some((peer, stream)) = incoming.next().await {
        let Some(place) = node_of(&peer).and_then(|node| streams.enter(node)) else { continue };
        let server = server.clone();
        tasks.spawn(async move {
            if let Err(error) = server.serve(stream).await {
                tracing::debug!(%peer, %error, "an artifact stream of a peer ended");
            }
            drop(place);
        });
    }
}

impl Server {
    async fn serve(&self, mut stream: Stream) -> io::Result<()> {
        while let Some(request) = timeout(IDLE_MAX, read_message::<Request>(&mut stream, REQUEST_BYTES_MAX)).await?? {
            match request {
                Request::ChunkList { sha256 } => {
                    let response = self.chunk_list(sha256).await?;
                    timeout(WRITE_TIMEOUT, write_message(&mut stream, &response)).await??;
                }
                Request::Chunks { sha256, from, count } => match self.open_range(sha256, from, count)? {
                    Some((file, range)) => {
                        timeout(WRITE_TIMEOUT, write_message(&mut stream, &Response::Chunks)).await??;
                        self.send(&mut stream, file, range).await?;
                    }
                    None => timeout(WRITE_TIMEOUT, write_message(&mut stream, &Response::Unavailable)).await??,
                },
            }
        }
        stream.close().await
    }

    fn may_leave(&self, sha256: &Sha256Digest) -> bool {
        let state = self.ledger.borrow().state.clone();
        state.is_some_and(|state| verification::verdict_on_bytes(&state, sha256).is_ok())
    }

    async fn chunk_list(&self, sha256: Sha256Digest) -> io::Result<Response> {
        if !self.may_leave(&sha256) {
            return Ok(Response::Unavailable);
        }
        let store = self.store.clone();
        let list = tokio::task::spawn_blocking(move || store.chunk_list(&sha256)).await?.map_err(io::Error::other)?;
        Ok(list.map_or(Response::Unavailable, |list| Response::ChunkList { chunks: list.chunks().to_vec() }))
    }

    /// The file and the place in it of a range of chunks, none if it may not be served or is not here.
    fn open_range(&self, sha256: Sha256Digest, from: u64, count: u64) -> io::Result<Option<(File, Range<u64>)>> {
        if !self.may_leave(&sha256) {
            return Ok(None);
        }
        let Some(file) = self.store.open_file(&sha256)? else { return Ok(None) };
        let size_bytes = file.metadata()?.len();
        let last = from.checked_add(count).filter(|_| (1..=CHUNKS_PER_RANGE).contains(&count)).map(|end| end - 1);
        let Some(last) = last.filter(|last| *last < pyrsia_ledger::tree::chunk_count(size_bytes)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a range of chunks that the artifact does not have"));
        };
        Ok(Some((file, bytes_of(from, size_bytes).start..bytes_of(last, size_bytes).end)))
    }

    async fn send(&self, stream: &mut Stream, file: File, range: Range<u64>) -> io::Result<()> {
        let file = Arc::new(file);
        let (mut at, mut spare) = (range.start, vec![]);
        let mut reading = Some(read_piece(&file, &range, at, vec![]));
        while let Some(piece) = reading.take() {
            let piece = piece.await??;
            at += piece.len() as u64;
            if at < range.end {
                reading = Some(read_piece(&file, &range, at, std::mem::take(&mut spare)));
            }
            timeout(WRITE_TIMEOUT, stream.write_all(&piece)).await??;
            self.metrics.artifact_bytes_sent.inc_by(piece.len() as u64);
            spare = piece;
        }
        timeout(WRITE_TIMEOUT, stream.flush()).await?
    }
}

/// Reads the piece of `range` that begins at `at`.
fn read_piece(file: &Arc<File>, range: &Range<u64>, at: u64, mut piece: Vec<u8>) -> tokio::task::JoinHandle<io::Result<Vec<u8>>> {
    let (file, size) = (file.clone(), (range.end - at).min(PIECE_BYTES as u64) as usize);
    tokio::task::spawn_blocking(move || {
        piece.resize(size, 0);
        file.read_exact_at(&mut piece, at)?;
        Ok(piece)
    })
}
