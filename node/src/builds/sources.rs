//! What a package is built from, as this node's own mapping says: that of its mapping service, or else of its pipeline.
//!
//! Owns the question and what its answers mean. The node that puts a request on the ledger asks it to say what the build is for,
//! each judge asks it to hold that against its own mapping. What to do about trouble is decided by those who ask.

use pyrsia_ledger::PackageCoordinate;
use reqwest::StatusCode;

use super::mapping_info::{MappingInfo, PinnedMapping};
use super::mapping_service::{MappingService, MappingServiceError};
use super::pipeline_client::{PipelineClient, PipelineError};

/// What the mapping says.
#[derive(Clone, Debug)]
pub(super) enum Mapped {
    Pinned(PinnedMapping),
    /// The pipeline cannot tell, as those of other makers: it finds out when it builds.
    Unknown(MappingInfo),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The pipeline understood the question, and will not build the package.
    #[error(transparent)]
    Refused(PipelineError),
    /// The pipeline works, and whatever it depends on does not: the repository, the registry, its mapping service.
    #[error(transparent)]
    Unavailable(PipelineError),
    #[error(transparent)]
    Service(#[from] MappingServiceError),
    /// The pipeline does not answer, or with something else.
    #[error(transparent)]
    Pipeline(PipelineError),
}

impl From<PipelineError> for SourceError {
    fn from(error: PipelineError) -> Self {
        match error.status() {
            _ if error.is_refusal() => Self::Refused(error),
            Some(StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => {
                Self::Unavailable(error)
            }
            _ => Self::Pipeline(error),
        }
    }
}

/// A cheap clone.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) service: Option<MappingService>,
    pub(super) pipeline: PipelineClient,
}

impl Sources {
    /// What the pipeline is asked with. Where the service knows nothing of the package, the pipeline's own mapping counts.
    pub(super) async fn mapping(&self, coordinate: &PackageCoordinate) -> Result<MappingInfo, SourceError> {
        let found = match &self.service {
            Some(service) => service.ask(coordinate).await?,
            None => None,
        };
        Ok(found.unwrap_or_else(|| MappingInfo::of(coordinate)))
    }

    /// The mapping with its source pinned.
    pub(super) async fn pinned(&self, coordinate: &PackageCoordinate) -> Result<Mapped, SourceError> {
        let info = self.mapping(coordinate).await?;
        match self.pipeline.pin(coordinate, &info).await {
            Ok(pinned) => Ok(Mapped::Pinned(pinned)),
            Err(error) if error.is_unknown_call() => Ok(Mapped::Unknown(info)),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_from_a_refusal() {
        let error = |status: u16| {
            SourceError::from(PipelineError::Status { status: StatusCode::from_u16(status).unwrap(), text: String::new() })
        };
        for status in [400, 403, 413, 422] {
            assert!(matches!(error(status), SourceError::Refused(_)), "{status}");
        }
        for status in [502, 503, 504] {
            assert!(matches!(error(status), SourceError::Unavailable(_)), "{status}");
        }
        for status in [301, 408, 429, 500] {
            assert!(matches!(error(status), SourceError::Pipeline(_)), "{status}");
        }
    }
}
