//! The docker engine as a builder: `docker build`, `docker save`, and the result made reproducible.
//!
//! The engine stamps layers and config with the moment of the build. Dates after the commit are set back to it and
//! everything is compressed anew in one way, so that steps which give the same files give the same image. What a RUN
//! does differently each time stays different.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::image::{self, Compression, History, ImageConfig, RootfsJson, StoredLayer};
use super::image_name::Digest;
use super::layer::{Layer, LayerFile};
use super::rootfs::{RootfsError, open_layer};
use super::source::Place;
use super::{BuildContext, BuildError};
use crate::build_log::BuildLog;
use crate::git::Checkout;
use crate::mapping::SourceRecipe;
use crate::process::{self, ProcessError, Stdout};
use crate::program::environment;
use crate::wire::Phase;

/// An engine that does not answer by then is not there.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_PAX_BYTES: u64 = 1 << 20;
const MAX_JSON_BYTES: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("there is no docker engine: start one, or let the pipeline build with --builder embedded")]
    None(#[source] ProcessError),
    #[error("the docker engine does not answer: restart it, or let the pipeline build with --builder embedded")]
    Silent,
    #[error("docker build failed, see the log of the build")]
    Build(#[source] ProcessError),
    #[error("the docker engine does not give the image away")]
    Save(#[source] ProcessError),
    #[error("the docker engine gave an image that cannot be read: {0}")]
    Image(String),
    #[error("a layer of the docker engine cannot be read")]
    Layer(#[from] RootfsError),
    #[error("cannot convert the image of the docker engine")]
    Io(#[from] io::Error),
}

fn docker() -> Command {
    let mut command = Command::new("docker");
    command.env("PATH", environment::search_path());
    command
}

/// The version of the engine, when one answers.
pub(super) async fn version(log: &BuildLog) -> Result<String, EngineError> {
    let mut command = docker();
    command.args(["version", "--format", "{{.Server.Version}}"]);
    match tokio::time::timeout(VERSION_TIMEOUT, process::run(command, Stdout::Answer, log)).await {
        Ok(answer) => answer.map(|version| version.trim().to_owned()).map_err(EngineError::None),
        Err(_) => Err(EngineError::Silent),
    }
}

pub(super) async fn build(
    recipe: &SourceRecipe,
    checkout: &Checkout,
    place: &Place,
    context: &BuildContext,
) -> Result<(), BuildError> {
    let id_file = context.work.join("image-id");
    let mut command = docker();
    command
        .args(["build", "--no-cache", "--force-rm", "--platform", &recipe.platform.to_string(), "--build-arg"])
        .arg(format!("SOURCE_DATE_EPOCH={}", checkout.committed_at))
        .arg("--iidfile")
        .arg(&id_file)
        .arg("--file")
        .arg(&place.dockerfile)
        .arg(&place.context)
        .env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
    process::run(command, Stdout::Log, &context.log).await.map_err(EngineError::Build)?;
    let id: Digest = fs::read_to_string(&id_file)
        .map_err(EngineError::Io)?
        .trim()
        .parse()
        .map_err(|error| EngineError::Image(format!("{error}")))?;
    context.enter(Phase::Collecting);
    let archive = context.work.join("image.tar");
    let mut command = docker();
    command.args(["image", "save", "--output"]).arg(&archive).arg(id.as_str());
    process::run(command, Stdout::Log, &context.log).await.map_err(EngineError::Save)?;
    let (worker, dated) = (context.clone(), checkout.committed_at);
    let digest = context.blocking(move || convert(&archive, dated, &worker)).await??;
    context.log.line(format!("the image has the digest {digest}"));
    let mut command = docker();
    command.args(["image", "rm", id.as_str()]);
    if process::run(command, Stdout::Answer, &context.log).await.is_err() {
        context.log.line("the image stays in the docker engine");
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct SavedConfig {
    architecture: String,
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    config: Option<std::collections::BTreeMap<String, Value>>,
    #[serde(default)]
    history: Option<Vec<Value>>,
}

/// From the archive of `docker save` to artifacts.
fn convert(archive: &Path, dated: u64, context: &BuildContext) -> Result<Digest, BuildError> {
    let folder = context.work.join("image");
    unpack(archive, &folder)?;
    let images: Vec<SavedImage> = read_json(&folder, "manifest.json")?;
    let [image] = &images[..] else {
        return Err(EngineError::Image(format!("it holds {} images", images.len())).into());
    };
    let saved: SavedConfig = read_json(&folder, &image.config)?;
    let mut config = ImageConfig {
        architecture: saved.architecture,
        config: saved.config.unwrap_or_default(),
        created: image::date(dated),
        history: saved.history.unwrap_or_default().into_iter().map(|line| History::Base(set_back(line, dated))).collect(),
        os: saved.os,
        os_version: None,
        os_features: None,
        rootfs: RootfsJson::default(),
        variant: saved.variant,
    };
    // These name the machine, or images in between that are dated by the moment.
    for name in ["Image", "Hostname", "Domainname"] {
        config.config.remove(name);
    }
    let mut layers = Vec::new();
    for layer in &image.layers {
        context.check_abandoned()?;
        let scratch = context.artifacts.scratch_file();
        let layer = rewrite_layer(&inside(&folder, layer)?, &scratch, dated, &context.abandoned)?;
        context.artifacts.keep_blob(&layer.digest, &scratch)?;
        config.rootfs.diff_ids.push(layer.diff_id);
        layers.push(StoredLayer { digest: layer.digest, size_bytes: layer.size_bytes, compression: Compression::Gzip });
    }
    Ok(image::write(&config, &layers, &context.artifacts)?)
}

fn unpack(archive: &Path, folder: &Path) -> Result<(), EngineError> {
    fs::create_dir(folder)?;
    tar::Archive::new(File::open(archive)?).unpack(folder)?;
    Ok(fs::remove_file(archive)?)
}

/// A path that the archive names; it may be a link to a layer that occurs twice.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, EngineError> {
    let path = fs::canonicalize(folder.join(name))?;
    if path.starts_with(fs::canonicalize(folder)?) {
        Ok(path)
    } else {
        Err(EngineError::Image(format!("{name:?} leads out of it")))
    }
}

fn read_json<T: serde::de::DeserializeOwned>(folder: &Path, name: &str) -> Result<T, EngineError> {
    let path = inside(folder, name)?;
    if path.metadata()?.len() > MAX_JSON_BYTES {
        return Err(EngineError::Image(format!("{name} is too large")));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(|error| EngineError::Image(format!("{name}: {error}")))
}

/// A line of the history with its date not after the commit.
fn set_back(mut line: Value, dated: u64) -> Value {
    if let Some(created) = line.get_mut("created") {
        let at = created.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        if at.is_none_or(|at| at.as_second() > i64::try_from(dated).unwrap_or(i64::MAX)) {
            *created = Value::String(image::date(dated));
        }
    }
    line
}

fn rewrite_layer(from: &Path, to: &Path, dated: u64, abandoned: &CancellationToken) -> Result<Layer, EngineError> {
    let mut layer = LayerFile::create(to)?;
    set_back_dates(open_layer(from)?, &mut layer, dated, abandoned)?;
    Ok(layer.finish()?)
}

/// Copies a tar stream; times after the commit become the commit's, access and change times go.
fn set_back_dates(from: impl Read, to: &mut impl Write, dated: u64, abandoned: &CancellationToken) -> Result<(), EngineError> {
    let mut out = tar::Builder::new(to);
    for entry in tar::Archive::new(from).entries()?.raw(true) {
        if abandoned.is_cancelled() {
            return Err(RootfsError::Abandoned.into());
        }
        let mut entry = entry?;
        let mut header = entry.header().clone();
        if header.entry_type().is_gnu_sparse() {
            return Err(EngineError::Image("a layer has a sparse file".to_owned()));
        }
        header.set_mtime(header.mtime()?.min(dated));
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.atime.fill(0);
            gnu.ctime.fill(0);
        }
        if header.entry_type().is_pax_local_extensions() {
            if entry.size() > MAX_PAX_BYTES {
                return Err(EngineError::Image("a layer has a very long header".to_owned()));
            }
            let mut records = Vec::new();
            entry.read_to_end(&mut records)?;
            let records = pax_without_times(&records);
            if !records.is_empty() {
                header.set_size(records.len() as u64);
                header.set_cksum();
                out.append(&header, &records[..])?;
            }
        } else {
            header.set_cksum();
            out.append(&header, &mut entry)?;
        }
    }
    out.finish()?;
    Ok(())
}

/// The records `length key=value\n` of a pax header (POSIX.1-2001 `pax`) without those about time: the whole seconds
/// stand in the header that follows.
fn pax_without_times(mut records: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    while let Some(space) = records.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&records[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let Some(record) = length.filter(|length| *length > space).and_then(|length| records.get(..length)) else { break };
        let key = record[space + 1..].split(|byte| *byte == b'=').next().unwrap_or_default();
        if ![&b"mtime"[..], b"atime", b"ctime"].contains(&key) {
            kept.extend_from_slice(record);
        }
        records = &records[record.len()..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_the_same_files_at_different_moments_become_the_same() {
        let layer = |mtime: u64| {
            let mut tar = tar::Builder::new(Vec::new());
            let pax = |key: &str, value: String| {
                let tail = format!(" {key}={value}\n");
                let length = (1..).find(|length: &usize| length.to_string().len() + tail.len() == *length).unwrap();
                format!("{length}{tail}")
            };
            let records =
                pax("mtime", format!("{mtime}.25")) + &pax("SCHILY.xattr.user.a", "b".into()) + &pax("atime", "9".into());
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::XHeader);
            header.set_size(records.len() as u64);
            header.set_mtime(mtime);
            header.set_cksum();
            tar.append(&header, records.as_bytes()).unwrap();
            for (name, mtime) in [("new", mtime), ("old", 50)] {
                let mut header = tar::Header::new_gnu();
                header.set_size(3);
                header.set_mode(0o644);
                header.set_mtime(mtime);
                header.as_gnu_mut().unwrap().set_atime(mtime);
                tar.append_data(&mut header, name, &b"abc"[..]).unwrap();
            }
            tar.into_inner().unwrap()
        };
        let rewritten = |mtime| {
            let mut out = Vec::new();
            set_back_dates(&layer(mtime)[..], &mut out, 1000, &CancellationToken::new()).unwrap();
            out
        };
        assert_eq!(rewritten(2000), rewritten(3000));
        let out = rewritten(2000);
        let mut archive = tar::Archive::new(&out[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let keys: Vec<String> = entry
                .pax_extensions()
                .unwrap()
                .map(|all| all.map(|one| one.unwrap().key().unwrap().to_owned()).collect())
                .unwrap_or_default();
            seen.push((entry.path().unwrap().display().to_string(), entry.header().mtime().unwrap(), keys));
        }
        assert_eq!(seen, [("new".to_owned(), 1000, vec!["SCHILY.xattr.user.a".to_owned()]), ("old".to_owned(), 50, vec![])]);
    }

    #[test]
    fn history_after_the_commit_is_set_back_to_it() {
        let line = |created: &str| serde_json::json!({"created": created, "created_by": "x"});
        assert_eq!(set_back(line("2030-01-01T00:00:00.5Z"), 0), line("1970-01-01T00:00:00Z"));
        assert_eq!(set_back(line("2001-01-01T00:00:00Z"), 2_000_000_000), line("2001-01-01T00:00:00Z"));
    }
}
