//! The verifiers this node has: shipped with the program, in the operator's folder, and those of the ledger that other nodes gave it.
//!
//! Owns the set, which changes while the node runs: a module that is put into the folder is loaded, and one that the network has agreed on is
//! fetched. A module is known by its digest alone, so it does not matter who gave it. Never forgets one that the ledger may still name.

mod fetch;
mod folder;
mod kept;
mod missing;
mod pause;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use pyrsia_ledger::{Projections, Sha256Digest};
use pyrsia_verifiers::set::{LoadedFile, load_file};
use pyrsia_verifiers::{LoadError, Origin, SHIPPED, SetError, UnusableModule, Verifier, VerifierHost, VerifierSet};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::folder::{Begun, FOLDER_POLL, Folder};
use self::kept::KeptModules;
use self::missing::MissingModules;
use self::pause::Pause;
use crate::consensus::ConsensusHandle;
use crate::p2p::{NodeResponse, P2pHandle};

/// How long somebody who waits for an answer waits for a module that is not in the set.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);

/// Why a module cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    #[error("none of the nodes that were asked gave it: {reason}; put the module into the node's folder of verifiers")]
    Unavailable { reason: String },
    #[error("it does not load: {0}")]
    Load(#[from] LoadError),
    #[error("it cannot be read or kept: {0}")]
    Io(#[from] std::io::Error),
    #[error("it is still being got or compiled; try again in a minute")]
    StillComing,
}

/// What is opened before the node has neighbours.
pub(crate) struct OpenedVerifiers {
    host: VerifierHost,
    folder: Folder,
    kept: KeptModules,
    shipped: VerifierSet,
    set: VerifierSet,
}

impl OpenedVerifiers {
    /// Loads everything there is; blocks.
    pub(crate) fn open(host: VerifierHost, folder: Option<PathBuf>, kept: PathBuf) -> Result<Self, SetError> {
        let folder = Folder::open(&host, folder)?;
        let shipped = VerifierSet::shipped(&host)?;
        let set = shipped.with_files(folder.loaded());
        for unusable in set.unusable() {
            tracing::warn!(error = %unusable, cause = std::error::Error::source(&**unusable), "a verifier module is left out");
        }
        let kept = KeptModules::new(kept);
        for file in folder.loaded() {
            keep(&kept, &file);
        }
        Ok(Self { host, folder, kept, shipped, set })
    }
}

/// A cheap clone.
#[derive(Clone)]
pub(crate) struct Verifiers(Arc<Shared>);

struct Shared {
    host: VerifierHost,
    /// Whoever follows it holds it.
    folder: Mutex<Folder>,
    kept: KeptModules,
    shipped: VerifierSet,
    set: watch::Sender<Arc<VerifierSet>>,
    consensus: ConsensusHandle,
    p2p: P2pHandle,
    /// A turn for each module that is got: whoever waits for the same one finds it here afterwards.
    turns: StdMutex<BTreeMap<Sha256Digest, Weak<Mutex<()>>>>,
}

impl Verifiers {
    pub(crate) fn new(opened: OpenedVerifiers, consensus: ConsensusHandle, p2p: P2pHandle) -> Self {
        let OpenedVerifiers { host, folder, kept, shipped, set } = opened;
        let (folder, set) = (Mutex::new(folder), watch::Sender::new(Arc::new(set)));
        Self(Arc::new(Shared { host, folder, kept, shipped, set, consensus, p2p, turns: StdMutex::default() }))
    }

    pub(crate) fn set(&self) -> Arc<VerifierSet> {
        self.0.set.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<VerifierSet>> {
        self.0.set.subscribe()
    }

    /// The module with this digest, for somebody who waits for an answer: a slow sender or compiler costs [`ANSWER_PATIENCE`].
    pub(crate) async fn module_soon(&self, digest: &Sha256Digest) -> Result<Verifier, ModuleError> {
        if let Some(verifier) = self.set().by_digest(digest) {
            return Ok(verifier.clone());
        }
        let got = async {
            let turn = self.turn(digest).lock_owned().await;
            let (verifiers, wanted) = (self.clone(), *digest);
            // It goes on when nobody waits any more, one for each module: whoever asks next has the good of it.
            let got = tokio::spawn(async move { verifiers.get(&wanted, turn).await });
            got.await.map_err(std::io::Error::other)?
        };
        timeout(ANSWER_PATIENCE, got).await.unwrap_or(Err(ModuleError::StillComing))
    }

    /// The module with this digest: from the set, from what was kept, or from another node. That takes no longer than whoever has the turn before, all nodes that
    /// are asked ([`fetch::module`]), and the compiler may take.
    pub(crate) async fn module(&self, digest: &Sha256Digest) -> Result<Verifier, ModuleError> {
        if let Some(verifier) = self.set().by_digest(digest) {
            return Ok(verifier.clone());
        }
        let turn = self.turn(digest).lock_owned().await;
        self.get(digest, turn).await
    }

    /// Gets a module whose turn it is.
    async fn get(&self, digest: &Sha256Digest, _turn: OwnedMutexGuard<()>) -> Result<Verifier, ModuleError> {
        if let Some(verifier) = self.set().by_digest(digest) {
            return Ok(verifier.clone());
        }
        let (shared, wanted) = (self.0.clone(), *digest);
        let kept = tokio::task::spawn_blocking(move || shared.kept.get(&wanted)).await.map_err(std::io::Error::other)??;
        let (module, is_new) = match kept {
            Some(module) => (module, false),
            None => (fetch::module(&self.0.p2p, &self.validators(), digest).await?, true),
        };
        let shared = self.0.clone();
        let load = move || -> Result<Verifier, ModuleError> {
            if is_new {
                // Also one that does not load: it need not come again.
                shared.kept.put(&wanted, &module)?;
            }
            Ok(shared.host.load(&module)?)
        };
        let verifier = tokio::task::spawn_blocking(load).await.map_err(std::io::Error::other)??;
        if is_new {
            let package_type = &verifier.description().package_type;
            tracing::info!(%package_type, module = %digest, "a verifier module came from another node");
        }
        self.0.set.send_modify(|set| *set = Arc::new(set.with(verifier.clone())));
        Ok(verifier)
    }

    fn turn(&self, digest: &Sha256Digest) -> Arc<Mutex<()>> {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        turns.get(digest).and_then(Weak::upgrade).unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(*digest, Arc::downgrade(&turn));
            turn
        })
    }

    /// The module with this digest, or a reason that may count against a build. A compiler that is ended from outside is none, and is tried again for as long as it
    /// takes; everything else ends as [`module`](Self::module) does.
    pub(crate) async fn module_for_a_verdict(&self, digest: &Sha256Digest) -> Result<Verifier, ModuleError> {
        let mut pause = Pause::default();
        loop {
            match self.module(digest).await {
                Err(ModuleError::Load(LoadError::Interrupted { .. })) => {
                    pause.begin();
                    pause.ended().await;
                }
                other => return other,
            }
        }
    }

    /// A piece of a module for a peer, if the ledger names it.
    pub(crate) async fn piece(&self, digest: Sha256Digest, offset: u64) -> NodeResponse {
        let view = self.0.consensus.view();
        let is_named =
            view.state.as_deref().is_some_and(|state| state.verifiers.modules().any(|((_, named), _)| *named == digest));
        let shared = self.0.clone();
        let read = move || match SHIPPED.iter().find(|(_, module)| is_named && Sha256Digest::of(module) == digest) {
            Some((_, module)) => Ok(Some(fetch::piece_of(module, offset))),
            None if is_named => shared.kept.piece(&digest, offset),
            None => Ok(None),
        };
        match tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other).and_then(|read| read) {
            Ok(Some((size_bytes, piece))) => NodeResponse::VerifierModule { size_bytes, piece },
            Ok(None) | Err(_) => {
                NodeResponse::Error { code: fetch::CODE_NOT_HERE, sentence: format!("this node has no verifier module {digest}") }
            }
        }
    }

    /// Notices what is put into the folder and gets what the network agrees on, until `stop` is cancelled. Neither waits for the other.
    pub(crate) async fn follow(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_folder() => {}
            () = self.follow_ledger() => {}
        }
    }

    async fn follow_folder(&self) {
        let mut folder = self.0.folder.lock().await;
        let (mut poll, mut pause, mut loading) = (often(), Pause::default(), FuturesUnordered::new());
        loop {
            tokio::select! {
                _ = poll.tick() => {
                    if folder.look().await {
                        self.use_files(&folder);
                    }
                    if !folder.has_interrupted() {
                        pause = Pause::default();
                    } else if !pause.is_on() && folder.try_interrupted_again() {
                        pause.begin();
                    }
                }
                Some((begun, loaded)) = loading.next() => {
                    folder.ended(&begun, loaded);
                    self.use_files(&folder);
                }
            }
            for begun in folder.begin() {
                loading.push(self.load_file(begun));
            }
        }
    }

    async fn load_file(&self, begun: Begun) -> (Begun, LoadedFile) {
        let (shared, path) = (self.0.clone(), begun.path.clone());
        let load = move || {
            let loaded = load_file(&shared.host, &path);
            keep(&shared.kept, &loaded);
            loaded
        };
        let loaded = tokio::task::spawn_blocking(load).await.unwrap_or_else(|crash| {
            let source = std::io::Error::other(crash).into();
            Err(Arc::new(UnusableModule { path: begun.path.clone(), source }))
        });
        (begun, loaded)
    }

    /// Uses what came of the files so far.
    fn use_files(&self, folder: &Folder) {
        let mut set = self.0.shipped.with_files(folder.loaded());
        let mut replaced = None;
        // What left the folder may still be named by the ledger, and what came from the network is not in any folder.
        self.0.set.send_modify(|current| {
            for verifier in current.iter() {
                set = set.with(verifier.clone());
            }
            replaced = Some(std::mem::replace(current, Arc::new(set)));
        });
        if let Some(before) = replaced {
            report(&before, &self.set());
        }
    }

    async fn follow_ledger(&self) {
        let mut ledger = self.0.consensus.watch();
        let mut poll = often();
        let (mut turns, mut getting) = (MissingModules::default(), FuturesUnordered::new());
        loop {
            tokio::select! {
                _ = poll.tick() => {}
                changed = ledger.changed() => if changed.is_err() { return },
                Some((digest, got)) = getting.next() => {
                    turns.ended(digest, &got);
                    // What failed is not tried again at once.
                    continue;
                }
            }
            let missing = ledger.borrow_and_update().state.as_deref().map(|state| self.missing(state)).unwrap_or_default();
            for digest in turns.begin(&missing) {
                getting.push(async move { (digest, self.module(&digest).await) });
            }
        }
    }

    /// The modules that the network uses and this node does not have.
    fn missing(&self, state: &Projections) -> BTreeSet<Sha256Digest> {
        let set = self.set();
        let used = state.verifiers.modules().map(|((package_type, _), _)| state.verifiers.current(package_type));
        used.flatten().filter(|digest| set.by_digest(digest).is_none()).collect()
    }

    fn validators(&self) -> Vec<pyrsia_ledger::NodeId> {
        self.0.consensus.view().state.as_deref().map(|state| state.validators().nodes().to_vec()).unwrap_or_default()
    }
}

