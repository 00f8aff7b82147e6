//! One setting: an argument of `pyrsia_node`, seen as an environment variable and as a key in the configuration file.
//!
//! Everything is derived from the command: the section from the help heading, key and variable from the long name, the type
//! from the value parser. A new argument is a new setting without a word here. Holds no value.

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use std::any::TypeId;
use std::borrow::Cow;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use url::Url;

/// Where settings without a heading stand.
const SECTION_WITHOUT_HEADING: &str = "node";
/// Arguments that only the command line gives, each with the reason; `--config` has a variable as well.
const FLAGS_ONLY: [(&str, &str); 2] = [
    ("config", "it names the file itself, by the flag --config or the variable PYRSIA_CONFIG"),
    ("rejoin_without_journal", "it holds for one start, and is given by the flag --rejoin-without-journal alone"),
];

/// What a value is in TOML and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer {
        min: u64,
        max: Option<u64>,
    },
    Number,
    /// Bytes, as an integer or as a string with a unit.
    Size,
    Path,
    Url,
    Text,
}

#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// The id of the argument.
    pub(super) id: String,
    pub(super) section: String,
    pub(super) key: String,
    pub(super) long: String,
    pub(super) variable: String,
    pub(super) kind: Kind,
    /// Whether it takes several values.
    pub(super) repeated: bool,
    /// Whether the flag stands for true and takes no value.
    pub(super) is_bare_flag: bool,
    pub(super) help: String,
    pub(super) defaults: Vec<String>,
    pub(super) possible: Vec<String>,
    /// What stands for a value in the help.
    pub(super) placeholder: String,
    parser: ValueParser,
    ignore_case: bool,
}

/// The settings of a command, in the order of its arguments, with those of one section together.
pub(super) fn all(command: &Command) -> Vec<Setting> {
    let found: Vec<Setting> = command.get_arguments().filter_map(Setting::of).collect();
    let mut sections: Vec<&str> = Vec::new();
    for setting in &found {
        if !sections.contains(&setting.section.as_str()) {
            sections.push(&setting.section);
        }
    }
    sections.iter().flat_map(|section| found.iter().filter(|setting| setting.section == *section)).cloned().collect()
}

/// Why a key that looks like a setting is none.
pub(super) fn flag_only(key: &str) -> Option<&'static str> {
    FLAGS_ONLY.iter().find(|(id, _)| *id == key).map(|(_, reason)| *reason)
}

impl Setting {
    fn of(arg: &Arg) -> Option<Self> {
        let long = arg.get_long()?;
        let is_bare_flag = matches!(arg.get_action(), ArgAction::SetTrue);
        let is_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        if flag_only(arg.get_id().as_str()).is_some() || !(is_bare_flag || is_value) {
            return None;
        }
        let key = long.replace('-', "_");
        let variable = arg.get_env().and_then(OsStr::to_str).map_or_else(|| variable_of(&key), str::to_owned);
        let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let possible = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let placeholder = arg.get_value_names().and_then(<[_]>::first).map_or("VALUE", |name| name.as_str()).to_owned();
        let mut setting = Self {
            id: arg.get_id().to_string(),
            section: arg.get_help_heading().map_or_else(|| SECTION_WITHOUT_HEADING.to_owned(), section_of),
            long: long.to_owned(),
            repeated: matches!(arg.get_action(), ArgAction::Append),
            parser: arg.get_value_parser().clone(),
            ignore_case: arg.is_ignore_case_set(),
            kind: Kind::Text,
            key,
            variable,
            is_bare_flag,
            help,
            defaults,
            possible,
            placeholder,
        };
        setting.kind = setting.find_kind();
        if setting.kind == Kind::Boolean {
            setting.possible.clear();
            setting.defaults = vec![(setting.defaults == ["true"]).to_string()];
        }
        Some(setting)
    }

