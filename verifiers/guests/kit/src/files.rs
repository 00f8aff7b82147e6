//! The files of one call: one output, or two of them side by side.
//!
//! Reads in pieces. Nothing here holds a file as a whole, except [`File::read_whole`] up to a bound its caller names.

use std::io::{self, Read};
use std::rc::Rc;

use crate::hash::Sha256;

/// Read access to the files of a call: the host's in a component, memory in a native test.
pub trait Inputs {
    fn count(&self) -> u32;
    fn name(&self, file: u32) -> String;
    fn size(&self, file: u32) -> u64;
    /// At most [`READ_BYTES_MAX`] at a time; fewer only at the end of the file.
    fn read(&self, file: u32, offset: u64, len: u32) -> Vec<u8>;
    fn sha256(&self, file: u32, offset: u64, len: u64) -> Sha256;
}

/// The contract's bound of one read, in bytes.
pub const READ_BYTES_MAX: u32 = 1 << 20;
/// What a reader asks for at a time.
const PIECE_BYTES: u32 = 64 << 10;

/// The files the host lends.
#[cfg(target_arch = "wasm32")]
pub struct Lent;

#[cfg(target_arch = "wasm32")]
impl Inputs for Lent {
    fn count(&self) -> u32 {
        crate::contract::pyrsia::verifier::inputs::count()
    }

    fn name(&self, file: u32) -> String {
        crate::contract::pyrsia::verifier::inputs::name(file)
    }

    fn size(&self, file: u32) -> u64 {
        crate::contract::pyrsia::verifier::inputs::size(file)
    }

    fn read(&self, file: u32, offset: u64, len: u32) -> Vec<u8> {
        crate::contract::pyrsia::verifier::inputs::read(file, offset, len)
    }

    fn sha256(&self, file: u32, offset: u64, len: u64) -> Sha256 {
        crate::hash::digest(crate::contract::pyrsia::verifier::inputs::sha256(file, offset, len))
    }
}

/// Files in memory, by name and content, for native tests.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(pub Vec<(String, Vec<u8>)>);

impl MemoryFiles {
    /// All of them as one output.
    pub fn output(&self) -> Output<'_> {
        Output::all(self)
    }

    /// The files of `a` and then those of `b`, as a comparison lends them; split with [`Output::split`].
    pub fn side_by_side(a: &Self, b: &Self) -> Self {
        Self([&a.0[..], &b.0[..]].concat())
    }
}

impl Inputs for MemoryFiles {
    fn count(&self) -> u32 {
        self.0.len() as u32
    }

    fn name(&self, file: u32) -> String {
        self.0[file as usize].0.clone()
    }

    fn size(&self, file: u32) -> u64 {
        self.0[file as usize].1.len() as u64
    }

    fn read(&self, file: u32, offset: u64, len: u32) -> Vec<u8> {
        assert!(len <= READ_BYTES_MAX, "the contract's bound of one read");
        let bytes = &self.0[file as usize].1;
        let at = |offset: u64| offset.min(bytes.len() as u64) as usize;
        bytes[at(offset)..at(offset.saturating_add(u64::from(len)))].to_vec()
    }

    fn sha256(&self, file: u32, offset: u64, len: u64) -> Sha256 {
        crate::hash::sha256(&self.0[file as usize].1[offset as usize..][..len as usize])
    }
}

/// One output: some of the call's files.
#[derive(Clone, Copy)]
pub struct Output<'a> {
    inputs: &'a dyn Inputs,
    first: u32,
    count: u32,
}

impl<'a> Output<'a> {
    /// All files of the call.
    pub fn all(inputs: &'a dyn Inputs) -> Self {
        Self { inputs, first: 0, count: inputs.count() }
    }

    /// The first `files` of them, and the rest.
    pub fn split(&self, files: u32) -> (Self, Self) {
        let files = files.min(self.count);
        (Self { count: files, ..*self }, Self { first: self.first + files, count: self.count - files, ..*self })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn files(&self) -> impl Iterator<Item = File<'a>> + use<'a> {
        let Self { inputs, first, count } = *self;
        (0..count).map(move |index| File::new(inputs, first, index))
    }

    /// The file with this number within the output.
    pub fn file(&self, index: u32) -> Option<File<'a>> {
        (index < self.count).then(|| File::new(self.inputs, self.first, index))
    }
}

