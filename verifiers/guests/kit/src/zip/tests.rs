#![allow(clippy::unwrap_used)]

use std::io::Write;

use super::*;
use crate::inflate::read_all;

const BOUNDS: Bounds = Bounds::new(1 << 20);

/// Writes an archive as plainly as it can be written; a test then changes its bytes.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Writer {
    fn entry(mut self, name: &str, content: &[u8], method: u16, with_descriptor: bool) -> Self {
        let mut crc = Crc::new();
        crc.update(content);
        let data = if method == 8 {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        } else {
            content.to_vec()
        };
        let flags = if with_descriptor { FLAG_DESCRIPTOR } else { 0 };
        let sizes = [crc.sum(), data.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
        let local_offset = self.bytes.len() as u32;
        let head = |sizes: &[u8]| {
            [
                &20u16.to_le_bytes()[..],
                &flags.to_le_bytes(),
                &method.to_le_bytes(),
                &[0; 4],
                sizes,
                &(name.len() as u16).to_le_bytes(),
                &[0; 2],
            ]
            .concat()
        };
        self.bytes.extend(
            [&LOCAL_HEADER.to_le_bytes()[..], &head(if with_descriptor { &[0; 12] } else { &sizes }), name.as_bytes(), &data]
                .concat(),
        );
        if with_descriptor {
            self.bytes.extend([&DESCRIPTOR.to_le_bytes()[..], &sizes].concat());
        }
        self.directory.extend(
            [
                &CENTRAL_HEADER.to_le_bytes()[..],
                &[20, 3],
                &head(&sizes),
                &[0; 2 + 2 + 2 + 4],
                &local_offset.to_le_bytes(),
                name.as_bytes(),
            ]
            .concat(),
        );
        self.count += 1;
        self
    }

    fn finish(self, comment: &[u8]) -> Vec<u8> {
        let Self { bytes, directory, count } = self;
        let end = [&END.to_le_bytes()[..], &[0; 4], &count.to_le_bytes(), &count.to_le_bytes()].concat();
        let place = [(directory.len() as u32).to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
        [&bytes[..], &directory, &end, &place, &(comment.len() as u16).to_le_bytes(), comment].concat()
    }
}

fn sample() -> Vec<u8> {
    let content = b"content content content content".repeat(20);
    Writer::default()
        .entry("a/", b"", 0, false)
        .entry("a/b.txt", &content, 8, true)
        .entry("c", b"stored", 0, false)
        .finish(b"a comment")
}

fn open(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let archive = Archive::open(bytes, 100)?;
    archive.entries().iter().map(|entry| Ok((entry.name_text(), read_all(archive.reader(entry, BOUNDS), 1 << 20)?))).collect()
}

#[track_caller]
fn check_fault(bytes: &[u8], words: &str) {
    let fault = open(bytes).unwrap_err();
    assert!(fault.0.contains(words), "{fault}");
}

#[test]
fn entries_are_read_with_their_contents() {
    let entries = open(&sample()).unwrap();
    let names: Vec<_> = entries.iter().map(|(name, content)| (&name[..], content.len())).collect();
    assert_eq!(names, [("a/", 0), ("a/b.txt", 620), ("c", 6)]);
    assert_eq!(Archive::open(&sample()[..], 100).unwrap().comment(), b"a comment");
    assert_eq!(open(&Writer::default().finish(b"")).unwrap(), []);
}

#[test]
fn an_archive_stored_within_an_archive_is_no_second_end() {
    let nested = Writer::default().entry("inner.zip", &sample(), 0, false).finish(b"");
    assert_eq!(open(&nested).unwrap()[0].1, sample());
    let in_comment = Writer::default().entry("c", b"stored", 0, false).finish(&Writer::default().finish(b""));
    check_fault(&in_comment, "more than one place");
}

#[test]
fn no_byte_can_be_changed_without_a_difference() {
    let whole = sample();
    let sound = open(&whole).unwrap();
    let entries =
        |bytes: &[u8]| Archive::open(bytes, 100).map(|archive| (archive.entries().to_vec(), archive.comment().to_vec()));
    let (entries_before, comment_before) = entries(&whole).unwrap();
    for at in 0..whole.len() {
        for bit in [0x01, 0x10, 0x80] {
            let mut changed = whole.clone();
            changed[at] ^= bit;
            let Ok(contents) = open(&changed) else { continue };
            let (entries_after, comment_after) = entries(&changed).unwrap();
            let seen = contents != sound
                || comment_after != comment_before
                || entries_before.iter().zip(&entries_after).any(|(before, after)| before != after);
            // The version needed to extract is the one thing that says nothing about content.
            let is_version_needed =
                [4, 5].iter().any(|field| whole[..at.saturating_sub(*field) + 4].ends_with(&LOCAL_HEADER.to_le_bytes()))
                    || [6, 7].iter().any(|field| at >= *field && whole[at - field..].starts_with(&CENTRAL_HEADER.to_le_bytes()));
            // The same content can be deflated in many ways: from another place that repeats, and with other bits behind the end.
            let is_deflated = entries_before.iter().any(|entry| {
                let data = entry.data_offset..entry.data_offset + entry.compressed_size;
                entry.method == Method::Deflated && data.contains(&(at as u64))
            });
            assert!(seen || is_version_needed || is_deflated, "bit {bit:#x} of byte {at}");
        }
    }
}

#[test]
fn what_programs_read_in_two_ways_is_not_read() {
    let whole = sample();
    check_fault(&[b"prefix", &whole[..]].concat(), "directory does not end");
    check_fault(&[&whole[..], b"\0"].concat(), "does not end with the end record");
    check_fault(&whole[..whole.len() - 1], "does not end with the end record");
    let two = |a: &str, b: &str| Writer::default().entry(a, b"1", 0, false).entry(b, b"2", 0, false).finish(b"");
    check_fault(&two("x", "x"), "same name");
    check_fault(&two("x", "X"), "same name");
    check_fault(&two("x", "x/y"), "lies below");
    check_fault(&two("x", "X/y"), "same name");
    check_fault(&two("\u{e9}", "e\u{301}"), "same name");
    for name in ["../x", "/x", "x//y", "x/./y", "x\\y", "x\0", ""] {
        check_fault(&Writer::default().entry(name, b"1", 0, false).finish(b""), "more than one meaning");
    }
    // The header of an entry says another method or size than the directory.
    let mut other = Writer::default().entry("x", b"1", 0, false).finish(b"");
    other[22] = 9;
    check_fault(&other, "described differently");
    check_fault(&Writer::default().entry("x", b"1", 99, false).finish(b""), "unknown way");
    let mut gap = Writer::default().entry("x", b"1", 0, false);
    gap.bytes.push(0);
    check_fault(&gap.entry("y", b"1", 0, false).finish(b""), "belong to nothing");
}

#[test]
fn by_exact_names_what_only_some_file_systems_confuse_is_read_and_named_in_its_order() {
    let contested = |names: &[&str]| {
        let bytes = names.iter().fold(Writer::default(), |writer, name| writer.entry(name, b"", 0, false)).finish(b"");
        let archive = Archive::open_by_exact_names(&bytes[..], 100)?;
        Ok::<_, Unreadable>(
            archive.contested_names().into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(contested(&["b.class", "other", "B.class"]).unwrap(), ["b.class", "B.class"]);
    let licenses = ["META-INF/license/", "META-INF/license/LICENSE.txt", "META-INF/LICENSE"];
    assert_eq!(contested(&licenses).unwrap(), licenses);
    assert_eq!(
        contested(&["META-INF/LICENSE", "META-INF/license/a/b", "a"]).unwrap(),
        ["META-INF/LICENSE", "META-INF/license/a/b"]
    );
    assert!(contested(&["Org/a", "org/b", "\u{e9}", "\u{e8}"]).unwrap().is_empty());
    assert_eq!(contested(&["\u{e9}", "e\u{301}"]).unwrap().len(), 2);
    for names in [&["a", "a"][..], &["a", "a/"], &["a", "a/b"], &["a/b", "a"]] {
        assert!(contested(names).is_err(), "{names:?}");
    }
}

#[test]
fn a_content_that_unpacks_to_more_than_announced_is_stopped() {
    let mut bytes = Writer::default().entry("x", &[0; 5000], 8, false).finish(b"");
    let at = bytes.windows(4).rposition(|window| window == 5000u32.to_le_bytes()).unwrap();
    bytes[at] ^= 0xff;
    let first = bytes.windows(4).position(|window| window == 5000u32.to_le_bytes()).unwrap();
    bytes[first] ^= 0xff;
    assert!(open(&bytes).is_err());
    assert!(Archive::open(&sample()[..], 2).is_err_and(|fault| fault.0.contains("3 entries")));
}
