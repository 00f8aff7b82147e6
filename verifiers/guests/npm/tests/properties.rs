//! What must hold for every package: whatever the bytes are there is an answer, noise is forgiven whatever it is, and each change that means something is found.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::{Comparison, Verifier};
use pyrsia_verifier_npm::Npm;

const MANIFEST: &str = r#"{"name":"demo","version":"1.0.0","dependencies":{"left":"^1.0.0"},"files":["lib"]}"#;

#[derive(Clone, Debug, PartialEq)]
struct File {
    path: String,
    content: Vec<u8>,
    mode: u32,
}

/// Everything a builder's machine may have put into an archive without meaning it.
#[derive(Clone, Debug)]
struct Noise {
    rotation: usize,
    modified: u64,
    owner: u64,
    user: String,
    read_write: u32,
    level: u32,
    is_gnu: bool,
    has_folders: bool,
}

prop_compose! {
    fn noise()(
        rotation in 0..8usize, modified in 0..1u64 << 33, owner in 0..1u64 << 21, user in "[a-z]{0,8}", read_write in 0..0o7u32, level in 0..10u32,
        is_gnu: bool, has_folders: bool,
    ) -> Noise {
        let bit = |place: u32, mode: u32| if read_write >> place & 1 == 1 { mode } else { 0 };
        let read_write = bit(0, 0o600) | bit(1, 0o060) | bit(2, 0o006);
        Noise { rotation, modified, owner, user, read_write, level, is_gnu, has_folders }
    }
}

fn files() -> impl Strategy<Value = Vec<File>> {
    let content = proptest::collection::vec(any::<u8>(), 0..40);
    let file = ("[a-z]{1,3}(/[a-z]{1,3}){0,2}", content, proptest::bool::ANY).prop_map(|(path, content, executable)| File {
        path: format!("package/src/{path}.js"),
        content,
        mode: if executable { 0o111 } else { 0 },
    });
    proptest::collection::vec(file, 1..6).prop_map(|mut files| {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        files.push(File { path: "package/package.json".into(), content: MANIFEST.into(), mode: 0 });
        files
    })
}

fn archive(files: &[File], noise: &Noise) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8]| {
        let mut header = if noise.is_gnu { tar::Header::new_gnu() } else { tar::Header::new_ustar() };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode | noise.read_write);
        header.set_mtime(noise.modified);
        header.set_uid(noise.owner);
        header.set_gid(noise.owner);
        header.set_username(&noise.user).unwrap();
        builder.append_data(&mut header, path, content).unwrap();
    };
    if noise.has_folders {
        header("package/src/", tar::EntryType::Directory, 0o111, b"");
    }
    let (behind, before) = files.split_at(noise.rotation % files.len());
    for file in before.iter().chain(behind) {
        header(&file.path, tar::EntryType::Regular, file.mode, &file.content);
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(noise.level));
    gzip.write_all(&builder.into_inner().unwrap()).unwrap();
    gzip.finish().unwrap()
}

fn unpacked(gzip: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut tar).unwrap();
    tar
}

fn output(bytes: Vec<u8>) -> MemoryFiles {
    MemoryFiles(vec![("demo-1.0.0.tgz".into(), bytes)])
}

fn compare(a: &MemoryFiles, b: &MemoryFiles) -> Comparison {
    let files = MemoryFiles::side_by_side(a, b);
    let (a, b) = files.output().split(1);
    Npm::compare(Some("demo@1.0.0"), a, b)
}

