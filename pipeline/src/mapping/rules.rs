//! The rules file: read once at start, and refused whole when one of its rules can never work.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::image_recipe::ImageRule;
use super::program_recipe::ProgramRule;
use super::{Mapping, MappingError};
use crate::glob::GlobError;
use crate::package::PackageType;
use crate::wire::{DockerOptions, ProgramOptions, SourceRepository};

const MAX_RULES_FILE_BYTES: u64 = 4 << 20;

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

/// One entry of a rules file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    package_type: String,
    package_specific_id: String,
    #[serde(default)]
    source_repository: Option<SourceRepository>,
    #[serde(default)]
    #[allow(dead_code, reason = "part of the mapping format; nothing is built by it")]
    build_spec_url: Option<String>,
    #[serde(default)]
    docker: Option<DockerOptions>,
    #[serde(default)]
    program: Option<ProgramOptions>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    rules: Vec<RuleText>,
}

#[derive(Debug)]
pub(super) enum Rule {
    Image(ImageRule),
    Program(ProgramRule),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RuleError {
    #[error(transparent)]
    Pattern(#[from] GlobError),
    #[error(transparent)]
    Recipe(#[from] MappingError),
}

impl Rule {
    fn new(text: RuleText, mapping: &Mapping) -> Result<Self, RuleError> {
        let package_type = PackageType::parse(&text.package_type).map_err(MappingError::from)?;
        let (id, source) = (text.package_specific_id.as_str(), text.source_repository);
        let foreign = |section| Err(MappingError::OtherSection(package_type.clone(), section).into());
        if package_type.is_docker() {
            if text.program.is_some() {
                return foreign("program");
            }
            return Ok(Self::Image(ImageRule::new(id, source, text.docker.unwrap_or_default(), mapping.local_sources)?));
        }
        if text.docker.is_some() {
            return foreign("docker");
        }
        Ok(Self::Program(ProgramRule::new(package_type, id, source, text.program.unwrap_or_default(), mapping)?))
    }

    pub(super) fn image(&self) -> Option<&ImageRule> {
        if let Self::Image(rule) = self { Some(rule) } else { None }
    }

    pub(super) fn program(&self) -> Option<&ProgramRule> {
        if let Self::Program(rule) = self { Some(rule) } else { None }
    }
}

/// The rules, each checked with what the mapping knows of this pipeline.
pub(super) fn read(path: &Path, mapping: &Mapping) -> Result<Vec<Rule>, RulesError> {
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
    let numbered = |(index, text): (usize, RuleText)| {
        Rule::new(text, mapping).map_err(|error| RulesError::Rule {
            path: path.to_owned(),
            number: index + 1,
            problem: error.to_string(),
        })
    };
    texts.into_iter().enumerate().map(numbered).collect()
}
