//! Reading a Dockerfile: the instructions the embedded builder covers, and a refusal by line for every other one.
//!
//! Reference: the Dockerfile reference of Docker, with the frontend's reading of continuations, comments, directives
//! and JSON forms. Words are kept unexpanded; [`expand`] needs the values that only the build has.

use std::fmt;

use self::healthcheck::Healthcheck;
use self::logical_line::{LogicalLine, logical_lines};

pub(super) mod expand;
mod healthcheck;
mod logical_line;
pub(super) mod words;

pub(super) const MAX_DOCKERFILE_BYTES: u64 = 1 << 20;
/// An image cannot have more layers than 127 in any storage driver; this bounds the rest as well.
const MAX_INSTRUCTIONS: usize = 1000;

/// What is wrong, and with which line of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {instruction}: {problem}")]
pub(crate) struct DockerfileError {
    /// Counted from one; the first line of the instruction.
    pub(crate) line: usize,
    pub(crate) instruction: String,
    pub(crate) problem: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dockerfile {
    /// The character that continues lines and takes the meaning from the next one.
    pub(super) escape: char,
    /// Arguments before FROM, which only FROM sees.
    pub(super) global_arguments: Vec<Argument>,
    pub(super) from: From,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) default: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct From {
    pub(super) line: usize,
    pub(super) image: String,
    pub(super) platform: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) line: usize,
    /// As written, without continuations: goes into the image's history.
    pub(super) text: String,
    pub(super) action: Action,
}

/// One instruction; texts are unexpanded where Docker expands them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Argument(Vec<Argument>),
    /// COPY, and ADD of local files that are no archives.
    Copy(Copy),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Workdir(String),
    User(String),
    Expose(Vec<String>),
    Volume(Vec<String>),
    Entrypoint(Vec<String>),
    Cmd(Vec<String>),
    Healthcheck(Healthcheck),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) keyword: CopyKeyword,
    pub(super) sources: Vec<String>,
    pub(super) destination: String,
    pub(super) chown: Option<String>,
    pub(super) chmod: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyKeyword {
    Copy,
    Add,
}

impl fmt::Display for CopyKeyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CopyKeyword::Copy => "COPY",
            CopyKeyword::Add => "ADD",
        })
    }
}

pub(super) fn parse(text: &str) -> Result<Dockerfile, DockerfileError> {
    let (lines, escape) = logical_lines(text)?;
    let mut global_arguments = Vec::new();
    let mut from = None;
    let mut steps = Vec::new();
    for line in lines.iter().take(MAX_INSTRUCTIONS + 1) {
        let instruction = Instruction::new(line, escape)?;
        if instruction.keyword == "FROM" {
            if from.is_some() {
                return Err(instruction.refuse(
                    "builds of more than one stage are not covered by the embedded builder; run a docker engine beside the pipeline",
                ));
            }
            from = Some(instruction.from()?);
        } else if from.is_none() {
            if instruction.keyword != "ARG" {
                return Err(instruction.refuse("only ARG may stand before FROM"));
            }
            global_arguments.extend(instruction.arguments()?);
        } else {
            steps.push(Step { line: line.number, text: line.text.clone(), action: instruction.action()? });
        }
    }
    if let Some(line) = lines.get(MAX_INSTRUCTIONS) {
        return Err(Instruction::new(line, escape)?.refuse(format!("there are more than {MAX_INSTRUCTIONS} instructions")));
    }
    let from = from.ok_or_else(|| DockerfileError {
        line: text.lines().count().max(1),
        instruction: "FROM".to_owned(),
        problem: "the file has no FROM".to_owned(),
    })?;
    Ok(Dockerfile { escape, global_arguments, from, steps })
}

/// A logical line taken apart as far as all instructions have in common.
struct Instruction<'a> {
    line: usize,
    keyword: String,
    /// `--name=value` between the keyword and the rest.
    flags: Vec<(&'a str, Option<&'a str>)>,
    rest: &'a str,
    escape: char,
}

