//! Decompression as streams: deflate (RFC 1951), gzip (RFC 1952), zstd (RFC 8878).
//!
//! One stream is one compressed thing: a second gzip member, a second frame and bytes after the end are [`Unreadable`], since readers differ in what they make of
//! them. Checksums and lengths are verified. What comes out is bounded in size and in proportion to what went in.

use std::io::{self, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};
use ruzstd::decoding::StreamingDecoder;

use crate::unreadable::Unreadable;

/// How far decompression may go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes that may come out.
    pub bytes_max: u64,
    /// Bytes that may come out for each one that went in, beyond the first [`RATIO_FREE_BYTES`]. Deflate itself ends at about 1030.
    pub ratio_max: u64,
}

impl Bounds {
    pub const fn new(bytes_max: u64) -> Self {
        Self { bytes_max, ratio_max: 1100 }
    }

    fn check(&self, consumed: u64, made: u64) -> io::Result<()> {
        if made > self.bytes_max {
            return Err(Unreadable::new(format!("it unpacks to more than {} bytes", self.bytes_max)).into());
        }
        if made > RATIO_FREE_BYTES.saturating_add(consumed.saturating_mul(self.ratio_max)) {
            return Err(Unreadable::new(format!("it unpacks to more than {} times its size", self.ratio_max)).into());
        }
        Ok(())
    }
}

pub const RATIO_FREE_BYTES: u64 = 1 << 20;
const PIECE_BYTES: usize = 32 << 10;
/// The largest window a zstd frame may ask for: the bound of RFC 8878, section 3.1.1.1.2, for decoders of limited memory.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 8 << 20;
/// The name and comment of a gzip header are for people.
const GZIP_TEXT_BYTES_MAX: usize = 4096;

/// How a file is compressed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What `source` holds, unpacked if it is compressed.
pub fn unpacked<'r>(source: impl Read + 'r, compression: Compression, bounds: Bounds) -> Result<Box<dyn Read + 'r>, Unreadable> {
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(GzipReader::new(source, bounds)?),
        Compression::Zstd => Box::new(ZstdReader::new(source, bounds)?),
    })
}

/// A bare deflate stream.
pub struct DeflateReader<R> {
    source: R,
    piece: Box<[u8]>,
    taken: usize,
    filled: usize,
    state: Decompress,
    ended: bool,
    bounds: Bounds,
}

impl<R: Read> DeflateReader<R> {
    pub fn new(source: R, bounds: Bounds) -> Self {
        let piece = vec![0; PIECE_BYTES].into_boxed_slice();
        Self { source, piece, taken: 0, filled: 0, state: Decompress::new(false), ended: false, bounds }
    }

    /// How many compressed bytes the stream took so far.
    pub fn consumed(&self) -> u64 {
        self.state.total_in()
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.taken == self.filled {
            self.filled = read_some(&mut self.source, &mut self.piece)?;
            self.taken = 0;
        }
        Ok(())
    }

    /// Bytes behind the end of the stream.
    fn after(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let len = buffer.len().min(self.filled - self.taken);
        buffer[..len].copy_from_slice(&self.piece[self.taken..][..len]);
        self.taken += len;
        Ok(len)
    }
}

impl<R: Read> Read for DeflateReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !buffer.is_empty() {
            self.fill()?;
            let at_end = self.taken == self.filled;
            let (consumed, made) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(&self.piece[self.taken..self.filled], buffer, FlushDecompress::None)
                .map_err(|_| Unreadable::new("its compressed data is damaged"))?;
            self.taken += (self.state.total_in() - consumed) as usize;
            let len = (self.state.total_out() - made) as usize;
            self.bounds.check(self.state.total_in(), self.state.total_out())?;
            self.ended = status == Status::StreamEnd;
            if len > 0 {
                return Ok(len);
            }
            if at_end && !self.ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}

/// What a gzip header says, none of which is content (RFC 1952, section 2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GzipHeader {
    pub modified_seconds: u32,
    pub extra_flags: u8,
    pub operating_system: u8,
    pub extra: Vec<u8>,
    pub name: Vec<u8>,
    pub comment: Vec<u8>,
}

/// One gzip member that fills its source to the end.
pub struct GzipReader<R> {
    header: GzipHeader,
    deflated: DeflateReader<R>,
    crc: Crc,
    verified: bool,
}