/// One file of an output. A cheap clone.
#[derive(Clone)]
pub struct File<'a> {
    inputs: &'a dyn Inputs,
    number: u32,
    index: u32,
    name: Rc<str>,
    size: u64,
}

impl<'a> File<'a> {
    fn new(inputs: &'a dyn Inputs, first: u32, index: u32) -> Self {
        let number = first + index;
        Self { inputs, number, index, name: inputs.name(number).into(), size: inputs.size(number) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its number within its output: what an answer about one output calls it.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its number within the call: what the host calls it.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The digest of the whole file.
    pub fn sha256(&self) -> Sha256 {
        self.inputs.sha256(self.number, 0, self.size)
    }

    /// The whole file, or `None` when it is larger than `bytes_max`.
    pub fn read_whole(&self, bytes_max: u64) -> Option<Vec<u8>> {
        if self.size > bytes_max {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.size as usize);
        while (bytes.len() as u64) < self.size {
            bytes.extend(self.read_at(bytes.len() as u64, (self.size - bytes.len() as u64) as usize));
        }
        Some(bytes)
    }

    /// At most `len` bytes from `offset` on, fewer when that is more than one read gives or the file ends.
    pub fn read_at(&self, offset: u64, len: usize) -> Vec<u8> {
        self.inputs.read(self.number, offset, len.min(READ_BYTES_MAX as usize) as u32)
    }

    /// Reads from the beginning to the end, in pieces.
    pub fn reader(&self) -> FileReader<'a> {
        self.range(0, self.size)
    }

    /// Reads `len` bytes from `offset` on, or to the end of the file.
    pub fn range(&self, offset: u64, len: u64) -> FileReader<'a> {
        let end = offset.saturating_add(len).min(self.size);
        FileReader { file: self.clone(), at: offset.min(end), end, piece: Vec::new(), taken: 0 }
    }
}

/// A stretch of a file as a stream.
pub struct FileReader<'a> {
    file: File<'a>,
    /// Where the next piece begins.
    at: u64,
    end: u64,
    piece: Vec<u8>,
    taken: usize,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            let len = (self.end - self.at).min(u64::from(PIECE_BYTES)) as u32;
            if len == 0 {
                return Ok(0);
            }
            self.piece = self.file.inputs.read(self.file.number, self.at, len);
            self.at += self.piece.len() as u64;
            self.taken = 0;
        }
        let len = buffer.len().min(self.piece.len() - self.taken);
        buffer[..len].copy_from_slice(&self.piece[self.taken..][..len]);
        self.taken += len;
        Ok(len)
    }
}

/// Bytes that can be read from any place: a file, or something unpacked from one into memory.
pub trait ReadAt {
    fn size(&self) -> u64;
    /// Exactly `len` bytes, or none when they are not all there.
    fn bytes_at(&self, offset: u64, len: usize) -> Option<Vec<u8>>;
}

impl ReadAt for File<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn bytes_at(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.size)?;
        let mut bytes = Vec::with_capacity(len);
        while (bytes.len()) < len {
            let at = offset + bytes.len() as u64;
            bytes.extend(self.read_at(at, (end - at) as usize));
        }
        Some(bytes)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn bytes_at(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let rest = self.get(usize::try_from(offset).ok()?..)?;
        rest.get(..len).map(<[u8]>::to_vec)
    }
}

/// A stretch of [`ReadAt`] as a stream.
pub struct RangeReader<'a, S: ?Sized> {
    source: &'a S,
    at: u64,
    end: u64,
    piece: Vec<u8>,
    taken: usize,
}

impl<'a, S: ReadAt + ?Sized> RangeReader<'a, S> {
    pub fn new(source: &'a S, offset: u64, len: u64) -> Self {
        let end = offset.saturating_add(len).min(source.size());
        Self { source, at: offset.min(end), end, piece: Vec::new(), taken: 0 }
    }
}

impl<S: ReadAt + ?Sized> Read for RangeReader<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            let len = (self.end - self.at).min(u64::from(PIECE_BYTES)) as usize;
            if len == 0 {
                return Ok(0);
            }
            self.piece = self.source.bytes_at(self.at, len).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.at += len as u64;
            self.taken = 0;
        }
        let len = buffer.len().min(self.piece.len() - self.taken);
        buffer[..len].copy_from_slice(&self.piece[self.taken..][..len]);
        self.taken += len;
        Ok(len)
    }
}
