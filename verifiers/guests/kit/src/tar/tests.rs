#![allow(clippy::unwrap_used)]

use super::*;

fn header(path: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_mode(0o4755);
    header.set_uid(1000);
    header.set_gid(7);
    header.set_mtime(1_600_000_000);
    header.set_cksum();
    header
}

fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().unwrap()
}

fn entries(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = TarReader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        entries.push((entry, content));
    }
    Ok(entries)
}

#[track_caller]
fn check_fault(bytes: &[u8], words: &str) {
    let fault = entries(bytes).unwrap_err();
    assert!(fault.0.contains(words), "{fault}");
}

fn sample() -> Vec<u8> {
    archive(|builder| {
        builder.append(&header("bin/tool", 600), &[7; 600][..]).unwrap();
        let mut link = header("bin/link", 0);
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_link_name("tool").unwrap();
        link.set_cksum();
        builder.append(&link, &b""[..]).unwrap();
    })
}

#[test]
fn entries_are_read_with_all_that_means_something() {
    let read = entries(&sample()).unwrap();
    let (tool, content) = &read[0];
    assert_eq!((&tool.path[..], tool.kind, tool.mode, tool.uid, tool.gid), (&b"bin/tool"[..], Kind::File, 0o4755, 1000, 7));
    assert_eq!((content, &tool.modified[..]), (&vec![7; 600], &b"1600000000"[..]));
    assert_eq!((&read[1].0.link[..], read[1].0.kind), (&b"tool"[..], Kind::SymbolicLink));
}

#[test]
fn every_dialect_gives_the_same_entry() {
    let path = format!("{}/name", "long".repeat(60));
    let ustar_like = |entry: &Entry| (entry.path.clone(), entry.kind, entry.size, entry.uid);
    let gnu = archive(|builder| {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_uid(5);
        builder.append_data(&mut header, &path, &b"hi"[..]).unwrap();
    });
    let pax = archive(|builder| {
        let records = [("path", path.as_bytes()), ("uid", b"5"), ("SCHILY.xattr.security.capability", b"\x01\0=\n")];
        builder.append_pax_extensions(records).unwrap();
        builder.append(&header("short", 2), &b"hi"[..]).unwrap();
    });
    let (gnu, pax) = (entries(&gnu).unwrap(), entries(&pax).unwrap());
    assert_eq!(ustar_like(&gnu[0].0), ustar_like(&pax[0].0));
    assert_eq!(gnu[0].0.path, path.as_bytes());
    assert_eq!(pax[0].0.attributes[&b"security.capability"[..]], b"\x01\0=\n");
}

#[test]
fn skipping_content_finds_the_next_entry() {
    let bytes = sample();
    let mut reader = TarReader::new(&bytes[..]);
    reader.next_entry().unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"bin/link");
    assert_eq!(reader.next_entry().unwrap(), None);
}

#[test]
fn what_programs_read_in_two_ways_is_not_read() {
    let whole = sample();
    check_fault(&whole[..whole.len() - 512], "ends too early");
    check_fault(&whole[..whole.len() - 1024], "ends without");
    check_fault(&whole[..1000], "ends too early");
    check_fault(&[&whole[..], &whole].concat(), "follows the end");
    let mut damaged = whole.clone();
    damaged[0] = b'B';
    check_fault(&damaged, "checksum");
    let with = |change: &dyn Fn(&mut tar::Header)| {
        let mut changed = header("x", 0);
        change(&mut changed);
        changed.set_cksum();
        archive(|builder| builder.append(&changed, &b""[..]).unwrap())
    };
    check_fault(&with(&|header| header.as_mut_bytes()[100..108].copy_from_slice(b"0000x00\0")), "mode");
    check_fault(&with(&|header| header.set_entry_type(tar::EntryType::GNUSparse)), "sparse");
    check_fault(&with(&|header| header.set_entry_type(tar::EntryType::new(b'V'))), "unknown type");
    check_fault(&with(&|header| header.as_mut_bytes()[1] = b'/'), "a directory by its name");
    check_fault(&with(&|header| header.set_link_name("y").unwrap()), "link target");
    let global = archive(|builder| {
        let mut global = header("g", 12);
        global.set_entry_type(tar::EntryType::XGlobalHeader);
        global.set_cksum();
        builder.append(&global, &b"12 path=abc\n"[..]).unwrap();
        builder.append(&header("x", 0), &b""[..]).unwrap();
    });
    check_fault(&global, "global header");
}

#[test]
fn names_and_records_that_programs_end_in_two_places_are_not_read() {
    let with = |change: &dyn Fn(&mut [u8; 512])| {
        let mut changed = header("x", 0);
        change(changed.as_mut_bytes());
        changed.set_cksum();
        archive(|builder| builder.append(&changed, &b""[..]).unwrap())
    };
    // A name is the text up to the first zero, or up to the end of its line.
    check_fault(&with(&|bytes| bytes[2..6].copy_from_slice(b"\ny.s")), "followed by bytes");
    check_fault(&with(&|bytes| bytes[346..350].copy_from_slice(b"\n/y.")), "followed by bytes");
    check_fault(&with(&|bytes| bytes[475] = b'y'), "followed by bytes");
    let times = with(&|bytes| bytes[476..500].copy_from_slice(b"00000000001\x0000000000002\0"));
    assert_eq!(entries(&times).unwrap()[0].0.path, b"x", "two times behind a short prefix");
    let record = |key: &str, value: &[u8]| {
        archive(|builder| {
            builder.append_pax_extensions([(key, value)]).unwrap();
            builder.append(&header("x", 2), &b"hi"[..]).unwrap();
        })
    };
    for key in ["mtime", "atime", "ctime", "LIBARCHIVE.creationtime", "uname", "gname", "comment", "SCHILY.ino"] {
        check_fault(&record(key, b"0\n10 path=y"), key);
    }
    for time in ["1600000000", "1600000000.123456789", "-1.5", ""] {
        assert!(entries(&record("mtime", time.as_bytes())).is_ok(), "{time}");
    }
    for time in ["soon", "1.", ".5", "1.2.3", "--1"] {
        check_fault(&record("mtime", time.as_bytes()), "mtime");
    }
    check_fault(&record("size", b"1"), "two sizes");
    assert_eq!(entries(&record("size", b"2")).unwrap()[0].1, b"hi");
    let both = archive(|builder| {
        builder.append_pax_extensions([("uid", &b"5"[..])]).unwrap();
        let mut gnu = tar::Header::new_gnu();
        gnu.set_size(2);
        builder.append_data(&mut gnu, "long".repeat(60), &b"hi"[..]).unwrap();
    });
    check_fault(&both, "two dialects");
    let global = archive(|builder| {
        let text = b"24 comment=0\n10 size=3\n\n";
        let mut global = header("g", text.len() as u64);
        global.set_entry_type(tar::EntryType::XGlobalHeader);
        global.set_cksum();
        builder.append(&global, &text[..]).unwrap();
        builder.append(&header("x", 0), &b""[..]).unwrap();
    });
    check_fault(&global, "comment");
}

#[test]
fn paths_have_one_form_or_none() {
    let clean = |path: &str| clean_path(path.as_bytes()).ok().map(|path| String::from_utf8(path).unwrap());
    for path in ["a/b", "./a/b", "/a/b", "a/b/", ".//a/b"] {
        assert_eq!(clean(path).as_deref(), Some("a/b"), "{path}");
    }
    assert_eq!(clean("./").as_deref(), Some(""));
    for path in ["", "a//b", "a/../b", "..", "a/./b", "a\0b"] {
        assert_eq!(clean(path), None, "{path}");
    }
}
