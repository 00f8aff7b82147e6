use proptest::prelude::*;

use super::*;
use crate::zip_writer::{ZipEntry, extra, zip, zip_with_comment};

fn form(bytes: &[u8], purpose: Purpose) -> Result<Form> {
    Opened::open(bytes, purpose, 0)?.form(&mut Budget::for_file(bytes.len() as u64))
}

#[track_caller]
fn digest(bytes: &[u8]) -> Sha256 {
    form(bytes, Purpose::Code).unwrap_or_else(|fault| panic!("{fault}")).digest
}

#[track_caller]
fn check_fault(bytes: &[u8], words: &str) {
    match form(bytes, Purpose::Code) {
        Ok(_) => panic!("it was read; expected {words:?}"),
        Err(fault) => assert!(fault.0.contains(words), "{fault}"),
    }
}

const MANIFEST: &str = "Manifest-Version: 1.0\r\nCreated-By: 17\r\nMain-Class: org.example.Main\r\n\r\n";
const POM_PROPERTIES: &str = "META-INF/maven/org.example/demo/pom.properties";

/// A jar such as Maven's plugin writes, in canonical order.
fn jar() -> Vec<ZipEntry> {
    vec![
        ZipEntry::new("META-INF/", ""),
        ZipEntry::new("META-INF/MANIFEST.MF", MANIFEST),
        ZipEntry::new(POM_PROPERTIES, "artifactId=demo\ngroupId=org.example\nversion=1.0\n"),
        ZipEntry::new("META-INF/services/org.example.Api", "org.example.Impl\n"),
        ZipEntry::new("org/example/Main.class", b"\xca\xfe\xba\xbe\0\0\0\x3dMain".repeat(40)),
    ]
}

fn changed(index: usize, change: impl FnOnce(&mut ZipEntry)) -> Vec<u8> {
    let mut entries = jar();
    change(&mut entries[index]);
    zip(&entries)
}

#[test]
fn each_pass_forgives_what_it_names_and_says_so() {
    let plain = form(&zip(&jar()), Purpose::Code).unwrap();
    assert_eq!(plain.passes.names(), ["manifest-build-info"], "the sample is canonical but for one attribute");
    let unix_mode = |mode: u32| move |entry: &mut ZipEntry| (entry.made_by, entry.external) = (3 << 8 | 20, mode << 16);
    let with_mode = changed(4, unix_mode(0o100_644));
    type Change = fn(&mut ZipEntry);
    let cases: [(&str, Change); 13] = [
        ("zip-time", |entry| entry.modified = 0x5b75_5000),
        ("zip-time", |entry| entry.extra = extra(0x5455, &[3, 1, 2, 3, 4])),
        ("zip-time", |entry| entry.local_extra = extra(0x5455, &[3, 1, 2, 3, 4, 5, 6, 7, 8])),
        ("zip-time", |entry| entry.extra = extra(0x000a, &[&[0, 0, 0, 0, 1, 0, 24, 0][..], &[7; 24]].concat())),
        ("zip-compression", |entry| entry.level = Some(9)),
        ("zip-compression", |entry| entry.with_descriptor = true),
        ("zip-origin", |entry| entry.made_by = 3 << 8 | 30),
        ("zip-origin", |entry| entry.internal = 1),
        ("zip-origin", |entry| entry.flags = 1 << 11),
        ("zip-origin", |entry| entry.local_extra = extra(0x7875, &[1, 4, 232, 3, 0, 0, 4, 232, 3, 0, 0])),
        ("zip-origin", |entry| entry.extra = extra(0xcafe, &[])),
        ("pom-properties", |entry| {
            if entry.name == POM_PROPERTIES.as_bytes() {
                entry.content =
                    b"#Sat Nov 21 10:00:00 UTC 2026\r\nversion=1.0\r\ngroupId=org.example\r\nartifactId=demo\r\n".to_vec();
            }
        }),
        ("manifest-build-info", |entry| {
            if entry.name == manifest::NAME {
                entry.content = b"Manifest-Version: 1.0\nMain-Class: org.example.\n Main\nBuilt-By: me\n".to_vec();
            }
        }),
    ];
    for (pass, change) in cases {
        for index in 1..5 {
            let bytes = changed(index, change);
            let other = form(&bytes, Purpose::Code).unwrap();
            assert_eq!(other.digest, plain.digest, "{pass} of entry {index}");
            let is_changed = bytes != zip(&jar());
            assert!(!is_changed || other.passes.names().contains(&pass.to_owned()), "{pass} in {:?}", other.passes.names());
        }
    }
    let by_umask = form(&changed(4, unix_mode(0o100_664)), Purpose::Code).unwrap();
    assert_eq!(by_umask.digest, digest(&with_mode));
    assert!(by_umask.passes.contains(Pass::ZipMode));
    let wide = changed(4, |entry| entry.is_zip64 = true);
    assert_eq!(digest(&wide), plain.digest);
    let mut reordered = jar();
    reordered.swap(3, 4);
    let reordered = form(&zip(&reordered), Purpose::Code).unwrap();
    assert_eq!(reordered.digest, plain.digest);
    assert!(reordered.passes.contains(Pass::ZipOrder));
}

