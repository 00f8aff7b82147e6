//! The HTTP paths of an npm registry: archives, and the document about all versions of a package that npm calls a packument.
//!
//! A version stands in the document with what its own `package.json` says, and with the digest that the ledger has of its archive. Nothing in it changes without
//! a publication: there are no times, and `latest` is the highest release.

use pyrsia_verifier_kit::contract::log;
use pyrsia_verifier_kit::{Document, DocumentSources, HttpArtifact, HttpTarget, Output, PublishedRecord, Refusal, base64};
use serde_json::{Map, Value, json};

use crate::coordinate::{Coordinate, Name};
use crate::package::Summary;
use crate::version::Version;

pub const PATHS: [&str; 4] =
    ["/{name}", "/{name}/-/{name}-{version}.tgz", "/@{scope}/{name}", "/@{scope}/{name}/-/{name}-{version}.tgz"];

const MEDIA_TYPE: &str = "application/json";
/// Below the host's bound of a document, 8 MiB, by more than what stands around the versions.
const VERSIONS_BYTES_MAX: usize = 7 << 20;
/// What the key of a version and its punctuation add to it, in bytes.
const VERSION_OVERHEAD_BYTES: usize = 300;

pub fn target(path: &str) -> Option<HttpTarget> {
    let path = path.strip_prefix('/')?;
    let Some((name, file)) = path.split_once("/-/") else {
        let name = Name::parse(path).ok()?;
        // Of a longer name that begins with this one the `@` stands elsewhere.
        let coordinate_prefix = format!("{name}@");
        return Some(HttpTarget::Document(DocumentSources { coordinate_prefix, lent_suffix: Some(".tgz".into()) }));
    };
    let name = Name::parse(name).ok()?;
    let version = file.strip_prefix(name.base())?.strip_prefix('-')?.strip_suffix(".tgz")?;
    let coordinate = Coordinate::parse(&format!("{name}@{version}")).ok()?;
    Some(HttpTarget::Artifact(HttpArtifact { artifact_id: coordinate.artifact_id(), coordinate: coordinate.to_string() }))
}

pub fn document(path: &str, mount: &str, records: &[PublishedRecord], output: Output<'_>) -> Result<Document, Refusal> {
    let refuse = |code: &str, sentence: &str| Refusal::new(code, path, sentence);
    let name = path.strip_prefix('/').and_then(|path| Name::parse(path).ok());
    let name = name.ok_or_else(|| refuse("no-document", "This path names no package."))?;
    let mut published: Vec<(Version, &PublishedRecord)> = records.iter().filter_map(|record| version_of(&name, record)).collect();
    if published.is_empty() {
        return Err(refuse("not-published", "No version of this package is published."));
    }
    // The newest first: where not all of them fit, the oldest are left out.
    published.sort_by(|(a, _), (b, _)| b.cmp(a));
    let mut versions = Map::new();
    let mut latest = None;
    let mut bytes = 0;
    for (version, record) in published {
        // Without its manifest nobody could tell what else has to be installed with it.
        let Some(listed) = listed(mount, record, output) else { continue };
        bytes += listed.to_string().len() + VERSION_OVERHEAD_BYTES;
        if bytes > VERSIONS_BYTES_MAX {
            remark(&format!("{name}: version {version} and those before it do not fit into the list"));
            break;
        }
        if latest.as_ref().is_none_or(|latest: &Version| !latest.is_release() && version.is_release()) {
            latest = Some(version.clone());
        }
        versions.insert(version.to_string(), listed);
    }
    let Some(latest) = latest else {
        return Err(refuse(
            "not-at-hand",
            "Versions of this package are published, and this node can get none of them now; try again.",
        ));
    };
    let document = json!({
        "_id": name.as_str(),
        "name": name.as_str(),
        "dist-tags": { "latest": latest.to_string() },
        "versions": versions,
    });
    Ok(Document { media_type: MEDIA_TYPE.into(), body: document.to_string().into_bytes() })
}

/// The version that a record publishes, if it is one of this package.
fn version_of<'r>(name: &Name, record: &'r PublishedRecord) -> Option<(Version, &'r PublishedRecord)> {
    let coordinate = Coordinate::parse(&record.coordinate).ok()?;
    let is_its = coordinate.name() == name && coordinate.artifact_id() == record.artifact_id;
    is_its.then(|| (coordinate.version().clone(), record))
}

fn listed(mount: &str, record: &PublishedRecord, output: Output<'_>) -> Option<Value> {
    let file = output.file(record.file?)?;
    let summary = match Summary::read(&file) {
        Ok(summary) => summary,
        Err(fault) => {
            remark(&format!("{} is not listed: {fault}", record.coordinate));
            return None;
        }
    };
    let mut listed = summary.manifest.listed();
    listed.insert("_id".into(), record.coordinate.clone().into());
    if !summary.manifest.install_scripts(summary.has_gyp).is_empty() {
        listed.insert("hasInstallScript".into(), true.into());
    }
    if summary.has_shrinkwrap {
        listed.insert("_hasShrinkwrap".into(), true.into());
    }
    let dist = json!({
        "tarball": format!("{mount}/{}", record.artifact_id),
        "integrity": format!("sha256-{}", base64::encode(&record.sha256)),
        "fileCount": summary.files,
        "unpackedSize": summary.unpacked_bytes,
    });
    listed.insert("dist".into(), dist);
    Some(listed.into())
}

/// For the node's operator; a native test has none.
fn remark(text: &str) {
    if cfg!(target_arch = "wasm32") {
        log::line(text);
    }
}

#[cfg(test)]
mod tests;
