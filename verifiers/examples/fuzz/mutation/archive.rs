//! Changes to what tar and zip archives consist of. What else refers to the changed place mostly says the same afterwards, so that readers get beyond it.

use std::io::{Cursor, Read, Write};
use std::ops::Range;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::{UNPACKED_BYTES_MAX, bytes, text};
use crate::random::Random;

const BLOCK_BYTES: usize = 512;
const MODE: Range<usize> = 100..108;
/// Fields of a tar header: where, and how long.
const TAR_FIELDS: [(usize, usize); 14] = [
    (0, 100),
    (100, 8),
    (108, 8),
    (116, 8),
    (124, 12),
    (136, 12),
    (156, 1),
    (157, 100),
    (257, 8),
    (265, 32),
    (297, 32),
    (329, 8),
    (337, 8),
    (345, 155),
];
/// Records that say something in a header of the pax format.
const PAX_RECORDS: [&str; 10] = [
    "mtime=1.5",
    "uid=7",
    "path=elsewhere",
    "linkpath=elsewhere",
    "SCHILY.xattr.user.a=b",
    "size=0",
    "comment=c",
    "GNU.sparse.major=1",
    "SCHILY.ino=3",
    "uname=somebody",
];
const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";

/// One header with its content, in whole blocks.
fn tar_entries(archive: &[u8]) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let (mut entries, mut at) = (Vec::new(), 0);
    while archive.get(at..at + BLOCK_BYTES)?.iter().any(|byte| *byte != 0) {
        let size = octal(&archive[at + 124..at + 136]);
        let end = at.checked_add(BLOCK_BYTES)?.checked_add(size.checked_next_multiple_of(BLOCK_BYTES)?)?;
        entries.push(archive.get(at..end)?.to_vec());
        at = end;
    }
    Some((entries, archive[at..].to_vec()))
}

fn octal(field: &[u8]) -> usize {
    let digits = field.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum, digit| sum.wrapping_mul(8).wrapping_add(usize::from(digit - b'0')))
}

fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header[..BLOCK_BYTES].iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn size_field(header: &mut [u8], size: usize) {
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
}

pub(super) fn tar(archive: &[u8], random: &mut Random, depth: u32) -> Option<Vec<u8>> {
    let (mut entries, mut end) = tar_entries(archive)?;
    let at = random.below(entries.len());
    let other = random.below(entries.len());
    match random.below(11) {
        0 => drop(entries.remove(at)),
        1 => entries.swap(at, other),
        2 => entries.insert(at, entries[other].clone()),
        3 => end.resize((end.len() + BLOCK_BYTES * random.below(20)).saturating_sub(BLOCK_BYTES * random.below(4)), 0),
        4 => {
            let record = random.pick(&PAX_RECORDS)?;
            // Its own length counts; all of these are of two digits.
            let record = format!("{} {record}\n", record.len() + 4);
            let mut header = vec![0; 2 * BLOCK_BYTES];
            header[..3].copy_from_slice(b"pax");
            header[100..108].copy_from_slice(b"0000644\0");
            size_field(&mut header, record.len());
            header[156] = b'x';
            header[257..265].copy_from_slice(b"ustar\x0000");
            header[BLOCK_BYTES..][..record.len()].copy_from_slice(record.as_bytes());
            seal(&mut header);
            entries.insert(at, header);
        }
        5 | 6 => {
            let entry = entries.get_mut(at)?;
            let content = entry.split_off(BLOCK_BYTES);
            let size = octal(&entry[124..136]);
            let mut content = bytes(&content[..size.min(content.len())], random, depth + 1);
            size_field(entry, content.len());
            content.resize(content.len().next_multiple_of(BLOCK_BYTES), 0);
            seal(entry);
            entry.extend(content);
        }
        // Each of these bits is a right; among all digits of all fields it would seldom have its turn.
        7 => {
            let entry = entries.get_mut(at)?;
            let mode = octal(&entry[MODE]) ^ 1 << random.below(12);
            entry[MODE].copy_from_slice(format!("{:07o}\0", mode & 0o777_7777).as_bytes());
            seal(entry);
        }
        _ => {
            let (start, len) = *random.pick(&TAR_FIELDS)?;
            let entry = entries.get_mut(at)?;
            let field = &mut entry[start..start + len];
            let used = field.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
            if random.one_in(2) {
                let mut changed = text(&field[..used], random);
                changed.resize(len, 0);
                field.copy_from_slice(&changed);
            } else {
                // Another digit or character at a place that counts.
                let place = random.below(used.max(1));
                field[place] = if field[place].is_ascii_digit() { b'0' + random.below(8) as u8 } else { random.next() as u8 };
            }
            if !random.one_in(8) {
                seal(entry);
            }
        }
    }
    entries.push(end);
    Some(entries.concat())
}

