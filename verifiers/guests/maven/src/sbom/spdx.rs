//! Documents of SPDX 2 in JSON (SPDX 2.3, clause 6 and annex "SPDX document serialization"): when one was written, and in what order.
//!
//! A document repeats the checksums of the files it is about, and its writers number the elements as they come from a folder or a hash table. So elements
//! are known by their names, and checksums of files beside it by the canonical form of those, where they are right. What stands for them in the canonical
//! text are words that JSON does not have, so that no document can have them already.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pyrsia_verifier_kit::hash::hex;
use pyrsia_verifier_kit::strict_json;

use super::{Canonical, is_key, told};
use crate::checksum::Algorithm;
use crate::json_values::{Document, Step, Value};
use crate::module::Beside;
use crate::passes::{Pass, PassSet};

const VERSION: &[&str] = &["spdxVersion"];
const VERSION_START: &str = "SPDX-2.";
const CREATED: &[&str] = &["creationInfo", "created"];
const NAMESPACE: &[&str] = &["documentNamespace"];
/// The lists of a document whose order means nothing.
const LISTS: [&str; 4] = ["files", "packages", "relationships", "documentDescribes"];
/// That of a package.
const FILES_OF_PACKAGE: &str = "hasFiles";
/// What the Java library of SPDX calls elements that nobody named, before a number.
const MADE_UP: &str = "SPDXRef-gnrtd";
const ID: &str = "SPDXID";
const UUID_BYTES: usize = 36;

const ALGORITHMS: [(&str, Algorithm); 4] =
    [("MD5", Algorithm::Md5), ("SHA1", Algorithm::Sha1), ("SHA256", Algorithm::Sha256), ("SHA512", Algorithm::Sha512)];

pub(super) fn is_looked_at(path: &[Step], written: &str) -> bool {
    let is = |wanted: &[&str]| path.len() == wanted.len() && path.iter().zip(wanted).all(|(step, key)| is_key(step, key));
    let is_field = match path {
        [Step::Key(list)] | [Step::Key(list), Step::Index(_)] => LISTS.contains(&list.as_str()),
        [list, Step::Index(_), Step::Key(field)] if is_key(list, "packages") => {
            [ID, "name", "packageFileName", FILES_OF_PACKAGE].contains(&field.as_str())
        }
        [list, Step::Index(_), field] if is_key(list, "files") => is_key(field, ID) || is_key(field, "fileName"),
        [list, Step::Index(_), field, Step::Index(_)] => is_key(list, "packages") && is_key(field, FILES_OF_PACKAGE),
        [list, Step::Index(_), field, Step::Index(_), Step::Key(key)] => {
            is_key(list, "packages") && is_key(field, "checksums") && ["algorithm", "checksumValue"].contains(&key.as_str())
        }
        _ => false,
    };
    is_field || is(VERSION) || is(CREATED) || is(NAMESPACE) || mentions_made_up(written)
}

/// Whether a string has such an id in it, however its characters are written.
fn mentions_made_up(written: &str) -> bool {
    written.starts_with('"')
        && (written.contains(MADE_UP)
            || written.contains('\\')
                && strict_json::from_slice::<String>(written.as_bytes(), &[]).is_ok_and(|text| text.contains(MADE_UP)))
}

/// None for another kind of document.
pub(super) fn canonical<'f>(document: &Document<'_>, beside: impl Fn(&str) -> Option<&'f Beside>) -> Option<Canonical> {
    is_spdx(document).then(|| {
        let mut passes = PassSet::default();
        let mut written = Rewriting::of(document);
        let namespace = told(document, NAMESPACE).and_then(|value| unique_part(document, value));
        for span in told(document, CREATED).map(|value| inner(&value.span)).into_iter().chain(namespace) {
            written.replace(span, "");
            passes.add(Pass::SpdxBuildInfo);
        }
        for checksum in checksums(document) {
            if let Some(beside) = beside(checksum.file)
                && beside.sums.get(checksum.algorithm) == checksum.digits
            {
                written.replace(checksum.span.clone(), &format!("canonical({})", hex(&beside.canonical)));
                passes.add_if(Pass::SpdxChecksums, beside.is_normalised);
            }
        }
        if let Some(named) = with_names_for_ids(document, &written) {
            passes.add_if(Pass::SpdxOrder, named.replaced.len() > written.replaced.len());
            written = named;
        }
        let mut is_sorted = true;
        let text = written.write(0..document.text().len(), &mut is_sorted).into_bytes();
        passes.add_if(Pass::SpdxOrder, !is_sorted);
        Canonical { text, passes }
    })
}

