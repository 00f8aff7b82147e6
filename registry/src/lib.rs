//! What clients meet over HTTP: the Docker registry API, a Maven repository, the paths of every other package type, and the management API of the node.
//!
//! It speaks other people's protocols and holds no rule of its own: whether something is published, who may build and what a
//! name means is asked from the node's handle. Bytes are streamed out of the artifact store in bounded memory.

pub mod wire;

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

mod router;
mod server;

mod attestations;
mod docker;
mod management;
mod maven;
mod mount;
mod pages;
mod tlog;
mod tlog_tiles;

mod access;
mod admin;
mod conditions;
mod content;
mod framing;
#[cfg(test)]
mod lone_node;
mod metrics;
mod not_served;
mod places;
mod ranges;
mod uri;

pub use access::AccessLog;
pub use server::{DRAIN_TIMEOUT, Registry, RegistryConfig, RegistryError};
