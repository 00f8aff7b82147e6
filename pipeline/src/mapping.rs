//! Which recipe makes a package: from the request itself, a file of rules, a mapping service, or the default upstream.
//!
//! In that order. A recipe is checked whole when it is made, so that a build that starts can only fail for what it
//! finds out there. The mapping service is the prototype's, with the same paths for Docker images.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::config::{Config, LocalSources, MappingLocation};
use crate::docker::image_name::{ImageName, ImageNameError, Reference};
use crate::docker::platform::{Platform, PlatformError};
use crate::git::{self, GitError, GitUrl, Revision};
use crate::glob::{Glob, GlobError};
use crate::http_client;
use crate::wire::{DockerBuilder, DockerOptions, MappingInfo, SourceRepository};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request for a build waits for the mapping, so the service has to be quick.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_MAPPING_BYTES: usize = 64 << 10;
const MAX_RULES_FILE_BYTES: u64 = 4 << 20;
const DEFAULT_DOCKERFILE: &str = "Dockerfile";
const DEFAULT_CONTEXT: &str = ".";

/// A way to make one Docker image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipe {
    Import(ImportRecipe),
    Source(SourceRecipe),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportRecipe {
    pub(crate) image: ImageName,
    pub(crate) upstream: Url,
    /// `None` takes all platforms.
    pub(crate) platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceRecipe {
    pub(crate) image: ImageName,
    pub(crate) url: GitUrl,
    pub(crate) revision: Revision,
    pub(crate) context: PathBuf,
    pub(crate) dockerfile: PathBuf,
    pub(crate) platform: Platform,
    /// Where base images come from.
    pub(crate) upstream: Option<Url>,
}

/// A request that no recipe can be made for. The first group is for the caller to mend, the second for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MappingError {
    #[error("{0:?} is no package type: use Docker or Maven2")]
    PackageType(String),
    #[error("this pipeline builds Docker images and has no builder for {0} packages")]
    NoBuilder(&'static str),
    #[error(transparent)]
    ImageName(#[from] ImageNameError),
    #[error("the source of the package is refused: {0}")]
    Git(#[from] GitError),
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error("{0:?} is no upstream registry: it is an http or https url without a query")]
    Upstream(String),
    #[error("a build from source makes one platform, {0} were asked for")]
    ManyPlatforms(usize),
    #[error("an import takes one platform or, with none named, all; {0} were asked for")]
    SomePlatforms(usize),
    #[error("the builder `source` needs a source_repository")]
    NoSource,
    #[error("the mapping of {0} is written for tags: {{tag}} has no value for a digest")]
    NoTag(String),
    #[error("no mapping found for package {0} and this pipeline has no default upstream")]
    NoMapping(String),

    #[error("cannot reach the mapping service {location}")]
    ServiceUnreachable {
        location: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the mapping service {location} answered with status {status}")]
    ServiceStatus { location: String, status: u16 },
    #[error("the mapping service {location} gave an answer that cannot be used: {problem}")]
    ServiceAnswer { location: String, problem: String },
}

/// A rules file that cannot be used; the service does not start with it.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("cannot read the mapping file {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the mapping file {path:?} has {size_bytes} bytes, more than the limit of {MAX_RULES_FILE_BYTES}")]
    TooLarge { path: PathBuf, size_bytes: u64 },
    #[error("the mapping file {path:?} cannot be understood: {problem}")]
    Syntax { path: PathBuf, problem: String },
    #[error("rule {number} of the mapping file {path:?} cannot be used: {problem}")]
    Rule { path: PathBuf, number: usize, problem: String },
}

#[derive(Debug)]
pub(crate) struct Mapping {
    lookup: Lookup,
    default_upstream: Option<Url>,
    local_sources: LocalSources,
}

#[derive(Debug)]
enum Lookup {
    None,
    Rules(Vec<Rule>),
    Service { base: Url, http: reqwest::Client },
}

/// One entry of a rules file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    package_type: String,
    package_specific_id: String,
    #[serde(default)]
    source_repository: Option<SourceRepository>,
    #[serde(default)]
    #[allow(dead_code, reason = "part of the mapping format; docker images are not built by it")]
    build_spec_url: Option<String>,
    #[serde(default)]
    docker: DockerOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    rules: Vec<RuleText>,
}

#[derive(Debug)]
struct Rule {
    repository: Glob,
    reference: ReferencePattern,
    source_repository: Option<SourceRepository>,
    options: DockerOptions,
}

#[derive(Debug)]
enum ReferencePattern {
    Any,
    Tag(Glob),
    Digest(Glob),
}

impl Mapping {
    pub(crate) fn new(config: &Config) -> Result<Self, RulesError> {
        let lookup = match &config.mapping {
            MappingLocation::None => Lookup::None,
            MappingLocation::File(path) => Lookup::Rules(read_rules(path, config.local_sources)?),
            MappingLocation::Service(base) => Lookup::Service {
                base: base.clone(),
                http: http_client::client(|builder| builder.connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT)),
            },
        };
        Ok(Self { lookup, default_upstream: config.upstream.clone(), local_sources: config.local_sources })
    }

    /// The recipe for what was asked.
    pub(crate) async fn recipe(&self, request: &MappingInfo) -> Result<Recipe, MappingError> {
        if !is_docker(&request.package_type)? {
            return Err(MappingError::NoBuilder("Maven2"));
        }
        let image: ImageName = request.package_specific_id.parse()?;
        if request.source_repository.is_some() || request.docker.is_some() {
            let options = request.docker.clone().unwrap_or_default();
            return self.make(image, request.source_repository.as_ref(), &options);
        }
        match &self.lookup {
            Lookup::None => {}
            Lookup::Rules(rules) => {
                if let Some(rule) = rules.iter().find(|rule| rule.claims(&image)) {
                    let (source, options) = rule.substitute(&image)?;
                    return self.make(image, source.as_ref(), &options);
                }
            }
            Lookup::Service { base, http } => {
                if let Some(info) = ask_service(base, http, &image).await? {
                    let options = info.docker.unwrap_or_default();
                    return self.make(image, info.source_repository.as_ref(), &options);
                }
            }
        }
        match &self.default_upstream {
            Some(upstream) => Ok(Recipe::Import(ImportRecipe { image, upstream: upstream.clone(), platform: None })),
            None => Err(MappingError::NoMapping(image.to_string())),
        }
    }

    fn make(&self, image: ImageName, source: Option<&SourceRepository>, options: &DockerOptions) -> Result<Recipe, MappingError> {
        make_recipe(image, source, options, self.default_upstream.as_ref(), self.local_sources)
    }
}

