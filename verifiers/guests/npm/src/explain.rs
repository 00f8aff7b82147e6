//! What differs between two packages: file by file, and in `package.json` key by key.

use std::collections::BTreeSet;

use pyrsia_verifier_kit::{File, Report};
use serde_json::{Map, Value};

use crate::package::{Entry, MANIFEST_PATH, Package};

/// How deep a difference of the manifest is followed; below that two values are shown as a whole.
const DEPTH_MAX: usize = 16;

pub fn packages(a: &File<'_>, b: &File<'_>, report: &mut Report) {
    // Both were read once before this is asked.
    let (Ok(a), Ok(b)) = (Package::read(a), Package::read(b)) else { return };
    let paths: BTreeSet<&String> = a.entries.keys().chain(b.entries.keys()).collect();
    for path in paths {
        report.within(path, |report| match (a.entries.get(path), b.entries.get(path)) {
            (Some(entry), None) => report.only_in_a(&format!("the {}", entry.kind.word())),
            (None, Some(entry)) => report.only_in_b(&format!("the {}", entry.kind.word())),
            (Some(of_a), Some(of_b)) if of_a != of_b => {
                entries(of_a, of_b, report);
                if of_a.content != of_b.content && path == MANIFEST_PATH {
                    manifests(&a, &b, report);
                } else if of_a.content != of_b.content {
                    report.content((of_a.size, &of_a.content), (of_b.size, &of_b.content));
                }
            }
            _ => {}
        });
    }
}

fn entries(a: &Entry, b: &Entry, report: &mut Report) {
    report.compare("kind", a.kind.word(), b.kind.word());
    if a.mode != b.mode {
        // As npm writes it, with the permissions that are not compared.
        let mode = |entry: &Entry| format!("{:o}", entry.mode | 0o644);
        report.differs("mode", &mode(a), &mode(b));
    }
    if !a.has_extra_of(b) {
        report.differs("extended attributes or pax records", "differ", "differ");
    }
}

fn manifests(a: &Package, b: &Package, report: &mut Report) {
    let found = (report.differences().len(), report.is_full());
    objects(a.manifest.fields(), b.manifest.fields(), 0, report);
    if found == (report.differences().len(), false) {
        let text = |package: &Package| String::from_utf8_lossy(&package.manifest_text).into_owned();
        report.differs("spelling, with equal values: the order of keys, white space, escapes or numbers", &text(a), &text(b));
    }
}

fn objects(a: &Map<String, Value>, b: &Map<String, Value>, depth: usize, report: &mut Report) {
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for key in keys {
        report.within(key, |report| match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) => values(a, b, depth + 1, report),
            (Some(a), None) => report.only_in_a(&a.to_string()),
            (None, Some(b)) => report.only_in_b(&b.to_string()),
            (None, None) => {}
        });
    }
}

fn values(a: &Value, b: &Value, depth: usize, report: &mut Report) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) if depth < DEPTH_MAX => objects(a, b, depth, report),
        (Value::Array(of_a), Value::Array(of_b)) if depth < DEPTH_MAX && of_a.len() == of_b.len() => {
            for (index, (a, b)) in of_a.iter().zip(of_b).enumerate() {
                report.within(&index.to_string(), |report| values(a, b, depth + 1, report));
            }
        }
        _ => report.compare("value", a, b),
    }
}
