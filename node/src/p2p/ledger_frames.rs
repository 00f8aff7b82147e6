//! Frames of the consensus between nodes: `/pyrsia/ledger/1`.
//!
//! Each node writes to each connected peer on one stream of its own and reads from the streams that peers opened; nothing
//! is answered on the same stream. A stream begins with how far its writer is. What the frames mean, and from whom they are
//! taken, is the business of [`crate::consensus`] alone; here they are moved, and lost when a peer is too slow.

use super::frame::{read_body, read_length, write_frame};
use super::metrics::{DropLabels, Metrics};
use super::peer_id::{node_of, peer_of};
use super::tasks::Tasks;
use crate::consensus::{ConsensusHandle, FRAME_BYTES_MAX, Outgoing};
use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::{Stream, StreamProtocol};
use libp2p_stream::{AlreadyRegistered, Control, IncomingStreams};
use pyrsia_ledger::NodeId;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/pyrsia/ledger/1");
/// Frames that wait for one peer, and their bytes; the oldest are dropped first, because what they say is said again.
const FRAMES_QUEUED_MAX: usize = 1_024;
const FRAME_BYTES_QUEUED_MAX: usize = 16 << 20;
/// Streams that one peer may have open: the one it uses, and those of connections that just broke.
const STREAMS_PER_PEER_MAX: usize = 4;
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
const REOPEN_PAUSE: Duration = Duration::from_millis(250);
/// For one frame to be taken by the peer, or to arrive once it has begun.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct LedgerFrames(Arc<Shared>);

struct Shared {
    control: Control,
    consensus: ConsensusHandle,
    metrics: Metrics,
    tasks: Tasks,
    writers: Mutex<BTreeMap<NodeId, Writer>>,
}

/// The queue of a connected peer; its task ends with it.
struct Writer {
    queue: Arc<Queue>,
    _connected: DropGuard,
}

#[derive(Default)]
struct Queue {
    frames: Mutex<VecDeque<Arc<[u8]>>>,
    added: Notify,
}

impl Queue {
    /// Adds a frame; gives the number of old ones that had to go.
    fn push(&self, frame: Arc<[u8]>) -> u64 {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.push_back(frame);
        let mut bytes: usize = frames.iter().map(|frame| frame.len()).sum();
        let mut dropped = 0;
        while frames.len() > FRAMES_QUEUED_MAX || bytes > FRAME_BYTES_QUEUED_MAX {
            bytes -= frames.pop_front().map_or(0, |frame| frame.len());
            dropped += 1;
        }
        self.added.notify_one();
        dropped
    }