pub(super) fn described(document: &Document<'_>) -> Vec<(String, Algorithm)> {
    if !is_spdx(document) {
        return Vec::new();
    }
    checksums(document).into_iter().map(|checksum| (checksum.file.to_owned(), checksum.algorithm)).collect()
}

fn is_spdx(document: &Document<'_>) -> bool {
    document.at(VERSION).and_then(|value| document.string(value)).is_some_and(|version| version.starts_with(VERSION_START))
}

/// What stands between the quotes of a string.
fn inner(span: &Range<usize>) -> Range<usize> {
    span.start + 1..span.end - 1
}

/// The number at the end of a namespace that makes it one of its kind (clause 6.5.1).
fn unique_part(document: &Document<'_>, value: &Value) -> Option<Range<usize>> {
    let text = document.string(value)?;
    let uuid = text.get(text.len().checked_sub(UUID_BYTES)?..)?;
    let is_uuid = uuid.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    let end = inner(&value.span).end;
    is_uuid.then(|| end - UUID_BYTES..end)
}

/// A checksum that a package has of the file it is.
struct Checksum<'d> {
    file: &'d str,
    algorithm: Algorithm,
    digits: &'d str,
    span: &'d Range<usize>,
}

fn checksums<'d>(document: &'d Document<'_>) -> Vec<Checksum<'d>> {
    let mut files: BTreeMap<&[Step], &str> = BTreeMap::new();
    let mut algorithms: BTreeMap<&[Step], Algorithm> = BTreeMap::new();
    let mut values = Vec::new();
    for value in document.values() {
        let Some(text) = document.string(value) else { continue };
        match &value.path[..] {
            [list @ .., Step::Key(field)] if list.len() == 2 && field == "packageFileName" => {
                files.insert(list, text);
            }
            [list @ .., Step::Key(field)] if list.len() == 4 && field == "algorithm" => {
                algorithms.extend(ALGORITHMS.iter().find(|(name, _)| *name == text).map(|(_, algorithm)| (list, *algorithm)));
            }
            [list @ .., Step::Key(field)] if list.len() == 4 && field == "checksumValue" => {
                values.push((list, text, &value.span))
            }
            _ => {}
        }
    }
    let known = |(path, digits, span)| {
        let path: &[Step] = path;
        Some(Checksum { file: files.get(&path[..2])?, algorithm: *algorithms.get(path)?, digits, span })
    };
    values.into_iter().filter_map(known).collect()
}

/// With ids that were made up replaced by the kind and name of the element, and a number where others have its name. None where that is in doubt: elements
/// that say the same, references within those, and ids in the midst of a text or with escapes.
fn with_names_for_ids<'d>(document: &'d Document<'d>, written: &Rewriting<'d>) -> Option<Rewriting<'d>> {
    let is_id = |text: &str| {
        text.strip_prefix(MADE_UP).is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut mentions: BTreeMap<usize, (&str, &Value)> = BTreeMap::new();
    let mut spans: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
    for value in document.values().iter().filter(|value| mentions_made_up(document.written(value))) {
        let id = document.string(value).filter(|text| is_id(text))?;
        mentions.insert(value.span.start, (id, value));
        spans.entry(id).or_default().push(value.span.clone());
    }
    // Each mention is a value of its own, and none is a key.
    if document.text().matches(MADE_UP).count() != mentions.len() {
        return None;
    }
    let mut named = written.clone();
    let mut ids = BTreeSet::new();
    // Files first, so that a package may have them.
    for (list, kind, field) in [("files", "file", "fileName"), ("packages", "package", "name")] {
        let is_in_list = |value: &&Value, depth| value.path.len() == depth && is_key(&value.path[0], list);
        let is_field = |value: &&Value, field| is_in_list(value, 3) && is_key(&value.path[2], field);
        let fields = document.values().iter().filter(|value| is_field(value, field));
        let names: BTreeMap<&[Step], &str> =
            fields.filter_map(|value| Some((&value.path[..2], document.string(value)?))).collect();
        let mut elements: Vec<(&str, String, &str)> = Vec::new();
        for element in document.values().iter().filter(|value| is_in_list(value, 2)) {
            let is_own = |value: &Value| value.path.starts_with(&element.path) && is_field(&value, ID);
            let within = || mentions.range(element.span.clone()).map(|(_, mention)| *mention);
            let Some((id, own)) = within().find(|(_, value)| is_own(value)) else { continue };
            if within().any(|(other, value)| value != own && !ids.contains(other)) {
                return None;
            }
            let mut content = named.within(&element.span);
            content.replace(own.span.clone(), kind);
            let name = names.get(&element.path[..]).copied().unwrap_or_default();
            elements.push((name, content.write(element.span.clone(), &mut true), id));
        }
        elements.sort_unstable();
        let (mut last, mut same_name) = (None, 0);
        for (name, content, id) in &elements {
            same_name = if last.is_some_and(|(last, _)| last == name) { same_name + 1 } else { 0 };
            if last == Some((name, content)) || !ids.insert(*id) {
                return None;
            }
            last = Some((name, content));
            let word = if same_name == 0 { format!("{kind}({name})") } else { format!("{kind}({name}).{same_name}") };
            for span in spans.get(id).into_iter().flatten() {
                named.replace(span.clone(), &word);
            }
        }
    }
    spans.keys().all(|id| ids.contains(id)).then_some(named)
}

