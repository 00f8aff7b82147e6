//! Why an artifact is not served: what every protocol says in its own form.
//!
//! Owns what of it is told to a client, and what only to the log of the node.

use pyrsia_ledger::{ArtifactId, PackageType};
use pyrsia_node::ArtifactError;

pub(crate) enum NotServed {
    Unpublished {
        package_type: PackageType,
        id: ArtifactId,
    },
    /// Published, and not given out.
    AtRisk(String),
    /// Published, and not to be had at the moment.
    Unavailable(String),
}

impl From<ArtifactError> for NotServed {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::Unpublished { package_type, id } => Self::Unpublished { package_type, id },
            ArtifactError::AtRisk(_) => Self::AtRisk(error.to_string()),
            ArtifactError::NoNetwork | ArtifactError::Busy => Self::Unavailable(error.to_string()),
            ArtifactError::Damaged { ref id, .. } => {
                tracing::error!(%error, "a published artifact could not be served");
                // The reason names folders of this machine.
                Self::Unavailable(format!("the copy of {id} on this node cannot be read or written; the node's log says why"))
            }
            error => {
                tracing::warn!(%error, "a published artifact could not be served");
                Self::Unavailable(error.to_string())
            }
        }
    }
}
