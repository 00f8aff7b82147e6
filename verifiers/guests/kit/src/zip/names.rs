//! The names of an archive's entries: that each names one place, and which of them name one place together on some file systems.

use std::collections::{BTreeMap, BTreeSet};

use super::Entry;
use crate::names::{folded, is_part_of_a_letter};
use crate::unreadable::{Result, Unreadable};

/// Refuses names that lead elsewhere, names that programs decode differently, and two entries in one place.
pub(super) fn check(entries: &[Entry]) -> Result<()> {
    let mut places = BTreeMap::new();
    for entry in entries {
        let fault = |what: &str| Unreadable::new(format!("the entry {:?} {what}", entry.name_text()));
        let place = place(entry);
        let plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
        if !place.split(|byte| *byte == b'/').all(plain)
            || place.iter().any(|byte| *byte < 0x20 || *byte == b'\\' || *byte == 0x7f)
        {
            return Err(fault("has a name with more than one meaning"));
        }
        // Without the mark a name beyond ASCII is read in whatever code page the program likes.
        std::str::from_utf8(place).map_err(|_| fault("has a name that is not UTF-8"))?;
        if entry.is_directory() && entry.size != 0 {
            return Err(fault("is a directory with content"));
        }
        if places.insert(place, entry.is_directory()).is_some() {
            return Err(fault("has the same name as another"));
        }
    }
    for entry in entries {
        if parents(place(entry)).any(|parent| places.get(parent).is_some_and(|is_directory| !is_directory)) {
            return Err(Unreadable::new(format!("the entry {:?} lies below one that is a file", entry.name_text())));
        }
    }
    Ok(())
}

/// The numbers of the entries that share a place with another, or lie below a file, once names are folded.
pub(super) fn contested(entries: &[Entry]) -> BTreeSet<usize> {
    let names: Vec<String> = entries.iter().map(|entry| folded(&String::from_utf8_lossy(place(entry)))).collect();
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, name) in names.iter().enumerate() {
        places.entry(name).or_default().push(at);
    }
    let mut contested: BTreeSet<usize> = places.values().filter(|sharing| sharing.len() > 1).flatten().copied().collect();
    for (at, name) in names.iter().enumerate() {
        for (slash, _) in name.match_indices('/') {
            let above = places.get(&name[..slash]).into_iter().flatten();
            let files: Vec<usize> = above.copied().filter(|above| !entries[*above].is_directory()).collect();
            if !files.is_empty() {
                contested.insert(at);
                contested.extend(files);
            }
        }
    }
    // Composing would take the tables of Unicode. Names with such characters are rare; next to them every name beyond ASCII is in doubt.
    let beyond_ascii: Vec<usize> = (0..names.len()).filter(|at| !names[*at].is_ascii()).collect();
    if beyond_ascii.len() > 1 && beyond_ascii.iter().any(|at| names[*at].chars().any(is_part_of_a_letter)) {
        contested.extend(beyond_ascii);
    }
    contested
}

fn place(entry: &Entry) -> &[u8] {
    entry.name.strip_suffix(b"/").unwrap_or(&entry.name)
}

fn parents(place: &[u8]) -> impl Iterator<Item = &[u8]> {
    place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &place[..at])
}
