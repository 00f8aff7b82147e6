//! What differs between two layers, entry by entry.
//!
//! Reads both layers twice: once to find the paths that differ, once for what to say about them. So what lies in memory besides the paths is bounded by the report.

use std::collections::{BTreeMap, BTreeSet};

use pyrsia_verifier_kit::hash::Sha256;
use pyrsia_verifier_kit::inflate::Compression;
use pyrsia_verifier_kit::report::DIFFERENCES_MAX;
use pyrsia_verifier_kit::tar::{Entry, Kind, clean_path};
use pyrsia_verifier_kit::{File, Report, Unreadable};

use super::{Budget, Entries, PERMISSIONS, Unpacking, kept_records, read_entries};
use crate::passes::Noise;

/// The longest value of an attribute that is written out, in bytes.
const VALUE_BYTES_MAX: usize = 64;

/// Adds to the report what two layers with different canonical forms differ in.
pub fn explain(a: (&File<'_>, Compression), b: (&File<'_>, Compression), report: &mut Report) -> Result<(), Unreadable> {
    // Both have a canonical form, and so have been unpacked within their budgets before.
    let unbounded = Budget::new(u64::MAX);
    let (side_a, side_b) = (Side::read(a, &unbounded)?, Side::read(b, &unbounded)?);
    let paths: BTreeSet<&[u8]> = side_a.entries.paths().chain(side_b.entries.paths()).collect();
    let differing = paths.into_iter().filter(|path| side_a.entries.digest(path) != side_b.entries.digest(path));
    let mut shown: Vec<&[u8]> = differing.collect();
    let hidden = shown.len().saturating_sub(DIFFERENCES_MAX);
    shown.truncate(DIFFERENCES_MAX);
    let (of_a, of_b) = (side_a.aspects(&shown)?, side_b.aspects(&shown)?);
    for path in shown {
        let place = if path.is_empty() { ".".into() } else { String::from_utf8_lossy(path) };
        let aspects = |side: &Side<'_>, of: &BTreeMap<Vec<u8>, Aspects>| {
            side.entries.items.get(path).map(|_| {
                let mut aspects = of.get(side.entries.place(path)).cloned().unwrap_or_default();
                let first = side.entries.first_name(path).map(|first| String::from_utf8_lossy(first).into_owned());
                aspects.extend(first.map(|first| ("first of its names".into(), first)));
                aspects
            })
        };
        report.within(&place, |report| match (aspects(&side_a, &of_a), aspects(&side_b, &of_b)) {
            (Some(a), Some(b)) => explain_aspects(&a, &b, report),
            (Some(a), None) => report.only_in_a(a.get("kind").map_or("", String::as_str)),
            (None, Some(b)) => report.only_in_b(b.get("kind").map_or("", String::as_str)),
            (None, None) => {}
        });
    }
    report.omit(hidden as u64);
    Ok(())
}

/// What an entry is, by what it is called in a report.
type Aspects = BTreeMap<String, String>;

struct Side<'f> {
    file: &'f File<'f>,
    compression: Compression,
    entries: Entries,
    budget: &'f Budget,
}

impl<'f> Side<'f> {
    fn read((file, compression): (&'f File<'f>, Compression), budget: &'f Budget) -> Result<Self, Unreadable> {
        Ok(Self { file, compression, entries: read_entries(file, compression, None, budget)?.0, budget })
    }

    /// Of the files that `paths` name, by where the archive has them.
    fn aspects(&self, paths: &[&[u8]]) -> Result<BTreeMap<Vec<u8>, Aspects>, Unreadable> {
        let places: BTreeSet<&[u8]> = paths.iter().map(|path| self.entries.place(path)).collect();
        let mut found = BTreeMap::new();
        let wanted = |entry: &Entry| clean_path(&entry.path).is_ok_and(|path| places.contains(&path[..]));
        let unpacking = Unpacking { tar: None, budget: self.budget, with_content: wanted };
        unpacking.scan(self.file, self.compression, &mut Noise::default(), |entry, content| {
            let path = clean_path(&entry.path)?;
            if places.contains(&path[..]) {
                found.insert(path, aspects(&entry, content));
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn aspects(entry: &Entry, content: Option<Sha256>) -> Aspects {
    let mut aspects = Aspects::from([
        ("kind".into(), entry.kind.word().into()),
        ("mode".into(), format!("{:04o}", entry.mode & PERMISSIONS)),
        ("user id".into(), entry.uid.to_string()),
        ("group id".into(), entry.gid.to_string()),
    ]);
    let mut add = |what: &str, value: String| aspects.insert(what.into(), value);
    match entry.kind {
        Kind::File => {
            let digest = content.map(|digest| format!(", sha256 {}", pyrsia_verifier_kit::hash::hex(&digest)));
            add("content", format!("{} bytes{}", entry.size, digest.unwrap_or_default()));
        }
        Kind::HardLink | Kind::SymbolicLink => {
            add("link target", String::from_utf8_lossy(&entry.link).into_owned());
        }
        Kind::CharacterDevice | Kind::BlockDevice | Kind::Directory | Kind::Fifo => {}
    }
    if entry.device != (0, 0) {
        add("device", format!("{}, {}", entry.device.0, entry.device.1));
    }
    for (kind, key, value) in kept_records(entry) {
        add(&format!("{kind} {}", String::from_utf8_lossy(key)), text_of(value));
    }
    aspects
}

fn text_of(value: &[u8]) -> String {
    let shown = &value[..value.len().min(VALUE_BYTES_MAX)];
    let more = if shown.len() < value.len() { format!(" and {} bytes more", value.len() - shown.len()) } else { String::new() };
    match std::str::from_utf8(shown) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text}{more}"),
        _ => format!("0x{}{more}", pyrsia_verifier_kit::hash::hex(shown)),
    }
}

fn explain_aspects(a: &Aspects, b: &Aspects, report: &mut Report) {
    let before = report.differences().len();
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let value = |aspects: &Aspects| aspects.get(name).cloned().unwrap_or_else(|| "none".into());
        report.compare(name, value(a), value(b));
    }
    if report.differences().len() == before && !report.is_full() {
        // Values that differ behind what is shown of them.
        report.differs("entry", "differs", "differs");
    }
}
