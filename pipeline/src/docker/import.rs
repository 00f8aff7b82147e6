//! The `import` builder: takes an image as it is out of an upstream registry, every platform of it.
//!
//! Nothing is rebuilt; the bytes of manifests, configs and layers are the upstream's, each verified against the digest
//! by which it was named. The digest of the top manifest is the revision that was imported.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};

use super::image_name::{Digest, ImageName, Reference};
use super::manifest::{Descriptor, Manifest};
use super::platform::Platform;
use super::upstream::{FetchedManifest, Upstream};
use super::{BuildContext, BuildError};
use crate::artifacts::Artifacts;
use crate::mapping::ImportRecipe;
use crate::wire::{Phase, SourceKind, SourceView};

const MAX_CONCURRENT_DOWNLOADS: usize = 4;
/// An index of indexes is allowed by the specification and seen nowhere deeper.
const MAX_INDEX_DEPTH: usize = 3;
const MAX_MANIFESTS: usize = 512;

pub(crate) async fn build(recipe: &ImportRecipe, context: &BuildContext) -> Result<(), BuildError> {
    context.enter(Phase::Fetching);
    let log = &context.log;
    let upstream = Upstream::of_build(&recipe.upstream, recipe.image.repository(), context);
    log.line(format!("importing {} from {}", recipe.image, upstream.location()));
    let (top, source) = resolve(recipe, &upstream).await?;
    context.found_source(source);
    log.line(format!("the manifest has the digest {}", top.digest));
    context.artifacts.write_manifest(&top.bytes)?;
    let blobs = fetch_children(&upstream, top.manifest, context).await?;
    download(&upstream, blobs, context).await
}

/// The manifest that the name means right now, which has to be the pinned one.
pub(crate) async fn resolve(recipe: &ImportRecipe, upstream: &Upstream) -> Result<(FetchedManifest, SourceView), BuildError> {
    let mut top = upstream.manifest(recipe.image.reference()).await?;
    if let Some(platform) = &recipe.platform {
        top = select_platform(upstream, top, platform, &recipe.image).await?;
    }
    let location = match recipe.image.reference() {
        Reference::Tag(tag) => format!("{}:{tag}", upstream.location()),
        Reference::Digest(digest) => format!("{}@{digest}", upstream.location()),
    };
    if let Some(pinned) = recipe.pinned.as_ref().filter(|pinned| **pinned != top.digest) {
        return Err(BuildError::ImageMoved { location, from: pinned.to_string(), to: top.digest.to_string() });
    }
    let source = SourceView { kind: SourceKind::Import, location, revision: top.digest.to_string(), tree: None };
    Ok((top, source))
}

/// Fetches the manifests below this one, keeps them, and returns every blob they name.
async fn fetch_children(
    upstream: &Upstream,
    top: Manifest,
    context: &BuildContext,
) -> Result<BTreeMap<Digest, Descriptor>, BuildError> {
    let mut blobs = BTreeMap::new();
    let mut seen = BTreeMap::new();
    let mut level = vec![top];
    for _ in 0..MAX_INDEX_DEPTH {
        let mut next = Vec::new();
        for manifest in level {
            match manifest {
                Manifest::Image { config, layers } => {
                    for descriptor in std::iter::once(config).chain(layers) {
                        blobs.insert(descriptor.digest.clone(), descriptor);
                    }
                    Artifacts::check_count(blobs.len())?;
                }
                Manifest::Index { manifests } => {
                    next.extend(manifests.into_iter().filter(|child| seen.insert(child.digest.clone(), ()).is_none()));
                }
            }
        }
        if seen.len() > MAX_MANIFESTS {
            return Err(BuildError::TooManyManifests { limit: MAX_MANIFESTS });
        }
        if next.is_empty() {
            return Ok(blobs);
        }
        level = stream::iter(next.into_iter().map(|child| fetch_child(upstream, child, context)))
            .buffered(MAX_CONCURRENT_DOWNLOADS)
            .try_collect()
            .await?;
    }
    Err(BuildError::IndexTooDeep { limit: MAX_INDEX_DEPTH })
}

async fn fetch_child(upstream: &Upstream, child: Descriptor, context: &BuildContext) -> Result<Manifest, BuildError> {
    let platform = child.platform.map_or_else(|| "no platform".to_owned(), |platform| platform.to_string());
    let fetched = upstream.manifest(&Reference::Digest(child.digest)).await?;
    context.log.line(format!("{platform}: {}", fetched.digest));
    context.artifacts.write_blob(&fetched.bytes)?;
    Ok(fetched.manifest)
}

pub(super) async fn download(
    upstream: &Upstream,
    blobs: BTreeMap<Digest, Descriptor>,
    context: &BuildContext,
) -> Result<(), BuildError> {
    context.artifacts.check_sizes(blobs.values().map(|blob| (blob.digest.as_str(), blob.size_bytes)))?;
    context.log.line(format!("downloading {} configs and layers", blobs.len()));
    stream::iter(blobs.into_values().map(|blob| fetch_blob(upstream, blob, context)))
        .buffer_unordered(MAX_CONCURRENT_DOWNLOADS)
        .try_collect()
        .await
}

async fn fetch_blob(upstream: &Upstream, blob: Descriptor, context: &BuildContext) -> Result<(), BuildError> {
    let scratch = context.artifacts.scratch_file();
    upstream.blob(&blob, &scratch).await?;
    context.log.line(format!("{} {} bytes", blob.digest, blob.size_bytes));
    let artifacts = context.artifacts.clone();
    context.blocking(move || artifacts.keep_blob(&blob.digest, &scratch)).await??;
    Ok(())
}

/// The image of one platform out of an index; an image that stands alone is taken as it is.
pub(super) async fn select_platform(
    upstream: &Upstream,
    top: FetchedManifest,
    platform: &Platform,
    image: &ImageName,
) -> Result<FetchedManifest, BuildError> {
    let Manifest::Index { manifests } = &top.manifest else { return Ok(top) };
    let child = manifests
        .iter()
        .find(|child| child.platform.as_ref().is_some_and(|offered| platform.accepts(offered)))
        .ok_or_else(|| BuildError::NoSuchPlatform { image: image.to_string(), platform: platform.to_string() })?;
    let selected = upstream.manifest(&Reference::Digest(child.digest.clone())).await?;
    if matches!(selected.manifest, Manifest::Index { .. }) {
        return Err(BuildError::IndexTooDeep { limit: 1 });
    }
    Ok(selected)
}
