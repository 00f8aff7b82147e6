//! The serving side of the exchange.
//!
//! Bytes go from the file to the stream in pieces, the next one read while the last one is sent; how many streams are
//! served at once is bounded, in all and for each peer.

mod bucket;

use super::{PROTOCOL, REQUEST_BYTES_MAX, Request, Response};
use crate::artifacts::ArtifactStore;
use crate::artifacts::chunks::{CHUNKS_PER_RANGE, bytes_of};
use crate::bucket::Bucket;
use crate::consensus::LedgerView;
use crate::p2p::exchange::rate::RateLimit;
use crate::p2p::frame::{read_message, write_message};
use crate::p2p::metrics::Metrics;
use crate::p2p::network_config::{Distribution, NetworkConfig, STREAM_RATE_MIN};
use crate::p2p::peer_id::node_of;
use crate::p2p::tasks::Tasks;
use crate::storage::retention;
use crate::verification;
use bucket::{Behind, RangeBehind};
use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::Stream;
use libp2p_stream::{AlreadyRegistered, Control, IncomingStreams};
use pyrsia_ledger::{NodeId, Projections, Sha256Digest};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How many streams are served at once: with two buffers each, 32 MiB. Fewer where the upload is limited.
const STREAMS_MAX: usize = 64;
const STREAMS_PER_PEER_MAX: usize = 16;
/// How much of a file is read at once, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// A stream on which nothing is asked for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A peer that does not take a piece in this time is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

pub(in crate::p2p) struct Server {
    me: NodeId,
    store: ArtifactStore,
    ledger: watch::Receiver<Arc<LedgerView>>,
    metrics: Metrics,
    distribution: Distribution,
    upload: RateLimit,
    streams_max: usize,
    behind: Option<Behind>,
}

/// The streams that each peer has open, the oldest first, and how many all of them may be.
struct OpenStreams(Mutex<Open>, usize);

#[derive(Default)]
struct Open {
    by_peer: BTreeMap<NodeId, VecDeque<(u64, CancellationToken)>>,
    next_stream: u64,
}

/// One place among the streams that are served; free again when dropped.
struct Place {
    streams: Arc<OpenStreams>,
    peer: NodeId,
    stream: u64,
    /// Another peer got the place.
    lost: CancellationToken,
}

