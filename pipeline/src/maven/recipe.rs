//! The recipe of a Maven package: data of the mapping, checked whole before anything is built.
//!
//! No word of it can become an option of `mvn`, and no property can move what the pipeline decides: the settings, the local
//! repository, where the build is deployed, how it reaches repositories.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::coordinate::Coordinate;
use super::installation::{Installation, MavenBuilder};
use crate::git::{self, GitUrl, Revision};

const MAX_WORD_CHARS: usize = 200;
const MAX_VALUE_CHARS: usize = 4096;
const MAX_WORDS: usize = 100;

/// Properties with these names, or with names that go on after them, belong to the pipeline or to the JVM.
const RESERVED: [&str; 20] = [
    "aether.",
    "altDeploymentRepository",
    "altReleaseDeploymentRepository",
    "altSnapshotDeploymentRepository",
    "classworlds.",
    "env.",
    "http.",
    "https.",
    "java.",
    "maven.conf",
    "maven.ext.class.path",
    "maven.home",
    "maven.installation.",
    "maven.multiModuleProjectDirectory",
    "maven.project.",
    "maven.repo.",
    "maven.settings",
    "maven.user.",
    "settings.",
    "user.",
];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RecipeError {
    #[error("the recipe cannot be understood: {0}")]
    Form(String),
    #[error("the recipe's {field} has {word:?}: {problem}")]
    Word { field: &'static str, word: String, problem: &'static str },
    #[error("the recipe wants {what} {wanted}, and this pipeline has {present} ({option} HOME)")]
    NoInstallation { what: &'static str, wanted: String, present: String, option: &'static str },
    #[error("Maven reaches the configured repositories and nothing else: a recipe for it has no `network`")]
    Network,
}

/// Everything that one build needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MavenRecipe {
    pub(crate) coordinate: Coordinate,
    pub(crate) url: GitUrl,
    pub(crate) revision: Revision,
    pub(crate) options: MavenOptions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MavenOptions {
    pub(crate) maven: Installation,
    pub(crate) jdk: Installation,
    /// Where the pom of the reactor is, below the root of the source.
    pub(crate) directory: PathBuf,
    /// What is built, with what it needs: a path of the reactor instead of the coordinate.
    pub(crate) module: Option<String>,
    pub(crate) goals: Vec<String>,
    pub(crate) profiles: Vec<String>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) skip_tests: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RecipeText {
    maven: Option<String>,
    jdk: Option<String>,
    directory: String,
    module: Option<String>,
    goals: Vec<String>,
    profiles: Vec<String>,
    properties: BTreeMap<String, PropertyValue>,
    skip_tests: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PropertyValue {
    Text(String),
    Flag(bool),
    Number(i64),
}

impl Default for RecipeText {
    fn default() -> Self {
        Self {
            maven: None,
            jdk: None,
            directory: ".".to_owned(),
            module: None,
            goals: vec!["deploy".to_owned()],
            profiles: Vec::new(),
            properties: BTreeMap::new(),
            skip_tests: true,
        }
    }
}

impl MavenOptions {
    pub(crate) fn read(recipe: &Map<String, Value>, builder: &MavenBuilder) -> Result<Self, RecipeError> {
        let text: RecipeText =
            serde_json::from_value(Value::Object(recipe.clone())).map_err(|error| RecipeError::Form(error.to_string()))?;
        let maven = chosen(text.maven, &builder.mavens, "Maven", "--maven")?;
        let jdk = chosen(text.jdk, &builder.jdks, "the JDK", "--jdk")?;
        let directory = path("directory", &text.directory)?;
        let module = text.module.map(|module| path("module", &module).map(|_| module)).transpose()?;
        if text.goals.is_empty() {
            return Err(RecipeError::Form("goals has none".to_owned()));
        }
        words("goals", &text.goals, ".:-_@")?;
        words("profiles", &text.profiles, ".-_")?;
        if text.properties.len() > MAX_WORDS {
            return Err(RecipeError::Form(format!("properties has more than {MAX_WORDS}")));
        }
        let mut properties = BTreeMap::new();
        for (name, value) in text.properties {
            let value = match value {
                PropertyValue::Text(text) => text,
                PropertyValue::Flag(flag) => flag.to_string(),
                PropertyValue::Number(number) => number.to_string(),
            };
            check_property(&name, &value).map_err(|problem| RecipeError::Word {
                field: "properties",
                word: name.clone(),
                problem,
            })?;
            properties.insert(name, value);
        }
        Ok(Self {
            maven,
            jdk,
            directory,
            module,
            goals: text.goals,
            profiles: text.profiles,
            properties,
            skip_tests: text.skip_tests,
        })
    }
}

/// What is wrong with a property of a recipe or of a source, as a sentence that goes on after it.
pub(crate) fn check_property(name: &str, value: &str) -> Result<(), &'static str> {
    let is_name = (1..=MAX_WORD_CHARS).contains(&name.len())
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !is_name {
        return Err("a property's name has letters, digits and ._-");
    }
    let is_reserved = |reserved: &&str| {
        name.strip_prefix(*reserved).is_some_and(|rest| reserved.ends_with('.') || !rest.starts_with(char::is_alphanumeric))
    };
    if RESERVED.iter().any(is_reserved) {
        return Err("this property is the pipeline's to set");
    }
    if value.len() > MAX_VALUE_CHARS || value.chars().any(char::is_control) {
        return Err("its value is too long or has control characters");
    }
    Ok(())
}

