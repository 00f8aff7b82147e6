//! The embedded builder: Dockerfiles without commands, built with no docker engine.
//!
//! What comes out depends on the commit and the base image alone: not on the machine, its clock, its umask or the
//! folder. It runs nothing of what it builds.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use self::base::Base;
use super::context_files::ContextFiles;
use super::copy::{CopyPlan, LayerPlan};
use super::dockerfile::{self, Action, Argument, Dockerfile, DockerfileError, Step};
use super::image::{self, Compression, History, ImageConfig, RootfsJson, StoredLayer};
use super::image_name::Digest;
use super::layer::{self, LayerEntry};
use super::platform::Platform;
use super::rootfs::{Rootfs, clean};
use super::source::Place;
use super::{BuildContext, BuildError};
use crate::git::Checkout;
use crate::mapping::SourceRecipe;
use crate::wire::Phase;

mod base;

const MAX_PORTS_IN_RANGE: u16 = 1000;

pub(super) async fn build(
    recipe: &SourceRecipe,
    checkout: &Checkout,
    place: &Place,
    context: &BuildContext,
) -> Result<(), BuildError> {
    let text =
        fs::read_to_string(&place.dockerfile).map_err(|source| BuildError::Io { action: "read the Dockerfile", source })?;
    let dockerfile = dockerfile::parse(&text)?;
    let (image, platform) = from(&dockerfile, &recipe.platform)?;
    let base = if image == "scratch" { None } else { Some(base::fetch(&image, &platform, recipe, &dockerfile, context).await?) };
    let files = ContextFiles::open(&place.context, &recipe.dockerfile).map_err(|error| DockerfileError {
        line: dockerfile.from.line,
        instruction: "FROM".to_owned(),
        problem: error.to_string(),
    })?;
    let dated = checkout.committed_at;
    let worker = context.clone();
    let digest = context
        .blocking(move || {
            let mut image = ImageBuilder::new(base, platform, &dockerfile, dated, &worker)?;
            for step in &dockerfile.steps {
                worker.check_abandoned()?;
                worker.log.line(format!("line {}: {}", step.line, step.text));
                image.step(step, &files)?;
            }
            worker.enter(Phase::Collecting);
            image.finish()
        })
        .await??;
    context.log.line(format!("the image has the digest {digest}"));
    Ok(())
}

/// The image and platform of FROM, with the arguments before it.
fn from(dockerfile: &Dockerfile, default: &Platform) -> Result<(String, Platform), DockerfileError> {
    let values = global_values(dockerfile, default)?;
    let from = &dockerfile.from;
    let refuse = |problem: String| DockerfileError { line: from.line, instruction: "FROM".to_owned(), problem };
    let expand =
        |word: &str| dockerfile::expand::expand(word, dockerfile.escape, &|name| values.get(name).cloned()).map_err(refuse);
    let platform = match &from.platform {
        Some(platform) => expand(platform)?.parse::<Platform>().map_err(|error| refuse(error.to_string()))?,
        None => default.clone(),
    };
    let image = expand(&from.image)?;
    if image.is_empty() {
        return Err(refuse(format!("{} is empty", from.image)));
    }
    Ok((image, platform))
}

