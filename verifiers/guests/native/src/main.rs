//! `pyrsia-guests-native TYPE FOLDER`: the canonical forms of a folder's files by a verifier compiled for this machine, and how many seconds that took.
//!
//! What `cargo xtask bench verifiers` measures the sandbox against. Reads as the host does: from the disk, in the pieces the guest asks for.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use pyrsia_verifier_docker::Docker;
use pyrsia_verifier_kit::files::Inputs;
use pyrsia_verifier_kit::hash::{Sha256, hex};
use pyrsia_verifier_kit::{Output, Verifier};
use pyrsia_verifier_maven::Maven;
use sha2::Digest;

/// Bytes hashed at a time, as the host does.
const HASH_PIECE_BYTES: u64 = 256 << 10;

/// A folder's files, by name.
struct OnDisk(Vec<(String, File, u64)>);

impl OnDisk {
    fn open(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.push((entry.file_name().to_string_lossy().into_owned(), File::open(entry.path())?, entry.metadata()?.len()));
        }
        files.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        Ok(Self(files))
    }

    fn bytes(&self, file: u32, offset: u64, len: u64) -> Vec<u8> {
        let (name, file, _) = &self.0[file as usize];
        let mut bytes = vec![0; len as usize];
        if let Err(error) = file.read_exact_at(&mut bytes, offset) {
            panic!("{name} cannot be read: {error}");
        }
        bytes
    }
}

impl Inputs for OnDisk {
    fn count(&self) -> u32 {
        self.0.len() as u32
    }

    fn name(&self, file: u32) -> String {
        self.0[file as usize].0.clone()
    }

    fn size(&self, file: u32) -> u64 {
        self.0[file as usize].2
    }

    fn read(&self, file: u32, offset: u64, len: u32) -> Vec<u8> {
        self.bytes(file, offset, u64::from(len).min(self.size(file).saturating_sub(offset)))
    }

    fn sha256(&self, file: u32, offset: u64, len: u64) -> Sha256 {
        let mut hasher = sha2::Sha256::new();
        let mut at = 0;
        while at < len {
            let piece = self.bytes(file, offset + at, (len - at).min(HASH_PIECE_BYTES));
            hasher.update(&piece);
            at += piece.len() as u64;
        }
        hasher.finalize().into()
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let canonicalize = match words[..] {
        ["docker", _] => Docker::canonicalize,
        ["maven", _] => Maven::canonicalize,
        _ => {
            eprintln!("usage: pyrsia-guests-native docker|maven FOLDER");
            return ExitCode::FAILURE;
        }
    };
    let files = match OnDisk::open(Path::new(words[1])) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("{}: {error}", words[1]);
            return ExitCode::FAILURE;
        }
    };
    let start = Instant::now();
    match canonicalize(None, Output::all(&files)) {
        Ok(forms) => {
            println!("{}", start.elapsed().as_secs_f64());
            forms.iter().for_each(|form| println!("{}", hex(&form.canonical_digest)));
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            eprintln!("{}: {}", refusal.code, refusal.sentence);
            ExitCode::FAILURE
        }
    }
}
