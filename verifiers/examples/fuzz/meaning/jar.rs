//! Maven's files: archives entry by entry, poms and module metadata without what a build writes into them.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use serde_json::Value;
use zip::ZipArchive;

use super::{Meaning, print};
use crate::mutation::UNPACKED_BYTES_MAX;

const ARCHIVES: [&str; 8] = [".jar", ".war", ".ear", ".rar", ".aar", ".sar", ".har", ".zip"];
const CHECKSUMS: [&str; 4] = [".md5", ".sha1", ".sha256", ".sha512"];
/// Main attributes and beginnings of them that a build writes of itself.
const NOISE_OF_MANIFEST: [&str; 14] = [
    "Ant-",
    "Archiver-",
    "Bnd-",
    "Build",
    "Built-",
    "Created-By",
    "DSTAMP",
    "Hudson-",
    "Implementation-Build-",
    "Jenkins-",
    "Maven-",
    "Originally-",
    "Os-",
    "T",
];
const ORDERLESS: [&str; 4] = ["Export-Package", "Private-Package", "Include-Resource", "Provide-Capability"];

pub(super) fn meaning(files: &[(String, Vec<u8>)]) -> Option<Meaning> {
    let mut meaning = Meaning::new();
    for (name, bytes) in files {
        if CHECKSUMS.iter().any(|extension| name.ends_with(extension)) {
            meaning.insert(name.clone(), "a checksum".into());
        } else if ARCHIVES.iter().any(|extension| name.ends_with(extension)) {
            archive(name, bytes, name.contains("-javadoc"), 0, &mut meaning)?;
        } else if name.ends_with(".pom") {
            let text = String::from_utf8_lossy(bytes).replace('\r', "");
            meaning.insert(name.clone(), text.trim_end_matches('\n').into());
        } else if name.ends_with(".module") {
            let mut value = serde_json::from_slice(bytes).ok()?;
            without_build(&mut value);
            meaning.insert(name.clone(), value.to_string());
        } else {
            meaning.insert(name.clone(), bill_of_materials(name, bytes).unwrap_or_else(|| print(bytes)));
        }
    }
    Some(meaning)
}

fn without_build(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["buildId", "version", "size", "sha512", "sha256", "sha1", "md5"] {
                // The version of a component or of a dependency is content.
                if key != "version" || map.contains_key("buildId") {
                    map.remove(key);
                }
            }
            map.values_mut().for_each(without_build);
        }
        Value::Array(items) => items.iter_mut().for_each(without_build),
        _ => {}
    }
}

fn archive(place: &str, bytes: &[u8], is_javadoc: bool, depth: u32, meaning: &mut Meaning) -> Option<()> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    meaning.insert(format!("{place}!"), format!("comment {:?}", String::from_utf8_lossy(archive.comment())));
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).ok()?;
        let name = entry.name().ok()?.into_owned();
        let inner = format!("{place}!/{name}");
        let mode = entry.unix_mode().map(|mode| mode & 0o7755);
        let mut content = Vec::new();
        entry.by_ref().take(UNPACKED_BYTES_MAX).read_to_end(&mut content).ok()?;
        let is_nested = ARCHIVES.iter().any(|extension| name.ends_with(extension)) && content.starts_with(b"PK") && depth < 4;
        let said = if is_nested && archive_of(&inner, &content, is_javadoc, depth, meaning) {
            "an archive".into()
        } else if name == "META-INF/MANIFEST.MF" {
            manifest(&content)
        } else if name.ends_with("pom.properties") || name.ends_with("git.properties") {
            properties(&content)
        } else if is_javadoc && name.ends_with(".html") {
            "a page".into()
        } else if let Some(bill) = bill_of_materials(&name, &content) {
            bill
        } else {
            print(&content)
        };
        meaning.entry(inner).or_default().push_str(&format!("{mode:?} {said}; "));
    }
    Some(())
}

fn archive_of(place: &str, bytes: &[u8], is_javadoc: bool, depth: u32, meaning: &mut Meaning) -> bool {
    let mut nested = Meaning::new();
    let is_read = archive(place, bytes, is_javadoc, depth + 1, &mut nested).is_some();
    if is_read {
        meaning.extend(nested);
    }
    is_read
}

fn manifest(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n").replace("\n ", "");
    let mut sections = BTreeMap::new();
    for (number, section) in text.split("\n\n").map(str::trim).filter(|section| !section.is_empty()).enumerate() {
        let mut lines: Vec<String> = section.lines().map(attribute).collect();
        lines.retain(|line| number > 0 || !NOISE_OF_MANIFEST.iter().any(|noise| starts_with_ignoring_case(line, noise)));
        lines.sort();
        // The first is the one about the archive; the others have names.
        sections.insert((number > 0, lines.clone()), ());
    }
    format!("{:?}", sections.keys().collect::<Vec<_>>())
}

fn attribute(line: &str) -> String {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    let mut characters: Vec<char> = value.chars().collect();
    if ORDERLESS.iter().any(|orderless| name.eq_ignore_ascii_case(orderless)) {
        characters.retain(|character| *character != ',');
        characters.sort_unstable();
    }
    format!("{}:{}", name.to_ascii_lowercase(), characters.iter().collect::<String>())
}

fn starts_with_ignoring_case(line: &str, start: &str) -> bool {
    line.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

fn properties(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace('\r', "\n");
    let is_noise = |line: &&str| line.is_empty() || line.starts_with(['#', '!']) || line.starts_with("git.build.");
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !is_noise(line)).collect();
    lines.sort_unstable();
    format!("{lines:?}")
}

fn bill_of_materials(name: &str, bytes: &[u8]) -> Option<String> {
    let mut value: Value = if name.ends_with(".json") { serde_json::from_slice(bytes).ok()? } else { return None };
    value.as_object_mut()?.remove("serialNumber");
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.remove("timestamp");
    }
    Some(value.to_string())
}
