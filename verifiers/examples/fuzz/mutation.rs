//! Changes to an output that go through its structure: an entry of an archive, a key of a document, a field of a header, down to single bytes.

mod archive;

use std::io::{Read, Write};

use flate2::Compression;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::case::Case;
use crate::random::Random;

const DEPTH_MAX: u32 = 6;
/// A mutation must not turn a bomb into memory of this program.
pub(crate) const UNPACKED_BYTES_MAX: u64 = 8 << 20;
/// Bytes that mean something to some format.
const TELLING: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'/', b'.', b'\\', b'\n', b'\r', b'"', b'0'];

/// The case with one change, or two. Sometimes nothing comes of them.
pub(crate) fn mutated(case: &Case, random: &mut Random) -> Case {
    let mut changed = case.clone();
    for _ in 0..=random.below(4) / 3 {
        change(&mut changed, random);
    }
    changed
}

fn change(case: &mut Case, random: &mut Random) {
    let at = random.below(case.files.len());
    match random.below(40) {
        0 if case.files.len() > 1 => {
            case.files.remove(at);
        }
        1 => {
            let other = random.below(case.files.len());
            case.files.swap(at, other);
        }
        2 => {
            let name = text(case.files[at].0.as_bytes(), random);
            case.files[at].0 = String::from_utf8_lossy(&name).into_owned();
        }
        3 => {
            let file = case.files[at].clone();
            case.files.push(file);
        }
        _ => {
            let before = case.files[at].1.clone();
            let after = bytes(&before, random, 0);
            case.files[at].1.clone_from(&after);
            if !random.one_in(4) {
                relink(case, &before, &after);
            }
        }
    }
}

/// Makes what referred to an object by its digest refer to its changed form, up to the top: without that, changes end at the first digest that is wrong.
fn relink(case: &mut Case, before: &[u8], after: &[u8]) {
    let oci =
        |bytes: &[u8]| format!("sha256:{}", Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let (old, new) = (oci(before), oci(after));
    if old == new {
        return;
    }
    for (name, _) in &mut case.files {
        *name = name.replace(&old, &new);
    }
    let unpacked = |bytes: &[u8]| unpack(bytes).unwrap_or_else(|| bytes.to_vec());
    let (old_tar, new_tar) = (oci(&unpacked(before)), oci(&unpacked(after)));
    for at in 0..case.files.len() {
        let document = case.files[at].1.clone();
        let Ok(mut value) = serde_json::from_slice::<Value>(&document) else { continue };
        if refer(&mut value, (&old, &new, after.len()), (&old_tar, &new_tar)) {
            let written = value.to_string().into_bytes();
            case.files[at].1.clone_from(&written);
            relink(case, &document, &written);
        }
    }
}

fn refer(value: &mut Value, (old, new, size): (&str, &str, usize), tars: (&str, &str)) -> bool {
    match value {
        Value::Object(map) => {
            let mut changed = false;
            if map.get("digest").is_some_and(|digest| digest == old) {
                map.insert("digest".into(), new.into());
                map.insert("size".into(), size.into());
                changed = true;
            }
            map.values_mut().fold(changed, |changed, value| refer(value, (old, new, size), tars) | changed)
        }
        Value::Array(items) => items.iter_mut().fold(false, |changed, value| refer(value, (old, new, size), tars) | changed),
        Value::String(text) if *text == tars.0 && tars.0 != tars.1 => {
            *text = tars.1.into();
            true
        }
        _ => false,
    }
}

/// Something else in place of some bytes, by what they are.
pub(crate) fn bytes(before: &[u8], random: &mut Random, depth: u32) -> Vec<u8> {
    if depth > DEPTH_MAX || random.one_in(16) {
        return raw(before, random);
    }
    let structured = match before {
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => packed(before, random, depth),
        [b'P', b'K', ..] => archive::zip(before, random, depth),
        _ if before.get(257..262) == Some(b"ustar") => archive::tar(before, random, depth),
        [b'{' | b'[', ..] => json(before, random),
        _ if std::str::from_utf8(before).is_ok() => Some(text(before, random)),
        _ => None,
    };
    structured.unwrap_or_else(|| raw(before, random))
}

pub(crate) fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(bytes).take(UNPACKED_BYTES_MAX).read_to_end(&mut unpacked).ok()?;
    } else {
        let frame = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(bytes, UNPACKED_BYTES_MAX).ok()?;
        frame.take(UNPACKED_BYTES_MAX).read_to_end(&mut unpacked).ok()?;
    }
    (unpacked.len() as u64 != UNPACKED_BYTES_MAX).then_some(unpacked)
}