#[test]
fn the_canonical_form_written_as_an_archive_has_itself_as_its_form() {
    let bytes = changed(2, |entry| {
        entry.content = b"#now\r\nversion=1.0\r\ngroupId=org.example\r\nartifactId=demo\r\n".to_vec();
        entry.level = Some(6);
        entry.modified = 7;
    });
    let once = form(&bytes, Purpose::Code).unwrap();
    let opened = Opened::open(&bytes[..], Purpose::Code, 0).unwrap();
    let mut budget = Budget::for_file(bytes.len() as u64);
    let mut canonical: Vec<ZipEntry> = Vec::new();
    for entry in opened.archive.entries() {
        let content = match opened.entry_form(entry, &mut budget).unwrap().content {
            Content::Manifest(manifest) => manifest.write(),
            Content::Text { text, .. } => text,
            _ => opened.read(entry).unwrap(),
        };
        canonical.push(ZipEntry::new(&entry.name_text(), content));
    }
    let again = form(&zip(&canonical), Purpose::Code).unwrap();
    assert_eq!(again.digest, once.digest);
    assert_eq!(again.passes.names(), Vec::<String>::new());
}

#[test]
fn what_means_something_is_never_forgiven() {
    let plain = digest(&zip(&jar()));
    type Change = fn(&mut ZipEntry);
    let changes: [(&str, Change); 16] = [
        ("content", |entry| entry.content[9] ^= 1),
        ("length", |entry| entry.content.push(b'\n')),
        ("name", |entry| entry.name.push(b'x')),
        ("case of a name", |entry| entry.name[0] ^= 0x20),
        ("exec", |entry| (entry.made_by, entry.external) = (3 << 8, 0o100_755 << 16)),
        ("setuid", |entry| (entry.made_by, entry.external) = (3 << 8, 0o104_644 << 16)),
        ("attributes of another system", |entry| (entry.made_by, entry.external) = (19 << 8, 0o100_644 << 16)),
        ("attributes of MS-DOS", |entry| entry.external = 1),
        ("internal attributes", |entry| entry.internal = 2),
        ("comment", |entry| entry.comment = b"c".to_vec()),
        ("unknown field", |entry| entry.extra = extra(0x4242, b"x")),
        ("unknown local field", |entry| entry.local_extra = extra(0x4242, b"")),
        ("times with more behind them", |entry| entry.local_extra = extra(0x5455, &[1, 2, 3, 4, 5, 6])),
        ("a mark with something in it", |entry| entry.extra = extra(0xcafe, b"x")),
        ("owners with more behind them", |entry| entry.extra = extra(0x7875, &[1, 1, 0, 1, 0, 9])),
        ("unicode path", |entry| entry.extra = extra(0x7075, b"\x01\0\0\0\0evil")),
    ];
    for (what, change) in changes {
        for index in [3, 4] {
            assert_ne!(digest(&changed(index, change)), plain, "{what} of entry {index}");
        }
    }
    assert_ne!(digest(&zip_with_comment(&jar(), b"c")), plain);
    for index in 0..5 {
        let mut fewer = jar();
        fewer.remove(index);
        assert_ne!(digest(&zip(&fewer)), plain, "without entry {index}");
    }
    let mut manifest_last = jar();
    manifest_last[1..].rotate_left(1);
    assert_ne!(digest(&zip(&manifest_last)), plain, "a streaming reader does not find the manifest");
    let utf8 = |flags| digest(&zip(&[ZipEntry::new("é", "x").with(|entry| entry.flags = flags)]));
    assert_ne!(utf8(0), utf8(1 << 11), "a name beyond ASCII is read by its mark");
}

#[test]
fn names_that_are_one_on_some_file_systems_are_told_apart_and_keep_their_order() {
    let of = |names: &[&str]| digest(&zip(&names.iter().map(|name| ZipEntry::new(name, *name)).collect::<Vec<_>>()));
    assert_ne!(of(&["a.class", "A.class"]), of(&["A.class", "a.class"]));
    assert_eq!(of(&["a.class", "A.class", "x", "y"]), of(&["y", "a.class", "x", "A.class"]));
    assert_ne!(of(&["META-INF/LICENSE", "META-INF/license/a"]), of(&["META-INF/license/a", "META-INF/LICENSE"]));
    assert_ne!(of(&["a.class", "A.class"]), of(&["a.class"]));
}

