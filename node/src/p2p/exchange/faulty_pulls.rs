//! Very many pulls from providers of which all but one misbehave, each time in another way: no wrong byte is handed out or kept.
//!
//! `PYRSIA_FAULTY_PULLS` says how many, `PYRSIA_TEST_SEED` which.

use super::download::Patience;
use super::fetch::Fetched;
use super::tests::{drain, speak};
use super::*;
use crate::p2p::FetchError;
use crate::p2p::frame::{read_message, write_message};
use crate::p2p::tests::{Setup, TestNode, artifact, in_time, noise};
use futures::stream;
use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::Stream;
use pyrsia_ledger::NodeId;
use pyrsia_ledger::tree::CHUNK_BYTES;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PULLS: u64 = 500;
/// As many as a node fetches at once.
const AT_ONCE: usize = 8;
/// Of so many pulls one finds no honest provider.
const HOPELESS: u64 = 125;
const LIARS: usize = 3;
const DRIP_PAUSE: Duration = Duration::from_millis(20);
const STORE_LOOK: Duration = Duration::from_millis(2);

/// What all providers have: the bytes of the artifacts that are being pulled.
#[derive(Default)]
struct World {
    artifacts: Mutex<BTreeMap<Sha256Digest, Arc<Vec<u8>>>>,
    /// Those that the honest provider does not have.
    withheld: Mutex<BTreeSet<Sha256Digest>>,
    faults: AtomicUsize,
    chance: AtomicU64,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// One bit of the first chunk that was asked for.
    WrongBit,
    /// As many bytes as there should be, and all of them others.
    OtherBytes,
    /// The bytes of another place of the same artifact.
    Shifted,
    /// The stream ends when almost everything has come.
    AlmostAll,
    /// The stream ends at once.
    Nothing,
    /// It had answered for the list, and says that it has no bytes.
    Retracted,
    /// No frame of the protocol.
    Garbage,
    /// A frame that announces more than any answer has.
    Oversized,
    /// A list that is not the one of the artifact.
    OtherList,
    /// A byte now and then.
    Drip,
}

const LIES: [Fault; 9] = [
    Fault::WrongBit,
    Fault::OtherBytes,
    Fault::Shifted,
    Fault::AlmostAll,
    Fault::Nothing,
    Fault::Retracted,
    Fault::Garbage,
    Fault::Oversized,
    Fault::OtherList,
];