impl<'a> Instruction<'a> {
    fn new(line: &'a LogicalLine, escape: char) -> Result<Self, DockerfileError> {
        let (keyword, mut rest) = line.text.split_once(char::is_whitespace).unwrap_or((&line.text, ""));
        rest = rest.trim();
        let mut flags = Vec::new();
        while rest.starts_with("--") {
            let (flag, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            rest = tail.trim_start();
            if flag == "--" {
                break;
            }
            let flag = &flag[2..];
            flags.push(flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value))));
        }
        let instruction = Self { line: line.number, keyword: keyword.to_ascii_uppercase(), flags, rest, escape };
        if rest.is_empty() {
            return Err(instruction.refuse("it has no arguments"));
        }
        Ok(instruction)
    }

    fn refuse(&self, problem: impl Into<String>) -> DockerfileError {
        DockerfileError { line: self.line, instruction: self.keyword.clone(), problem: problem.into() }
    }

    fn no_flags(&self) -> Result<(), DockerfileError> {
        match self.flags.first() {
            Some((name, _)) => Err(self.refuse(format!("the flag --{name} is not known"))),
            None => Ok(()),
        }
    }

    fn from(&self) -> Result<From, DockerfileError> {
        let mut platform = None;
        for (name, value) in &self.flags {
            match (*name, value) {
                ("platform", Some(value)) => platform = Some((*value).to_owned()),
                _ => return Err(self.refuse(format!("the flag --{name} is not known"))),
            }
        }
        let words: Vec<&str> = self.rest.split_whitespace().collect();
        match words[..] {
            [image] => Ok(From { line: self.line, image: image.to_owned(), platform }),
            [image, keyword, _name] if keyword.eq_ignore_ascii_case("as") => {
                Ok(From { line: self.line, image: image.to_owned(), platform })
            }
            _ => Err(self.refuse("write FROM image, or FROM image AS name")),
        }
    }

    fn arguments(&self) -> Result<Vec<Argument>, DockerfileError> {
        self.no_flags()?;
        let words = words::split(self.rest, self.escape);
        words
            .into_iter()
            .map(|word| {
                let (name, default) = match word.split_once('=') {
                    Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
                    None => (word, None),
                };
                if !expand::is_name(&name) {
                    return Err(self.refuse(format!("{name:?} is no name of an argument")));
                }
                Ok(Argument { line: self.line, name, default })
            })
            .collect()
    }

    fn action(&self) -> Result<Action, DockerfileError> {
        match self.keyword.as_str() {
            "COPY" => return self.copy(CopyKeyword::Copy).map(Action::Copy),
            "ADD" => return self.copy(CopyKeyword::Add).map(Action::Copy),
            "HEALTHCHECK" => return Healthcheck::read(self).map(Action::Healthcheck),
            _ => {}
        }
        if let Some(problem) = not_covered(&self.keyword) {
            return Err(self.refuse(problem));
        }
        self.no_flags()?;
        Ok(match self.keyword.as_str() {
            "ARG" => Action::Argument(self.arguments()?),
            "ENV" => Action::Env(self.pairs()?),
            "LABEL" => Action::Label(self.pairs()?),
            "WORKDIR" => Action::Workdir(self.rest.to_owned()),
            "USER" => Action::User(self.rest.to_owned()),
            "EXPOSE" => Action::Expose(self.rest.split_whitespace().map(str::to_owned).collect()),
            "VOLUME" => Action::Volume(self.json_or(|| self.rest.split_whitespace().map(str::to_owned).collect())?),
            "ENTRYPOINT" => Action::Entrypoint(self.json_or(|| shell_form(self.rest))?),
            "CMD" => Action::Cmd(self.json_or(|| shell_form(self.rest))?),
            _ => return Err(self.refuse("this is no instruction of a Dockerfile")),
        })
    }

    fn copy(&self, keyword: CopyKeyword) -> Result<Copy, DockerfileError> {
        let (mut chown, mut chmod) = (None, None);
        for (name, value) in &self.flags {
            match (*name, value) {
                ("chown", Some(value)) => chown = Some((*value).to_owned()),
                ("chmod", Some(value)) => chmod = Some((*value).to_owned()),
                ("from", _) => {
                    return Err(
                        self.refuse("--from is not covered by the embedded builder; run a docker engine beside the pipeline")
                    );
                }
                _ => {
                    return Err(self.refuse(format!(
                        "the flag --{name} is not covered by the embedded builder; leave it out or run a docker engine beside the pipeline"
                    )));
                }
            }
        }
        let mut words = self.json_or(|| self.rest.split_whitespace().map(str::to_owned).collect())?;
        if words.iter().any(|word| word.starts_with("<<")) {
            return Err(self.refuse("here-documents are not covered by the embedded builder; put the text into a file"));
        }
        let destination = words.pop().unwrap_or_default();
        if words.is_empty() || destination.is_empty() {
            return Err(self.refuse("it needs at least one source and a destination"));
        }
        Ok(Copy { keyword, sources: words, destination, chown, chmod })
    }

    /// `key=value key="other value"`, or the old form `key value that goes on`.
    fn pairs(&self) -> Result<Vec<(String, String)>, DockerfileError> {
        let words = words::split(self.rest, self.escape);
        if words.first().is_some_and(|word| !word.contains('=')) {
            let (key, value) = self
                .rest
                .split_once(char::is_whitespace)
                .ok_or_else(|| self.refuse(format!("{:?} has no value: write key=value", self.rest)))?;
            return Ok(vec![(key.to_owned(), value.trim_start().to_owned())]);
        }
        words
            .into_iter()
            .map(|word| match word.split_once('=') {
                Some(("", _)) => Err(self.refuse("a key is empty")),
                Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
                None => Err(self.refuse(format!("{word:?} has no value: write key=value"))),
            })
            .collect()
    }

    /// A JSON array of texts, or whatever the other form makes of it: what is no valid JSON is plain text to Docker.
    fn json_or(&self, other: impl FnOnce() -> Vec<String>) -> Result<Vec<String>, DockerfileError> {
        if self.rest.starts_with('[')
            && let Ok(words) = serde_json::from_str::<Vec<String>>(self.rest)
        {
            if words.is_empty() && matches!(self.keyword.as_str(), "VOLUME" | "COPY" | "ADD") {
                return Err(self.refuse("the array is empty"));
            }
            return Ok(words);
        }
        Ok(other())
    }
}

fn shell_form(text: &str) -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]
}

/// What Docker knows and the embedded builder refuses, with the way out.
fn not_covered(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "RUN" => "commands are not run by the embedded builder; run a docker engine beside the pipeline, or copy finished files",
        "MAINTAINER" => "it is deprecated; write LABEL org.opencontainers.image.authors=…",
        "SHELL" | "ONBUILD" | "STOPSIGNAL" => {
            "it is not covered by the embedded builder; run a docker engine beside the pipeline"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
