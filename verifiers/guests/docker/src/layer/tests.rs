#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::hash;
use pyrsia_verifier_kit::tar::TarReader;

use super::*;
use crate::fixture::{Member, gzip, ordinary, tar, with_checksum, zstd};

const BUDGET_BYTES: u64 = 8 << 20;

fn form_as(bytes: &[u8], compression: Compression) -> Result<LayerForm, Unreadable> {
    let files = MemoryFiles(vec![("layer".into(), bytes.into())]);
    let file = files.output().file(0).unwrap();
    canonical_form(&file, &hash::sha256(bytes), compression, &Budget::new(BUDGET_BYTES))
}

fn form(bytes: &[u8]) -> Result<LayerForm, Unreadable> {
    form_as(bytes, Compression::of(bytes))
}

#[track_caller]
fn check_same(a: &[u8], b: &[u8], passes: &[&str]) {
    assert_ne!(a, b, "a pair that differs");
    let (a, b) = (form(a).unwrap(), form(b).unwrap());
    assert_eq!(a.canonical, b.canonical);
    assert_eq!(a.noise.different(&b.noise).names(), passes);
}

/// Changed members must give a different layer, or none.
#[track_caller]
fn check_found(what: &str, a: &[Member], b: &[Member]) {
    if let Ok(changed) = form(&tar(b)) {
        assert_ne!(form(&tar(a)).unwrap().canonical, changed.canonical, "{what}");
    }
}

#[track_caller]
fn check_unreadable(members: &[Member], fault: &str) {
    let error = form(&tar(members)).unwrap_err();
    assert!(error.0.contains(fault), "{error}");
}

fn edited(edit: impl FnMut(&mut Member)) -> Vec<Member> {
    let mut members = ordinary();
    members.iter_mut().for_each(edit);
    members
}

#[test]
fn times_are_forgiven_in_headers_and_records() {
    let later = edited(|member| {
        member.modified = 1_700_000_000;
        for record in ["atime", "ctime", "LIBARCHIVE.creationtime", "mtime"] {
            member.pax.push((record.into(), b"1700000000.25".into()));
        }
    });
    check_same(&tar(&ordinary()), &tar(&later), &["tar-time"]);
}

#[test]
fn names_of_owners_are_forgiven_and_numbers_are_not() {
    let named = edited(|member| (member.user, member.group) = ("root".into(), "wheel".into()));
    check_same(&tar(&ordinary()), &tar(&named), &["owner-names"]);
}

#[test]
fn the_order_of_entries_is_forgiven_and_so_is_the_first_name_of_a_file() {
    let mut members = ordinary();
    members.reverse();
    let (link, file) = (4, 5);
    assert_eq!((&*members[link].path, &*members[file].path), ("usr/bin/perl5", "usr/bin/perl"));
    members.swap(link, file);
    check_same(&tar(&ordinary()), &tar(&members), &["tar-order"]);

    let mut other_first = members;
    other_first[link] = Member { path: "usr/bin/perl5".into(), ..other_first[link].clone() };
    other_first[file] = Member { mode: 0o755, ..Member::hard("usr/bin/perl", "usr/bin/perl5") };
    check_same(&tar(&ordinary()), &tar(&other_first), &["tar-order"]);
}

#[test]
fn how_an_entry_is_written_is_forgiven() {
    let type_bits = |kind| match kind {
        b'2' => 0o120_000,
        b'3' => 0o020_000,
        b'5' => 0o040_000,
        b'6' => 0o010_000,
        _ => 0o100_000,
    };
    let other = edited(|member| {
        member.mode |= type_bits(member.kind);
        member.path = format!("./{}", member.path.trim_end_matches('/'));
        member.gnu = true;
        member.pax.push(("comment".into(), b"made for tests".into()));
    });
    check_same(&tar(&ordinary()), &[tar(&other), vec![0; 9000]].concat(), &["tar-dialect"]);
    let in_pax = edited(|member| {
        let path = std::mem::replace(&mut member.path, "short".into());
        member.pax.push(("path".into(), path.into_bytes()));
        member.pax.push(("uid".into(), member.uid.to_string().into_bytes()));
        member.pax.push(("gid".into(), member.gid.to_string().into_bytes()));
        member.gid = 7;
    });
    check_same(&tar(&ordinary()), &tar(&in_pax), &[]);
    let inodes = edited(|member| member.pax.push(("SCHILY.ino".into(), b"12345".into())));
    check_same(&tar(&ordinary()), &tar(&inodes), &["inode-numbers"]);
}