pub(super) fn zip(archive: &[u8], random: &mut Random, depth: u32) -> Option<Vec<u8>> {
    if random.one_in(2) { headers(archive, random) } else { rewritten(archive, random, depth) }
}

fn places(archive: &[u8], signature: &[u8]) -> Vec<usize> {
    archive.windows(4).enumerate().filter(|(_, window)| *window == signature).map(|(at, _)| at).collect()
}

/// A field of a header, and the one of the other header that should say the same.
fn headers(archive: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut changed = archive.to_vec();
    let (locals, centrals) = (places(archive, LOCAL), places(archive, CENTRAL));
    let number = random.below(centrals.len());
    let flip = 1u8 << random.below(8);
    match random.below(5) {
        0 => *changed.get_mut(*places(archive, END).last()? + 4 + random.below(18))? ^= flip,
        1 => *changed.get_mut(centrals.get(number)? + 4 + random.below(42))? ^= flip,
        2 => *changed.get_mut(locals.get(number)? + 4 + random.below(26))? ^= flip,
        3 => {
            // Version, flags, method, time, checksum, sizes and lengths stand in both.
            let field = 4 + random.below(26);
            *changed.get_mut(locals.get(number)? + field)? ^= flip;
            *changed.get_mut(centrals.get(number)? + field + 2)? ^= flip;
        }
        _ => {
            let place = random.below(12);
            *changed.get_mut(locals.get(number)? + 30 + place)? ^= flip;
            *changed.get_mut(centrals.get(number)? + 46 + place)? ^= flip;
        }
    }
    Some(changed)
}

/// The same entries by another program, with one of them changed.
fn rewritten(archive: &[u8], random: &mut Random, depth: u32) -> Option<Vec<u8>> {
    let mut read = ZipArchive::new(Cursor::new(archive)).ok()?;
    let mut entries = Vec::new();
    for at in 0..read.len() {
        let mut entry = read.by_index(at).ok()?;
        let (name, mode, time) = (entry.name().ok()?.into_owned(), entry.unix_mode(), entry.last_modified());
        let method = entry.compression();
        let mut content = Vec::new();
        entry.by_ref().take(UNPACKED_BYTES_MAX).read_to_end(&mut content).ok()?;
        entries.push((name, mode, time, method, content));
    }
    let (at, other) = (random.below(entries.len()), random.below(entries.len()));
    let (name, mode, time, method, content) = entries.get_mut(at)?;
    match random.below(9) {
        0 => *name = String::from_utf8_lossy(&text(name.as_bytes(), random)).into_owned(),
        1 => *mode = Some(mode.unwrap_or(0o644) ^ 1 << random.below(12)),
        2 => *time = DateTime::from_date_and_time(2000, 1, 2, 3, 4, random.below(60) as u8).ok(),
        3 => *method = if *method == CompressionMethod::Stored { CompressionMethod::Deflated } else { CompressionMethod::Stored },
        4 => drop(entries.remove(at)),
        5 => entries.swap(at, other),
        6 => {}
        _ => *content = bytes(content, random, depth + 1),
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, time, method, content) in entries {
        let mut options = SimpleFileOptions::default().compression_method(method).last_modified_time(time.unwrap_or_default());
        if let Some(mode) = mode {
            options = options.unix_permissions(mode);
        }
        if name.ends_with('/') {
            writer.add_directory(name, options).ok()?;
        } else {
            writer.start_file(name, options).ok()?;
            writer.write_all(&content).ok()?;
        }
    }
    Some(writer.finish().ok()?.into_inner())
}