/// Arguments before FROM, and those that every build has.
fn global_values(dockerfile: &Dockerfile, platform: &Platform) -> Result<BTreeMap<String, String>, DockerfileError> {
    let mut values = BTreeMap::new();
    for (prefix, platform) in [("TARGET", platform), ("BUILD", platform)] {
        values.insert(format!("{prefix}PLATFORM"), platform.to_string());
        values.insert(format!("{prefix}OS"), platform.os.clone());
        values.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        values.insert(format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default());
    }
    for Argument { line, name, default } in &dockerfile.global_arguments {
        let Some(default) = default else { continue };
        let value = dockerfile::expand::expand(default, dockerfile.escape, &|name| values.get(name).cloned())
            .map_err(|problem| DockerfileError { line: *line, instruction: "ARG".to_owned(), problem })?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// An image in the making.
struct ImageBuilder<'a> {
    context: &'a BuildContext,
    dockerfile: &'a Dockerfile,
    dated: u64,
    rootfs: Rootfs,
    layers: Vec<StoredLayer>,
    config: ImageConfig,
    environment: Vec<(String, String)>,
    global_values: BTreeMap<String, String>,
    arguments: BTreeMap<String, String>,
    workdir: String,
    cmd_is_own: bool,
}

impl<'a> ImageBuilder<'a> {
    fn new(
        base: Option<Base>,
        platform: Platform,
        dockerfile: &'a Dockerfile,
        dated: u64,
        context: &'a BuildContext,
    ) -> Result<Self, BuildError> {
        let global_values = global_values(dockerfile, &platform)?;
        let mut config = ImageConfig {
            architecture: platform.architecture,
            config: BTreeMap::new(),
            created: image::date(dated),
            history: Vec::new(),
            os: platform.os,
            os_version: None,
            os_features: None,
            rootfs: RootfsJson::default(),
            variant: platform.variant,
        };
        let mut rootfs = Rootfs::default();
        let mut layers = Vec::new();
        if let Some(base) = base {
            for file in &base.layer_files {
                rootfs
                    .apply_layer(file, &context.abandoned)
                    .map_err(|source| BuildError::Base { image: base.image.clone(), source })?;
            }
            let unusable = |problem: String| BuildError::BaseConfig { image: base.image.clone(), problem };
            for diff_id in &base.config.rootfs.diff_ids {
                let diff_id = diff_id.parse::<Digest>().map_err(|error| unusable(error.to_string()))?;
                config.rootfs.diff_ids.push(diff_id);
            }
            layers = base.layers;
            config.architecture = base.config.architecture;
            config.os = base.config.os;
            config.variant = base.config.variant;
            config.os_version = base.config.os_version;
            config.os_features = base.config.os_features;
            config.config = base.config.config.unwrap_or_default();
            // What the classic builder left of the machine it ran on.
            for name in ["Image", "Hostname", "Domainname"] {
                config.config.remove(name);
            }
            config.history = base.config.history.unwrap_or_default().into_iter().map(History::Base).collect();
        }
        let inherited = config.config.get("Env").and_then(Value::as_array).cloned().unwrap_or_default();
        let environment = inherited
            .iter()
            .filter_map(|entry| entry.as_str()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let workdir = config.config.get("WorkingDir").and_then(Value::as_str).filter(|path| !path.is_empty());
        let workdir = workdir.unwrap_or("/").to_owned();
        Ok(Self {
            context,
            dockerfile,
            dated,
            rootfs,
            layers,
            config,
            environment,
            global_values,
            arguments: BTreeMap::new(),
            workdir,
            cmd_is_own: false,
        })
    }

    fn step(&mut self, step: &Step, files: &ContextFiles) -> Result<(), BuildError> {
        let instruction = step.text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        let refuse = |problem: String| DockerfileError { line: step.line, instruction: instruction.clone(), problem };
        let entries = self.apply(&step.action, files).map_err(refuse)?;
        self.add_layer(step, entries)
    }

    /// Changes the config, or tells what goes into a new layer.
    fn apply(&mut self, action: &Action, files: &ContextFiles) -> Result<BTreeMap<String, LayerEntry>, String> {
        let none = BTreeMap::new();
        match action {
            Action::Argument(arguments) => {
                for argument in arguments {
                    let value = match &argument.default {
                        Some(default) => Some(self.expand(default)?),
                        None => self.global_values.get(&argument.name).cloned(),
                    };
                    if let Some(value) = value {
                        self.arguments.insert(argument.name.clone(), value);
                    }
                }
            }
            Action::Copy(copy) => {
                let sources = copy.sources.iter().map(|word| self.expand(word)).collect::<Result<Vec<_>, _>>()?;
                let destination = self.expand(&copy.destination)?;
                let maybe = |word: &Option<String>| word.as_ref().map(|word| self.expand(word)).transpose();
                let (chown, chmod) = (maybe(&copy.chown)?, maybe(&copy.chmod)?);
                let plan = CopyPlan {
                    keyword: copy.keyword,
                    sources: &sources,
                    destination: &destination,
                    workdir: &self.workdir,
                    chown: chown.as_deref(),
                    chmod: chmod.as_deref(),
                };
                return plan.entries(files, &mut self.rootfs).map_err(|error| error.to_string());
            }
            Action::Env(pairs) => {
                // All values see the environment as it was before the line.
                for (name, value) in self.expand_pairs(pairs)? {
                    match self.environment.iter_mut().find(|(own, _)| *own == name) {
                        Some((_, own)) => *own = value,
                        None => self.environment.push((name, value)),
                    }
                }
                let lines: Vec<String> = self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
                self.set("Env", json!(lines));
            }
            Action::Label(pairs) => {
                let pairs = self.expand_pairs(pairs)?;
                self.extend("Labels", pairs.into_iter().map(|(name, value)| (name, Value::String(value))));
            }
            Action::Workdir(path) => {
                let path = self.expand(path)?;
                let path = if path.starts_with('/') { path } else { format!("{}/{path}", self.workdir) };
                // In a path from the root, `..` above it stays at the root.
                self.workdir = format!("/{}", lexical(&path));
                self.set("WorkingDir", json!(self.workdir));
                let plan = LayerPlan::new(&mut self.rootfs);
                return plan.working_folder(&self.workdir).map_err(|error| error.to_string());
            }
            Action::User(user) => {
                let user = self.expand(user)?;
                self.set("User", json!(user));
            }
            Action::Expose(words) => {
                let mut ports = Vec::new();
                for word in words {
                    for port in self.expand(word)?.split_whitespace() {
                        ports.extend(parse_ports(port)?);
                    }
                }
                self.extend("ExposedPorts", ports.into_iter().map(|port| (port, json!({}))));
            }
            Action::Volume(words) => {
                let paths = words.iter().map(|word| self.expand(word)).collect::<Result<Vec<_>, _>>()?;
                if paths.iter().any(String::is_empty) {
                    return Err("a path is empty".to_owned());
                }
                self.extend("Volumes", paths.into_iter().map(|path| (path, json!({}))));
            }
            Action::Entrypoint(words) => {
                self.set("Entrypoint", json!(words));
                // A command of the base was written for the entry point of the base.
                if !self.cmd_is_own {
                    self.config.config.remove("Cmd");
                }
            }
            Action::Cmd(words) => {
                self.set("Cmd", json!(words));
                self.cmd_is_own = true;
            }
            Action::Healthcheck(check) => self.set("Healthcheck", check.to_json()),
        }
        Ok(none)
    }

    fn expand(&self, word: &str) -> Result<String, String> {
        let value_of = |name: &str| {
            let own = self.environment.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
            own.or_else(|| self.arguments.get(name).cloned())
        };
        dockerfile::expand::expand(word, self.dockerfile.escape, &value_of)
    }

    fn expand_pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
        pairs.iter().map(|(name, value)| Ok((self.expand(name)?, self.expand(value)?))).collect()
    }

    fn set(&mut self, name: &str, value: Value) {
        self.config.config.insert(name.to_owned(), value);
    }

    /// Adds to one of the config's objects; its keys come out sorted.
    fn extend(&mut self, name: &str, pairs: impl IntoIterator<Item = (String, Value)>) {
        let old = self.config.config.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        let all: BTreeMap<String, Value> = old.into_iter().chain(pairs).collect();
        self.set(name, json!(all));
    }

    fn add_layer(&mut self, step: &Step, entries: BTreeMap<String, LayerEntry>) -> Result<(), BuildError> {
        let empty_layer = entries.is_empty();
        self.config.history.push(History::Step {
            created: self.config.created.clone(),
            created_by: step.text.clone(),
            empty_layer,
        });
        if empty_layer {
            return Ok(());
        }
        let scratch = self.context.artifacts.scratch_file();
        let layer = layer::write(&entries, self.dated, &scratch, &self.context.abandoned)
            .map_err(|source| BuildError::Io { action: "write a layer", source })?;
        self.context.artifacts.keep_blob(&layer.digest, &scratch)?;
        self.config.rootfs.diff_ids.push(layer.diff_id);
        self.layers.push(StoredLayer { digest: layer.digest, size_bytes: layer.size_bytes, compression: Compression::Gzip });
        Ok(())
    }

    fn finish(self) -> Result<Digest, BuildError> {
        Ok(image::write(&self.config, &self.layers, &self.context.artifacts)?)
    }
}

fn lexical(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            part => parts.extend(clean(part).is_some_and(|part| !part.is_empty()).then_some(part)),
        }
    }
    parts.join("/")
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn parse_ports(text: &str) -> Result<Vec<String>, String> {
    let refused = || format!("{text:?} is no port: write 80, 80/udp or 8000-8010");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(refused());
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| refused())?, last.parse().map_err(|_| refused())?);
    if last < first || last - first >= MAX_PORTS_IN_RANGE {
        return Err(refused());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}