fn make_recipe(
    image: ImageName,
    source: Option<&SourceRepository>,
    options: &DockerOptions,
    default_upstream: Option<&Url>,
    local_sources: LocalSources,
) -> Result<Recipe, MappingError> {
    let upstream = match &options.upstream {
        Some(text) => Some(parse_upstream(text)?),
        None => default_upstream.cloned(),
    };
    let platforms = options.platforms.as_deref().unwrap_or_default();
    let platform = platforms.first().map(|platform| platform.parse::<Platform>()).transpose()?;
    let builder = options.builder.unwrap_or(if source.is_some() { DockerBuilder::Source } else { DockerBuilder::Import });
    match builder {
        DockerBuilder::Import => {
            if platforms.len() > 1 {
                return Err(MappingError::SomePlatforms(platforms.len()));
            }
            let upstream = upstream.ok_or_else(|| MappingError::NoMapping(image.to_string()))?;
            Ok(Recipe::Import(ImportRecipe { image, upstream, platform }))
        }
        DockerBuilder::Source => {
            let Some(SourceRepository::Git { url, tag, commit }) = source else {
                return Err(MappingError::NoSource);
            };
            if platforms.len() > 1 {
                return Err(MappingError::ManyPlatforms(platforms.len()));
            }
            Ok(Recipe::Source(SourceRecipe {
                image,
                url: GitUrl::parse(url, local_sources)?,
                revision: Revision::new(tag.as_deref(), commit.as_deref())?,
                context: git::relative_path(options.context.as_deref().unwrap_or(DEFAULT_CONTEXT))?,
                dockerfile: git::relative_path(options.dockerfile.as_deref().unwrap_or(DEFAULT_DOCKERFILE))?,
                platform: platform.unwrap_or_default(),
                upstream,
            }))
        }
    }
}

fn is_docker(package_type: &str) -> Result<bool, MappingError> {
    match package_type.to_ascii_lowercase().as_str() {
        "docker" => Ok(true),
        "maven2" => Ok(false),
        _ => Err(MappingError::PackageType(package_type.to_owned())),
    }
}

fn parse_upstream(text: &str) -> Result<Url, MappingError> {
    let refused = || MappingError::Upstream(text.rsplit('@').next().unwrap_or_default().to_owned());
    let url = Url::parse(text).map_err(|_| refused())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none();
    if fits { Ok(url) } else { Err(refused()) }
}

fn read_rules(path: &Path, local_sources: LocalSources) -> Result<Vec<Rule>, RulesError> {
    let read = |source| RulesError::Read { path: path.to_owned(), source };
    let size_bytes = path.metadata().map_err(read)?.len();
    if size_bytes > MAX_RULES_FILE_BYTES {
        return Err(RulesError::TooLarge { path: path.to_owned(), size_bytes });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    let syntax = |problem: String| RulesError::Syntax { path: path.to_owned(), problem };
    let is_json = text.trim_start().starts_with(['[', '{']) && !text.trim_start().starts_with("[[");
    let texts = if is_json && text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<RuleText>>(&text).map_err(|error| syntax(error.to_string()))?
    } else if is_json {
        serde_json::from_str::<RulesFile>(&text).map_err(|error| syntax(error.to_string()))?.rules
    } else {
        toml::from_str::<RulesFile>(&text).map_err(|error| syntax(error.to_string()))?.rules
    };
    let mut rules = Vec::new();
    for (index, text) in texts.into_iter().enumerate() {
        let problem = |problem: String| RulesError::Rule { path: path.to_owned(), number: index + 1, problem };
        // The prototype's Maven mappings may stand in the same file.
        if is_docker(&text.package_type).map_err(|error| problem(error.to_string()))? {
            rules.push(Rule::new(text, local_sources).map_err(|error| problem(error.to_string()))?);
        }
    }
    Ok(rules)
}