#[test]
fn compression_is_forgiven_and_the_tar_inside_is_known() {
    let plain = tar(&ordinary());
    let forms = [form(&plain), form(&gzip(&plain, 1)), form(&gzip(&plain, 9)), form(&zstd(&plain))].map(Result::unwrap);
    for form in &forms {
        assert_eq!((form.canonical, form.diff_id), (forms[0].canonical, hash::sha256(&plain)));
    }
    let mut named = gzip(&plain, 9);
    named[9] = 3;
    named[4..8].copy_from_slice(&1_700_000_000u32.to_le_bytes());
    let named = form(&named).unwrap();
    assert_eq!((named.canonical, named.compressed_at), (forms[0].canonical, 10));
    assert_eq!(forms[2].noise.different(&named.noise).names(), ["gzip-header"]);
}

#[test]
fn a_canonical_archive_only_loses_its_encoding() {
    let mut members = ordinary();
    for member in &mut members {
        member.path = member.path.trim_end_matches('/').into();
    }
    members.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(form(&tar(&members)).unwrap().noise.passes().names(), ["tar-dialect"]);
}

#[test]
fn whatever_means_something_is_found() {
    let a = ordinary();
    for at in 0..a.len() {
        let changed = |edit: &dyn Fn(&mut Member)| {
            let mut b = a.clone();
            edit(&mut b[at]);
            b
        };
        for bit in 0..12 {
            check_found("mode", &a, &changed(&|member| member.mode ^= 1 << bit));
        }
        check_found("uid", &a, &changed(&|member| member.uid += 1));
        check_found("gid", &a, &changed(&|member| member.gid += 1));
        check_found("path", &a, &changed(&|member| member.path.insert(0, 'x')));
        check_found("content", &a, &changed(&|member| member.content.push(b'x')));
        check_found("link", &a, &changed(&|member| member.link.push('x')));
        check_found("device", &a, &changed(&|member| member.device.1 += 1));
        check_found("device", &a, &changed(&|member| member.device.0 += 1));
        check_found("attribute", &a, &changed(&|member| member.pax.push(("SCHILY.xattr.user.x".into(), b"1".into()))));
        if !a[at].pax.is_empty() {
            check_found("attribute", &a, &changed(&|member| member.pax.clear()));
        }
        check_found("record", &a, &changed(&|member| member.pax.push(("VENDOR.x".into(), b"1".into()))));
        for kind in b"01234567" {
            if *kind != a[at].kind && (*kind, a[at].kind) != (b'7', b'0') {
                check_found("kind", &a, &changed(&|member| member.kind = *kind));
            }
        }
        let mut without = a.clone();
        without.remove(at);
        check_found("absence", &a, &without);
    }
}

/// Every bit of every header, with the checksum put right: either the layer differs, or cannot be read, or what readers make of the header did not change.
#[test]
fn no_bit_of_a_header_is_overlooked() {
    let meaning = |archive: &[u8]| -> Option<Vec<_>> {
        let mut reader = TarReader::new(archive);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry().ok()? {
            let Entry { path, kind, mode, uid, gid, size, link, device, attributes, .. } = entry;
            entries.push((clean_path(&path).ok()?, kind, mode & PERMISSIONS, (uid, gid), size, link, device, attributes));
        }
        Some(entries)
    };
    let mut found = 0;
    for member in ordinary() {
        let target = Member { mode: member.mode, ..Member::file(&member.link, b"") };
        let (block, original) = match member.kind {
            b'1' => (1, tar(&[target, member])),
            _ => (0, tar(&[Member { pax: Vec::new(), ..member }])),
        };
        let (canonical, meant) = (form(&original).unwrap().canonical, meaning(&original));
        let header = &original[block * 512..][..512];
        for at in (0..512).filter(|at| !(148..156).contains(at)) {
            for bit in 0..8 {
                let mut changed = header.to_vec();
                changed[at] ^= 1 << bit;
                let mut archive = original.clone();
                archive[block * 512..][..512].copy_from_slice(&with_checksum(changed.try_into().unwrap()));
                match form(&archive) {
                    Ok(form) if form.canonical == canonical => {
                        assert_eq!(meaning(&archive), meant, "byte {at}, bit {bit}");
                    }
                    _ => found += 1,
                }
            }
        }
    }
    assert!(found > 5_000, "{found} found");
}

