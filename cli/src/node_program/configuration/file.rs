//! Settings that the TOML file gives: a table for each section, a key for each setting.
//!
//! Every key is looked at, and everything that is wrong is said, with its place. A path that is relative is relative to the
//! folder of the file.

use super::finding::{Finding, Place, nearest};
use super::layers::{Given, Layer};
use super::setting::{Kind, Setting, flag_only};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Every setting with long comments stays below a tenth of it; what is larger is something else.
pub(super) const FILE_BYTES_MAX: usize = 256 << 10;

pub(super) fn read(path: &Path, settings: &[Setting]) -> Layer {
    let of_file = |problem: String| Layer::of(Finding::error(Place::WholeFile(path.to_owned()), problem));
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok::<Vec<u8>, io::Error>(bytes)
    };
    match read() {
        Err(error) => of_file(format!("cannot be read: {error}")),
        Ok(bytes) if bytes.len() > FILE_BYTES_MAX => of_file(format!("has more than {} KiB", FILE_BYTES_MAX >> 10)),
        Ok(bytes) => parse(&bytes, path, settings),
    }
}

/// What the bytes of the file at `path` give.
pub(super) fn parse(bytes: &[u8], path: &Path, settings: &[Setting]) -> Layer {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Layer::of(Finding::error(Place::of_byte(path, bytes, error.valid_up_to()), "this is not UTF-8")),
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, path, settings, layer: Layer::default() };
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        reader.find(offset, format!("this is no TOML: {}", error.message()));
    }
    let broken: Vec<usize> = reader.layer.findings.iter().filter_map(line).collect();
    reader.document(document.get_ref());
    let mut layer = reader.layer;
    // What follows from a line that is no TOML says nothing more.
    let syntax = errors.len();
    let mut index = 0;
    layer.findings.retain(|finding| {
        index += 1;
        index <= syntax || line(finding).is_none_or(|line| !broken.contains(&line))
    });
    layer.findings.sort_by(|a, b| a.place.cmp(&b.place));
    layer
}

