//! A bound on how many bytes of artifacts pass in a second, shared by all streams of one direction.
//!
//! A bucket that runs over when it holds [`BURST`]: whoever wants to pass some bytes gets the moment at which all before it are paid for, so
//! streams take turns in the order they come, and with small pieces none starves another. What a stream that ends has asked for and
//! not sent is lost, at most a piece.

use crate::p2p::network_config::Rate;
use futures::AsyncReadExt as _;
use libp2p::Stream;
use prometheus_client::metrics::counter::Counter;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout};

/// How much unused time is made up for: a quarter of a second's bytes pass at once after a pause.
const BURST: Duration = Duration::from_millis(250);
/// How much of a stream passes at once where there is a bound, in bytes: at the lowest rate a piece takes half a second.
const PIECE_BYTES: usize = 64 << 10;

pub(in crate::p2p) struct RateLimit {
    bucket: Option<Bucket>,
    /// The bytes that had to wait.
    delayed_bytes: Counter,
}

struct Bucket {
    rate: Rate,
    /// When everything that was let pass is paid for.
    paid_at: Mutex<Option<Instant>>,
}

impl RateLimit {
    pub(in crate::p2p) fn new(rate: Option<Rate>, delayed_bytes: Counter) -> Self {
        Self { bucket: rate.map(|rate| Bucket { rate, paid_at: Mutex::default() }), delayed_bytes }
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.bucket.is_some()
    }

    /// How many bytes a stream may pass on with one call of [`RateLimit::pass`].
    pub(super) fn piece_bytes(&self) -> usize {
        self.bucket.as_ref().map_or(usize::MAX, |_| PIECE_BYTES)
    }

    /// Returns when these bytes may pass.
    pub(super) async fn pass(&self, bytes: usize) {
        let Some(bucket) = &self.bucket else { return };
        let now = Instant::now();
        let at = bucket.enter(bytes as u64, now);
        if at > now {
            self.delayed_bytes.inc_by(bytes as u64);
            sleep_until(at).await;
        }
    }

    /// Counts bytes as passed that nobody waits for: what passes next waits for them as well.
    pub(super) fn charge(&self, bytes: usize) {
        if let Some(bucket) = &self.bucket {
            bucket.enter(bytes as u64, Instant::now());
        }
    }
}

impl RateLimit {
    /// Fills a buffer from a stream, which may take `patience` for it besides what this limit makes it wait.
    pub(super) async fn read_exact(
        &self,
        stream: &mut Stream,
        buffer: &mut [u8],
        patience: Duration,
    ) -> Result<io::Result<()>, Elapsed> {
        let mut left = patience;
        for piece in buffer.chunks_mut(self.piece_bytes()) {
            let begun = Instant::now();
            if let Err(error) = timeout(left, stream.read_exact(piece)).await? {
                return Ok(Err(error));
            }
            left = left.saturating_sub(begun.elapsed());
            self.pass(piece.len()).await;
        }
        Ok(Ok(()))
    }
}

impl Bucket {
    /// When these bytes may pass: when all before them are paid for.
    fn enter(&self, bytes: u64, now: Instant) -> Instant {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full = now.checked_sub(BURST).unwrap_or(now);
        let at = paid_at.map_or(full, |paid_at| paid_at.max(full));
        *paid_at = Some(at + Duration::from_secs_f64(bytes as f64 / self.rate.bytes_per_second() as f64));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const PIECE: u64 = PIECE_BYTES as u64;

    fn bucket() -> Bucket {
        Bucket { rate: Rate::download(MIB).expect("not too low"), paid_at: Mutex::default() }
    }

    /// Passes bytes one piece after the other; when the last of them may.
    fn pass_all(bucket: &Bucket, bytes: u64, mut now: Instant) -> Instant {
        for _ in 0..bytes / PIECE {
            now = now.max(bucket.enter(PIECE, now));
        }
        now
    }

    #[test]
    fn bytes_pass_at_the_rate_and_a_pause_is_made_up_for_by_one_burst_alone() {
        let (bucket, mut now) = (bucket(), Instant::now() + BURST);
        for _ in 0..2 {
            let end = pass_all(&bucket, 10 * MIB, now);
            let (elapsed, most) = (end - now, Duration::from_secs(10));
            assert!(elapsed <= most && elapsed >= most - BURST - Duration::from_millis(100), "{elapsed:?}");
            now = end + Duration::from_secs(3_600);
        }
    }

    #[test]
    fn streams_share_the_rate_whatever_they_want() {
        let (bucket, start) = (bucket(), Instant::now());
        // Each stream asks again when its last piece has passed.
        let mut next = [start; 16];
        let mut passed = [0; 16];
        while let Some((stream, now)) = next.iter().copied().enumerate().min_by_key(|(_, at)| *at) {
            if now > start + Duration::from_secs(60) {
                break;
            }
            next[stream] = now.max(bucket.enter(PIECE, now)) + Duration::from_micros(stream as u64);
            passed[stream] += PIECE;
        }
        let (least, most) = (passed.iter().min().expect("16"), passed.iter().max().expect("16"));
        // Who comes first has the burst.
        assert!(most - least <= MIB / 4 + 2 * PIECE, "{passed:?}");
        assert!(passed.iter().sum::<u64>() <= 61 * MIB + 16 * PIECE, "{passed:?}");
    }

    #[tokio::test]
    async fn without_a_rate_nothing_waits() {
        let limit = RateLimit::new(None, Counter::default());
        for _ in 0..1_000 {
            limit.pass(1 << 40).await;
        }
        assert_eq!((limit.delayed_bytes.get(), limit.piece_bytes()), (0, usize::MAX));
    }

    #[test]
    fn rates_that_other_nodes_have_no_patience_for_are_refused() {
        assert!(Rate::upload(crate::p2p::network_config::UPLOAD_RATE_MIN).is_ok() && Rate::upload(0).is_err());
        let refused = Rate::download(1_000).expect_err("too low").to_string();
        assert!(refused.contains("1000 bytes a second") && refused.contains("524288"), "{refused}");
    }
}