    fn find_kind(&self) -> Kind {
        let is = |id: TypeId| self.parser.type_id() == id;
        let unsigned = [
            (TypeId::of::<u8>(), 0, Some(u64::from(u8::MAX))),
            (TypeId::of::<u16>(), 0, Some(u64::from(u16::MAX))),
            (TypeId::of::<u32>(), 0, Some(u64::from(u32::MAX))),
            (TypeId::of::<u64>(), 0, None),
            (TypeId::of::<usize>(), 0, None),
            (TypeId::of::<NonZeroU8>(), 1, Some(u64::from(u8::MAX))),
            (TypeId::of::<NonZeroU16>(), 1, Some(u64::from(u16::MAX))),
            (TypeId::of::<NonZeroU32>(), 1, Some(u64::from(u32::MAX))),
            (TypeId::of::<NonZeroU64>(), 1, None),
            (TypeId::of::<NonZeroUsize>(), 1, None),
        ];
        if is(TypeId::of::<bool>()) {
            Kind::Boolean
        } else if let Some((_, min, max)) = unsigned.into_iter().find(|(id, ..)| is(*id)) {
            // The type does not tell bytes from other numbers; that a unit is understood does.
            if self.check(OsStr::new("1KiB")).is_ok() { Kind::Size } else { Kind::Integer { min, max } }
        } else if is(TypeId::of::<f64>()) || is(TypeId::of::<f32>()) {
            Kind::Number
        } else if is(TypeId::of::<PathBuf>()) {
            Kind::Path
        } else if is(TypeId::of::<Url>()) {
            Kind::Url
        } else {
            Kind::Text
        }
    }

    /// `section.key`, as findings name it.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// Whether the argument takes this value; why not, otherwise.
    pub(super) fn check(&self, word: &OsStr) -> Result<(), String> {
        let value = Arg::new("value").long("value").value_parser(self.parser.clone()).ignore_case(self.ignore_case);
        let alone = Command::new("setting").no_binary_name(true).disable_help_flag(true).arg(value);
        let mut flag = OsString::from("--value=");
        flag.push(word);
        alone.try_get_matches_from([flag]).map(drop).map_err(|error| reason(&error))
    }

    /// The value as others may see it: a URL without its user and password.
    pub(super) fn shown<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.kind != Kind::Url || !text.contains('@') {
            return text.into();
        }
        let plain = Url::parse(text).ok().filter(Url::has_host).and_then(|mut url| {
            let has_user = !url.username().is_empty() || url.password().is_some();
            if !has_user {
                return Some(text.into());
            }
            url.set_username("").and_then(|()| url.set_password(None)).ok().map(|()| String::from(url).into())
        });
        plain.unwrap_or_else(|| {
            // It is no URL, and a password may stand anywhere before the last sign.
            let scheme = text.find("://").map_or("", |end| &text[..end + 3]);
            format!("{scheme}{}", &text[text.rfind('@').map_or(0, |at| at + 1)..]).into()
        })
    }

    /// The type as a person names it.
    pub(super) fn wanted(&self) -> &'static str {
        match self.kind {
            Kind::Boolean => "true or false",
            Kind::Integer { .. } => "an integer",
            Kind::Number => "a number",
            Kind::Size => "a size, such as \"500GB\" or an integer of bytes",
            Kind::Path | Kind::Url | Kind::Text => "a string",
        }
    }
}

pub(super) fn variable_of(key: &str) -> String {
    format!("PYRSIA_{}", key.to_ascii_uppercase())
}

