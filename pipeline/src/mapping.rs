//! Which recipe makes a package: from the request itself, a file of rules, a mapping service, or the default upstream.
//!
//! In that order. A recipe is checked whole when it is made, so that a build that starts can only fail for what it
//! finds out there. Docker images have builders of their own; packages of all other types are made by the build program
//! that the operator named for the type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use url::Url;

use self::rules::Rule;
pub(crate) use self::rules::RulesError;
use self::service::MappingService;
use crate::config::{BuilderProgram, Config, LocalSources, MappingLocation};
use crate::docker::image_name::{ImageName, ImageNameError};
use crate::docker::platform::{Platform, PlatformError};
use crate::git::{GitError, GitUrl, Revision};
use crate::package::{Package, PackageError, PackageType};
use crate::wire::{MappingInfo, ProgramOptions, SourceRepository};

mod image_recipe;
mod program_recipe;
mod rules;
mod service;

/// A way to make one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipe {
    Import(ImportRecipe),
    Source(SourceRecipe),
    Program(ProgramRecipe),
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
    #[error("this pipeline has no builder for {0} packages: start it with --builder-program {0}=PATH")]
    NoBuilder(PackageType),
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
        let lookup = match &config.mapping {
            MappingLocation::None => Lookup::None,
            MappingLocation::File(path) => Lookup::Rules(rules::read(path, config.local_sources)?),
            MappingLocation::Service(base) => Lookup::Service(MappingService::new(base.clone())),
        };
        Ok(Self { lookup, programs, default_upstream: config.upstream.clone(), local_sources: config.local_sources })
    }

    /// The types that can be built, in their one spelling.
    pub(crate) fn package_types(&self) -> Vec<String> {
        let programs = self.programs.keys().map(|package_type| package_type.wire_name().to_owned());
        std::iter::once("Docker".to_owned()).chain(programs).collect()
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
        let Some(program) = self.programs.get(&package_type) else {
            return Err(MappingError::NoBuilder(package_type));
        };
        if request.docker.is_some() {
            return Err(MappingError::OtherSection(package_type, "docker"));
        }
        self.package(Package::new(package_type, &request.package_specific_id)?, program, request).await
    }

    async fn image(&self, request: &MappingInfo) -> Result<Recipe, MappingError> {
        let image: ImageName = request.package_specific_id.parse()?;
        let (upstream, local) = (self.default_upstream.as_ref(), self.local_sources);
        if request.source_repository.is_some() || request.docker.is_some() {
            let options = request.docker.clone().unwrap_or_default();
            return image_recipe::make(image, request.source_repository.as_ref(), &options, upstream, local);
        }
        match &self.lookup {
            Lookup::None => {}
            Lookup::Rules(rules) => {
                if let Some(rule) = rules.iter().filter_map(Rule::image).find(|rule| rule.claims(&image)) {
                    let (source, options) = rule.substitute(&image)?;
                    return image_recipe::make(image, source.as_ref(), &options, upstream, local);
                }
            }
            Lookup::Service(service) => {
                if let Some(info) = service.ask_about_image(&image).await? {
                    let options = info.docker.unwrap_or_default();
                    return image_recipe::make(image, info.source_repository.as_ref(), &options, upstream, local);
                }
            }
        }
        match upstream {
            Some(upstream) => Ok(Recipe::Import(ImportRecipe { image, upstream: upstream.clone(), platform: None })),
            None => Err(MappingError::NoMapping(image.to_string())),
        }
    }

    async fn package(&self, package: Package, program: &Path, request: &MappingInfo) -> Result<Recipe, MappingError> {
        let make = |package, source: Option<&SourceRepository>, options| {
            program_recipe::make(package, program, source, options, self.local_sources).map(Recipe::Program)
        };
        if request.source_repository.is_some() || request.program.is_some() {
            return make(package, request.source_repository.as_ref(), request.program.clone().unwrap_or_default());
        }
        match &self.lookup {
            Lookup::None => {}
            Lookup::Rules(rules) => {
                if let Some(rule) = rules.iter().filter_map(Rule::program).find(|rule| rule.claims(&package)) {
                    let (source, options) = rule.substitute(&package)?;
                    return make(package, source.as_ref(), options);
                }
            }
            Lookup::Service(service) => {
                if let Some(info) = service.ask_about_package(&package).await? {
                    return make(package, info.source_repository.as_ref(), info.program.unwrap_or_default());
                }
            }
        }
        Err(MappingError::NoSourceMapping(package))
    }
}

#[cfg(test)]
mod tests;
