//! Consensus: how the nodes of a network agree on the next block, and how everybody else follows.
//!
//! ```text
//!   handle ──calls──►┌────────┐  inputs  ┌─────────┐  inputs  ┌────────┐
//!   network ─frames─►│ driver │─────────►│ replica │─────────►│ engine │  Malachite's pure core
//!   network ◄────────│ thread │◄─────────│ sans-IO │◄─────────│        │
//!   watchers ◄─view──└────────┘  outputs └────┬────┘  outputs └────────┘
//!                                           store (block log)
//! ```
//!
//! The engine is one module that nothing else depends on in its types; the replica is a plain struct; only the driver knows
//! time, threads and queues. What is signed and stored is the ledger's own encoding. The simulator runs the same replica in a
//! world of faults. No rule about what may stand on the ledger is here.

mod ballot;
mod driver;
mod engine;
mod inbox;
mod memory;
mod message;
mod replica;
#[doc(hidden)]
pub mod simulation;
pub(crate) mod snapshots;
mod store;
mod timer;
mod vote_count;

pub use driver::{
    Consensus, ConsensusCounters, ConsensusFailure, ConsensusHandle, ConsensusTask, LedgerView, Outgoing, StartError,
};
pub use engine::{EngineError, RoundStep};
pub use memory::{AfterLoss, KeyAge, Memory, MemoryError};
pub use message::FRAME_BYTES_MAX;
pub use replica::{
    AbsentValidator, ConsensusConfig, ConsensusView, FoundError, MEMPOOL_AUTHOR_EVENTS_MAX, MEMPOOL_EVENTS_MAX, ProposeError,
    ReplicaError, RunningHeight, Silence, SubmitError,
};
pub use store::{NodeStore, OpenStoreError};
pub use timer::Timeouts;