#[test]
fn signatures_are_compared_and_pointed_out() {
    let signed = |signature: &str| {
        let mut entries = jar();
        entries.push(ZipEntry::new("META-INF/KEY.RSA", signature));
        form(&zip(&entries), Purpose::Code).unwrap()
    };
    assert_ne!(signed("a").digest, signed("b").digest);
    assert_eq!(signed("a").findings[0].code, "signed-jar");
    assert!(form(&zip(&jar()), Purpose::Code).unwrap().findings.is_empty());
}

#[test]
fn archives_within_archives_have_canonical_forms_of_their_own() {
    let nested = |inner: Vec<u8>, name: &str| form(&zip(&[ZipEntry::new(name, inner)]), Purpose::Code);
    let later = changed(4, |entry| entry.modified = 7);
    let other = changed(4, |entry| entry.content[9] ^= 1);
    let plain = nested(zip(&jar()), "WEB-INF/lib/demo.jar").unwrap();
    let of_later = nested(later.clone(), "WEB-INF/lib/demo.jar").unwrap();
    assert_eq!(plain.digest, of_later.digest);
    assert!(of_later.passes.contains(Pass::ZipTime));
    assert_ne!(plain.digest, nested(other, "WEB-INF/lib/demo.jar").unwrap().digest);
    // What is no archive by its name is content.
    assert_ne!(nested(zip(&jar()), "demo.bin").unwrap().digest, nested(later.clone(), "demo.bin").unwrap().digest);
    let deep = |bytes: Vec<u8>, depth: u32| (0..depth).fold(bytes, |bytes, _| zip(&[ZipEntry::new("inner.jar", bytes)]));
    assert_eq!(digest(&deep(zip(&jar()), NESTED_DEPTH_MAX)), digest(&deep(later.clone(), NESTED_DEPTH_MAX)));
    let too_deep = form(&deep(later, NESTED_DEPTH_MAX + 1), Purpose::Code).unwrap();
    assert_ne!(too_deep.digest, digest(&deep(zip(&jar()), NESTED_DEPTH_MAX + 1)));
    assert_eq!(too_deep.findings[0].code, "nested-archive-as-it-is");
    let mut odd = zip(&jar());
    odd.push(0);
    check_fault(&zip(&[ZipEntry::new("inner.jar", odd)]), "does not end with");
    assert_eq!(nested(b"no archive".to_vec(), "inner.jar").unwrap().findings[0].code, "nested-archive-as-it-is");
}

#[test]
fn dates_of_javadoc_are_forgiven_in_javadoc_only() {
    let page = |date: &str| {
        zip(&[ZipEntry::new("index.html", format!("<head>\n<!-- Generated by javadoc (17) on {date} -->\n</head>\n"))])
    };
    let (one, other) = (page("Sat Nov 21 10:00:00 UTC 2026"), page("Sun Nov 22 10:00:00 CET 2026"));
    let javadoc = |bytes: &[u8]| form(bytes, Purpose::Javadoc).unwrap().digest;
    assert_eq!(javadoc(&one), javadoc(&other));
    assert_ne!(digest(&one), digest(&other));
    let index = |bytes: Vec<u8>| zip(&[ZipEntry::new("member-search-index.zip", bytes)]);
    let later = changed(4, |entry| entry.modified = 7);
    assert_eq!(javadoc(&index(zip(&jar()))), javadoc(&index(later)));
}

#[test]
fn archives_that_could_be_read_in_two_ways_are_not_read() {
    let whole = zip(&jar());
    let two = |a: &str, b: &str| zip(&[ZipEntry::new(a, "1"), ZipEntry::new(b, "2")]);
    check_fault(&two("a", "a"), "same name");
    check_fault(&two("a", "a/b"), "lies below");
    for name in ["../a", "/a", "a/../b", "a\\b", "a\0b", "./a", ""] {
        check_fault(&two("first", name), "more than one meaning");
    }
    check_fault(&[&whole[..], b"x"].concat(), "does not end with");
    check_fault(&[b"#!/bin/sh\n", &whole[..]].concat(), "directory does not end");
    check_fault(&whole[..whole.len() - 4], "does not end with");
    let mut local_differs = whole.clone();
    local_differs[30] ^= 0x20;
    check_fault(&local_differs, "described differently");
    let mut gap = zip(&[ZipEntry::new("a", "1"), ZipEntry::new("b", "2")]);
    gap.insert(32, 0);
    assert!(form(&gap, Purpose::Code).is_err());
    // The second entry's header in the directory points to the first one's bytes.
    let mut overlap = zip(&[ZipEntry::new("a", "1"), ZipEntry::new("a", "2")]);
    let at = overlap.len() - 22 - 1 - 4;
    overlap[at..at + 4].copy_from_slice(&[0; 4]);
    assert!(form(&overlap, Purpose::Code).is_err());
    check_fault(&changed(4, |entry| entry.flags = 1), "encrypted");
    let link = |mode: u32| changed(4, move |entry| (entry.made_by, entry.external) = (3 << 8, mode << 16));
    check_fault(&link(0o120_777), "link");
    check_fault(&link(0o060_644), "link");
    check_fault(&link(0o040_755), "link");
    check_fault(&zip(&[ZipEntry::new("meta-inf/manifest.mf", MANIFEST)]), "another spelling");
    let twice = changed(4, |entry| entry.extra = [extra(0x4242, b"a"), extra(0x4242, b"b")].concat());
    check_fault(&twice, "extra fields");
    let mut wide_differs = changed(4, |entry| entry.is_zip64 = true);
    let name_at = wide_differs.windows(22).rposition(|window| window == b"org/example/Main.class").unwrap();
    wide_differs[name_at + 22 + 4] ^= 1;
    assert!(form(&wide_differs, Purpose::Code).is_err(), "sizes in 64 bits that are not those of the local header");
}

