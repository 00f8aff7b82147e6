//! The base image of a Dockerfile: fetched from the upstream, its layers kept among the artifacts.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::super::dockerfile::{Dockerfile, DockerfileError};
use super::super::image::{Compression, StoredLayer};
use super::super::image_name::{ImageName, ImageNameError};
use super::super::manifest::Manifest;
use super::super::platform::Platform;
use super::super::upstream::Upstream;
use super::super::{BuildContext, BuildError, import};
use crate::mapping::SourceRecipe;
use crate::wire::Phase;

const MAX_BASE_CONFIG_BYTES: u64 = 4 << 20;

/// A published image to build on; its layers lie among the artifacts.
pub(super) struct Base {
    pub(super) image: String,
    pub(super) config: BaseConfig,
    pub(super) layers: Vec<StoredLayer>,
    pub(super) layer_files: Vec<PathBuf>,
}

#[derive(Deserialize)]
pub(super) struct BaseConfig {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
    #[serde(default, rename = "os.version")]
    pub(super) os_version: Option<Value>,
    #[serde(default, rename = "os.features")]
    pub(super) os_features: Option<Value>,
    #[serde(default)]
    pub(super) config: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    pub(super) history: Option<Vec<Value>>,
    pub(super) rootfs: BaseRootfs,
}

#[derive(Deserialize)]
pub(super) struct BaseRootfs {
    #[serde(default)]
    pub(super) diff_ids: Vec<String>,
}

pub(super) async fn fetch(
    image: &str,
    platform: &Platform,
    recipe: &SourceRecipe,
    dockerfile: &Dockerfile,
    context: &BuildContext,
) -> Result<Base, BuildError> {
    // A base without a tag would be another one tomorrow; Docker's default of `latest` is refused with the name's own message.
    let name: ImageName = image.parse().map_err(|error: ImageNameError| DockerfileError {
        line: dockerfile.from.line,
        instruction: "FROM".to_owned(),
        problem: error.to_string(),
    })?;
    let unusable = |problem: String| BuildError::BaseConfig { image: image.to_owned(), problem };
    let url = recipe.upstream.as_ref().ok_or_else(|| BuildError::NoUpstream(image.to_owned()))?;
    context.enter(Phase::Fetching);
    let upstream = Upstream::of_build(url, name.repository(), context);
    context.log.line(format!("fetching the base image {name} from {}", upstream.location()));
    let top = upstream.manifest(name.reference()).await?;
    let selected = import::select_platform(&upstream, top, platform, &name).await?;
    context.log.line(format!("the base image has the digest {}", selected.digest));
    let Manifest::Image { config, layers } = selected.manifest else {
        return Err(unusable("it is an index".to_owned()));
    };
    if config.size_bytes > MAX_BASE_CONFIG_BYTES {
        return Err(unusable(format!("its config has {} bytes", config.size_bytes)));
    }
    let scratch = context.artifacts.scratch_file();
    upstream.blob(&config, &scratch).await?;
    let bytes = fs::read(&scratch).map_err(|source| BuildError::Io { action: "read the config of the base image", source })?;
    let config: BaseConfig = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    if config.rootfs.diff_ids.len() != layers.len() {
        return Err(unusable(format!("its config has {} layers, its manifest {}", config.rootfs.diff_ids.len(), layers.len())));
    }
    let triggers = config.config.as_ref().and_then(|config| config.get("OnBuild")).and_then(Value::as_array);
    if triggers.is_some_and(|triggers| !triggers.is_empty()) {
        return Err(unusable("it has ONBUILD instructions, which the embedded builder does not cover".to_owned()));
    }
    let mut stored = Vec::new();
    for layer in &layers {
        let compression = match layer.media_type.as_str() {
            text if text.ends_with("gzip") => Compression::Gzip,
            text if text.ends_with("tar") => Compression::None,
            other => {
                return Err(unusable(format!("a layer has the media type {other}, which the embedded builder does not read")));
            }
        };
        stored.push(StoredLayer { digest: layer.digest.clone(), size_bytes: layer.size_bytes, compression });
    }
    let layer_files = layers.iter().map(|layer| context.artifacts.blob_path(&layer.digest)).collect();
    import::download(&upstream, layers.into_iter().map(|layer| (layer.digest.clone(), layer)).collect(), context).await?;
    context.enter(Phase::Building);
    Ok(Base { image: image.to_owned(), config, layers: stored, layer_files })
}