impl<R: Read> GzipReader<R> {
    pub fn new(mut source: R, bounds: Bounds) -> Result<Self, Unreadable> {
        let header = gzip_header(&mut source)?;
        Ok(Self { header, deflated: DeflateReader::new(source, bounds), crc: Crc::new(), verified: false })
    }

    pub fn header(&self) -> &GzipHeader {
        &self.header
    }

    fn verify_end(&mut self) -> io::Result<()> {
        let mut trailer = [0; 8];
        let mut filled = 0;
        while filled < trailer.len() {
            match self.deflated.after(&mut trailer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => filled += len,
            }
        }
        let [a, b, c, d, e, f, g, h] = trailer;
        let size = self.deflated.state.total_out() as u32;
        if (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])) != (self.crc.sum(), size) {
            return Err(Unreadable::new("its gzip checksum or length is wrong").into());
        }
        if self.deflated.after(&mut [0])? != 0 {
            return Err(Unreadable::new("bytes follow its gzip stream").into());
        }
        self.verified = true;
        Ok(())
    }
}

impl<R: Read> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.deflated.read(buffer)?;
        self.crc.update(&buffer[..len]);
        if len == 0 && !buffer.is_empty() && !self.verified {
            self.verify_end()?;
        }
        Ok(len)
    }
}

fn gzip_header(source: &mut impl Read) -> Result<GzipHeader, Unreadable> {
    const HEADER_CRC: u8 = 1 << 1;
    const EXTRA: u8 = 1 << 2;
    const NAME: u8 = 1 << 3;
    const COMMENT: u8 = 1 << 4;
    const RESERVED: u8 = 0b1110_0000;
    let mut read = Vec::new();
    let mut take = |len: usize| -> Result<Vec<u8>, Unreadable> {
        let mut bytes = vec![0; len];
        source.read_exact(&mut bytes)?;
        read.extend_from_slice(&bytes);
        Ok(bytes)
    };
    let fixed = take(10)?;
    if fixed[..3] != [0x1f, 0x8b, 8] || fixed[3] & RESERVED != 0 {
        return Err(Unreadable::new("it is not a gzip stream of RFC 1952"));
    }
    let flags = fixed[3];
    let extra = if flags & EXTRA == 0 {
        Vec::new()
    } else {
        let len = take(2)?;
        take(usize::from(u16::from_le_bytes([len[0], len[1]])))?
    };
    let mut text = |present: bool| -> Result<Vec<u8>, Unreadable> {
        let mut text = Vec::new();
        if !present {
            return Ok(text);
        }
        loop {
            match take(1)?[0] {
                0 => return Ok(text),
                _ if text.len() == GZIP_TEXT_BYTES_MAX => return Err(Unreadable::new("its gzip header has a text without end")),
                byte => text.push(byte),
            }
        }
    };
    let (name, comment) = (text(flags & NAME != 0)?, text(flags & COMMENT != 0)?);
    if flags & HEADER_CRC != 0 {
        let mut crc = Crc::new();
        crc.update(&read);
        let mut written = [0; 2];
        source.read_exact(&mut written)?;
        if u16::from_le_bytes(written) != crc.sum() as u16 {
            return Err(Unreadable::new("the checksum of its gzip header is wrong"));
        }
    }
    let modified_seconds = u32::from_le_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    Ok(GzipHeader { modified_seconds, extra_flags: fixed[8], operating_system: fixed[9], extra, name, comment })
}

/// One zstd frame that fills its source to the end.
pub struct ZstdReader<R: Read> {
    frame: StreamingDecoder<Counted<R>, ruzstd::decoding::FrameDecoder>,
    made: u64,
    bounds: Bounds,
    verified: bool,
}

struct Counted<R> {
    source: R,
    consumed: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.consumed += len as u64;
        Ok(len)
    }
}

impl<R: Read> ZstdReader<R> {
    pub fn new(source: R, bounds: Bounds) -> Result<Self, Unreadable> {
        let source = Counted { source, consumed: 0 };
        let frame = StreamingDecoder::new_with_max_window_size(source, ZSTD_WINDOW_BYTES_MAX)
            .map_err(|error| Unreadable::new(format!("it is not a zstd frame that can be unpacked: {error}")))?;
        Ok(Self { frame, made: 0, bounds, verified: false })
    }

