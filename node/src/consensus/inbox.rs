//! Frames of peers on their way to the replica: a queue for each peer, so that one who floods fills only its own.
//!
//! Peers are heard in turn. Validators and everybody else are heard alternately, whatever their numbers, so that a crowd of
//! strangers takes at most half of the replica's time and never the room of a validator's vote. What does not fit is dropped:
//! agreement survives losses, and everything lost is said again.

use pyrsia_ledger::NodeId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The most frames of one peer that wait, and the most bytes of them.
const FRAMES_OF_ONE_MAX: usize = 512;
const BYTES_OF_ONE_MAX: usize = 8 << 20;
/// The most bytes that wait of all validators, and of all others.
const BYTES_OF_CLASS_MAX: usize = 32 << 20;
/// The most peers of a class of whom something waits.
const PEERS_OF_CLASS_MAX: usize = 1_024;

/// Who sent a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Validator,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) from: NodeId,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Vec<u8>>,
    size_bytes: usize,
}

/// The peers of one class.
#[derive(Debug, Default)]
struct Class {
    peers: BTreeMap<NodeId, Waiting>,
    /// The peers of whom something waits, in the order in which they are heard.
    turns: VecDeque<NodeId>,
    size_bytes: usize,
}

#[derive(Debug, Default)]
struct Queues {
    validators: Class,
    others: Class,
    was_validator: bool,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    queues: Mutex<Queues>,
    arrived: Notify,
}

impl Class {
    /// Whether the frame was taken.
    fn push(&mut self, Frame { from, bytes }: Frame) -> bool {
        let (size_bytes, is_known) = (bytes.len(), self.peers.contains_key(&from));
        if self.size_bytes + size_bytes > BYTES_OF_CLASS_MAX || !is_known && self.peers.len() >= PEERS_OF_CLASS_MAX {
            return false;
        }
        let waiting = self.peers.entry(from).or_default();
        // One frame is always taken, however long.
        let is_first = waiting.frames.is_empty();
        if !is_first && (waiting.frames.len() >= FRAMES_OF_ONE_MAX || waiting.size_bytes + size_bytes > BYTES_OF_ONE_MAX) {
            return false;
        }
        waiting.frames.push_back(bytes);
        waiting.size_bytes += size_bytes;
        self.size_bytes += size_bytes;
        if is_first {
            self.turns.push_back(from);
        }
        true
    }

    fn pop(&mut self) -> Option<Frame> {
        let from = self.turns.pop_front()?;
        let waiting = self.peers.get_mut(&from)?;
        let bytes = waiting.frames.pop_front()?;
        waiting.size_bytes -= bytes.len();
        self.size_bytes -= bytes.len();
        if waiting.frames.is_empty() {
            self.peers.remove(&from);
        } else {
            self.turns.push_back(from);
        }
        Some(Frame { from, bytes })
    }
}

impl Inbox {
    // What runs under this lock leaves the queues whole.
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame, if there is room for it.
    pub(super) fn push(&self, sender: Sender, frame: Frame) -> bool {
        let mut queues = self.queues();
        let class = match sender {
            Sender::Validator => &mut queues.validators,
            Sender::Other => &mut queues.others,
        };
        let is_taken = class.push(frame);
        drop(queues);
        if is_taken {
            self.arrived.notify_one();
        }
        is_taken
    }

    fn pop(&self) -> Option<Frame> {
        let Queues { validators, others, was_validator } = &mut *self.queues();
        let frame = if *was_validator {
            others.pop().map(|frame| (Sender::Other, frame))
        } else {
            validators.pop().map(|frame| (Sender::Validator, frame))
        };
        let either = || validators.pop().map(|frame| (Sender::Validator, frame));
        let (sender, frame) = frame.or_else(either).or_else(|| others.pop().map(|frame| (Sender::Other, frame)))?;
        *was_validator = sender == Sender::Validator;
        Some(frame)
    }

    /// Waits for the next frame. Given up before it ends, it has taken none.
    pub(super) async fn next(&self) -> Frame {
        loop {
            if let Some(frame) = self.pop() {
                return frame;
            }
            self.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: u16, size_bytes: usize) -> Frame {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&from.to_be_bytes());
        Frame { from: NodeId::from_public_key(key), bytes: vec![0; size_bytes] }
    }

    #[test]
    fn a_flood_of_one_peer_takes_neither_the_room_nor_the_turn_of_another() {
        let inbox = Inbox::default();
        let flood = (0..100_000).filter(|_| inbox.push(Sender::Other, frame(1, 45))).count();
        assert_eq!(flood, FRAMES_OF_ONE_MAX);
        assert!(inbox.push(Sender::Other, frame(2, 45)));
        let heard = [inbox.pop(), inbox.pop()].map(|frame| frame.expect("two wait").from);
        assert!(heard.contains(&frame(2, 0).from), "{heard:?}");
    }

    #[test]
    fn strangers_who_fill_all_their_room_leave_that_of_the_validators_and_every_second_turn() {
        let inbox = Inbox::default();
        for stranger in 100..1_100 {
            while inbox.push(Sender::Other, frame(stranger, 1 << 20)) {}
        }
        for _ in 0..8 {
            assert!(inbox.push(Sender::Validator, frame(1, 100)));
        }
        let of_validator = (0..16).filter(|_| inbox.pop().is_some_and(|heard| heard.from == frame(1, 0).from)).count();
        assert_eq!(of_validator, 8);
        let waiting: usize = std::iter::from_fn(|| inbox.pop()).map(|frame| frame.bytes.len()).sum();
        assert!(waiting <= BYTES_OF_CLASS_MAX);
        assert_eq!(inbox.queues().others.peers.len(), 0, "nothing is remembered of peers of whom nothing waits");
    }

    #[tokio::test]
    async fn the_frames_of_a_peer_keep_their_order_and_who_waits_is_woken() {
        let inbox = Inbox::default();
        let pushed = async {
            for size_bytes in 1..4 {
                tokio::task::yield_now().await;
                assert!(inbox.push(Sender::Validator, frame(1, size_bytes)));
            }
        };
        let heard = async {
            let mut sizes = vec![];
            while sizes.len() < 3 {
                sizes.push(inbox.next().await.bytes.len());
            }
            sizes
        };
        assert_eq!(tokio::join!(pushed, heard).1, [1, 2, 3]);
    }
}