#[test]
fn bombs_are_not_unpacked() {
    let bomb = |len: usize| zip(&[ZipEntry::new("zeros", vec![0; len]).with(|entry| entry.level = Some(9))]);
    check_fault(&bomb(16 << 20), "times its size");
    let mut lie = bomb(16 << 20);
    let central = lie.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    for at in [22, central + 24] {
        lie[at..at + 4].copy_from_slice(&100u32.to_le_bytes());
    }
    check_fault(&lie, "more than");
    let bytes = zip(&[ZipEntry::new("a", vec![1; 4096])]);
    let opened = Opened::open(&bytes[..], Purpose::Code, 0).unwrap();
    assert!(opened.form(&mut Budget { unpacked: 4095, held: 0 }).is_err_and(|fault| fault.0.contains("unpacks to more")));
}

/// Where a byte of the archive is only told to whoever unpacks it and says nothing: the version an entry needs.
fn is_noise(whole: &[u8], at: usize) -> bool {
    let header = |signature: &[u8], offset: usize| at >= offset && whole[at - offset..].starts_with(signature);
    // Version needed, time and date, local and central; version and, without attributes that depend on it, system made by; the guess that it is text.
    let local = [4, 5, 10, 11, 12, 13].iter().any(|offset| header(b"PK\x03\x04", *offset));
    let central = [4, 5, 6, 7, 12, 13, 14, 15, 36].iter().any(|offset| header(b"PK\x01\x02", *offset));
    local || central
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any change of any byte is found, or the archive is not read, or the byte is one of those that mean nothing.
    #[test]
    fn a_changed_byte_is_found(at in any::<prop::sample::Index>(), mask in 1u8..) {
        let whole = changed(4, |entry| {
            entry.extra = extra(0x4242, b"kept");
            entry.comment = b"kept".to_vec();
        });
        let at = at.index(whole.len());
        let mut other = whole.clone();
        other[at] ^= mask;
        if let Ok(form) = form(&other, Purpose::Code) {
            prop_assert!(form.digest != digest(&whole) || is_noise(&whole, at), "byte {at}");
        }
    }

    /// A change within a deflated entry's content, followed by compressing it anew.
    #[test]
    fn a_changed_content_is_found(index in 1usize..5, at in any::<prop::sample::Index>(), mask in 1u8.., level in 0u32..=9) {
        let mut entries = jar();
        let at = at.index(entries[index].content.len());
        entries[index].content[at] ^= mask;
        entries[index].level = Some(level);
        // Of the manifest and the properties the ends of lines are forms, and `Created-By: 17` is build info: its value may be anything.
        let created_by = MANIFEST.find("Created-By").unwrap()..MANIFEST.find("\r\nMain").unwrap();
        let was_line_end = matches!(entries[index].content[at] ^ mask, b'\r' | b'\n');
        let is_noise = index == 1 && created_by.contains(&at) || matches!(index, 1 | 2) && was_line_end;
        if let Ok(form) = form(&zip(&entries), Purpose::Code) {
            prop_assert!(form.digest != digest(&zip(&jar())) || is_noise, "byte {at} of entry {index}");
        }
    }

    #[test]
    fn no_bytes_make_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = form(&bytes, Purpose::Code);
        let _ = form(&zip(&[ZipEntry::new("META-INF/MANIFEST.MF", bytes.clone()), ZipEntry::new(POM_PROPERTIES, bytes.clone())]), Purpose::Code);
        let _ = form(&zip(&[ZipEntry::new("a.jar", bytes.clone()), ZipEntry::new("b.cdx.json", bytes)]), Purpose::Javadoc);
    }
}
