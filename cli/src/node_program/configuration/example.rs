//! `pyrsia_node config example`: a configuration file with every setting, its meaning and its default, all commented out.

use super::setting::{Kind, Setting};
use super::show;
use std::ffi::OsStr;

/// Of a line of comment, without its mark.
const COMMENT_CHARS: usize = 100;

const OPENING: &str = "\
Settings of pyrsia_node: 'pyrsia_node --config FILE', or PYRSIA_CONFIG=FILE.
A flag wins over an environment variable, a variable over this file. Paths are relative to the folder of this file.
'pyrsia_node config check FILE' says what is wrong with a file. Lines that begin with '#' and a key show the default, or a placeholder where there is none.";

pub(super) fn of(settings: &[Setting]) -> String {
    let mut text = comment(OPENING);
    let mut section = "";
    for setting in settings {
        if setting.section != section {
            section = &setting.section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        let variable = format!("{} (--{}, {})", setting.help, setting.long, setting.variable);
        text.push_str(&format!("\n{}#{} = {}\n", comment(&variable), setting.key, value(setting)));
    }
    text
}

/// The default, or a placeholder.
fn value(setting: &Setting) -> String {
    let written = |word: &String| match setting.kind {
        // A default is not made absolute: this file has another folder on every machine.
        Kind::Path => Some(toml::Value::String(word.clone()).to_string()),
        _ => show::scalar(setting, OsStr::new(word)),
    };
    let defaults: Vec<String> = setting.defaults.iter().filter_map(written).collect();
    let placeholder = || match setting.kind {
        Kind::Integer { min, .. } => min.to_string(),
        Kind::Number => "0.0".to_owned(),
        Kind::Boolean => "false".to_owned(),
        Kind::Size | Kind::Path | Kind::Url | Kind::Text => format!("\"{}\"", setting.placeholder),
    };
    match (setting.repeated, defaults.is_empty()) {
        (true, true) => format!("[{}]", placeholder()),
        (true, false) => format!("[{}]", defaults.join(", ")),
        (false, _) => defaults.into_iter().next().unwrap_or_else(placeholder),
    }
}

fn comment(text: &str) -> String {
    let mut lines = String::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > COMMENT_CHARS {
                lines.push_str(&format!("# {line}\n"));
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        lines.push_str(&format!("# {line}\n"));
    }
    lines
}
