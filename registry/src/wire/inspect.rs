//! What is asked of the published artifacts of a package, and how they are shown, as the seed documents have it.

use pyrsia_ledger::PackageType;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

/// `POST /inspect/docker`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectDockerRequest {
    #[serde(alias = "package")]
    pub image: String,
    #[serde(flatten)]
    pub view: LogView,
}

/// `POST /inspect/maven`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectMavenRequest {
    #[serde(alias = "package")]
    pub gav: String,
    #[serde(flatten)]
    pub view: LogView,
}

/// `POST /inspect/{package type}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectPackageRequest {
    pub package: String,
    #[serde(flatten)]
    pub view: LogView,
}

/// Which records to show, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    #[serde(default)]
    pub output_params: Option<OutputParams>,
    /// Only the records of the newest build.
    #[serde(default)]
    pub latest: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputParams {
    #[serde(default)]
    pub format: Option<LogFormat>,
    #[serde(default)]
    pub content: Option<LogContent>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    #[default]
    #[serde(rename = "JSON", alias = "json")]
    Json,
    #[serde(rename = "CSV", alias = "csv")]
    Csv,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogContent {
    pub fields: Vec<LogField>,
}

/// One published artifact, as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    pub id: String,
    /// `Docker`, `Maven2`, or the capitalised name of another type.
    pub package_type: String,
    pub package_specific_id: String,
    /// How many artifacts the build has.
    pub num_artifacts: u32,
    pub package_specific_artifact_id: String,
    /// SHA-256 of the artifact.
    pub artifact_hash: String,
    /// What pins the source: a commit, or the digest of a manifest.
    pub source_hash: String,
    pub artifact_id: String,
    pub source_id: String,
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    pub operation: String,
    /// The node that added the record, which is one of those that built the artifact.
    pub node_id: String,
    pub node_public_key: String,
}

/// A package type as log records write it: the predecessor's word where it had another one.
pub fn name_in_log(package_type: &PackageType) -> String {
    match package_type.as_str() {
        "maven" => "Maven2".to_owned(),
        _ => package_type.capitalised(),
    }
}

/// The name of a package type that is written as log records do, or by itself.
pub(super) fn name_from_log(word: &str) -> String {
    match word.to_ascii_lowercase().as_str() {
        "maven2" => "maven".to_owned(),
        name => name.to_owned(),
    }
}

macro_rules! log_fields {
    ($($variant:ident $field:ident),* $(,)?) => {
        /// A field of [`LogRecord`], in the spelling of the `inspect` requests.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum LogField { $($variant),* }

        impl LogField {
            /// Every field, in the order of the record.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name of the field in a record.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field)),* }
            }

            /// Reads the name of a field as a person writes it.
            pub fn from_name(name: &str) -> Option<Self> {
                let name = name.trim();
                Self::ALL.iter().copied().find(|field| field.name().eq_ignore_ascii_case(name))
            }
        }

        impl LogRecord {
            pub fn field(&self, field: LogField) -> serde_json::Value {
                match field { $(LogField::$variant => self.$field.clone().into()),* }
            }
        }
    };
}

log_fields! {
    Id id,
    PackageType package_type,
    PackageSpecificId package_specific_id,
    NumArtifacts num_artifacts,
    PackageSpecificArtifactId package_specific_artifact_id,
    ArtifactHash artifact_hash,
    SourceHash source_hash,
    ArtifactId artifact_id,
    SourceId source_id,
    Timestamp timestamp,
    Operation operation,
    NodeId node_id,
    NodePublicKey node_public_key,
}

/// A record reduced to some fields, in the order they were asked for.
#[derive(Clone, Copy, Debug)]
pub struct SelectedFields<'a> {
    pub record: &'a LogRecord,
    pub fields: &'a [LogField],
}

impl Serialize for SelectedFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for field in self.fields {
            map.serialize_entry(field.name(), &self.record.field(*field))?;
        }
        map.end()
    }
}