fn often() -> tokio::time::Interval {
    let mut poll = tokio::time::interval(FOLDER_POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    poll
}

/// Keeps a module of the operator: the ledger may name it after it was removed from the folder.
fn keep(kept: &KeptModules, file: &LoadedFile) {
    let Ok((verifier, path)) = file else { return };
    let digest = verifier.digest();
    let kept = pyrsia_verifiers::set::read_module(path).and_then(|module| kept.put(&digest, &module));
    if let Err(error) = kept {
        tracing::warn!(module = %digest, %error, "a verifier module cannot be kept for other nodes");
    }
}

/// Tells the operator what is new in the folder.
fn report(before: &VerifierSet, after: &VerifierSet) {
    for (verifier, origin) in after.origins() {
        if let Origin::File(path) = origin
            && before.by_digest(&verifier.digest()).is_none()
        {
            let (module, described) = (verifier.digest(), verifier.description());
            tracing::info!(
                %module,
                package_type = %described.package_type,
                coordinates = described.coordinate_syntax,
                path = %path.display(),
                "a verifier module was found; `pyrsia verifier approve {module}` approves it in this node's name"
            );
        }
    }
    for unusable in after.unusable() {
        if before.unusable().iter().all(|known| known.path != unusable.path) {
            tracing::warn!(error = %unusable, cause = std::error::Error::source(&**unusable), "a verifier module is left out");
        }
    }
}
