use std::io::Write;

use flate2::{Compression, GzBuilder};
use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::{Comparison, Verifier};

use super::*;
use crate::Npm;

pub(crate) const MANIFEST: &str = r#"{"name":"demo","version":"1.0.0"}"#;

/// One entry as a test writes it.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub path: String,
    pub kind: tar_writer::EntryType,
    pub mode: u32,
    pub content: Vec<u8>,
}

use ::tar as tar_writer;

pub(crate) fn file(path: &str, content: &str) -> Written {
    Written { path: path.into(), kind: tar_writer::EntryType::Regular, mode: 0o644, content: content.into() }
}

/// What differs between two ways to write the same entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Style {
    pub modified: u64,
    pub owner: u64,
    pub user: &'static str,
    pub level: u32,
    pub gzip_modified: u32,
    pub is_gnu: bool,
}

pub(crate) fn archive(entries: &[Written], style: &Style) -> Vec<u8> {
    let mut builder = tar_writer::Builder::new(Vec::new());
    for entry in entries {
        let mut header = if style.is_gnu { tar_writer::Header::new_gnu() } else { tar_writer::Header::new_ustar() };
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_size(entry.content.len() as u64);
        header.set_mtime(style.modified);
        header.set_uid(style.owner);
        header.set_gid(style.owner);
        header.set_username(style.user).unwrap();
        // As raw bytes: the writer would refuse what a test has to write.
        header.as_old_mut().name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        if matches!(entry.kind, tar_writer::EntryType::Symlink | tar_writer::EntryType::Link) {
            header.set_link_name("package.json").unwrap();
        }
        header.set_cksum();
        builder.append(&header, &entry.content[..]).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let mut gzip = GzBuilder::new().mtime(style.gzip_modified).write(Vec::new(), Compression::new(style.level));
    gzip.write_all(&tar).unwrap();
    gzip.finish().unwrap()
}

pub(crate) fn output(archive: Vec<u8>) -> MemoryFiles {
    MemoryFiles(vec![("demo-1.0.0.tgz".into(), archive)])
}

pub(crate) fn compare(a: &MemoryFiles, b: &MemoryFiles) -> Comparison {
    let files = MemoryFiles::side_by_side(a, b);
    let (a, b) = files.output().split(1);
    Npm::compare(None, a, b)
}

fn entries() -> Vec<Written> {
    vec![file("package/index.js", "module.exports = 1\n"), file(MANIFEST_PATH, MANIFEST)]
}

fn plain(entries: &[Written]) -> MemoryFiles {
    output(archive(entries, &Style::default()))
}

fn folder(path: &str, mode: u32) -> Written {
    Written { kind: tar_writer::EntryType::Directory, mode, ..file(path, "") }
}

#[track_caller]
fn check_same(entries_of_b: &[Written], style: &Style, expected: &[&str]) {
    let (a, b) = (plain(&entries()), output(archive(entries_of_b, style)));
    match compare(&a, &b) {
        Comparison::SameAfter(passes) => assert_eq!(passes, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_pass_is_named_where_it_is_needed() {
    let style = Style::default;
    let with = |more: &[Written]| [more, &entries()].concat();
    check_same(&entries(), &Style { level: 9, gzip_modified: 7, ..style() }, &["archive-form"]);
    check_same(&entries(), &Style { is_gnu: true, ..style() }, &["archive-form"]);
    check_same(&entries(), &Style { modified: 7, ..style() }, &["archive-form", "entry-times"]);
    check_same(&entries(), &Style { owner: 7, ..style() }, &["archive-form", "entry-owners"]);
    check_same(&entries(), &Style { user: "u", ..style() }, &["archive-form", "entry-owners"]);
    check_same(&entries().into_iter().rev().collect::<Vec<_>>(), &style(), &["archive-form", "entry-order"]);
    let writable: Vec<_> = entries().into_iter().map(|entry| Written { mode: 0o600, ..entry }).collect();
    check_same(&writable, &style(), &["archive-form", "file-modes"]);
    check_same(&with(&[folder("package/", 0o755)]), &style(), &["archive-form", "folder-entries"]);
}

#[track_caller]
fn check_different(entries_of_b: &[Written], place: &str, what: &str) {
    let Comparison::Different(report) = compare(&plain(&entries()), &plain(entries_of_b)) else { panic!("it differs") };
    let found = &report.differences[0];
    assert_eq!((found.path.join(" ").as_str(), found.what.as_str()), (place, what), "{report:?}");
}

#[test]
fn everything_else_is_found_at_its_place() {
    let changed = |index: usize, change: &dyn Fn(&mut Written)| {
        let mut entries = entries();
        change(&mut entries[index]);
        entries
    };
    check_different(&changed(0, &|entry| entry.mode = 0o755), "package/index.js", "mode");
    check_different(&changed(0, &|entry| entry.mode = 0o654), "package/index.js", "mode");
    check_different(&changed(0, &|entry| entry.mode = 0o4644), "package/index.js", "mode");
    check_different(&changed(0, &|entry| entry.content.push(b'x')), "package/index.js", "content");
    check_different(&changed(0, &|entry| entry.path.push('x')), "package/index.js", "only in A");
    check_different(&[entries(), vec![folder("package/empty/", 0o755)]].concat(), "package/empty", "only in B");
    check_different(&[entries(), vec![folder("package", 0o1755)]].concat(), "package", "only in B");
    let manifest = |text: &str| changed(1, &|entry| entry.content = text.into());
    check_different(&manifest(r#"{"name":"demo","version":"1.0.1"}"#), "package/package.json version", "value");
    check_different(&manifest(r#"{"name":"demo","version":"1.0.0","os":["x"]}"#), "package/package.json os", "only in B");
    let spelled = "spelling, with equal values: the order of keys, white space, escapes or numbers";
    check_different(&manifest(r#"{"version":"1.0.0","name":"demo"}"#), MANIFEST_PATH, spelled);
}

#[track_caller]
fn check_unreadable(entries: &[Written], why: &str) {
    let files = plain(entries);
    let refusal = Npm::canonicalize(None, files.output()).unwrap_err();
    assert_eq!(refusal.code, "unreadable");
    assert!(refusal.sentence.contains(why), "{why:?} in {}", refusal.sentence);
    assert!(matches!(compare(&files, &files), Comparison::Undecidable(_)));
}

#[test]
fn what_systems_would_unpack_differently_is_not_read() {
    let with = |more: Written| [entries(), vec![more]].concat();
    let kind = |kind, path: &str| with(Written { kind, ..file(path, "") });
    check_unreadable(&with(file("package/index.js", "other")), "occurs twice");
    check_unreadable(&with(file("package/Index.js", "")), "one path on some");
    check_unreadable(&[with(file("package/lib/a", "")), vec![file("package/Lib/b", "")]].concat(), "one path on some");
    for (one, other) in [("caf\u{e9}", "cafe\u{301}"), ("stra\u{df}e", "strasse")] {
        let both = [file(&format!("package/{one}"), ""), file(&format!("package/{other}"), "")];
        check_unreadable(&[entries(), both.to_vec()].concat(), "one path on some");
    }
    check_unreadable(&with(file("package/index.js/a", "")), "is a file and the folder");
    check_unreadable(&with(file("package/../../etc/passwd", "")), "more than one meaning");
    check_unreadable(&with(file("/package/a", "")), "more than one meaning");
    check_unreadable(&with(file("./package/a", "")), "more than one meaning");
    check_unreadable(&with(file("package//a", "")), "more than one meaning");
    check_unreadable(&with(file("package/a\\b", "")), "read differently");
    check_unreadable(&with(file("package/a\nb", "")), "read differently");
    check_unreadable(&with(file("packages/a", "")), "not below");
    check_unreadable(&with(file("package", "")), "not below");
    check_unreadable(&with(file("other/a", "")), "not below");
    check_unreadable(&kind(tar_writer::EntryType::Symlink, "package/a"), "is a symbolic link");
    check_unreadable(&kind(tar_writer::EntryType::Link, "package/a"), "is a hard link");
    check_unreadable(&kind(tar_writer::EntryType::Fifo, "package/a"), "is a fifo");
    check_unreadable(&kind(tar_writer::EntryType::Char, "package/a"), "is a character device");
    check_unreadable(&[file("package/index.js", "")], "has no package/package.json");
    check_unreadable(&[file(MANIFEST_PATH, r#"{"name":"a","name":"b"}"#)], "occurs twice in one object");
    check_unreadable(&[file(MANIFEST_PATH, &" ".repeat(manifest::BYTES_MAX as usize + 1))], "has more than");
}

#[test]
fn a_record_that_npm_finds_in_the_value_of_another_is_not_read() {
    // npm splits the records into lines; `path` would be its name of the file.
    let archive = |key: &str, value: &[u8]| {
        let mut builder = tar_writer::Builder::new(Vec::new());
        builder.append_pax_extensions([(key, value)]).unwrap();
        for entry in entries() {
            let mut header = tar_writer::Header::new_ustar();
            header.set_size(entry.content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, &entry.path, &entry.content[..]).unwrap();
        }
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::new(6));
        gzip.write_all(&builder.into_inner().unwrap()).unwrap();
        output(gzip.finish().unwrap())
    };
    let refused = |key: &str, value: &[u8]| Npm::canonicalize(None, archive(key, value).output()).map_err(|refusal| refusal.code);
    for key in ["mtime", "uname", "comment", "SCHILY.xattr.user.note"] {
        assert_eq!(refused(key, b"1\n24 path=package/evil.js").unwrap_err(), "unreadable", "{key}");
        assert!(refused(key, b"1").is_ok(), "{key}");
    }
}

#[test]
fn what_is_no_archive_is_not_read() {
    let whole = archive(&entries(), &Style::default());
    let twice = [&whole[..], &whole].concat();
    let behind = [&whole[..], b"x"].concat();
    for bytes in [&b""[..], b"x", &whole[..whole.len() - 1], &twice, &behind] {
        assert!(Npm::canonicalize(None, output(bytes.to_vec()).output()).is_err());
    }
}

#[test]
fn an_output_is_one_archive_of_the_package() {
    let files = plain(&entries());
    let published = Npm::check("demo@1.0.0", files.output()).unwrap();
    assert_eq!(published[0].artifact_id, "demo/-/demo-1.0.0.tgz");
    let refused = |coordinate: &str, files: &MemoryFiles| Npm::check(coordinate, files.output()).unwrap_err().code;
    assert_eq!(refused("demo@1.0.1", &files), "wrong-name");
    let renamed = MemoryFiles(vec![("demo-1.0.1.tgz".into(), files.0[0].1.clone())]);
    assert_eq!(refused("demo@1.0.1", &renamed), "wrong-coordinate");
    assert_eq!(refused("demo@1.0.0", &MemoryFiles(vec![])), "file-count");
    assert_eq!(refused("demo@1.0.0", &MemoryFiles::side_by_side(&files, &files)), "file-count");
}

#[test]
fn a_person_is_told_of_scripts_that_run_on_installation() {
    let manifest = r#"{"name":"demo","version":"1.0.0","scripts":{"postinstall":"node steal.js"}}"#;
    let files = plain(&[file(MANIFEST_PATH, manifest), file("package/binding.gyp", "{}")]);
    let findings = &Npm::canonicalize(None, files.output()).unwrap()[0].findings;
    let sentences: Vec<_> = findings.iter().map(|finding| (finding.code.as_str(), finding.sentence.as_str())).collect();
    assert_eq!(sentences.len(), 2);
    assert!(sentences[0].1.ends_with("postinstall script: node steal.js"), "{sentences:?}");
    assert!(sentences[1].1.ends_with("install script: node-gyp rebuild"), "{sentences:?}");
}