/// `Artifact store (how it is kept)` is the section `artifact_store`.
fn section_of(heading: &str) -> String {
    let words = heading.split(['(', ':', ',', ';']).next().unwrap_or(heading).trim();
    words.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// What is wrong with a value, without the words about the argument that stand around it.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match (error.kind(), error.get(ContextKind::ValidValue)) {
        (_, Some(ContextValue::Strings(values))) if !values.is_empty() => format!("it is one of {}", values.join(", ")),
        (ErrorKind::InvalidUtf8, _) => "it is not UTF-8".to_owned(),
        _ => "it is empty".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers;
    use super::*;
    use std::collections::BTreeSet;

    fn setting(key: &str) -> Setting {
        let all = all(&layers::command());
        all.into_iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{key} is no setting"))
    }

    #[test]
    fn no_two_settings_share_a_key_or_a_variable() {
        let all = all(&layers::command());
        let keys: BTreeSet<&str> = all.iter().map(|setting| setting.key.as_str()).collect();
        let variables: BTreeSet<&str> = all.iter().map(|setting| setting.variable.as_str()).collect();
        assert_eq!((keys.len(), variables.len()), (all.len(), all.len()));
        assert!(!keys.contains("config") && !keys.contains("rejoin_without_journal") && !keys.contains("help"));
        for setting in &all {
            let word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            assert!(word(&setting.section) && word(&setting.key), "{}", setting.name());
            assert!(!keys.contains(setting.section.as_str()), "[{}] is a section and a key", setting.section);
            assert!(!setting.help.is_empty(), "{} says nothing", setting.name());
            for default in &setting.defaults {
                assert_eq!(setting.check(OsStr::new(default)), Ok(()), "{}", setting.name());
            }
        }
    }

    #[test]
    fn the_variables_of_earlier_versions_are_variables_of_settings() {
        for (key, variable) in [
            ("artifact_path", "PYRSIA_ARTIFACT_PATH"),
            ("blockchain_path", "PYRSIA_BLOCKCHAIN_PATH"),
            ("verifiers_path", "PYRSIA_VERIFIERS_PATH"),
            ("keypair", "PYRSIA_KEYPAIR"),
            ("artifact_budget", "PYRSIA_ARTIFACT_BUDGET"),
            ("external_ip", "PYRSIA_EXTERNAL_IP"),
            ("dev_mode", "DEV_MODE"),
        ] {
            assert_eq!(setting(key).variable, variable);
        }
    }

    #[test]
    fn types_and_sections_follow_from_the_arguments() {
        for (key, section, kind) in [
            ("port", "http", Kind::Integer { min: 0, max: Some(65_535) }),
            ("public_url", "http", Kind::Url),
            ("listen_only", "network", Kind::Boolean),
            ("artifact_budget", "artifact_store", Kind::Size),
            ("artifact_path", "folders", Kind::Path),
            ("build_timeout", "builds", Kind::Text),
        ] {
            let setting = setting(key);
            assert_eq!((setting.section.as_str(), setting.kind), (section, kind), "{key}");
        }
        assert!(setting("peer").repeated && !setting("host").repeated);
        assert_eq!(setting("log_format").possible, ["text", "json"]);
    }

    #[test]
    fn a_url_is_shown_without_its_user_and_password() {
        let setting = setting("pipeline_service_endpoint");
        for (url, shown) in [
            ("http://me:hunter2@a.example:1/x", "http://a.example:1/x"),
            ("http://hunter2@a.example", "http://a.example/"),
            ("ftp://me:hunter2@a.example/x", "ftp://a.example/x"),
            ("s3://me:hunter2@name", "s3://name"),
            ("http://me:hun/ter2@a.example:1", "http://a.example:1"),
            ("me:hunter2@a.example", "a.example"),
            ("http://a.example/x@y", "http://a.example/x@y"),
            ("http://a.example", "http://a.example"),
        ] {
            assert_eq!(setting.shown(url), shown);
        }
    }

    #[test]
    fn a_value_that_cannot_be_used_is_refused_with_its_reason() {
        assert_eq!(setting("port").check(OsStr::new("70000")), Err("70000 is not in 0..=65535".into()));
        assert_eq!(setting("log_format").check(OsStr::new("xml")), Err("it is one of text, json".into()));
        assert_eq!(setting("keypair").check(OsStr::new("")), Err("it is empty".into()));
        assert!(setting("artifact_budget").check(OsStr::new("much")).unwrap_err().contains("500GB"));
    }
}
