//! The settings a node runs with: flags over environment variables over the file over defaults.
//!
//! Variables and file become flags that stand before those of the command line, so that the same parser reads every value and
//! the same rules between arguments hold, wherever a value was given. A list replaces a list below it, it is not added.

use super::environment::Variables;
use super::finding::{Finding, Place, Severity};
use super::setting::{self, Kind, Setting, variable_of};
use super::{ConfigCommand, environment, file};
use crate::node_program::arguments::{NodeArguments, NodeCommand};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// A value that was given, in the words the command line would give it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) place: Place,
    pub(super) words: Vec<OsString>,
}

/// What one source gives, by the id of the argument.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) given: BTreeMap<String, Given>,
    pub(super) findings: Vec<Finding>,
}

impl Layer {
    pub(super) fn of(finding: Finding) -> Self {
        Self { given: BTreeMap::new(), findings: vec![finding] }
    }
}

/// A setting as it holds; without words it is not set.
#[derive(Debug, Clone)]
pub(super) struct Effective<'a> {
    pub(super) setting: &'a Setting,
    pub(super) place: Place,
    pub(super) words: Vec<OsString>,
}

/// Everything that was given, before it is put together.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) settings: Vec<Setting>,
    /// By argument, the highest source of each alone.
    given: BTreeMap<String, Given>,
    pub(super) findings: Vec<Finding>,
    pub(super) file: Option<PathBuf>,
    pub(super) command: Option<NodeCommand>,
    line: Vec<OsString>,
}

/// The command line, read by flags alone: the variables that its arguments name are looked up in `environment`.
pub(super) fn command() -> Command {
    NodeArguments::command()
}

fn without_variables(command: Command) -> Command {
    command.mut_args(|arg| arg.env(None::<&'static str>))
}

impl Layers {
    /// Reads every source. An error is one of the command line, or its wish for help.
    pub(super) fn gather(line: Vec<OsString>, variables: &Variables<'_>) -> Result<Self, clap::Error> {
        let settings = setting::all(&command());
        let matches = match without_variables(command()).try_get_matches_from(&line) {
            // What is missing may stand in the file.
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                without_variables(command()).ignore_errors(true).try_get_matches_from(&line)?
            }
            matches => matches?,
        };
        let arguments = NodeArguments::from_arg_matches(&matches)?;
        let named = match &arguments.command {
            Some(NodeCommand::Config(ConfigCommand::Check(check))) => check.file.clone(),
            _ => None,
        };
        let variable = || variables(&variable_of("config")).filter(|path| !path.is_empty()).map(PathBuf::from);
        let file = named.or(arguments.config).or_else(variable);
        let lower = file.as_ref().map(|path| file::read(path, &settings)).unwrap_or_default();
        let upper = environment::read(&settings, variables);
        let mut given = lower.given;
        given.extend(upper.given);
        given.extend(settings.iter().filter_map(|setting| of_line(setting, &matches)));
        let findings = [lower.findings, upper.findings].concat();
        Ok(Self { settings, given, findings, file, command: arguments.command, line })
    }

    /// The settings put together.
    pub(super) fn arguments(&self) -> Result<(NodeArguments, Vec<Effective<'_>>), clap::Error> {
        let matches = without_variables(command()).try_get_matches_from(self.whole_line())?;
        let arguments = NodeArguments::from_arg_matches(&matches)?;
        let folders = arguments.folders.folders();
        let mut effective: Vec<Effective<'_>> = self.settings.iter().map(|setting| self.effective(setting, &matches)).collect();
        for (id, path) in folders.by_argument() {
            for unset in effective.iter_mut().filter(|effective| effective.setting.id == id && effective.words.is_empty()) {
                unset.words = vec![path.as_os_str().to_owned()];
            }
        }
        Ok((arguments, effective))
    }

    /// The command line with a flag before its own for each setting that only the file or a variable gives.
    fn whole_line(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = self.line.first().cloned().into_iter().collect();
        for setting in &self.settings {
            let Some(given) = self.given.get(&setting.id).filter(|given| !matches!(given.place, Place::Flag(_))) else {
                continue;
            };
            for word in &given.words {
                if !setting.is_bare_flag {
                    let mut flag = OsString::from(format!("--{}=", setting.long));
                    flag.push(word);
                    line.push(flag);
                } else if word == "true" {
                    line.push(format!("--{}", setting.long).into());
                }
            }
        }
        line.extend(self.line.iter().skip(1).cloned());
        line
    }

    fn effective<'a>(&self, setting: &'a Setting, matches: &ArgMatches) -> Effective<'a> {
        let place = self.given.get(&setting.id).map_or(Place::Default, |given| given.place.clone());
        let words = match setting.kind {
            // As it was understood: a variable may say "on".
            Kind::Boolean => matches.get_one::<bool>(&setting.id).map(|value| value.to_string().into()).into_iter().collect(),
            _ => matches.get_raw(&setting.id).into_iter().flatten().map(ToOwned::to_owned).collect(),
        };
        Effective { setting, place, words }
    }

    /// Where the value of an argument comes from.
    pub(super) fn place(&self, id: &str) -> Place {
        self.given.get(id).map_or(Place::Default, |given| given.place.clone())
    }

    pub(super) fn is_given(&self, id: &str) -> bool {
        self.given.contains_key(id)
    }

    pub(super) fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

fn of_line(setting: &Setting, matches: &ArgMatches) -> Option<(String, Given)> {
    let is_given = matches.value_source(&setting.id) == Some(ValueSource::CommandLine);
    is_given.then(|| (setting.id.clone(), Given { place: Place::Flag(setting.long.clone()), words: vec![] }))
}

#[cfg(test)]
mod tests;
