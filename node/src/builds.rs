//! Builds: wishes become requests on the ledger, requests become runs on this node's pipeline, results become events.

pub mod view;
pub mod wish;
