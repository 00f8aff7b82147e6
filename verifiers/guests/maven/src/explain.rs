//! What differs between two files whose canonical forms differ, down to the entry, the attribute and the line.

use std::cmp::Ordering;

use pyrsia_verifier_kit::files::ReadAt;
use pyrsia_verifier_kit::tree::Tree;
use pyrsia_verifier_kit::{File, Refusal, Report, Unreadable};

use crate::archive::attributes::Attributes;
use crate::archive::{Budget, Content, Frame, Opened, Purpose};
use crate::checksum::{self, Algorithm, Checksum};
use crate::manifest::{Manifest, Section};
use crate::module::{self, Module};
use crate::output::{Form, Kind, whole};
use crate::{pom, sbom};

/// Contents up to this size are looked at line by line when they are text.
const TEXT_BYTES_MAX: u64 = 256 << 10;
/// Lines of one text that a report shows.
const LINES_MAX: usize = 5;

/// Adds to the report what differs; whatever cannot be read any closer is said by digest.
pub fn files(a: (&File<'_>, &Form), b: (&File<'_>, &Form), report: &mut Report) -> Result<(), Refusal> {
    let ((a, a_form), (b, b_form)) = (a, b);
    let name = a.name();
    let unreadable = |fault: Unreadable| fault.refusal(name);
    match Kind::of(name) {
        Kind::Archive => {
            if let (Some(a_entries), Some(b_entries)) = (&a_form.entries, &b_form.entries) {
                let purpose = Purpose::of_file(name);
                let (mut a_budget, mut b_budget) = (Budget::for_file(a.size()), Budget::for_file(b.size()));
                let a = Side { source: a, entries: &a_entries.0, frame: &a_entries.1, budget: &mut a_budget };
                let b = Side { source: b, entries: &b_entries.0, frame: &b_entries.1, budget: &mut b_budget };
                archives(a, b, purpose, 0, report).map_err(unreadable)?;
            }
        }
        Kind::Pom => {
            let text = |file| whole(file, pom::BYTES_MAX).map(|bytes| pom::canonical(&bytes));
            lines(&text(a)?, &text(b)?, report);
        }
        Kind::Module => {
            let text =
                |file| whole(file, module::BYTES_MAX).and_then(|bytes| Ok(Module::parse(&bytes).map_err(unreadable)?.text()));
            lines(text(a)?.as_bytes(), text(b)?.as_bytes(), report);
        }
        Kind::Checksum(algorithm) => {
            let base = Algorithm::of_file(name).map_or("", |(_, base)| base);
            let digits = |file| Checksum::parse(&whole(file, checksum::BYTES_MAX)?, algorithm, base).map_err(unreadable);
            report.compare("checksum", digits(a)?.digits, digits(b)?.digits);
        }
        Kind::Sbom(_) if a_form.text.is_some() || b_form.text.is_some() => {
            let text = |file, form: &Form| form.text.clone().map_or_else(|| whole(file, sbom::BYTES_MAX), Ok);
            lines(&text(a, a_form)?, &text(b, b_form)?, report);
        }
        Kind::Sbom(_) | Kind::Other if a.size().max(b.size()) <= TEXT_BYTES_MAX => {
            lines(&whole(a, TEXT_BYTES_MAX)?, &whole(b, TEXT_BYTES_MAX)?, report);
        }
        Kind::Sbom(_) | Kind::Other => {}
    }
    Ok(())
}

struct Side<'s, S: ?Sized> {
    source: &'s S,
    entries: &'s Tree,
    frame: &'s Frame,
    budget: &'s mut Budget,
}