    fn verify_end(&mut self) -> io::Result<()> {
        let decoder = &self.frame.decoder;
        if let Some(written) = decoder.get_checksum_from_data()
            && decoder.get_calculated_checksum() != Some(written)
        {
            return Err(Unreadable::new("its zstd checksum is wrong").into());
        }
        let size = decoder.content_size();
        if size != 0 && size != self.made {
            return Err(Unreadable::new(format!("its zstd frame announces {size} bytes and has {}", self.made)).into());
        }
        if read_some(self.frame.get_mut(), &mut [0])? != 0 {
            return Err(Unreadable::new("bytes follow its zstd frame").into());
        }
        self.verified = true;
        Ok(())
    }
}

impl<R: Read> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The decoder's own errors say nothing a person could use.
        let len = self.frame.read(buffer).map_err(|_| Unreadable::new("its zstd data is damaged or ends too early"))?;
        self.made += len as u64;
        self.bounds.check(self.frame.get_ref().consumed, self.made)?;
        if len == 0 && !buffer.is_empty() && !self.verified {
            self.verify_end()?;
        }
        Ok(len)
    }
}

fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Reads to the end and keeps it, up to `bytes_max`.
pub fn read_all(mut source: impl Read, bytes_max: u64) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    source.by_ref().take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Unreadable::new(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{GzBuilder, write::GzEncoder};

    use super::*;

    const BOUNDS: Bounds = Bounds::new(10 << 20);

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn gunzip(bytes: &[u8], bounds: Bounds) -> Result<Vec<u8>, Unreadable> {
        read_all(GzipReader::new(bytes, bounds)?, u64::MAX)
    }

    fn unzstd(bytes: &[u8], bounds: Bounds) -> Result<Vec<u8>, Unreadable> {
        read_all(ZstdReader::new(bytes, bounds)?, u64::MAX)
    }

    fn sample() -> Vec<u8> {
        (0..300_000u32).map(|n| (n / 7 + n % 13) as u8).collect()
    }

    #[test]
    fn what_was_compressed_comes_out_again() {
        assert_eq!(gunzip(&gzip(&sample()), BOUNDS).unwrap(), sample());
        assert_eq!(gunzip(&gzip(b""), BOUNDS).unwrap(), b"");
        assert_eq!(unzstd(&zstd(&sample()), BOUNDS).unwrap(), sample());
        for (bytes, kind) in
            [(gzip(b"x"), Compression::Gzip), (zstd(b"x"), Compression::Zstd), (b"x".to_vec(), Compression::None)]
        {
            assert_eq!(Compression::of(&bytes), kind);
            assert_eq!(read_all(unpacked(&bytes[..], kind, BOUNDS).unwrap(), 1).unwrap(), b"x");
        }
    }

    #[test]
    fn a_gzip_header_is_told_apart_from_content() {
        let mut encoder =
            GzBuilder::new().mtime(7).filename("n").comment("c").extra(b"e".to_vec()).write(Vec::new(), Default::default());
        encoder.write_all(b"content").unwrap();
        let bytes = encoder.finish().unwrap();
        let reader = GzipReader::new(&bytes[..], BOUNDS).unwrap();
        assert_eq!((reader.header().modified_seconds, &reader.header().name[..]), (7, &b"n"[..]));
        assert_eq!(read_all(reader, 100).unwrap(), b"content");
    }

    #[test]
    fn what_follows_is_cut_or_is_damaged_is_not_read() {
        let (gz, zs) = (gzip(&sample()), zstd(&sample()));
        for whole in [gz.clone(), zs.clone()] {
            let read = |bytes: &[u8]| if whole == gz { gunzip(bytes, BOUNDS) } else { unzstd(bytes, BOUNDS) };
            assert!(read(&[&whole[..], &whole].concat()).is_err(), "two of them");
            assert!(read(&[&whole[..], b"\0"].concat()).is_err(), "a byte behind");
            for cut in [0, 1, 5, 11, whole.len() / 2, whole.len() - 1] {
                assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
            }
        }
        for at in (10..gz.len()).step_by(97).chain(gz.len() - 8..gz.len()) {
            let mut damaged = gz.clone();
            damaged[at] ^= 0x40;
            assert!(gunzip(&damaged, BOUNDS).is_err(), "a flipped bit at {at}");
        }
    }

    #[test]
    fn a_bomb_is_stopped_by_size_and_by_proportion() {
        let bomb = gzip(&vec![0; 9 << 20]);
        assert!(gunzip(&bomb, BOUNDS).is_ok());
        assert!(gunzip(&bomb, Bounds::new(8 << 20)).unwrap_err().0.contains("more than"));
        assert!(gunzip(&bomb, Bounds { ratio_max: 100, ..BOUNDS }).unwrap_err().0.contains("100 times"));
    }
}
