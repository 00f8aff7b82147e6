//! The host of the verifiers: loads components by digest and runs each call in a sandbox.
//!
//! Owns the limits, the sandbox and the check of what comes out of it; the contract is `wit/v1/verifier.wit`. Knows no package type: everything about
//! one is said by the component. Never async: calls block, and the node runs them on a thread of their own. Never panics and never blames a build
//! for what a component did; every way a call can go wrong is an [`Abstention`].

mod admission;
mod answer;
mod call;
pub mod compiled;
pub mod compiler;
mod contract;
mod hashing;
pub mod host;
pub mod limits;
mod loaded;
pub mod outcome;
pub mod set;
pub mod verifier;

pub use compiled::CompiledModules;
pub use compiler::Compiler;
pub use host::{HostError, HostOptions, LoadError, Optimization, VerifierHost};
pub use limits::Limits;
pub use outcome::{
    Abstention, CanonicalFile, Comparison, Description, Difference, DifferenceReport, Document, DocumentSources, Finding,
    HttpTarget, InputFile, Outcome, Pass, PublishedArtifact, PublishedRecord, Refusal,
};
pub use set::{Origin, SHIPPED, SetError, UnusableModule, UnusableReason, VerifierSet};
pub use verifier::Verifier;
