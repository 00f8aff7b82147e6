//! One call from the component's side: the files it is lent, what it may take, and where it is stopped.
//!
//! Owns the functions a component imports and the counting of what it uses. A stop is an [`Abstention`] that travels through the engine as an error.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Instant;

use pyrsia_ledger::Sha256Digest;
use sha2::{Digest, Sha256};
use wasmtime::{ResourceLimiter, Trap};

use crate::contract::pyrsia::verifier::{inputs, log};
use crate::hashing::Hashers;
use crate::limits::{self, Limits};
use crate::outcome::{Abstention, InputFile};

/// Bytes hashed between two looks at the clock.
const HASH_PIECE_BYTES: usize = 256 << 10;

pub(crate) struct Call {
    files: Vec<InputFile>,
    /// The file read last, open.
    open: Option<(u32, File)>,
    fuel: u64,
    input_bytes_max: u64,
    input_bytes: u64,
    made_bytes_max: u64,
    made_bytes: u64,
    pub(crate) hashers: Hashers,
    log_lines: u32,
    module: Sha256Digest,
    limits: Limits,
    started: Instant,
}

impl Call {
    pub(crate) fn new(module: Sha256Digest, limits: Limits, files: Vec<InputFile>) -> Self {
        let size = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size_bytes));
        Self {
            files,
            open: None,
            fuel: limits.fuel.saturating_add(size.saturating_mul(limits::FUEL_PER_INPUT_BYTE)),
            input_bytes_max: size.saturating_mul(limits::INPUT_PASSES_MAX).saturating_add(limits::INPUT_BYTES_FLOOR),
            input_bytes: 0,
            made_bytes_max: size.saturating_mul(limits::MADE_PASSES_MAX).saturating_add(limits.made_bytes),
            made_bytes: 0,
            hashers: Hashers::default(),
            log_lines: 0,
            module,
            limits,
            started: Instant::now(),
        }
    }

    /// What the call may take: it depends on what was lent and on nothing else, so that it is the same on every node.
    pub(crate) fn fuel(&self) -> u64 {
        self.fuel
    }

    /// Why the call ended without an answer.
    pub(crate) fn abstention(&self, error: &wasmtime::Error) -> Abstention {
        let limits = self.limits;
        if let Some(abstention) = error.downcast_ref::<Abstention>() {
            return abstention.clone();
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Abstention::OutOfFuel { limit: self.fuel },
            Some(Trap::Interrupt) => Abstention::Deadline { limit: limits.deadline },
            Some(trap) => Abstention::Trap(trap.to_string()),
            None => {
                let reason = error.root_cause().to_string();
                // The engine's error for this has no public type.
                if reason.contains("fuel allocated for hostcalls has been exhausted") {
                    return Abstention::OutputTooLarge { limit: limits.output_bytes };
                }
                Abstention::Trap(reason)
            }
        }
    }

    fn charge(&mut self, bytes: u64) -> wasmtime::Result<()> {
        self.input_bytes = self.input_bytes.saturating_add(bytes).saturating_add(limits::INPUT_CALL_BYTES);
        if self.input_bytes > self.input_bytes_max {
            return Err(stop(Abstention::OutOfInput { limit: self.input_bytes_max }));
        }
        Ok(())
    }

    /// Counts bytes of the component's own making that the host hashes.
    pub(crate) fn charge_made(&mut self, bytes: u64) -> wasmtime::Result<()> {
        self.made_bytes = self.made_bytes.saturating_add(bytes).saturating_add(limits::INPUT_CALL_BYTES);
        if self.made_bytes > self.made_bytes_max {
            return Err(stop(Abstention::OutOfHashing { limit: self.made_bytes_max }));
        }
        Ok(())
    }

    /// Adds a range of a file to a digest.
    pub(crate) fn hash_range(&mut self, hasher: &mut Sha256, file: u32, offset: u64, len: u64) -> wasmtime::Result<()> {
        let size = self.file(file)?.size_bytes;
        let Some(end) = offset.checked_add(len).filter(|end| *end <= size) else {
            return Err(broken(format!("a digest of {len} bytes from {offset} of a file of {size} bytes")));
        };
        self.charge(len)?;
        let mut piece = vec![0; len.min(HASH_PIECE_BYTES as u64) as usize];
        let mut at = offset;
        while at < end {
            // The engine cannot interrupt the host.
            if self.started.elapsed() > self.limits.deadline {
                return Err(stop(Abstention::Deadline { limit: self.limits.deadline }));
            }
            let part = &mut piece[..(end - at).min(HASH_PIECE_BYTES as u64) as usize];
            self.read_exact(file, at, part)?;
            hasher.update(&*part);
            at += part.len() as u64;
        }
        Ok(())
    }

    fn file(&self, file: u32) -> wasmtime::Result<&InputFile> {
        let found = self.files.get(file as usize);
        found.ok_or_else(|| broken(format!("there is no file {file}, the call has {}", self.files.len())))
    }

    fn read_exact(&mut self, file: u32, offset: u64, buffer: &mut [u8]) -> wasmtime::Result<()> {
        let before = self.open.take();
        let lent = self.file(file)?;
        let read = || -> io::Result<File> {
            let mut opened = match before {
                Some((number, opened)) if number == file => opened,
                _ => open_unchanged(lent)?,
            };
            opened.seek(SeekFrom::Start(offset))?;
            opened.read_exact(buffer)?;
            Ok(opened)
        };
        let opened = read().map_err(|error| stop(Abstention::Io { name: lent.name.clone(), reason: error.to_string() }))?;
        self.open = Some((file, opened));
        Ok(())
    }
}