fn line(finding: &Finding) -> Option<usize> {
    match finding.place {
        Place::File { line, .. } => Some(line),
        Place::WholeFile(_) | Place::Variable(_) | Place::Flag(_) | Place::Default | Place::Together => None,
    }
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    settings: &'a [Setting],
    layer: Layer,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> Place {
        Place::of_byte(self.path, self.text.as_bytes(), offset)
    }

    fn find(&mut self, offset: usize, problem: String) -> &mut Finding {
        let finding = Finding::error(self.place(offset), problem);
        self.layer.findings.push(finding);
        self.layer.findings.last_mut().expect("one was just added")
    }

    fn document(&mut self, document: &DeTable<'_>) {
        for (name, value) in document {
            let (section, offset) = (name.get_ref().as_ref(), name.span().start);
            let is_known = self.settings.iter().any(|setting| setting.section == section);
            match value.get_ref() {
                DeValue::Table(table) if is_known => self.section(section, table),
                other if is_known => {
                    let problem = format!("is a section, and {} stands here", other.type_str());
                    self.find(offset, problem).setting = Some(section.to_owned());
                    self.hint(format!("write [{section}] on a line of its own and its settings below"));
                }
                other => self.unknown(None, section, offset, !other.is_table()),
            }
        }
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let (key, offset) = (name.get_ref().as_ref(), name.span().start);
            match self.settings.iter().find(|setting| setting.section == section && setting.key == key) {
                Some(setting) => self.setting(setting, value),
                None => self.unknown(Some(section), key, offset, true),
            }
        }
    }

    /// A name that is none, with what was probably meant.
    fn unknown(&mut self, section: Option<&str>, name: &str, offset: usize, is_key: bool) {
        let settings = self.settings;
        let shown = section.map_or_else(|| name.to_owned(), |section| format!("{section}.{name}"));
        let what = if is_key { "setting" } else { "section" };
        self.find(offset, format!("there is no such {what}")).setting = Some(shown);
        let key = name.replace('-', "_").to_lowercase();
        if let Some(reason) = flag_only(&key) {
            return self.hint(format!("this cannot stand in a file: {reason}"));
        }
        if !is_key {
            let sections = settings.iter().map(|setting| setting.section.as_str());
            return match nearest(&key, sections) {
                Some(meant) => self.hint(format!("did you mean [{meant}]?")),
                None => self.hint("'pyrsia_node config example' shows every section"),
            };
        }
        let here = settings.iter().filter(|setting| Some(setting.section.as_str()) == section);
        let meant = settings.iter().find(|setting| setting.key == key).map(|setting| setting.key.as_str());
        let meant = meant.or_else(|| nearest(&key, here.map(|setting| setting.key.as_str())));
        let meant = meant.or_else(|| nearest(&key, settings.iter().map(|setting| setting.key.as_str())));
        match settings.iter().find(|setting| Some(setting.key.as_str()) == meant) {
            Some(setting) if Some(setting.section.as_str()) == section => self.hint(format!("did you mean {}?", setting.key)),
            Some(setting) => self.hint(format!("did you mean {} in [{}]?", setting.key, setting.section)),
            None => self.hint("'pyrsia_node config example' shows every setting"),
        }
    }

    /// Adds a hint to the newest finding.
    fn hint(&mut self, hint: impl Into<String>) {
        if let Some(finding) = self.layer.findings.last_mut() {
            finding.hint = Some(hint.into());
        }
    }

    fn setting(&mut self, setting: &Setting, value: &Spanned<DeValue<'_>>) {
        let offset = value.span().start;
        let values = match value.get_ref() {
            DeValue::Array(values) if setting.repeated => values.iter().collect(),
            DeValue::Array(_) => return self.wrong(setting, offset, "takes one value, and an array stands here"),
            _ if setting.repeated => {
                self.wrong(setting, offset, "takes several values, and one stands here without an array around it");
                return self.hint(format!("write {} = [{}]", setting.key, self.source(value)));
            }
            _ => vec![value],
        };
        if values.is_empty() && !setting.defaults.is_empty() {
            self.wrong(setting, offset, "needs a value at least");
            return self.hint("without the key, its default holds");
        }
        let mut words = Vec::new();
        for value in values {
            match self.word(setting, value.get_ref()) {
                Ok(word) => words.push(word),
                Err(problem) => return self.wrong(setting, value.span().start, &problem),
            }
        }
        let given = Given { place: self.place(offset), words };
        self.layer.given.insert(setting.id.clone(), given);
    }

    fn wrong(&mut self, setting: &Setting, offset: usize, problem: &str) {
        self.find(offset, problem.to_owned()).setting = Some(setting.name());
    }

    fn source(&self, value: &Spanned<DeValue<'_>>) -> &str {
        self.text.get(value.span()).unwrap_or("…")
    }

    /// The value as it would stand on the command line.
    fn word(&self, setting: &Setting, value: &DeValue<'_>) -> Result<OsString, String> {
        let text = match (setting.kind, value) {
            (Kind::Boolean, DeValue::Boolean(value)) => value.to_string(),
            (Kind::Integer { .. } | Kind::Size, DeValue::Integer(value)) => i128::from_str_radix(value.as_str(), value.radix())
                .map_err(|_| format!("{value} cannot be used: it is too large"))?
                .to_string(),
            (Kind::Number, DeValue::Integer(value)) => value.to_string(),
            (Kind::Number, DeValue::Float(value)) => value.to_string(),
            (Kind::Size | Kind::Path | Kind::Url | Kind::Text, DeValue::String(value)) => value.clone().into_owned(),
            (_, other) => return Err(format!("is {}, and {} stands here", setting.wanted(), other.type_str())),
        };
        if text.contains('\0') {
            return Err("a zero byte stands here".to_owned());
        }
        setting.check(text.as_ref()).map_err(|reason| format!("{:?} cannot be used: {reason}", setting.shown(&text)))?;
        let folder = self.path.parent().unwrap_or(Path::new(""));
        Ok(if setting.kind == Kind::Path { folder.join(text).into_os_string() } else { text.into() })
    }
}

#[cfg(test)]
mod tests;