fn archives<A, B>(a: Side<'_, A>, b: Side<'_, B>, purpose: Purpose, depth: u32, report: &mut Report) -> Result<(), Unreadable>
where
    A: ReadAt + ?Sized,
    B: ReadAt + ?Sized,
{
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    report.compare("comment", text(&a.frame.comment), text(&b.frame.comment));
    let place = |frame: &Frame| if frame.manifest_leads { "first" } else { "elsewhere" };
    report.compare("place of the manifest", place(a.frame), place(b.frame));
    let names = |frame: &Frame| frame.contested.iter().map(|name| text(name)).collect::<Vec<_>>().join(", ");
    report.compare("order of names that are one on some file systems", names(a.frame), names(b.frame));
    let (a_opened, b_opened) = (Opened::open(a.source, purpose, depth)?, Opened::open(b.source, purpose, depth)?);
    let (mut a_names, mut b_names) = (a.entries.iter().peekable(), b.entries.iter().peekable());
    loop {
        let order = match (a_names.peek(), b_names.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let from_a = if order.is_le() { a_names.next() } else { None };
        let from_b = if order.is_ge() { b_names.next() } else { None };
        if from_a == from_b {
            continue;
        }
        let Some((name, _)) = from_a.or(from_b) else { continue };
        if report.is_full() {
            report.omit(1);
            continue;
        }
        report.within(&text(name), |report| match order {
            Ordering::Less => {
                report.only_in_a("the entry");
                Ok(())
            }
            Ordering::Greater => {
                report.only_in_b("the entry");
                Ok(())
            }
            Ordering::Equal => entries((&a_opened, &mut *a.budget), (&b_opened, &mut *b.budget), name, report),
        })?;
    }
}

fn entries<A, B>(
    a: (&Opened<'_, A>, &mut Budget),
    b: (&Opened<'_, B>, &mut Budget),
    name: &[u8],
    report: &mut Report,
) -> Result<(), Unreadable>
where
    A: ReadAt + ?Sized,
    B: ReadAt + ?Sized,
{
    let ((a_opened, a_budget), (b_opened, b_budget)) = (a, b);
    let gone = || Unreadable::new("an entry that was read is gone");
    let a_entry = a_opened.entry(name).ok_or_else(gone)?;
    let b_entry = b_opened.entry(name).ok_or_else(gone)?;
    let a_form = a_opened.entry_form(a_entry, a_budget)?;
    let b_form = b_opened.entry_form(b_entry, b_budget)?;
    attributes(&a_form.attributes, &b_form.attributes, report);
    let (a_digest, b_digest) = (a_form.content.digest(), b_form.content.digest());
    match (&a_form.content, &b_form.content) {
        (Content::Manifest(a), Content::Manifest(b)) => manifests(a, b, report),
        (Content::Text { kind: a_kind, text: a }, Content::Text { kind: b_kind, text: b }) if a_kind == b_kind => {
            lines(a, b, report)
        }
        (Content::Archive { bytes: a, digest: a_digest, .. }, Content::Archive { bytes: b, digest: b_digest, .. })
            if a_digest != b_digest =>
        {
            let (purpose, depth) = a_opened.nested_place();
            // The same room as when the forms were made, so that what was opened then is opened now.
            a_budget.hold(a_entry.size);
            b_budget.hold(b_entry.size);
            let a_form = Opened::open(&a[..], purpose, depth)?.form(a_budget)?;
            let b_form = Opened::open(&b[..], purpose, depth)?.form(b_budget)?;
            let a = Side { source: &a[..], entries: &a_form.entries, frame: &a_form.frame, budget: a_budget };
            let b = Side { source: &b[..], entries: &b_form.entries, frame: &b_form.frame, budget: b_budget };
            archives(a, b, purpose, depth, report)?;
            a_budget.release(a_entry.size);
            b_budget.release(b_entry.size);
        }
        (Content::Plain { sha256: a_sha256, size: a_size }, Content::Plain { sha256: b_sha256, size: b_size })
            if a_sha256 != b_sha256 =>
        {
            let small = (*a_size).max(*b_size) <= TEXT_BYTES_MAX;
            let (a, b) = if small { (a_opened.read(a_entry)?, b_opened.read(b_entry)?) } else { Default::default() };
            if is_text(&a) && is_text(&b) && small {
                lines(&a, &b, report);
            } else {
                report.content((*a_size, a_sha256), (*b_size, b_sha256));
            }
        }
        _ if a_digest != b_digest => report.content((a_entry.size, &a_digest), (b_entry.size, &b_digest)),
        _ => {}
    }
    Ok(())
}

fn attributes(a: &Attributes, b: &Attributes, report: &mut Report) {
    let Attributes { mode, foreign, dos, internal, comment, marked_utf8, extra } = a;
    let octal = |mode: &Option<u32>| mode.map_or("none".to_owned(), |mode| format!("{mode:o}"));
    report.compare("mode", octal(mode), octal(&b.mode));
    let pair =
        |pair: &Option<(u16, u32)>| pair.map_or("none".to_owned(), |(system, bits)| format!("{bits:#x} of system {system}"));
    report.compare("attributes", pair(foreign), pair(&b.foreign));
    report.compare("attributes of MS-DOS", format!("{dos:#x}"), format!("{:#x}", b.dos));
    report.compare("internal attributes", format!("{internal:#x}"), format!("{:#x}", b.internal));
    report.compare("comment", String::from_utf8_lossy(comment), String::from_utf8_lossy(&b.comment));
    let mark = |mark: &Option<bool>| if mark.unwrap_or(true) { "UTF-8" } else { "not marked" };
    report.compare("encoding of the name", mark(marked_utf8), mark(&b.marked_utf8));
    for key in extra.keys().chain(b.extra.keys().filter(|key| !extra.contains_key(key))) {
        let value = |extra: Option<&Vec<u8>>| extra.map_or("none".to_owned(), |value| pyrsia_verifier_kit::hash::hex(value));
        let (a, b) = (extra.get(key), b.extra.get(key));
        if a != b {
            let place = if key.0 { "before the content" } else { "of the directory" };
            report.differs(&format!("extra field {:#06x} {place}", key.1), &value(a), &value(b));
        }
    }
}

fn manifests(a: &Manifest, b: &Manifest, report: &mut Report) {
    let first = |manifest: &Manifest| if manifest.version_first { "the version" } else { "something else" };
    report.compare("first attribute", first(a), first(b));
    sections(&a.main, &b.main, report);
    for name in a.sections.keys().chain(b.sections.keys().filter(|name| !a.sections.contains_key(*name))) {
        report.within(&String::from_utf8_lossy(name), |report| match (a.sections.get(name), b.sections.get(name)) {
            (Some(a), Some(b)) => sections(a, b, report),
            (Some(_), None) => report.only_in_a("the section"),
            _ => report.only_in_b("the section"),
        });
    }
}

fn sections(a: &Section, b: &Section, report: &mut Report) {
    for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
        let text = |section: &Section| section.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        report.within(name, |report| match (text(a), text(b)) {
            (Some(a), Some(b)) => report.compare("attribute", a, b),
            (Some(a), None) => report.only_in_a(&a),
            (None, b) => report.only_in_b(&b.unwrap_or_default()),
        });
    }
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

/// The lines between the first and the last that differ, side by side.
fn lines(a: &[u8], b: &[u8], report: &mut Report) {
    if a == b {
        return;
    }
    if !is_text(a) || !is_text(b) {
        let digest = pyrsia_verifier_kit::hash::sha256;
        report.content((a.len() as u64, &digest(a)), (b.len() as u64, &digest(b)));
        return;
    }
    let split = |bytes| <[u8]>::split_inclusive(bytes, |byte| *byte == b'\n').collect::<Vec<&[u8]>>();
    let (a, b) = (split(a), split(b));
    let shorter = a.len().min(b.len());
    let head = (0..shorter).take_while(|at| a[*at] == b[*at]).count();
    let tail = (1..=shorter - head).take_while(|at| a[a.len() - at] == b[b.len() - at]).count();
    let (a, b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    for at in 0..a.len().max(b.len()) {
        let (a, b) = (a.get(at), b.get(at));
        if a == b {
            continue;
        }
        if at >= LINES_MAX {
            report.omit(1);
            continue;
        }
        // With its end, so that lines that differ in nothing else do not look the same.
        let text = |line: &[u8]| String::from_utf8_lossy(line).trim_end_matches('\n').replace('\r', "\\r");
        report.within(&format!("line {}", head + at + 1), |report| match (a, b) {
            (Some(a), Some(b)) if text(a) == text(b) => report.differs("end of the line", &end_of(a), &end_of(b)),
            (Some(a), Some(b)) => report.differs("text", &text(a), &text(b)),
            (Some(a), None) => report.only_in_a(&text(a)),
            (None, b) => report.only_in_b(&text(b.copied().unwrap_or_default())),
        });
    }
}

fn end_of(line: &[u8]) -> String {
    if line.ends_with(b"\n") { "a line feed" } else { "none" }.to_owned()
}
