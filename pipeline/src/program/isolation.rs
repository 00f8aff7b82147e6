//! Keeping a build's programs from the network, from other builds and from what the pipeline keeps, and its children together,
//! with the namespaces of Linux.
//!
//! `unshare` (util-linux) gives the program a process namespace of its own, whose end ends every child of it, also one
//! that left its process group; a network namespace without any interface that works; and a mount namespace. In there runs the
//! [gate program](crate::run_behind_gate) first, which hides folders and gives up the rights of root. `setpriv` (util-linux) ends
//! all of them when the pipeline itself is killed. It is no sandbox: of the rest of the machine the program reads and writes what
//! the user of the pipeline may. Where this does not work the program runs without, and its build's log says so.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::environment;

/// The death of the pipeline kills `unshare`, and that of `unshare` what runs inside.
const TOGETHER: [&str; 7] = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"];
/// The namespaces that are tried, the best first, and whether folders can be hidden in them. Users other than root need a user
/// namespace, in which they stay who they are and the gate program has rights. `--mount-proc`: root could reach the
/// folders of another build through its processes, which no process of another user namespace can.
const NAMESPACES: [(&[&str], bool); 5] = [
    (&["--mount-proc"], true),
    (&["--user", "--map-current-user", "--keep-caps", "--mount-proc"], true),
    (&["--user", "--map-current-user", "--keep-caps", "--mount"], true),
    (&[], false),
    (&["--user", "--map-current-user", "--keep-caps"], false),
];
const WITHOUT_NETWORK: &str = "--net";
/// Sockets of services such as a docker engine, which would do anything for who reaches them.
const SOCKET_FOLDERS: [&str; 2] = ["/run", "/var/run"];
/// What a build's log says where they cannot be hidden.
pub(crate) const SHARED_FOLDERS: &str =
    "note: this machine cannot hide other builds from this one: the packages that this pipeline builds have to trust each other";

/// What a program reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// That of the pipeline.
    Open,
    /// Nothing, not even loopback.
    None,
    /// What is served through the gate.
    Gate,
}

impl Network {
    /// As the gate program is told.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::None => "none",
            Self::Gate => "gate",
        }
    }
}

/// What keeps the builds of a pipeline apart, if anything does.
#[derive(Debug, Clone)]
pub(crate) struct Isolation(Option<Namespaces>);

#[derive(Debug, Clone)]
struct Namespaces {
    words: &'static [&'static str],
    gate: Vec<OsString>,
    /// The data folder, where it can be hidden.
    hidden: Option<PathBuf>,
}

impl Isolation {
    pub(crate) const NONE: Self = Self(None);

    /// Tries what works on this machine, given the words that start the gate program. Blocks for as long as some small programs run.
    pub(crate) fn probe(gate: Option<&[OsString]>, data_dir: &Path) -> io::Result<Self> {
        let Some(gate) = gate else { return Ok(Self::NONE) };
        let data_dir = data_dir.canonicalize()?;
        let work = data_dir.join("probe");
        std::fs::create_dir_all(&work)?;
        let candidates = NAMESPACES.iter().map(|&(words, hides)| {
            Self(Some(Namespaces { words, gate: gate.to_vec(), hidden: hides.then(|| data_dir.clone()) }))
        });
        let works = |isolation: &Self| {
            let words = isolation.prefix(Network::None, &work);
            let tried = Command::new(&words[0])
                .args(&words[1..])
                .arg("true")
                .current_dir(&work)
                .env("PATH", environment::search_path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            tried.is_ok_and(|status| status.success())
        };
        let found = candidates.into_iter().find(works).unwrap_or(Self::NONE);
        std::fs::remove_dir_all(&work)?;
        if !found.has_network_barrier() {
            tracing::warn!(
                "unshare and setpriv do not work here: builds run with the network of the pipeline and see each other"
            );
        } else if !found.hides_folders() {
            tracing::warn!("mount namespaces do not work here: builds see each other");
        }
        Ok(found)
    }

    pub(crate) fn has_network_barrier(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn hides_folders(&self) -> bool {
        self.0.as_ref().is_some_and(|namespaces| namespaces.hidden.is_some())
    }

    /// The folder that builds do not see, if this path lies in one.
    pub(crate) fn hiding(&self, path: &Path) -> Option<PathBuf> {
        let data_dir = self.0.as_ref()?.hidden.as_ref()?;
        hidden_folders(data_dir).into_iter().find(|folder| path.starts_with(folder))
    }

    /// What stands before the program of the build with this folder on its command line.
    pub(crate) fn prefix(&self, network: Network, work: &Path) -> Vec<OsString> {
        let Some(Namespaces { words, gate, hidden }) = &self.0 else { return Vec::new() };
        let barrier = (network != Network::Open).then_some(WITHOUT_NETWORK);
        let unshare = TOGETHER.iter().chain(*words).copied().chain(barrier).chain(["--"]).map(OsString::from);
        let hidden = hidden.as_ref().map(OsString::from).unwrap_or_default();
        unshare.chain(gate.iter().cloned()).chain([network.word().into(), hidden, work.into()]).collect()
    }
}

/// What a build does not see of the machine, but for its own folder in there.
pub(super) fn hidden_folders(data_dir: &Path) -> Vec<PathBuf> {
    let is_own = |folder: &PathBuf| super::is_folder(folder);
    SOCKET_FOLDERS.iter().map(PathBuf::from).filter(is_own).chain([data_dir.to_owned()]).collect()
}
