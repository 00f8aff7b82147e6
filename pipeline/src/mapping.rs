//! Which recipe makes a package: from the request itself, a file of rules, a mapping service, or the default upstream.
//!
//! In that order. A recipe is checked whole when it is made, so that a build that starts can only fail for what it
//! finds out there. Docker images and Maven packages have builders of their own; packages of all other types are made by the
//! build program that the operator named for the type, and those of Maven too where one is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use url::Url;

use self::rules::Rule;
pub(crate) use self::rules::RulesError;
use self::service::MappingService;
use crate::config::{BuilderProgram, Config, LocalSources, MappingLocation};
use crate::docker::image_name::{Digest, ImageName, ImageNameError};
use crate::docker::platform::{Platform, PlatformError};
use crate::git::{GitError, GitUrl, Revision};
use crate::maven::coordinate::{Coordinate, CoordinateError};
use crate::maven::installation::MavenBuilder;
use crate::maven::recipe::{MavenOptions, MavenRecipe, RecipeError};
use crate::package::{Package, PackageError, PackageType};
use crate::wire::{DockerOptions, MappingInfo, ProgramOptions, SourceRepository};

mod image_recipe;
mod program_recipe;
mod rules;
mod service;

/// What makes the packages of a type that are no images.
#[derive(Debug, Clone, Copy)]
enum Maker<'a> {
    Program(&'a Path),
    Maven(&'a MavenBuilder),
}

/// A way to make one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipe {
    Import(ImportRecipe),
    Source(SourceRecipe),
    Program(ProgramRecipe),
    Maven(MavenRecipe),
}