    fn clear(&self) {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn pop(&self) -> Option<Arc<[u8]>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl LedgerFrames {
    pub(super) fn start(
        mut control: Control,
        consensus: ConsensusHandle,
        outgoing: mpsc::Receiver<Outgoing>,
        metrics: Metrics,
        tasks: Tasks,
    ) -> Result<Self, AlreadyRegistered> {
        let incoming = control.accept(PROTOCOL)?;
        let frames = Self(Arc::new(Shared { control, consensus, metrics, tasks, writers: Mutex::default() }));
        frames.0.tasks.spawn(frames.clone().accept(incoming));
        frames.0.tasks.spawn(frames.clone().carry(outgoing));
        Ok(frames)
    }

    fn writers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Writer>> {
        self.0.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer has its first connection.
    pub(super) fn peer_connected(&self, node: NodeId) {
        let (queue, gone) = (Arc::new(Queue::default()), CancellationToken::new());
        let writing = self.clone().write(node, queue.clone(), gone.clone());
        self.writers().insert(node, Writer { queue, _connected: gone.drop_guard() });
        self.0.tasks.spawn(writing);
    }

    /// A peer's last connection is gone.
    pub(super) fn peer_lost(&self, node: NodeId) {
        self.writers().remove(&node);
        let frames = self.clone();
        self.0.tasks.spawn(async move { frames.0.consensus.peer_lost(node).await });
    }

    /// Hands what the consensus says to the writers. Never waits for a peer.
    async fn carry(self, mut outgoing: mpsc::Receiver<Outgoing>) {
        while let Some(message) = outgoing.recv().await {
            let (to, bytes) = match message {
                Outgoing::Broadcast(bytes) => (None, bytes),
                Outgoing::Send(node, bytes) => (Some(node), bytes),
            };
            if bytes.len() > FRAME_BYTES_MAX {
                self.count_dropped("too_long", 1);
                continue;
            }
            let frame: Arc<[u8]> = bytes.into();
            let writers = self.writers();
            let dropped = match to {
                Some(node) => writers.get(&node).map_or(0, |writer| writer.queue.push(frame)),
                None => writers.values().map(|writer| writer.queue.push(frame.clone())).sum(),
            };
            drop(writers);
            self.count_dropped("slow_peer", dropped);
        }
    }

    fn count_dropped(&self, reason: &'static str, frames: u64) {
        if frames > 0 {
            self.0.metrics.frames_dropped.get_or_create(&DropLabels { reason }).inc_by(frames);
        }
    }

    async fn write(self, node: NodeId, queue: Arc<Queue>, gone: CancellationToken) {
        let writing = async {
            loop {
                let opened = timeout(OPEN_TIMEOUT, self.0.control.clone().open_stream(peer_of(&node), PROTOCOL)).await;
                let ended = match opened {
                    Ok(Ok(stream)) => self.write_stream(stream, &queue).await,
                    Ok(Err(error)) => io::Error::other(error),
                    Err(error) => error.into(),
                };
                tracing::debug!(%node, error = %ended, "a ledger stream ended");
                if ended.kind() == io::ErrorKind::TimedOut {
                    // Who does not read gets nothing kept for it: memory is for those who do.
                    queue.clear();
                }
                tokio::time::sleep(REOPEN_PAUSE).await;
            }
        };
        // Only the end of the connection ends this.
        let _: Option<()> = gone.run_until_cancelled(writing).await;
    }

    /// Writes frames until the stream breaks.
    async fn write_stream(&self, mut stream: Stream, queue: &Queue) -> io::Error {
        let mut frame: Arc<[u8]> = self.0.consensus.hello().into();
        loop {
            let next = queue.pop();
            let written = timeout(FRAME_TIMEOUT, async {
                write_frame(&mut stream, &frame).await?;
                if next.is_none() {
                    stream.flush().await?;
                }
                io::Result::Ok(())
            });
            match written.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(error) => return error.into(),
            }
            frame = match next {
                Some(next) => next,
                None => loop {
                    queue.added.notified().await;
                    if let Some(added) = queue.pop() {
                        break added;
                    }
                },
            };
        }
    }

    /// libp2p drops streams that are not accepted at once, so this only spawns.
    async fn accept(self, mut incoming: IncomingStreams) {
        let open = Arc::new(Mutex::new(BTreeMap::<NodeId, usize>::new()));
        while let Some((peer, stream)) = incoming.next().await {
            let Some(node) = node_of(&peer) else { continue };
            {
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                let streams = open.entry(node).or_default();
                if *streams >= STREAMS_PER_PEER_MAX {
                    continue;
                }
                *streams += 1;
            }
            let (frames, open) = (self.clone(), open.clone());
            self.0.tasks.spawn(async move {
                if let Err(error) = frames.read(node, stream).await {
                    tracing::debug!(%node, %error, "a ledger stream of a peer ended");
                }
                let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(streams) = open.get_mut(&node) {
                    *streams -= 1;
                    if *streams == 0 {
                        open.remove(&node);
                    }
                }
            });
        }
    }

    async fn read(&self, node: NodeId, mut stream: Stream) -> io::Result<()> {
        while let Some(length) = read_length(&mut stream, FRAME_BYTES_MAX).await? {
            let frame = timeout(FRAME_TIMEOUT, read_body(&mut stream, length)).await??;
            self.0.consensus.deliver(node, frame).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_oldest_frames() {
        let queue = Queue::default();
        let frame = |number: usize| Arc::<[u8]>::from(number.to_le_bytes());
        let dropped: u64 = (0..FRAMES_QUEUED_MAX + 3).map(|number| queue.push(frame(number))).sum();
        assert_eq!((dropped, queue.pop()), (3, Some(frame(3))));
        let long: Arc<[u8]> = vec![0; FRAME_BYTES_QUEUED_MAX].into();
        assert_eq!(queue.push(long.clone()), FRAMES_QUEUED_MAX as u64 - 1);
        assert_eq!(queue.pop().map(|frame| frame.len()), Some(long.len()));
        assert_eq!(queue.pop(), None);
    }
}