fn chosen(
    wanted: Option<String>,
    present: &[Installation],
    what: &'static str,
    option: &'static str,
) -> Result<Installation, RecipeError> {
    let found = match &wanted {
        None => present.first(),
        Some(wanted) => present.iter().find(|installation| installation.is(wanted)),
    };
    found.cloned().ok_or_else(|| {
        let present: Vec<&str> = present.iter().map(|installation| installation.name.as_str()).collect();
        RecipeError::NoInstallation { what, wanted: wanted.unwrap_or_default(), present: present.join(", "), option }
    })
}

fn path(field: &'static str, text: &str) -> Result<PathBuf, RecipeError> {
    // A list of projects is divided at commas, and marks before a path leave it out or make it optional.
    let is_plain = !text.contains(',') && !text.starts_with(['!', '+', '?', ':', '[']);
    git::relative_path(text).ok().filter(|_| is_plain).ok_or_else(|| RecipeError::Word {
        field,
        word: text.to_owned(),
        problem: "it is no path inside the source",
    })
}

fn words(field: &'static str, words: &[String], others: &str) -> Result<(), RecipeError> {
    if words.len() > MAX_WORDS {
        return Err(RecipeError::Form(format!("{field} has more than {MAX_WORDS}")));
    }
    let is_word = |word: &str| {
        (1..=MAX_WORD_CHARS).contains(&word.len())
            && word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    match words.iter().find(|word| !is_word(word)) {
        None => Ok(()),
        Some(word) => Err(RecipeError::Word {
            field,
            word: word.clone(),
            problem: "it begins with a letter or digit and has no options, blanks or other signs",
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn builder() -> MavenBuilder {
        let installation = |name: &str| Installation { name: name.into(), home: format!("/opt/{name}").into() };
        let (mavens, jdks) =
            (vec![installation("3.8.7"), installation("3.9.9")], vec![installation("17.0.15"), installation("25")]);
        MavenBuilder { mavens, jdks, repositories: Vec::new() }
    }

    fn read(recipe: Value) -> Result<MavenOptions, RecipeError> {
        let Value::Object(recipe) = recipe else { panic!() };
        MavenOptions::read(&recipe, &builder())
    }

    #[test]
    fn an_empty_recipe_deploys_with_the_first_of_everything() {
        let options = read(json!({})).unwrap();
        assert_eq!((options.maven.name.as_str(), options.jdk.name.as_str()), ("3.8.7", "17.0.15"));
        assert_eq!((options.goals, options.skip_tests, options.module), (vec!["deploy".to_owned()], true, None));
        let options = read(json!({
            "maven": "3.9", "jdk": "25", "directory": "java", "module": "core/lib", "goals": ["clean", "deploy", "g:p:1:goal@id"],
            "profiles": ["release"], "properties": { "gpg.skip": true, "level": 8, "text": "a b" }, "skip_tests": false,
        }))
        .unwrap();
        assert_eq!((options.maven.name.as_str(), options.jdk.name.as_str()), ("3.9.9", "25"));
        let properties: Vec<_> = options.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(properties, ["gpg.skip=true", "level=8", "text=a b"]);
    }

    #[test]
    fn nothing_in_a_recipe_becomes_an_option_or_moves_what_the_pipeline_decides() {
        for (recipe, sentence) in [
            (json!({ "gaols": [] }), "unknown field `gaols`"),
            (json!({ "goals": "deploy" }), "cannot be understood"),
            (json!({ "goals": [] }), "goals has none"),
            (json!({ "goals": ["-o"] }), "goals has \"-o\""),
            (json!({ "goals": ["deploy -o"] }), "goals has"),
            (json!({ "goals": ["deploy;x"] }), "goals has"),
            (json!({ "goals": ["@file"] }), "goals has"),
            (json!({ "profiles": ["a,b"] }), "profiles has"),
            (json!({ "profiles": ["!a"] }), "profiles has"),
            (json!({ "directory": "../x" }), "directory has \"../x\": it is no path inside the source"),
            (json!({ "module": "a,b" }), "module has"),
            (json!({ "module": "!a" }), "module has"),
            (json!({ "maven": "4" }), "the recipe wants Maven 4, and this pipeline has 3.8.7, 3.9.9 (--maven HOME)"),
            (json!({ "jdk": "8" }), "wants the JDK 8, and this pipeline has 17.0.15, 25 (--jdk HOME)"),
            (json!({ "properties": { "maven.repo.local": "/x" } }), "is the pipeline's to set"),
            (json!({ "properties": { "maven.repo.local.tail": "/x" } }), "is the pipeline's to set"),
            (json!({ "properties": { "altDeploymentRepository": "x::y" } }), "is the pipeline's to set"),
            (json!({ "properties": { "user.home": "/x" } }), "is the pipeline's to set"),
            (json!({ "properties": { "a b": "x" } }), "a property's name has letters"),
            (json!({ "properties": { "a": "x\ny" } }), "control characters"),
            (json!({ "properties": { "a": [1] } }), "cannot be understood"),
        ] {
            let refused = read(recipe.clone()).unwrap_err().to_string();
            assert!(refused.contains(sentence), "{recipe}: {refused}");
        }
        assert!(read(json!({ "properties": { "maven.compiler.release": "8", "https-port": 1, "username": "x" } })).is_ok());
    }
}