impl Recipe {
    /// Where a build from source gets it.
    pub(crate) fn git(&self) -> Option<(&GitUrl, &Revision)> {
        match self {
            Self::Import(_) => None,
            Self::Source(recipe) => Some((&recipe.url, &recipe.revision)),
            Self::Program(recipe) => Some((&recipe.url, &recipe.revision)),
            Self::Maven(recipe) => Some((&recipe.url, &recipe.revision)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportRecipe {
    pub(crate) image: ImageName,
    pub(crate) upstream: Url,
    /// `None` takes all platforms.
    pub(crate) platform: Option<Platform>,
    /// What the manifest has to be.
    pub(crate) pinned: Option<Digest>,
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgramRecipe {
    pub(crate) package: Package,
    pub(crate) program: PathBuf,
    pub(crate) url: GitUrl,
    pub(crate) revision: Revision,
    pub(crate) options: ProgramOptions,
}

/// A request that no recipe can be made for. The first group is for the caller to mend, the second for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MappingError {
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error("this pipeline has no builder for {0} packages: start it with --builder-program {0}=PATH{other}", other = if .0.is_maven() { ", or with --maven HOME and --jdk HOME" } else { "" })]
    NoBuilder(PackageType),
    #[error(transparent)]
    Coordinate(#[from] CoordinateError),
    #[error("{0}")]
    Maven(#[from] RecipeError),
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
    #[error("a build from source is pinned by the commit of its source_repository, not by a digest")]
    SourceDigest,
    #[error("a build from source needs a source_repository")]
    NoSource,
    #[error("{0} is not built with a section `{1}`")]
    OtherSection(PackageType, &'static str),
    #[error("the mapping of {0} is written for tags: {{tag}} has no value for a digest")]
    NoTag(String),
    #[error("the mapping of {0} is written for versions, and the package has none")]
    NoVersion(String),
    #[error("no mapping found for package {0} and this pipeline has no default upstream")]
    NoMapping(String),
    #[error("no mapping found for package {0}: give the pipeline a rule for it with --mapping")]
    NoSourceMapping(Package),

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

#[derive(Debug)]
pub(crate) struct Mapping {
    lookup: Lookup,
    programs: BTreeMap<PackageType, PathBuf>,
    maven: Option<MavenBuilder>,
    default_upstream: Option<Url>,
    local_sources: LocalSources,
}

#[derive(Debug)]
enum Lookup {
    None,
    Rules(Vec<Rule>),
    Service(MappingService),
}

impl Mapping {
    pub(crate) fn new(config: &Config) -> Result<Self, RulesError> {
        let programs: BTreeMap<_, _> = config.builder_programs.iter().map(BuilderProgram::entry).collect();
        let mut mapping = Self {
            lookup: Lookup::None,
            programs,
            maven: config.maven.clone(),
            default_upstream: config.upstream.clone(),
            local_sources: config.local_sources,
        };
        mapping.lookup = match &config.mapping {
            MappingLocation::None => Lookup::None,
            MappingLocation::File(path) => Lookup::Rules(rules::read(path, &mapping)?),
            MappingLocation::Folder(folder) => Lookup::Service(MappingService::folder(folder)?),
            MappingLocation::Service(base) => Lookup::Service(MappingService::at(base.clone())),
        };
        Ok(mapping)
    }

    fn maker(&self, package_type: &PackageType) -> Option<Maker<'_>> {
        let built_in = self.maven.as_ref().filter(|_| package_type.is_maven());
        self.programs.get(package_type).map(|program| Maker::Program(program)).or(built_in.map(Maker::Maven))
    }

    /// The types that can be built, in their one spelling.
    pub(crate) fn package_types(&self) -> Vec<String> {
        let built_in = self.maven.iter().filter_map(|_| PackageType::parse("maven").ok());
        let types: BTreeSet<PackageType> = self.programs.keys().cloned().chain(built_in).collect();
        let types = types.iter().map(|package_type| package_type.wire_name().to_owned());
        std::iter::once("Docker".to_owned()).chain(types).collect()
    }

    /// The recipe for what was asked.
    pub(crate) async fn recipe(&self, request: &MappingInfo) -> Result<Recipe, MappingError> {
        let package_type = PackageType::parse(&request.package_type)?;
        if package_type.is_docker() {
            if request.program.is_some() {
                return Err(MappingError::OtherSection(package_type, "program"));
            }
            return self.image(request).await;
        }
        let Some(maker) = self.maker(&package_type) else {
            return Err(MappingError::NoBuilder(package_type));
        };
        if request.docker.is_some() {
            return Err(MappingError::OtherSection(package_type, "docker"));
        }
        if let Maker::Maven(_) = maker {
            Coordinate::parse(&request.package_specific_id)?;
        }
        self.package(Package::new(package_type, &request.package_specific_id)?, maker, request).await
    }

    async fn image(&self, request: &MappingInfo) -> Result<Recipe, MappingError> {
        let image: ImageName = request.package_specific_id.parse()?;
        let asked = request.docker.clone().unwrap_or_default();
        let (source, options) = if asked.say_how() {
            (request.source_repository.clone(), asked)
        } else {
            let (source, options) = self.mapped_image(&image).await?;
            let (source, options) = match &request.source_repository {
                Some(asked) => self.own_or_asked((source, options), asked),
                None => (source, options),
            };
            (source, DockerOptions { digest: asked.digest.or(options.digest.clone()), ..options })
        };
        image_recipe::make(image, source.as_ref(), &options, self.default_upstream.as_ref(), self.local_sources)
    }

    /// What is configured about an image; nothing means the default upstream.
    async fn mapped_image(&self, image: &ImageName) -> Result<(Option<SourceRepository>, DockerOptions), MappingError> {
        match &self.lookup {
            Lookup::None => Ok(Default::default()),
            Lookup::Rules(rules) => match rules.iter().filter_map(Rule::image).find(|rule| rule.claims(image)) {
                Some(rule) => rule.substitute(image),
                None => Ok(Default::default()),
            },
            Lookup::Service(service) => {
                let info = service.ask_about_image(image).await?;
                Ok(info.map(|info| (info.source_repository, info.docker.unwrap_or_default())).unwrap_or_default())
            }
        }
    }

    /// How a source that was asked for is built: as is configured, where the configured source is the same repository. It may
    /// have a password there, which nobody is told, so that who asks cannot have it.
    fn own_or_asked<T: Default>(
        &self,
        (own, options): (Option<SourceRepository>, T),
        asked: &SourceRepository,
    ) -> (Option<SourceRepository>, T) {
        let SourceRepository::Git { url, tag, commit } = asked;
        let shown = |url: &str| GitUrl::parse(url, self.local_sources).ok().map(|url| url.to_string());
        match own {
            Some(SourceRepository::Git { url: own, .. }) if shown(&own).is_some() && shown(&own) == shown(url) => {
                (Some(SourceRepository::Git { url: own, tag: tag.clone(), commit: commit.clone() }), options)
            }
            _ => (Some(asked.clone()), T::default()),
        }
    }

    async fn package(&self, package: Package, maker: Maker<'_>, request: &MappingInfo) -> Result<Recipe, MappingError> {
        let (source, options) = match (&request.source_repository, &request.program) {
            (source, Some(options)) => (source.clone(), options.clone()),
            (Some(asked), None) => self.own_or_asked(self.mapped_package(&package).await?.unwrap_or_default(), asked),
            (None, None) => self.mapped_package(&package).await?.ok_or(MappingError::NoSourceMapping(package.clone()))?,
        };
        program_recipe::make(package, maker, source.as_ref(), options, self.local_sources)
    }

    /// What is configured about a package.
    async fn mapped_package(
        &self,
        package: &Package,
    ) -> Result<Option<(Option<SourceRepository>, ProgramOptions)>, MappingError> {
        match &self.lookup {
            Lookup::None => Ok(None),
            Lookup::Rules(rules) => {
                let rule = rules.iter().filter_map(Rule::program).find(|rule| rule.claims(package));
                rule.map(|rule| rule.substitute(package)).transpose()
            }
            Lookup::Service(service) => {
                let info = service.ask_about_package(package).await?;
                Ok(info.map(|info| (info.source_repository, info.program.unwrap_or_default())))
            }
        }
    }
}

#[cfg(test)]
mod tests;