/// Every bit of contents, records and padding, without any repair.
#[test]
fn no_bit_behind_a_header_is_overlooked() {
    let file = Member::file("f", b"content").with_pax("SCHILY.xattr.user.k", b"value").with_pax("uid", b"5");
    let original = tar(&[file]);
    let canonical = form(&original).unwrap().canonical;
    for at in (512..1024).chain(1536..original.len()) {
        for bit in 0..8 {
            let mut changed = original.clone();
            changed[at] ^= 1 << bit;
            let same = form(&changed).is_ok_and(|form| form.canonical == canonical);
            // What fills up a block is read by nobody.
            let padding = original[at] == 0 && (at < 1024 || at < 2048);
            assert!(!same || padding, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn no_bit_of_a_compressed_layer_is_overlooked() {
    let plain = tar(&ordinary());
    for (original, noise) in [(gzip(&plain, 6), 4..10), (zstd(&plain), 0..0)] {
        let canonical = form(&original).unwrap().canonical;
        for at in 0..original.len() {
            for bit in 0..8 {
                let mut changed = original.clone();
                changed[at] ^= 1 << bit;
                if let Ok(form) = form_as(&changed, Compression::of(&original)) {
                    // A stream's last byte has bits that no reader looks at: then the tar is the same.
                    let harmless = noise.contains(&at) || form.diff_id == hash::sha256(&plain);
                    assert!(form.canonical != canonical || harmless, "byte {at}, bit {bit}");
                }
            }
        }
    }
}

#[test]
fn what_extractors_could_take_in_two_ways_has_no_form() {
    let file = |path| Member::file(path, b"x");
    check_unreadable(&[file("a"), file("a")], "occurs twice");
    check_unreadable(&[file("a"), file("./a")], "occurs twice");
    check_unreadable(&[Member::folder("a/"), Member::symbolic("a", "b")], "occurs twice");
    check_unreadable(&[file("../a")], "more than one meaning");
    check_unreadable(&[file("a/../../b")], "more than one meaning");
    check_unreadable(&[file("a//b")], "more than one meaning");
    check_unreadable(&[file("a/./b")], "more than one meaning");
    check_unreadable(&[Member::symbolic("a", "/etc"), file("a/passwd")], "is no directory");
    check_unreadable(&[file("a/passwd"), Member::symbolic("a", "/etc")], "is no directory");
    check_unreadable(&[file("a/b/c"), file("a-"), file("a")], "is no directory");
    check_unreadable(&[Member::hard("b", "a")], "hard link to what is not");
    check_unreadable(&[Member::hard("b", "a"), file("a")], "hard link to what is not");
    check_unreadable(&[Member::hard("a", "a")], "hard link to what is not");
    check_unreadable(&[Member::symbolic("a", "x"), Member::hard("b", "a")], "hard link to what is not");
    check_unreadable(&[file("a"), Member::hard("b", "../a")], "more than one meaning");
    check_unreadable(&[file("a"), Member { mode: 0o4755, ..Member::hard("b", "a") }], "another mode");
    check_unreadable(&[file("a"), Member { uid: 1, ..Member::hard("b", "a") }], "another mode");
    check_unreadable(&[file("a"), Member::hard("b", "a").with_pax("SCHILY.xattr.user.x", b"1")], "another mode");
    check_unreadable(&[file("d/a"), file("d/.wh.a")], "hides what the same layer has");
    check_unreadable(&[file("d/.wh.a"), file("d/a/b")], "hides what the same layer has");
    check_unreadable(&[Member { mode: 0o120_777, ..file("a") }], "contradicts its type");
    check_unreadable(&[Member::symbolic("./", "x")], "");
    check_unreadable(&[Member { kind: b'S', ..file("a") }], "sparse");
    check_unreadable(&[file("a").with_pax("GNU.sparse.major", b"1")], "sparse");
    check_unreadable(&[Member { kind: b'V', ..file("a") }], "unknown type");
    check_unreadable(&[Member { content: b"x".to_vec(), ..Member::folder("a/") }], "content");
}

#[test]
fn archives_that_are_cut_or_go_on_have_no_form() {
    let plain = tar(&ordinary());
    assert!((0..plain.len() - 512).step_by(97).all(|cut| form(&plain[..cut]).is_err()));
    assert!(form(&[&plain[..], b"x"].concat()).is_err(), "something behind the end");
    assert!(form(&[&plain[..], &plain].concat()).is_err(), "a second archive");
    for packed in [gzip(&plain, 6), zstd(&plain)] {
        assert!((0..packed.len()).all(|cut| form_as(&packed[..cut], Compression::of(&packed)).is_err()));
        assert!(form(&[&packed[..], &packed].concat()).is_err(), "a second member");
        assert!(form(&[&packed[..], b"\0"].concat()).is_err(), "a byte behind");
        assert!(form_as(&packed, Compression::None).is_err(), "not what the media type says");
        assert!(form_as(&plain, Compression::of(&packed)).is_err(), "not what the media type says");
    }
    // What zstd calls a skippable frame is where some tools keep an index of the layer.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &zstd(&plain)].concat();
    assert!(form_as(&skippable, Compression::Zstd).is_err());
    assert!(form_as(&[zstd(&plain), skippable[..12].to_vec()].concat(), Compression::Zstd).is_err());
}

#[test]
fn bombs_are_stopped() {
    let zeros = tar(&[Member::file("zeros", &vec![0; BUDGET_BYTES as usize])]);
    for bomb in [gzip(&zeros, 9), zstd(&zeros)] {
        let error = form(&bomb).unwrap_err();
        assert!(error.0.contains("unpacks to more than"), "{error}");
    }
    // Several together as well.
    let half = gzip(&tar(&[Member::file("zeros", &vec![0; BUDGET_BYTES as usize / 2])]), 9);
    let files = MemoryFiles(vec![("layer".into(), half.clone())]);
    let (file, sha256, budget) = (files.output().file(0).unwrap(), hash::sha256(&half), Budget::new(BUDGET_BYTES));
    assert!(canonical_form(&file, &sha256, Compression::Gzip, &budget).is_ok());
    assert!(canonical_form(&file, &sha256, Compression::Gzip, &budget).is_err());
    // A frame that asks for a window of 2 GiB: single-segment unset, exponent 21.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0, 0];
    let error = form(&window).unwrap_err();
    assert!(error.0.to_lowercase().contains("window"), "{error}");
}

#[test]
fn entries_beyond_the_memory_for_them_are_not_kept() {
    let path_bytes = 4000;
    let count = (ENTRIES_BYTES_MAX / (ENTRY_BYTES + path_bytes)) as usize;
    let members: Vec<_> =
        (0..=count).map(|at| Member::file("long", b"").with_pax("path", format!("{at:04000}").as_bytes())).collect();
    assert!(form(&tar(&members[..count])).is_ok());
    assert!(form(&tar(&members)).unwrap_err().0.contains("entries"));
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let content = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 1..700)];
    let member = (0..5u8, 0..0o10000u32, 0..3u32, 0..3u32, content, any::<bool>());
    prop::collection::btree_map("[a-d]{1,3}(/[a-d]{1,2}){0,2}", member, 1..12).prop_map(|members| {
        let mut written: Vec<Member> = Vec::new();
        for (path, (kind, mode, uid, gid, content, marked)) in members {
            let parents_are_folders = |known: &Member| known.kind == b'5' || !path.starts_with(&format!("{}/", known.path));
            if !written.iter().all(parents_are_folders) {
                continue;
            }
            let member = match kind {
                0 => Member::folder(&path),
                1 => Member::symbolic(&path, "target"),
                _ => Member::file(&path, &content),
            };
            let member = Member { mode, uid, gid, ..member };
            written.push(if marked { member.with_pax("SCHILY.xattr.user.x", &content) } else { member });
        }
        written
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_order_any_noise_and_any_compression_is_one_layer(
        members in members(),
        seed in any::<u64>(),
        modified in 0..1u64 << 33,
        level in 0..10u32,
    ) {
        let mut other = members.clone();
        let mut state = seed;
        for at in (1..other.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            other.swap(at, (state >> 33) as usize % (at + 1));
        }
        for member in &mut other {
            member.modified = modified;
            member.user = "somebody".into();
        }
        let (a, b) = (form(&tar(&members)).unwrap(), form(&gzip(&tar(&other), level)).unwrap());
        prop_assert_eq!(a.canonical, b.canonical);
    }

    #[test]
    fn two_trees_are_one_layer_only_if_they_are_the_same(a in members(), b in members()) {
        let key = |members: &[Member]| {
            let mut keys: Vec<_> = members.iter().map(|member| {
                (member.path.clone(), member.kind, member.mode, member.uid, member.gid, member.link.clone(), member.content.clone(), member.pax.clone())
            }).collect();
            keys.sort();
            keys
        };
        let same = form(&tar(&a)).unwrap().canonical == form(&tar(&b)).unwrap().canonical;
        prop_assert_eq!(same, key(&a) == key(&b));
    }

    #[test]
    fn whatever_the_bytes_are_the_answer_is_a_value(bytes in prop::collection::vec(any::<u8>(), 0..4096), at in 0..4096usize, gz in any::<bool>()) {
        let _ = form(&bytes);
        let mut archive = tar(&ordinary());
        let at = at.min(archive.len());
        let len = bytes.len().min(archive.len() - at);
        archive[at..at + len].copy_from_slice(&bytes[..len]);
        let _ = form(&if gz { gzip(&archive, 1) } else { archive });
    }
}
