//! A layer from end to end, unpacked on the way: its entries, the digests of their contents and of its tar.

use std::cell::{Cell, RefCell};
use std::io::{self, BufReader, Read};

use pyrsia_verifier_kit::inflate::{Bounds, Compression, GzipReader, ZstdReader};
use pyrsia_verifier_kit::tar::{Entry, Kind, TarReader};
use pyrsia_verifier_kit::{File, Hasher, Sha256, Unreadable};

use crate::passes::{Noise, Pass};

const PIECE_BYTES: usize = 32 << 10;

/// How many bytes the layers of one output may still unpack to.
pub struct Budget(Cell<u64>);

impl Budget {
    pub const fn new(bytes: u64) -> Self {
        Self(Cell::new(bytes))
    }

    fn spend(&self, bytes: u64) {
        self.0.set(self.0.get().saturating_sub(bytes));
    }
}

/// How a layer is read from end to end.
pub(super) struct Unpacking<'h, W> {
    /// Takes the tar of a compressed layer.
    pub(super) tar: Option<&'h RefCell<Hasher>>,
    pub(super) budget: &'h Budget,
    /// Whether the content of an entry is to be hashed.
    pub(super) with_content: W,
}

impl<W: Fn(&Entry) -> bool> Unpacking<'_, W> {
    /// Entry by entry, each with the digest of its content if it has any. Says where the deflate stream begins.
    pub(super) fn scan(
        &self,
        file: &File<'_>,
        compression: Compression,
        noise: &mut Noise,
        visit: impl FnMut(Entry, Option<Sha256>) -> Result<(), Unreadable>,
    ) -> Result<u64, Unreadable> {
        let actual = Compression::of(&file.read_at(0, 4));
        if actual != compression {
            return Err(Unreadable::new(format!("its media type says {}, its bytes {}", word(compression), word(actual))));
        }
        let bounds = Bounds::new(self.budget.0.get());
        let taken = Cell::new(0);
        let source = Counted { source: file.reader(), taken: &taken };
        if compression != Compression::None {
            noise.note(Pass::Compression, &[]);
            noise.note(Pass::CompressionMethod, &[word(compression).as_bytes()]);
        }
        match compression {
            Compression::None => self.walk(source, visit)?,
            Compression::Zstd => self.walk(Unpacked { source: ZstdReader::new(source, bounds)?, unpacking: self }, visit)?,
            Compression::Gzip => {
                const PLAIN: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
                let unpacked = GzipReader::new(source, bounds)?;
                let compressed_at = taken.get();
                let header = file.read_at(0, compressed_at as usize);
                if header != PLAIN {
                    noise.note(Pass::GzipHeader, &[&header]);
                }
                self.walk(Unpacked { source: unpacked, unpacking: self }, visit)?;
                return Ok(compressed_at);
            }
        }
        Ok(0)
    }

    fn walk(
        &self,
        unpacked: impl Read,
        mut visit: impl FnMut(Entry, Option<Sha256>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        let mut archive = TarReader::new(BufReader::with_capacity(PIECE_BYTES, unpacked));
        let mut piece = vec![0; PIECE_BYTES];
        while let Some(entry) = archive.next_entry()? {
            let mut content = None;
            if entry.kind == Kind::File && entry.size > 0 && (self.with_content)(&entry) {
                let mut hasher = Hasher::new();
                loop {
                    match archive.read(&mut piece)? {
                        0 => break,
                        len => hasher.update(&piece[..len]),
                    }
                }
                content = Some(hasher.finish());
            }
            visit(entry, content)?;
        }
        Ok(())
    }
}

fn word(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "an uncompressed tar",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

struct Counted<'c, R> {
    source: R,
    taken: &'c Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.taken.set(self.taken.get() + len as u64);
        Ok(len)
    }
}

struct Unpacked<'u, 'h, R, W> {
    source: R,
    unpacking: &'u Unpacking<'h, W>,
}

impl<R: Read, W> Read for Unpacked<'_, '_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.unpacking.budget.spend(len as u64);
        if let Some(tar) = self.unpacking.tar {
            tar.borrow_mut().update(&buffer[..len]);
        }
        Ok(len)
    }
}