#[derive(Debug, thiserror::Error)]
enum RuleError {
    #[error(transparent)]
    Pattern(#[from] GlobError),
    #[error(transparent)]
    Recipe(#[from] MappingError),
}

impl Rule {
    fn new(text: RuleText, local_sources: LocalSources) -> Result<Self, RuleError> {
        let id = text.package_specific_id.as_str();
        let (repository, reference) = match (id.split_once('@'), id.rsplit_once(':')) {
            (Some((repository, digest)), _) => (repository, ReferencePattern::Digest(Glob::new(digest)?)),
            (None, Some((repository, tag))) if !tag.contains('/') => (repository, ReferencePattern::Tag(Glob::new(tag)?)),
            _ => (id, ReferencePattern::Any),
        };
        let repository = if repository.contains('/') { repository.to_owned() } else { format!("library/{repository}") };
        let rule = Self {
            repository: Glob::new(&repository)?,
            reference,
            source_repository: text.source_repository,
            options: text.docker,
        };
        // A rule that cannot work for any tag is an error of the file, found at start rather than at the first build.
        let sample: ImageName = "sample/image:1.0".parse().map_err(MappingError::from)?;
        let (source, options) = rule.substitute(&sample)?;
        let any_upstream = Url::parse("https://registry.example").expect("the constant is a valid URL");
        make_recipe(sample, source.as_ref(), &options, Some(&any_upstream), local_sources)?;
        Ok(rule)
    }

    fn claims(&self, image: &ImageName) -> bool {
        self.repository.matches(image.repository())
            && match (&self.reference, image.reference()) {
                (ReferencePattern::Any, _) => true,
                (ReferencePattern::Tag(glob), Reference::Tag(tag)) => glob.matches(tag),
                (ReferencePattern::Digest(glob), Reference::Digest(digest)) => glob.matches(digest.as_str()),
                _ => false,
            }
    }

    /// The rule's texts with `{tag}` replaced. A tag has no character that means anything in a url or a path.
    fn substitute(&self, image: &ImageName) -> Result<(Option<SourceRepository>, DockerOptions), MappingError> {
        let replace = |text: &String| match image.reference() {
            Reference::Tag(tag) => Ok(text.replace("{tag}", tag)),
            Reference::Digest(_) if text.contains("{tag}") => Err(MappingError::NoTag(image.to_string())),
            Reference::Digest(_) => Ok(text.clone()),
        };
        let maybe = |text: &Option<String>| text.as_ref().map(replace).transpose();
        let source = match &self.source_repository {
            None => None,
            Some(SourceRepository::Git { url, tag, commit }) => {
                Some(SourceRepository::Git { url: replace(url)?, tag: maybe(tag)?, commit: maybe(commit)? })
            }
        };
        let options = DockerOptions {
            builder: self.options.builder,
            dockerfile: maybe(&self.options.dockerfile)?,
            context: maybe(&self.options.context)?,
            upstream: maybe(&self.options.upstream)?,
            platforms: self.options.platforms.clone(),
        };
        Ok((source, options))
    }
}

/// `GET {base}/Docker/{repository}/{reference}/{last word}-{reference}.mapping`; 404 means there is no mapping.
async fn ask_service(base: &Url, http: &reqwest::Client, image: &ImageName) -> Result<Option<MappingInfo>, MappingError> {
    let location = base.host_str().unwrap_or("without a host").to_owned();
    let unusable = |problem: String| MappingError::ServiceAnswer { location: location.clone(), problem };
    let last = image.repository().rsplit('/').next().unwrap_or_default();
    let (repository, reference) = (image.repository(), image.reference());
    let mut url = base.clone();
    url.set_path(&format!("{}/Docker/{repository}/{reference}/{last}-{reference}.mapping", base.path().trim_end_matches('/')));
    let unreachable =
        |source: reqwest::Error| MappingError::ServiceUnreachable { location: location.clone(), source: source.without_url() };
    let mut response = http.get(url).send().await.map_err(unreachable)?;
    match response.status().as_u16() {
        404 => return Ok(None),
        200 => {}
        status => return Err(MappingError::ServiceStatus { location, status }),
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_MAPPING_BYTES {
            return Err(unusable(format!("it is larger than {MAX_MAPPING_BYTES} bytes")));
        }
    }
    let info: MappingInfo = serde_json::from_slice(&body).map_err(|error| unusable(error.to_string()))?;
    if info.package_specific_id.parse::<ImageName>().ok().as_ref() != Some(image) || !is_docker(&info.package_type)? {
        return Err(unusable(format!("it is about {} {}", info.package_type, info.package_specific_id)));
    }
    Ok(Some(info))
}

#[cfg(test)]
mod tests;
