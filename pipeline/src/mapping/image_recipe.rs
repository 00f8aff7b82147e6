//! Recipes of Docker images, and the rules that give them.

use url::Url;

use super::rules::RuleError;
use super::{ImportRecipe, MappingError, Recipe, SourceRecipe};
use crate::config::LocalSources;
use crate::docker::image_name::{Digest, ImageName, Reference};
use crate::docker::platform::Platform;
use crate::git::{self, GitUrl, Revision};
use crate::glob::Glob;
use crate::wire::{DockerBuilder, DockerOptions, SourceRepository};

const DEFAULT_DOCKERFILE: &str = "Dockerfile";
const DEFAULT_CONTEXT: &str = ".";

pub(super) fn make(
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
            let pinned = options.digest.as_deref().map(str::parse::<Digest>).transpose()?;
            Ok(Recipe::Import(ImportRecipe { image, upstream, platform, pinned }))
        }
        DockerBuilder::Source => {
            let Some(SourceRepository::Git { url, tag, commit }) = source else {
                return Err(MappingError::NoSource);
            };
            if platforms.len() > 1 {
                return Err(MappingError::ManyPlatforms(platforms.len()));
            }
            if options.digest.is_some() {
                return Err(MappingError::SourceDigest);
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

fn parse_upstream(text: &str) -> Result<Url, MappingError> {
    let refused = || MappingError::Upstream(text.rsplit('@').next().unwrap_or_default().to_owned());
    let url = Url::parse(text).map_err(|_| refused())?;
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none();
    if fits { Ok(url) } else { Err(refused()) }
}

#[derive(Debug)]
pub(super) struct ImageRule {
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

impl ImageRule {
    pub(super) fn new(
        id: &str,
        source_repository: Option<SourceRepository>,
        options: DockerOptions,
        local_sources: LocalSources,
    ) -> Result<Self, RuleError> {
        let (repository, reference) = match (id.split_once('@'), id.rsplit_once(':')) {
            (Some((repository, digest)), _) => (repository, ReferencePattern::Digest(Glob::new(digest)?)),
            (None, Some((repository, tag))) if !tag.contains('/') => (repository, ReferencePattern::Tag(Glob::new(tag)?)),
            _ => (id, ReferencePattern::Any),
        };
        let repository = if repository.contains('/') { repository.to_owned() } else { format!("library/{repository}") };
        let rule = Self { repository: Glob::new(&repository)?, reference, source_repository, options };
        // A rule that cannot work for any tag is an error of the file, found at start rather than at the first build.
        let sample: ImageName = "sample/image:1.0".parse().map_err(MappingError::from)?;
        let (source, options) = rule.substitute(&sample)?;
        let any_upstream = Url::parse("https://registry.example").expect("the constant is a valid URL");
        make(sample, source.as_ref(), &options, Some(&any_upstream), local_sources)?;
        Ok(rule)
    }

    pub(super) fn claims(&self, image: &ImageName) -> bool {
        self.repository.matches(image.repository())
            && match (&self.reference, image.reference()) {
                (ReferencePattern::Any, _) => true,
                (ReferencePattern::Tag(glob), Reference::Tag(tag)) => glob.matches(tag),
                (ReferencePattern::Digest(glob), Reference::Digest(digest)) => glob.matches(digest.as_str()),
                _ => false,
            }
    }

    /// The rule's texts with `{tag}` replaced. A tag has no character that means anything in a url or a path.
    pub(super) fn substitute(&self, image: &ImageName) -> Result<(Option<SourceRepository>, DockerOptions), MappingError> {
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
            digest: self.options.digest.clone(),
        };
        Ok((source, options))
    }
}