/// SplitMix64: one seed decides what every artifact is and what is wrong with every answer.
fn scramble(seed: u64) -> u64 {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl World {
    fn bytes(&self, sha256: &Sha256Digest) -> Option<Arc<Vec<u8>>> {
        self.artifacts.lock().expect("no test panics with it").get(sha256).cloned()
    }

    fn withholds(&self, sha256: &Sha256Digest) -> bool {
        self.withheld.lock().expect("no test panics with it").contains(sha256)
    }

    /// A fault for each of a liar's answers but a few.
    fn lie(&self) -> Fault {
        let chance = scramble(self.chance.fetch_add(1, Ordering::Relaxed));
        if chance.is_multiple_of(8) { Fault::None } else { LIES[(chance / 8) as usize % LIES.len()] }
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
enum Role {
    Honest,
    Liar,
    Dripping,
}

async fn serve(mut stream: Stream, world: Arc<World>, role: Role) {
    while let Ok(Some(request)) = read_message::<Request>(&mut stream, REQUEST_BYTES_MAX).await {
        let (Request::ChunkList { sha256 } | Request::Chunks { sha256, .. }) = request;
        let fault = match role {
            Role::Honest => Fault::None,
            Role::Liar => world.lie(),
            Role::Dripping => Fault::Drip,
        };
        if fault != Fault::None {
            world.faults.fetch_add(1, Ordering::Relaxed);
        }
        let bytes = match world.bytes(&sha256) {
            Some(bytes) if !(matches!(role, Role::Honest) && world.withholds(&sha256)) => bytes,
            _ => {
                write_message(&mut stream, &Response::Unavailable).await.ok();
                continue;
            }
        };
        let answered = match fault {
            Fault::Garbage => stream.write_all(&[0xff; 64]).await.is_ok() && stream.flush().await.is_ok(),
            Fault::Oversized => stream.write_all(&u32::MAX.to_be_bytes()).await.is_ok() && stream.flush().await.is_ok(),
            Fault::Nothing => false,
            Fault::Retracted => write_message(&mut stream, &Response::Unavailable).await.is_ok(),
            _ => answer(&mut stream, request, &bytes, fault).await.is_some(),
        };
        if !answered {
            stream.close().await.ok();
            return;
        }
    }
}

/// None when the stream is to end.
async fn answer(stream: &mut Stream, request: Request, bytes: &[u8], fault: Fault) -> Option<()> {
    let (from, count) = match request {
        Request::ChunkList { .. } => {
            let mut chunks: Vec<Sha256Digest> = bytes.chunks(CHUNK_BYTES).map(Sha256Digest::of).collect();
            if fault == Fault::OtherList {
                chunks[0] = Sha256Digest::of(b"something else");
            }
            return write_message(stream, &Response::ChunkList { chunks }).await.ok();
        }
        Request::Chunks { from, count, .. } => (from as usize * CHUNK_BYTES, count as usize * CHUNK_BYTES),
    };
    write_message(stream, &Response::Chunks).await.ok()?;
    let mut piece = bytes[from..(from + count).min(bytes.len())].to_vec();
    match fault {
        Fault::WrongBit => piece[0] ^= 1,
        Fault::OtherBytes => piece.fill(0),
        Fault::Shifted => piece.rotate_left(1),
        Fault::AlmostAll => piece.truncate(piece.len() * 99 / 100),
        Fault::Drip => {
            for byte in piece {
                stream.write_all(&[byte]).await.ok()?;
                stream.flush().await.ok()?;
                tokio::time::sleep(DRIP_PAUSE).await;
            }
            return None;
        }
        _ => {}
    }
    stream.write_all(&piece).await.ok()?;
    stream.flush().await.ok()?;
    (fault != Fault::AlmostAll).then_some(())
}

/// How a pull ended; that it was not wrong has been checked.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Whole,
    Unavailable,
}

async fn pull(node: &TestNode, world: &World, providers: &[NodeId], seed: u64, number: u64) -> Ended {
    // Mostly a few kilobytes, and now and then several chunks, which are read while they arrive.
    let chance = scramble(seed ^ (number << 20));
    let size = match chance % 16 {
        0 => CHUNK_BYTES + 1 + (chance >> 8) as usize % CHUNK_BYTES,
        _ => 64 + (chance >> 8) as usize % 20_000,
    };
    let bytes = Arc::new(noise(size, chance));
    let wanted = artifact("alpine:1", &bytes);
    let sha256 = wanted.sha256;
    world.artifacts.lock().expect("no test panics with it").insert(sha256, bytes.clone());
    if number % HOPELESS == HOPELESS - 1 {
        world.withheld.lock().expect("no test panics with it").insert(sha256);
    }
    let mut order = providers.to_vec();
    order.rotate_left(chance as usize % providers.len());
    let begun = match in_time(node.p2p.begin_fetch(&wanted, order)).await {
        Ok(Fetched::Incoming(incoming)) => in_time(incoming.feed(0..size as u64)).await.map(Some),
        Ok(Fetched::Stored) => Ok(None),
        Err(error) => Err(error),
    };
    let is_whole = match begun {
        Ok(None) => true,
        Ok(Some(feed)) => {
            let (read, is_whole) = drain(feed, usize::MAX).await;
            assert!(bytes.starts_with(&read) && (!is_whole || read.len() == size), "pull {number}: a wrong byte");
            is_whole
        }
        Err(error) => {
            assert!(matches!(error, FetchError::Unavailable { .. }), "pull {number}: {error}");
            false
        }
    };
    let ended = if is_whole {
        // The last byte leaves when the whole is hashed, which is before it is in the store.
        let kept = async {
            while !node.store.contains(&sha256) {
                tokio::time::sleep(STORE_LOOK).await;
            }
        };
        in_time(kept).await;
        assert!(node.stored(&wanted).as_deref() == Some(bytes.as_slice()), "pull {number}: other bytes are stored");
        node.store.remove(&sha256).expect("removes");
        Ended::Whole
    } else {
        assert!(!node.store.contains(&sha256), "pull {number}: something is stored");
        Ended::Unavailable
    };
    world.artifacts.lock().expect("no test panics with it").remove(&sha256);
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_very_many_faulty_pulls_none_gives_a_wrong_byte() {
    let given = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (pulls, seed) = (given("PYRSIA_FAULTY_PULLS").unwrap_or(PULLS), given("PYRSIA_TEST_SEED").unwrap_or(7));
    println!("{pulls} faulty pulls, PYRSIA_TEST_SEED={seed}");
    let patience = Patience { answer: Duration::from_secs(2), chunk: Duration::from_secs(1) };
    let node = Setup::new(2).patience(patience).start().await;
    let world = Arc::new(World { chance: AtomicU64::new(scramble(seed) >> 1), ..World::default() });
    let (mut providers, mut tasks) = (vec![], vec![]);
    for role in [Role::Honest, Role::Dripping].into_iter().chain([Role::Liar; LIARS]) {
        let world = world.clone();
        let (id, task) = speak(&node, move |stream| serve(stream, world.clone(), role)).await;
        providers.push(id);
        tasks.push(task);
    }
    let ended: Vec<(u64, Ended)> = stream::iter(0..pulls)
        .map(async |number| (number, pull(&node, &world, &providers, seed, number).await))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let [whole, unavailable] =
        [Ended::Whole, Ended::Unavailable].map(|which| ended.iter().filter(|(_, ended)| *ended == which).count());
    let faults = world.faults.load(Ordering::Relaxed);
    println!("{whole} whole, {unavailable} unavailable, {faults} faulty answers");
    let failed = ended.iter().find(|(number, ended)| *ended == Ended::Unavailable && number % HOPELESS != HOPELESS - 1);
    assert!(failed.is_none(), "an honest provider had it: {failed:?}");
    assert!(faults as u64 >= pulls / 2, "most answers are faulty: {faults} in {pulls} pulls");
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    node.stop().await;
}