impl OpenStreams {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a stream of this peer. When all are taken, the peer that has the most loses its oldest stream to one that
    /// has fewer: otherwise a few peers could keep everybody from being served.
    fn enter(self: &Arc<Self>, peer: NodeId) -> Option<Place> {
        let mut open = self.open();
        let own = open.by_peer.get(&peer).map_or(0, VecDeque::len);
        if own >= STREAMS_PER_PEER_MAX {
            return None;
        }
        if open.by_peer.values().map(VecDeque::len).sum::<usize>() >= self.1 {
            let most = open.by_peer.values_mut().max_by_key(|streams| streams.len())?;
            let (_, lost) = (most.len() > own + 1).then(|| most.pop_front()).flatten()?;
            lost.cancel();
        }
        let (stream, lost) = (open.next_stream, CancellationToken::new());
        open.next_stream += 1;
        open.by_peer.entry(peer).or_default().push_back((stream, lost.clone()));
        Some(Place { streams: self.clone(), peer, stream, lost })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        if let Some(own) = open.by_peer.get_mut(&self.peer) {
            own.retain(|(stream, _)| *stream != self.stream);
            if own.is_empty() {
                open.by_peer.remove(&self.peer);
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
    let streams = Arc::new(OpenStreams(Mutex::default(), server.streams_max));
    while let Some((peer, stream)) = incoming.next().await {
        let Some(place) = node_of(&peer).and_then(|node| streams.enter(node)) else { continue };
        let server = server.clone();
        tasks.spawn(async move {
            match place.lost.run_until_cancelled(server.serve(place.peer, stream)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(%peer, %error, "an artifact stream of a peer ended"),
                None => tracing::debug!(%peer, "an artifact stream of a peer was closed, others have fewer"),
            }
            drop(place);
        });
    }
}

impl Server {
    pub(in crate::p2p) fn new(
        me: NodeId,
        store: ArtifactStore,
        ledger: watch::Receiver<Arc<LedgerView>>,
        metrics: Metrics,
        network: &NetworkConfig,
    ) -> Self {
        let enough_for = |rate: u64| (rate / STREAM_RATE_MIN) as usize;
        let streams_max = network.upload_rate.map_or(STREAMS_MAX, |rate| enough_for(rate.bytes_per_second()).min(STREAMS_MAX));
        let upload = RateLimit::new(network.upload_rate, metrics.upload_bytes_delayed.clone());
        Self { me, store, ledger, metrics, distribution: network.distribution, upload, streams_max, behind: None }
    }

    /// Gives out what only the bucket has as well.
    pub(in crate::p2p) fn behind(self, bucket: Option<Bucket>) -> Self {
        Self { behind: bucket.map(Behind::new), ..self }
    }

    async fn serve(&self, peer: NodeId, mut stream: Stream) -> io::Result<()> {
        while let Some(request) = timeout(IDLE_MAX, read_message::<Request>(&mut stream, REQUEST_BYTES_MAX)).await?? {
            match request {
                Request::ChunkList { sha256 } => {
                    let response = self.chunk_list(&peer, sha256).await?;
                    timeout(WRITE_TIMEOUT, write_message(&mut stream, &response)).await??;
                }
                Request::Chunks { sha256, from, count } => match self.open_range(&peer, sha256, from, count).await? {
                    Some((file, range)) => {
                        timeout(WRITE_TIMEOUT, write_message(&mut stream, &Response::Chunks)).await??;
                        self.send(&mut stream, file, range).await?;
                    }
                    None => match self.open_behind(&peer, sha256, from, count).await? {
                        Some(range) => {
                            timeout(WRITE_TIMEOUT, write_message(&mut stream, &Response::Chunks)).await??;
                            let sending = self.send_behind(&mut stream, range, &peer, sha256, from + count);
                            // As long as a peer waits for so many chunks: they take places that others want.
                            timeout(WRITE_TIMEOUT * CHUNKS_PER_RANGE as u32, sending).await??;
                        }
                        None => timeout(WRITE_TIMEOUT, write_message(&mut stream, &Response::Unavailable)).await??,
                    },
                },
            }
        }
        stream.close().await
    }

    fn may_leave(&self, peer: &NodeId, sha256: &Sha256Digest) -> bool {
        let state = self.ledger.borrow().state.clone();
        state.is_some_and(|state| {
            (verification::verdict_on_bytes(&state, sha256).is_ok() && self.distributes(&state, sha256))
                || verification::verdict_on_revealed_bytes(&state, peer, sha256, &self.store.builds_that_brought(sha256)).is_ok()
        })
    }

    /// Whether this node gives out what is published: a keeper owes it to those who let theirs go because it has it.
    fn distributes(&self, state: &Projections, sha256: &Sha256Digest) -> bool {
        match self.distribution {
            Distribution::On => true,
            Distribution::Off => {
                state.packages.digest(sha256).is_some_and(|(_, record)| retention::keepers(state, record).contains(&self.me))
            }
        }
    }

    async fn chunk_list(&self, peer: &NodeId, sha256: Sha256Digest) -> io::Result<Response> {
        if !self.may_leave(peer, &sha256) {
            return Ok(Response::Unavailable);
        }
        let store = self.store.clone();
        let list = tokio::task::spawn_blocking(move || store.chunk_list(&sha256)).await?.map_err(io::Error::other)?;
        let list = match list {
            Some(list) => Some(Arc::new(list)),
            None => self.list_behind(&sha256).await,
        };
        Ok(list.map_or(Response::Unavailable, |list| Response::ChunkList { chunks: list.chunks().to_vec() }))
    }

    /// The file and the place in it of a range of chunks, none if it may not be served or is not here.
    async fn open_range(
        &self,
        peer: &NodeId,
        sha256: Sha256Digest,
        from: u64,
        count: u64,
    ) -> io::Result<Option<(File, Range<u64>)>> {
        if !self.may_leave(peer, &sha256) {
            return Ok(None);
        }
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || open_range(&store, &sha256, from, count)).await?
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
            self.send_bytes(stream, &piece).await?;
            spare = piece;
        }
        timeout(WRITE_TIMEOUT, stream.flush()).await?
    }

    /// Sends what was read from the bucket, and what follows up to the chunk `end`.
    async fn send_behind(
        &self,
        stream: &mut Stream,
        mut range: RangeBehind<'_>,
        peer: &NodeId,
        sha256: Sha256Digest,
        end: u64,
    ) -> io::Result<()> {
        loop {
            for part in range.bytes.chunks(self.part_bytes()) {
                range.debt.pay(part.len()).await;
                self.send_part(stream, part).await?;
            }
            timeout(WRITE_TIMEOUT, stream.flush()).await??;
            let next = range.end;
            // Free for others before more is asked for.
            drop(range);
            if next >= end {
                return Ok(());
            }
            let rest = self.open_behind(peer, sha256, next, end - next).await?;
            range = rest.ok_or_else(|| io::Error::other("the bucket has not given the rest of a range in time"))?;
        }
    }

    /// Sends at the pace of the upload.
    async fn send_bytes(&self, stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(self.part_bytes()) {
            self.upload.pass(part.len()).await;
            self.send_part(stream, part).await?;
        }
        Ok(())
    }

    /// How much is sent at once.
    fn part_bytes(&self) -> usize {
        self.upload.piece_bytes().min(PIECE_BYTES)
    }

    async fn send_part(&self, stream: &mut Stream, part: &[u8]) -> io::Result<()> {
        timeout(WRITE_TIMEOUT, stream.write_all(part)).await??;
        self.metrics.artifact_bytes_sent.inc_by(part.len() as u64);
        Ok(())
    }
}

/// Waits for the disk, and for whoever has locked the file.
fn open_range(store: &ArtifactStore, sha256: &Sha256Digest, from: u64, count: u64) -> io::Result<Option<(File, Range<u64>)>> {
    let Some(file) = store.open_file(sha256)? else { return Ok(None) };
    store.note_use(sha256);
    let size_bytes = file.metadata()?.len();
    let last = from.checked_add(count).filter(|_| (1..=CHUNKS_PER_RANGE).contains(&count)).map(|end| end - 1);
    let Some(last) = last.filter(|last| *last < pyrsia_ledger::tree::chunk_count(size_bytes)) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a range of chunks that the artifact does not have"));
    };
    Ok(Some((file, bytes_of(from, size_bytes).start..bytes_of(last, size_bytes).end)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> NodeId {
        NodeId::from_public_key([number as u8; 32])
    }

    #[test]
    fn a_few_peers_cannot_keep_the_others_from_being_served() {
        let streams = Arc::new(OpenStreams(Mutex::default(), STREAMS_MAX));
        let greedy: Vec<Place> = (0..2 * STREAMS_MAX).filter_map(|number| streams.enter(peer(number % 4))).collect();
        assert_eq!(greedy.len(), STREAMS_MAX);
        assert!(greedy.iter().all(|place| !place.lost.is_cancelled()));
        let modest: Vec<Place> = (4..8).map(|number| streams.enter(peer(number)).expect("a place")).collect();
        assert_eq!(greedy.iter().filter(|place| place.lost.is_cancelled()).count(), modest.len());
        assert!(modest.iter().all(|place| !place.lost.is_cancelled()));
        drop((greedy, modest));
        assert!(streams.open().by_peer.is_empty());
    }

    #[test]
    fn nothing_is_remembered_of_a_peer_that_finds_no_place() {
        let streams = Arc::new(OpenStreams(Mutex::default(), STREAMS_MAX));
        let places: Vec<Place> = (0..STREAMS_MAX).map(|number| streams.enter(peer(number)).expect("a place")).collect();
        assert!(streams.enter(peer(STREAMS_MAX)).is_none() && streams.enter(peer(0)).is_none());
        assert_eq!(streams.open().by_peer.len(), places.len());
    }
}