fn packed(before: &[u8], random: &mut Random, depth: u32) -> Option<Vec<u8>> {
    let is_gzip = before.starts_with(&[0x1f, 0x8b]);
    match random.below(8) {
        0 if is_gzip => {
            let mut changed = before.to_vec();
            *changed.get_mut(3 + random.below(7))? ^= 1 << random.below(8);
            return Some(changed);
        }
        1 => return Some([before, random.pick(&[before, b"\0", b"x"])?].concat()),
        _ => {}
    }
    let unpacked = unpack(before)?;
    let inner = if random.one_in(5) { unpacked } else { bytes(&unpacked, random, depth + 1) };
    if !is_gzip && !random.one_in(8) {
        use ruzstd::encoding::{CompressionLevel, compress_to_vec};
        let level = if random.one_in(3) { CompressionLevel::Uncompressed } else { CompressionLevel::Fastest };
        return Some(compress_to_vec(&inner[..], level));
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::new(random.below(10) as u32));
    encoder.write_all(&inner).ok()?;
    encoder.finish().ok()
}

fn json(before: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(before).ok()?;
    match random.below(10) {
        0 => return Some(serde_json::to_string_pretty(&value).ok()?.into_bytes()),
        1 => return Some(text(before, random)),
        // A key a second time, with something else.
        2 => {
            let key = value.as_object()?.keys().nth(random.below(value.as_object()?.len()))?.clone();
            let rest = value.to_string();
            return Some(format!("{{{}:{},{}", Value::from(key), random.below(3), rest.strip_prefix('{')?).into_bytes());
        }
        _ => {}
    }
    value_within(&mut value, random);
    Some(value.to_string().into_bytes())
}

/// Changes this value or one inside it.
fn value_within(value: &mut Value, random: &mut Random) {
    let stop = random.one_in(3);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let Some(key) = map.keys().nth(random.below(map.len())).cloned() else { return };
            match (stop, random.below(3)) {
                (true, 0) => drop(map.remove(&key)),
                (true, 1) => {
                    let moved = map.remove(&key).unwrap_or_default();
                    map.insert(String::from_utf8_lossy(&text(key.as_bytes(), random)).into_owned(), moved);
                }
                (true, _) => drop(map.insert("added".into(), Value::Null)),
                (false, _) => map.get_mut(&key).into_iter().for_each(|inner| value_within(inner, random)),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let (one, other) = (random.below(items.len()), random.below(items.len()));
            match (stop, random.below(3)) {
                (true, 0) => drop(items.remove(one)),
                (true, 1) => items.swap(one, other),
                (true, _) => items.insert(one, items[other].clone()),
                (false, _) => value_within(&mut items[one], random),
            }
        }
        scalar => {
            let others = [Value::Null, true.into(), 0.into(), "".into(), (-1).into(), Value::Array(vec![])];
            *scalar = match (&*scalar, random.below(4)) {
                (_, 0) => random.pick(&others).cloned().unwrap_or_default(),
                (Value::Number(number), _) => number.as_u64().unwrap_or(0).wrapping_add(1).into(),
                (Value::Bool(is), _) => (!is).into(),
                (Value::String(string), _) => String::from_utf8_lossy(&text(string.as_bytes(), random)).into_owned().into(),
                (other, _) => Value::Array(vec![other.clone()]),
            };
        }
    }
}

/// Lines and characters of a text.
pub(crate) fn text(before: &[u8], random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = before.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.len() > 1 && random.one_in(2) {
        let (one, other) = (random.below(lines.len()), random.below(lines.len()));
        match random.below(5) {
            0 => drop(lines.remove(one)),
            1 => lines.swap(one, other),
            2 => lines.insert(one, lines[other].clone()),
            3 => lines[one].insert(0, b' '),
            _ => {
                let end = lines[one].len().saturating_sub(1);
                lines[one].insert(end, *random.pick(b"\r x").unwrap_or(&b' '));
            }
        }
        return lines.concat();
    }
    let mut changed = before.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(changed.len() + 1);
        let inserted: &[u8] = random
            .pick(&[&b"a"[..], b"/", b"..", b"@", b":", b" ", b"%2f", b"\xc3\xa9", b"<!--", b"&", b"\0", b"-", b"1", b"A"])
            .copied()
            .unwrap_or(b"");
        match random.below(4) {
            0 if at < changed.len() => drop(changed.remove(at)),
            1 if at < changed.len() => changed[at] ^= 1 << random.below(8),
            2 if at < changed.len() => changed[at] = *random.pick(&TELLING).unwrap_or(&0),
            _ => drop(changed.splice(at..at, inserted.iter().copied())),
        }
    }
    changed
}

/// Bytes, whatever they mean.
pub(crate) fn raw(before: &[u8], random: &mut Random) -> Vec<u8> {
    let mut changed = before.to_vec();
    for _ in 0..=random.below(2) {
        let at = random.below(changed.len());
        let end = (at + 1 + random.below(64)).min(changed.len());
        match random.below(8) {
            _ if changed.is_empty() => {
                changed = {
                    let len = random.below(100);
                    random.bytes(len)
                }
            }
            0 => changed.truncate(at),
            1 => drop(changed.drain(at..end)),
            2 => changed.extend_from_within(at..end),
            3 => {
                let piece = changed[at..end].to_vec();
                changed.splice(at..at, piece);
            }
            4 => changed[at] = *random.pick(&TELLING).unwrap_or(&0),
            5 => changed[at..end].fill(0),
            _ => changed[at] ^= 1 << random.below(8),
        }
    }
    changed
}
