//! Any flipped bit in any file of a log: opening it or auditing it finds the damage, or nothing the log says is changed by it.
#![expect(clippy::unwrap_used, reason = "tests unwrap")]
#![expect(clippy::disallowed_methods, reason = "the seed of a random test can be given from outside")]

mod chain;

use pyrsia_ledger::log::{BlockLog, LogError, write_snapshot};
use pyrsia_ledger::{Height, Projections, SealedBlock};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const FLIPS: usize = 150;

/// A log whose blocks are partly in tables and partly in the journal, as that of a node that ran for a while.
fn log(folder: &Path) -> Vec<SealedBlock> {
    let blocks = chain::blocks(40);
    let (mut log, _) = BlockLog::open(folder).unwrap();
    let mut state: Option<Projections> = None;
    for (index, sealed) in blocks.iter().enumerate() {
        if index % 2 == 0 && index < 36 {
            log.journal(sealed.height(), vec![index as u8; 1 << 20]);
            log.keep_body(&sealed.block);
            log.flush().unwrap();
        }
        log.append(sealed).unwrap();
        let next = state.map_or_else(|| Projections::from_genesis(sealed), |state| state.advance(&sealed.block)).unwrap();
        if index == 20 || index == 30 {
            write_snapshot(folder, &next).unwrap();
        }
        state = Some(next);
    }
    blocks
}

fn copy(from: &Path, to: &Path) {
    for path in chain::files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let (mut source, mut out) = (File::open(&path).unwrap(), File::create(&target).unwrap());
        let (mut chunk, zeros, mut length) = (vec![0; 1 << 20], vec![0; 1 << 20], 0);
        loop {
            let read = source.read(&mut chunk).unwrap();
            if read == 0 {
                break;
            }
            length += read as u64;
            if chunk[..read] == zeros[..read] {
                out.seek(SeekFrom::Current(read as i64)).unwrap();
            } else {
                out.write_all(&chunk[..read]).unwrap();
            }
        }
        out.set_len(length).unwrap();
    }
}

/// The part of a file that was written; the rest of a journal is room that was set aside.
fn written(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn flip(path: &Path, at: u64, bit: u8) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1 << bit]).unwrap();
}

#[test]
fn a_flipped_bit_is_found_or_changes_nothing() {
    let seed = std::env::var("PYRSIA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0xb17_u64);
    println!("PYRSIA_SEED={seed}");
    let root = tempfile::tempdir().unwrap();
    let sound = root.path().join("sound");
    let blocks = log(&sound);
    let files: Vec<(PathBuf, u64)> = chain::files(&sound)
        .into_iter()
        .map(|path| (written(&path), path))
        .filter(|(size, _)| *size > 0)
        .map(|(size, path)| (path, size))
        .collect();
    assert!(files.iter().any(|(path, _)| path.to_string_lossy().contains("tables")), "{files:?}");
    let (mut random, mut found, mut harmless) = (seed, 0, BTreeMap::<PathBuf, usize>::new());
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 16) % below
    };
    for turn in 0..FLIPS {
        // Every file gets its share, however small it is.
        let (path, size) = &files[turn % files.len()];
        let (at, bit) = (draw(*size), draw(8) as u8);
        let name = path.strip_prefix(&sound).unwrap();
        let context = format!("bit {bit} of byte {at} of {} in {}", size, name.display());
        let damaged = root.path().join(format!("damaged-{turn}"));
        copy(&sound, &damaged);
        flip(&damaged.join(name), at, bit);
        let audited =
            catch_unwind(AssertUnwindSafe(|| chain::audit(&damaged))).unwrap_or_else(|_| panic!("audit panics: {context}"));
        let opened = catch_unwind(|| {
            let (mut log, state) = BlockLog::open(&damaged)?;
            if let Some(covered) = log.take_opening().covered {
                covered.check(&mut || true)?;
            }
            Ok::<_, LogError>((log.blocks(Height(0), usize::MAX)?, state))
        })
        .unwrap_or_else(|_| panic!("opening panics: {context}"));
        let (report, rows) = audited;
        let audit_is_right = rows.iter().zip(&blocks).all(|(row, sealed)| *row == sealed.encode()) && rows.len() == blocks.len();
        assert!(audit_is_right || !report.clean, "an audit misses {context}");
        match opened {
            Ok((found, state)) => {
                assert_eq!(found, blocks, "silently different: {context}");
                assert_eq!(state.unwrap().tip(), blocks.last().unwrap().block.hash(), "{context}");
                *harmless.entry(name.to_owned()).or_default() += 1;
            }
            Err(_) => found += 1,
        }
        fs::remove_dir_all(&damaged).unwrap();
    }
    println!("{found} found when opening, without any effect: {harmless:?}");
    assert!(found > 0);
}
