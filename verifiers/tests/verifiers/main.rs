//! Components in the sandbox: the shipped ones with real outputs, hand-written ones that misbehave.

#![allow(clippy::unwrap_used)]

mod answers;
mod docker;
mod engines;
mod image;
mod passes_page;
mod sandbox;
mod set;

use std::sync::LazyLock;

use pyrsia_verifiers::{Limits, Verifier, VerifierHost, VerifierSet};

/// One host for all tests, as in a node.
static HOST: LazyLock<VerifierHost> = LazyLock::new(|| VerifierHost::new(Limits::default()).unwrap());

static DOCKER: LazyLock<Verifier> = LazyLock::new(|| {
    let shipped = VerifierSet::open(&HOST, None).unwrap();
    shipped.preferred("docker").unwrap().clone()
});
