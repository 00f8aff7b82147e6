//! Recipes of packages that are no images, and the rules that give them.
//!
//! A rule's pattern is for the whole id; `{name}`, `{version}` and `{last}` (the last part of the name) stand in its texts
//! for what was asked, also in the texts of its recipe; for Maven packages `{group}`, `{group_path}` and `{artifact}` too.

use std::path::Path;

use serde_json::Value;

use super::rules::RuleError;
use super::{Coordinate, Maker, Mapping, MappingError, MavenOptions, MavenRecipe, ProgramRecipe, Recipe, RecipeError};
use crate::config::LocalSources;
use crate::git::{GitUrl, Revision};
use crate::glob::Glob;
use crate::package::{Package, PackageType};
use crate::wire::{ProgramOptions, SourceRepository};

pub(super) fn make(
    package: Package,
    maker: Maker<'_>,
    source: Option<&SourceRepository>,
    options: ProgramOptions,
    local_sources: LocalSources,
) -> Result<Recipe, MappingError> {
    let Some(SourceRepository::Git { url, tag, commit }) = source else {
        return Err(MappingError::NoSource);
    };
    let url = GitUrl::parse(url, local_sources)?;
    let revision = Revision::new(tag.as_deref(), commit.as_deref())?;
    Ok(match maker {
        Maker::Program(program) => {
            Recipe::Program(ProgramRecipe { package, program: program.to_owned(), url, revision, options })
        }
        Maker::Maven(builder) => {
            if options.network {
                return Err(RecipeError::Network.into());
            }
            let coordinate = Coordinate::parse(&package.id)?;
            let options = MavenOptions::read(&options.recipe, builder)?;
            Recipe::Maven(MavenRecipe { coordinate, url, revision, options })
        }
    })
}

#[derive(Debug)]
pub(super) struct ProgramRule {
    package_type: PackageType,
    id: Glob,
    source_repository: Option<SourceRepository>,
    options: ProgramOptions,
}

impl ProgramRule {
    pub(super) fn new(
        package_type: PackageType,
        id: &str,
        source_repository: Option<SourceRepository>,
        options: ProgramOptions,
        mapping: &Mapping,
    ) -> Result<Self, RuleError> {
        let rule = Self { package_type: package_type.clone(), id: Glob::new(id)?, source_repository, options };
        // A rule that cannot work for any version is an error of the file, found at start rather than at the first build.
        // The prototype's Maven mappings may name no source; they are refused when a package is asked for.
        if rule.source_repository.is_some() {
            // Where nothing makes the type, a program might: what it is told is its own.
            let maker = mapping.maker(&package_type).unwrap_or(Maker::Program(Path::new("")));
            let sample = if package_type.is_maven() { "org.example:sample:1.0" } else { "sample@1.0" };
            let sample = Package::new(package_type, sample).map_err(MappingError::from)?;
            let (source, options) = rule.substitute(&sample)?;
            make(sample, maker, source.as_ref(), options, mapping.local_sources)?;
        }
        Ok(rule)
    }

    pub(super) fn claims(&self, package: &Package) -> bool {
        self.package_type == package.package_type && self.id.matches(&package.id)
    }

    /// The rule's texts for one package. What is put in has no character that means anything in a url, a path or JSON.
    pub(super) fn substitute(&self, package: &Package) -> Result<(Option<SourceRepository>, ProgramOptions), MappingError> {
        let replace = |text: &str| {
            if text.contains("{version}") && package.version.is_none() {
                return Err(MappingError::NoVersion(package.to_string()));
            }
            let version = package.version.as_deref().unwrap_or_default();
            let text = text.replace("{name}", &package.name).replace("{last}", package.last_part()).replace("{version}", version);
            Ok(match package.name.split_once(':').filter(|_| package.package_type.is_maven()) {
                None => text,
                Some((group, artifact)) => {
                    let path = group.replace('.', "/");
                    text.replace("{group}", group).replace("{group_path}", &path).replace("{artifact}", artifact)
                }
            })
        };
        let maybe = |text: &Option<String>| text.as_deref().map(replace).transpose();
        let source = match &self.source_repository {
            None => None,
            Some(SourceRepository::Git { url, tag, commit }) => {
                Some(SourceRepository::Git { url: replace(url)?, tag: maybe(tag)?, commit: maybe(commit)? })
            }
        };
        let mut recipe = self.options.recipe.clone();
        for value in recipe.values_mut() {
            replace_in(value, &replace)?;
        }
        Ok((source, ProgramOptions { recipe, network: self.options.network }))
    }
}

/// Goes only as deep as the parser of the rules file did, which has a limit.
fn replace_in(value: &mut Value, replace: &impl Fn(&str) -> Result<String, MappingError>) -> Result<(), MappingError> {
    match value {
        Value::String(text) => *text = replace(text)?,
        Value::Array(values) => values.iter_mut().try_for_each(|value| replace_in(value, replace))?,
        Value::Object(values) => values.values_mut().try_for_each(|value| replace_in(value, replace))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}
