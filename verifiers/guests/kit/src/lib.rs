//! What verifiers share: the contract as Rust, bounded readers of files and archives, canonical hashing, difference reports.
//!
//! A verifier implements [`Verifier`] and names itself in [`export_verifier!`]; the rest of this crate is there to be used or not. Its readers take archives
//! as bytes, extract nothing, hold nothing of a file as a whole and never guess: what two programs could read in two ways is [`Unreadable`].
//! Everything also runs natively, on [`files::MemoryFiles`], so that a verifier's logic is tested without WASM.

pub mod base64;
pub mod compare;
pub mod contract;
pub mod files;
pub mod hash;
pub mod inflate;
pub mod names;
pub mod report;
pub mod strict_json;
pub mod tar;
pub mod tree;
pub mod unreadable;
pub mod verifier;
pub mod zip;

pub use contract::{
    CanonicalFile, Comparison, Description, Difference, DifferenceReport, Document, DocumentSources, Finding, HttpArtifact,
    HttpTarget, Pass, PublishedArtifact, PublishedRecord, Refusal,
};
pub use files::{File, Output};
pub use hash::{Hasher, Sha256};
pub use report::Report;
pub use unreadable::Unreadable;
pub use verifier::{Exported, Verifier};
