//! The JSON of the HTTP API, as the prototype spoke it, with the fields that were added to it.
//!
//! Old clients ignore the added fields; this service accepts requests without them.

use serde::{Deserialize, Serialize};

/// The body of `PUT /build`, and what a mapping service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingInfo {
    /// `Docker`, `Maven2` (or `maven`), or the name of any other type, in any case.
    pub package_type: String,
    pub package_specific_id: String,
    #[serde(default)]
    pub source_repository: Option<SourceRepository>,
    #[serde(default)]
    pub build_spec_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<DockerOptions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramOptions>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceRepository {
    Git {
        url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
    },
}

/// How a Docker image is made; every field has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<DockerBuilder>,
    /// Path of the Dockerfile below the context; `Dockerfile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// Path of the build context below the repository; `.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// `os/architecture[/variant]`; an import without it takes all platforms, a build from source `linux/amd64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,
    /// The digest that the manifest of an import has to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl DockerOptions {
    /// Whether they say how the image is made, and not only what it has to be.
    pub(crate) fn say_how(&self) -> bool {
        Self { digest: None, ..self.clone() } != Self::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DockerBuilder {
    Source,
    Import,
}

/// What the build program of a package's type is told besides the package; every field has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramOptions {
    /// Means something to the program only.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub recipe: serde_json::Map<String, serde_json::Value>,
    /// Whether the program may use the network.
    #[serde(default)]
    pub network: bool,
}

/// The answer to `PUT /mapping`: asked to be built, it is built from this source or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedMapping {
    #[serde(flatten)]
    pub info: MappingInfo,
    pub source: SourceView,
}

/// The answer to `GET /build/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildView {
    pub id: String,
    pub status: BuildStatus,
    pub package_type: String,
    pub package_specific_id: String,
    pub phase: Phase,
    /// Known once the source was fetched.
    pub source: Option<SourceView>,
    /// Unix seconds, like the other two.
    pub queued_at: u64,
    pub started_at: Option<u64>,
    pub finished_at: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuildStatus {
    Running,
    Success { artifact_urls: Vec<String> },
    Failure(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Queued,
    Fetching,
    Building,
    Collecting,
    Done,
    /// It ended because the pipeline did, which says nothing of the package.
    Interrupted,
}

/// What exactly was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    pub kind: SourceKind,
    /// Without user and password.
    pub location: String,
    /// A git commit, or the digest of the imported manifest.
    pub revision: String,
    /// The git tree of that commit.
    pub tree: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    Git,
    Import,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_of_the_prototype_is_understood() {
        let docker: MappingInfo = serde_json::from_str(
            r#"{"package_type":"Docker","package_specific_id":"library/alpine:3.16.0","source_repository":null,"build_spec_url":null}"#,
        )
        .unwrap();
        assert_eq!(docker.package_specific_id, "library/alpine:3.16.0");
        assert_eq!(docker.source_repository, None);
        let maven: MappingInfo = serde_json::from_str(
            r#"{"package_type":"Maven2","package_specific_id":"g:a:v","source_repository":{"Git":{"url":"https://git.example/a","tag":"rel/1"}},"build_spec_url":"https://git.example/spec"}"#,
        )
        .unwrap();
        assert_eq!(
            maven.source_repository,
            Some(SourceRepository::Git { url: "https://git.example/a".into(), tag: Some("rel/1".into()), commit: None })
        );
    }

    #[test]
    fn statuses_have_the_shape_of_the_prototype() {
        let json = |status: BuildStatus| serde_json::to_string(&status).unwrap();
        assert_eq!(json(BuildStatus::Running), r#""Running""#);
        assert_eq!(
            json(BuildStatus::Success { artifact_urls: vec!["/build/1/artifacts/manifest".into()] }),
            r#"{"Success":{"artifact_urls":["/build/1/artifacts/manifest"]}}"#
        );
        assert_eq!(json(BuildStatus::Failure("exit 1".into())), r#"{"Failure":"exit 1"}"#);
    }
}
