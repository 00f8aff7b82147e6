//! `known_peers.json`: what is remembered of other nodes, on the disk.
//!
//! ```text
//! { "version": 1, "peers": [ { "peer_id": "12D3Koo…", "addresses": [ { "address": "/ip4/…/tcp/…", "reached_ms": 1790000000000 } ] } ] }
//! ```
//!
//! Peers and the addresses of each stand in it from the last that was reached to the first. It is written aside and renamed. It can be had again, so nothing
//! about it stops a node: what cannot be used is set aside with a word in the log.

use super::{KnownAddress, KnownPeers, bare};
use crate::handle::with_cause;
use crate::p2p::peer_id::{node_of, peer_of};
use libp2p::PeerId;
use pyrsia_ledger::NodeId;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const VERSION: u64 = 1;
/// More than [`KnownPeers`] can hold makes.
const FILE_BYTES_MAX: u64 = 512 << 10;
/// How long changes wait for others, to be written with them.
pub(in crate::p2p) const SAVE_PAUSE: Duration = Duration::from_secs(10);
/// Where a file goes that cannot be used.
const ASIDE: &str = "json.unusable";

#[derive(Serialize, Deserialize)]
struct Document {
    version: u64,
    peers: Vec<Peer>,
}

#[derive(Serialize, Deserialize)]
struct Peer {
    peer_id: NodeId,
    addresses: Vec<KnownAddress>,
}

/// What every version has.
#[derive(Deserialize)]
struct AnyVersion {
    version: u64,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    TooLong,
    #[error("it has version {0}, and this program reads version {VERSION}")]
    Version(u64),
    #[error("it is damaged")]
    Damaged(#[from] serde_json::Error),
}

/// What is remembered in the file. A node cannot have remembered itself; what says so is left out.
pub(in crate::p2p) fn open(path: &Path, me: &PeerId) -> KnownPeers {
    let bytes = match read(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return KnownPeers::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the nodes that were reached before are not known: the file cannot be read");
            return KnownPeers::default();
        }
    };
    match decode(&bytes, me) {
        Ok(known) => {
            tracing::info!(nodes = known.len(), "nodes that were reached before are known");
            known
        }
        Err(unusable) => {
            let aside = path.with_extension(ASIDE);
            let is_aside = fs::rename(path, &aside);
            tracing::warn!(path = %path.display(), aside = %aside.display(), error = with_cause(&unusable), failed = ?is_aside.err(),
                "the nodes that were reached before are not known: the file cannot be used and is set aside; it may be deleted");
            KnownPeers::default()
        }
    }
}

/// At most one byte more than a file may have; none where there is no file.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    // To open a pipe would wait for its other end.
    if !found.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = vec![];
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

pub(super) fn decode(bytes: &[u8], me: &PeerId) -> Result<KnownPeers, Unusable> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Unusable::TooLong);
    }
    let AnyVersion { version } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(Unusable::Version(version));
    }
    let document: Document = serde_json::from_slice(bytes)?;
    let mut known = KnownPeers::default();
    // The limits hold for what somebody wrote by hand as well: what comes last pushes out what came before.
    for peer in document.peers.into_iter().rev() {
        let id = peer_of(&peer.peer_id);
        for written in peer.addresses.into_iter().rev().filter(|_| id != *me) {
            if let Some(address) = bare(&id, &written.address) {
                known.put(id, KnownAddress { address, ..written });
            }
        }
    }
    Ok(known)
}

pub(super) fn encode(known: &KnownPeers) -> Vec<u8> {
    let mut peers: Vec<_> = known.peers.iter().collect();
    peers.sort_by_key(|(_, addresses)| Reverse(addresses.iter().map(|known| known.reached_ms).max()));
    let peers = peers.into_iter();
    let peers = peers.filter_map(|(peer, addresses)| Some(Peer { peer_id: node_of(peer)?, addresses: addresses.clone() }));
    let document = Document { version: VERSION, peers: peers.collect() };
    serde_json::to_vec_pretty(&document).expect("numbers and strings are JSON")
}

/// Writes what changes, each time after a pause, until `changes` ends and the last of it is written.
pub(in crate::p2p) async fn keep(
    path: PathBuf,
    mut changes: watch::Receiver<KnownPeers>,
    pause: Duration,
    stopping: CancellationToken,
) {
    let mut was_told = false;
    while changes.changed().await.is_ok() {
        // More is waited for, and a disk that is full has time to become less so; at a stop there is no time.
        let is_stopping = stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none();
        let (known, path) = (changes.borrow_and_update().clone(), path.clone());
        let saved = tokio::task::spawn_blocking(move || (save(&path, &known), path)).await;
        match saved {
            Ok((Ok(()), _)) => was_told = false,
            Ok((Err(error), path)) => {
                if !was_told {
                    tracing::warn!(path = %path.display(), %error, "the nodes that were reached cannot be written down; this is tried again");
                }
                was_told = true;
                if !is_stopping {
                    changes.mark_changed();
                }
            }
            // The runtime ends, or writing panicked, which was told.
            Err(_) => return,
        }
    }
}

fn save(path: &Path, known: &KnownPeers) -> io::Result<()> {
    let aside = path.with_extension("json.new");
    // Whom a node talks to is the business of its owner.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&encode(known))?;
    file.sync_all()?;
    fs::rename(aside, path)
}