fn is_same(comparison: &Comparison) -> bool {
    matches!(comparison, Comparison::Identical | Comparison::SameAfter(_))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn noise_is_forgiven_in_any_combination(files in files(), one in noise(), other in noise()) {
        let (a, b) = (output(archive(&files, &one)), output(archive(&files, &other)));
        let comparison = compare(&a, &b);
        prop_assert!(is_same(&comparison), "{comparison:?}");
        let digest = |files: &MemoryFiles| Npm::canonicalize(None, files.output()).unwrap()[0].canonical_digest.clone();
        prop_assert_eq!(digest(&a), digest(&b));
    }

    #[test]
    fn every_change_of_a_file_is_found_whatever_the_noise(
        files in files(), index: prop::sample::Index, change in 0..6u8, at: prop::sample::Index, bit in 0..8u8, one in noise(), other in noise(),
    ) {
        let mut changed = files.clone();
        let index = index.index(changed.len());
        let is_manifest = changed[index].path.ends_with("package.json");
        match change {
            0 => changed[index].mode ^= 0o100 >> (3 * (bit % 3)),
            1 => changed[index].mode ^= 0o1000 << (bit % 3),
            2 if !is_manifest => drop(changed.remove(index)),
            3 if !is_manifest => changed[index].path.push('x'),
            4 if !changed[index].content.is_empty() => {
                let at = at.index(changed[index].content.len());
                changed[index].content[at] ^= 1 << bit;
            }
            _ => changed[index].content.push(b' '),
        }
        prop_assert_ne!(&changed, &files);
        let (a, b) = (output(archive(&files, &one)), output(archive(&changed, &other)));
        for comparison in [compare(&a, &b), compare(&b, &a)] {
            prop_assert!(!is_same(&comparison));
            // A changed manifest may be none any more, or that of another package.
            prop_assert!(is_manifest || matches!(comparison, Comparison::Different(_)), "{comparison:?}");
        }
    }

    #[test]
    fn a_flipped_bit_of_the_archive_is_damage_or_means_nothing(files in files(), noise in noise(), at: prop::sample::Index, bit in 0..8u8) {
        let sound = archive(&files, &noise);
        let mut damaged = sound.clone();
        let at = at.index(damaged.len());
        damaged[at] ^= 1 << bit;
        let comparison = compare(&output(sound.clone()), &output(damaged.clone()));
        // The header of gzip and the bits that fill up the last byte of deflate say nothing of the content; a checksum covers all else.
        let is_harmless = matches!(comparison, Comparison::SameAfter(_)) && unpacked(&sound) == unpacked(&damaged);
        prop_assert!(is_harmless || matches!(comparison, Comparison::Undecidable(_)), "byte {at}: {comparison:?}");
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600), is_packed: bool) {
        let mut packed = bytes.clone();
        if is_packed {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&bytes).unwrap();
            packed = gzip.finish().unwrap();
        }
        let files = output(packed);
        prop_assert!(Npm::check("demo@1.0.0", files.output()).is_err());
        prop_assert!(matches!(compare(&files, &files), Comparison::Undecidable(_)));
    }

    #[test]
    fn any_tar_with_a_true_checksum_has_an_answer(mut block in proptest::collection::vec(any::<u8>(), 512), zero in proptest::collection::vec(0..512usize, 0..500)) {
        for at in zero {
            block[at] = 0;
        }
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.extend([0; 2048]);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&block).unwrap();
        let files = output(gzip.finish().unwrap());
        prop_assert!(Npm::canonicalize(None, files.output()).is_err(), "it has no manifest");
    }

    #[test]
    fn any_text_is_a_coordinate_that_parses_to_itself_or_is_refused(text in "\\PC{0,40}|(@[a-z]{1,3}/)?[a-zA-Z._-]{0,6}@?[0-9.x^~<|v+a-]{0,9}") {
        if let Ok(canonical) = Npm::parse_coordinate(&text) {
            prop_assert_eq!(&canonical, &text);
            prop_assert_eq!(Npm::parse_coordinate(&canonical), Ok(canonical));
        }
    }

    #[test]
    fn any_path_has_an_answer(path in "\\PC{0,40}|/(@[a-z]{1,3}/)?[a-z]{1,3}(/-/[a-z.0-9-]{0,12})?") {
        let _ = Npm::http_artifacts(&path);
        let _ = Npm::http_document(&path, "http://node.example/npm", &[], MemoryFiles::default().output());
    }
}
