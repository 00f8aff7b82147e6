//! `pyrsia_node config show`: every setting as it holds, with the place it comes from.
//!
//! As TOML it is a configuration file again: what was given stands as a key, with absolute paths, what was not stands behind
//! `#`, so that a default stays one. The user and the password of a URL are left out.

use super::finding::Place;
use super::layers::Effective;
use super::setting::{Kind, Setting};
use serde_json::json;
use std::ffi::OsStr;
use std::path::Path;
use toml::Value;

pub(super) fn as_toml(effective: &[Effective<'_>]) -> String {
    let mut text = String::new();
    let mut section = "";
    for Effective { setting, place, words } in effective {
        if setting.section != section {
            section = &setting.section;
            text.push_str(&format!("{}[{section}]\n", if text.is_empty() { "" } else { "\n" }));
        }
        let line = match (words.is_empty(), written(setting, words)) {
            (true, _) if !setting.repeated || *place == Place::Default => format!("# {} is not set", setting.key),
            (_, Some(value)) if *place == Place::Default => format!("# {} = {value}", setting.key),
            (_, Some(value)) => format!("{} = {value}", setting.key),
            (_, None) => format!("# {} is not UTF-8 and cannot be written here", setting.key),
        };
        // A place holds the names of files, and a line break in one would end the comment.
        text.push_str(&format!("{line}  # {}\n", place.to_string().replace(char::is_control, "?")));
    }
    text
}

pub(super) fn as_json(effective: &[Effective<'_>]) -> String {
    let settings: Vec<serde_json::Value> = effective
        .iter()
        .map(|Effective { setting, place, words }| {
            json!({
                "flag": format!("--{}", setting.long),
                "key": setting.key,
                "place": place.to_string(),
                "section": setting.section,
                "source": source(place),
                "value": if setting.repeated { json!(words.iter().map(|word| scalar_json(setting, word)).collect::<Vec<_>>()) } else { json!(words.first().map(|word| scalar_json(setting, word))) },
                "variable": setting.variable,
            })
        })
        .collect();
    format!("{:#}\n", json!({ "settings": settings }))
}

fn source(place: &Place) -> &'static str {
    match place {
        Place::File { .. } | Place::WholeFile(_) => "file",
        Place::Variable(_) => "environment",
        Place::Flag(_) => "flag",
        Place::Default | Place::Together => "default",
    }
}

/// The value as TOML; none if TOML cannot hold it.
fn written(setting: &Setting, words: &[impl AsRef<OsStr>]) -> Option<String> {
    let mut values = words.iter().map(|word| scalar(setting, word.as_ref()));
    if setting.repeated {
        let values: Option<Vec<String>> = values.collect();
        return Some(format!("[{}]", values?.join(", ")));
    }
    values.next()?
}

/// One word as TOML.
pub(super) fn scalar(setting: &Setting, word: &OsStr) -> Option<String> {
    let text = match setting.kind {
        Kind::Path => std::path::absolute(Path::new(word)).ok()?.into_os_string().into_string().ok()?,
        _ => setting.shown(word.to_str()?).into_owned(),
    };
    Some(match setting.kind {
        Kind::Boolean => text,
        Kind::Integer { .. } => text.trim_start_matches('+').parse::<u64>().ok()?.to_string(),
        // A whole number is one in TOML as well, and reads back as it was written.
        Kind::Number => match text.parse() {
            Ok(whole) => Value::Integer(whole).to_string(),
            Err(_) => Value::Float(text.parse().ok()?).to_string(),
        },
        Kind::Size | Kind::Path | Kind::Url | Kind::Text => Value::String(text).to_string(),
    })
}

fn scalar_json(setting: &Setting, word: &OsStr) -> serde_json::Value {
    let text = word.to_string_lossy();
    match setting.kind {
        Kind::Boolean => json!(text == "true"),
        Kind::Integer { .. } => text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)),
        Kind::Number => text.parse::<f64>().map_or_else(|_| json!(text), |number| json!(number)),
        Kind::Path => json!(
            std::path::absolute(Path::new(word)).map_or_else(|_| text.into_owned(), |path| path.to_string_lossy().into_owned())
        ),
        Kind::Size | Kind::Url | Kind::Text => json!(setting.shown(&text)),
    }
}
