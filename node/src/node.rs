//! A node from start to stop.

use crate::config::NodeConfig;
use crate::handle::NodeHandle;
use crate::identity::IdentityError;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why a running node cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FatalError(pub String);

pub struct Node {
    handle: NodeHandle,
}

impl Node {
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let _ = config;
        todo!()
    }

    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    pub async fn stop(self) {}

    /// Resolves when the node cannot go on.
    pub async fn failed(&mut self) -> FatalError {
        std::future::pending().await
    }
}