/// A document's text with some of it replaced, and the elements of its lists in the order of what they are then.
#[derive(Clone)]
struct Rewriting<'d> {
    text: &'d str,
    /// By where it begins.
    replaced: BTreeMap<usize, (usize, String)>,
    lists: BTreeMap<usize, Vec<Range<usize>>>,
}

impl<'d> Rewriting<'d> {
    fn of(document: &'d Document<'_>) -> Self {
        let mut lists: BTreeMap<usize, Vec<Range<usize>>> = BTreeMap::new();
        let mut starts: BTreeMap<&[Step], usize> = BTreeMap::new();
        for value in document.values() {
            match &value.path[..] {
                [.., Step::Key(field)] if document.written(value).starts_with('[') => {
                    let is_list = match value.path.len() {
                        1 => LISTS.contains(&field.as_str()),
                        _ => field == FILES_OF_PACKAGE,
                    };
                    if is_list {
                        starts.insert(&value.path, value.span.start);
                    }
                }
                [list @ .., Step::Index(_)] => {
                    if let Some(start) = starts.get(list) {
                        lists.entry(*start).or_default().push(value.span.clone());
                    }
                }
                _ => {}
            }
        }
        Self { text: document.text(), replaced: BTreeMap::new(), lists }
    }

    fn replace(&mut self, span: Range<usize>, word: &str) {
        self.replaced.insert(span.start, (span.end, word.to_owned()));
    }

    /// The same for a part of the text.
    fn within(&self, span: &Range<usize>) -> Self {
        let replaced = self.replaced.range(span.clone()).map(|(at, replacement)| (*at, replacement.clone())).collect();
        let lists = self.lists.range(span.clone()).map(|(at, elements)| (*at, elements.clone())).collect();
        Self { text: self.text, replaced, lists }
    }

    fn write(&self, span: Range<usize>, is_sorted: &mut bool) -> String {
        let mut out = String::with_capacity(span.len());
        let mut at = span.start;
        loop {
            let replaced = self.replaced.range(at..span.end).next();
            let list = self.lists.range(at..span.end).next();
            match (replaced, list) {
                (Some((start, (end, word))), list) if list.is_none_or(|(list, _)| start < list) => {
                    out.push_str(&self.text[at..*start]);
                    out.push_str(word);
                    at = *end;
                }
                (_, Some((_, elements))) => {
                    let mut texts: Vec<String> = elements.iter().map(|element| self.write(element.clone(), is_sorted)).collect();
                    *is_sorted &= texts.is_sorted();
                    texts.sort();
                    for (element, text) in elements.iter().zip(&texts) {
                        out.push_str(&self.text[at..element.start]);
                        out.push_str(text);
                        at = element.end;
                    }
                }
                _ => {
                    out.push_str(&self.text[at..span.end]);
                    return out;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
