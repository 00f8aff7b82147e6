//! Keeping a build program from the network, and its children together, with the namespaces of Linux.
//!
//! `unshare` (util-linux) gives the program a process namespace of its own, whose end ends every child of it, also one
//! that left its process group; and a network namespace without any interface that works. `setpriv` (util-linux) ends
//! them when the pipeline itself is killed. It is no sandbox: the program reads and writes what the user of the pipeline
//! may. Where this does not work the program runs without, and its build's log says so.

use std::process::{Command, Stdio};

/// The death of the pipeline kills `unshare`, and that of `unshare` what runs inside.
const AS_ROOT: &[&str] = &["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"];
/// Other users need a user namespace, in which they stay who they are.
const AS_USER: &[&str] =
    &["setpriv", "--pdeathsig", "KILL", "unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child"];
const WITHOUT_NETWORK: &str = "--net";
/// In a user namespace: the first program inside may set up what the namespaces have.
const WITH_RIGHTS: &str = "--keep-caps";

/// What a program reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// That of the pipeline.
    Open,
    /// Nothing, not even loopback.
    None,
    /// What the first program inside sets up.
    Gate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    None,
    Namespaces(&'static [&'static str]),
}

impl Isolation {
    /// Tries what works on this machine. Blocks for as long as two small programs run.
    pub(crate) fn probe() -> Self {
        for words in [AS_ROOT, AS_USER] {
            let tried = Command::new(words[0])
                .args(&words[1..])
                .args([WITHOUT_NETWORK, "true"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if tried.is_ok_and(|status| status.success()) {
                return Self::Namespaces(words);
            }
        }
        tracing::warn!("unshare and setpriv do not work here: build programs run with the network of the pipeline");
        Self::None
    }

    pub(crate) fn has_network_barrier(self) -> bool {
        self != Self::None
    }

    /// What stands before the program on its command line.
    pub(crate) fn prefix(self, network: Network) -> Vec<&'static str> {
        let Self::Namespaces(words) = self else { return Vec::new() };
        let barrier = (network != Network::Open).then_some(WITHOUT_NETWORK);
        let rights = (network == Network::Gate && words == AS_USER).then_some(WITH_RIGHTS);
        words.iter().copied().chain(barrier).chain(rights).chain(["--"]).collect()
    }
}