/// A file that is not what the call was promised would be checked as something else than what is published.
fn open_unchanged(lent: &InputFile) -> io::Result<File> {
    let file = File::open(&lent.path)?;
    let size = file.metadata()?.len();
    if size != lent.size_bytes {
        return Err(io::Error::other(format!("it has {size} bytes, not the {} announced", lent.size_bytes)));
    }
    Ok(file)
}

impl inputs::Host for Call {
    fn count(&mut self) -> wasmtime::Result<u32> {
        self.charge(0)?;
        Ok(self.files.len() as u32)
    }

    fn name(&mut self, file: u32) -> wasmtime::Result<String> {
        let name = self.file(file)?.name.clone();
        self.charge(name.len() as u64)?;
        Ok(name)
    }

    fn size(&mut self, file: u32) -> wasmtime::Result<u64> {
        self.charge(0)?;
        Ok(self.file(file)?.size_bytes)
    }

    fn read(&mut self, file: u32, offset: u64, len: u32) -> wasmtime::Result<Vec<u8>> {
        if len > limits::READ_BYTES_MAX {
            return Err(broken(format!("a read of {len} bytes, {} are allowed", limits::READ_BYTES_MAX)));
        }
        let len = u64::from(len).min(self.file(file)?.size_bytes.saturating_sub(offset));
        self.charge(len)?;
        let mut bytes = vec![0; len as usize];
        if len > 0 {
            self.read_exact(file, offset, &mut bytes)?;
        }
        Ok(bytes)
    }

    fn sha256(&mut self, file: u32, offset: u64, len: u64) -> wasmtime::Result<Vec<u8>> {
        let mut hasher = Sha256::new();
        self.hash_range(&mut hasher, file, offset, len)?;
        Ok(hasher.finalize().to_vec())
    }

    fn sha256_bytes(&mut self, bytes: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
        self.charge_made(bytes.len() as u64)?;
        Ok(Sha256::digest(&bytes).to_vec())
    }
}

impl log::Host for Call {
    fn line(&mut self, text: String) -> wasmtime::Result<()> {
        self.charge(text.len() as u64)?;
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines <= limits::LOG_LINES_MAX {
            let line: String = text.chars().take(limits::LOG_LINE_CHARS_MAX).flat_map(char::escape_debug).collect();
            tracing::debug!(verifier = ?self.module, "{line}");
        }
        Ok(())
    }
}

impl ResourceLimiter for Call {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let (asked, limit) = (desired as u64, self.limits.memory_bytes);
        if asked > limit {
            return Err(stop(Abstention::OutOfMemory { asked, limit }));
        }
        // The component's own maximum is its own affair: it sees the failure.
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // A machine out of memory must not become an answer.
        Err(error)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let (asked, limit) = (desired as u64, u64::from(self.limits.table_elements));
        if asked > limit {
            return Err(stop(Abstention::OutOfTable { asked, limit }));
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }
}

fn stop(abstention: Abstention) -> wasmtime::Error {
    wasmtime::Error::new(abstention)
}

pub(crate) fn broken(what: String) -> wasmtime::Error {
    stop(Abstention::BrokenContract(what))
}
