//! Tar archives as bytes: ustar, pax and the GNU format, decoded into one kind of entry; nothing is extracted.
//!
//! Follows POSIX.1-2017, pax interchange format, and the GNU manual's description of its own. What programs read in more than one way is [`Unreadable`]: numbers that are not
//! octal, checksums that are wrong, bytes behind the end of a name, records that hold another when they are read line by line, sizes that disagree, sparse files, entries other
//! than files that have content, no end, bytes after the end.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::unreadable::{Result, Unreadable};

const BLOCK_BYTES: usize = 512;
/// A path or link target; the longest that Linux takes, in bytes.
const NAME_BYTES_MAX: u64 = 4096;
/// The extended attributes and other records of one entry, in bytes.
const RECORDS_BYTES_MAX: u64 = 1 << 20;
/// What eleven octal digits hold; a larger size stands in a record.
const HEADER_SIZE_MAX: u64 = 0o77_777_777_777;
/// pax records that are times, in seconds.
const TIME_RECORDS: [&[u8]; 4] = [b"mtime", b"atime", b"ctime", b"LIBARCHIVE.creationtime"];
/// pax records that are a line of text.
const LINE_RECORDS: [&[u8]; 6] = [b"uname", b"gname", b"comment", b"SCHILY.dev", b"SCHILY.ino", b"SCHILY.nlink"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    File,
    HardLink,
    SymbolicLink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::HardLink => "hard link",
            Self::SymbolicLink => "symbolic link",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Directory => "directory",
            Self::Fifo => "fifo",
        }
    }
}

/// One entry, whichever dialect wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As written; [`clean_path`] gives its one form.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// All that is written; the lowest twelve bits are permissions.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub user: Vec<u8>,
    pub group: Vec<u8>,
    /// Seconds since 1970, as text where a pax record gives them with a fraction.
    pub modified: Vec<u8>,
    pub size: u64,
    /// The target of a link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u64, u64),
    /// Extended attributes, by full name (`security.capability`).
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Access and change times, comments, and whatever else pax records say: by key.
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Entry by entry; between two calls of [`TarReader::next_entry`] it reads as the content of the entry.
pub struct TarReader<R> {
    source: R,
    /// Of the present entry's content.
    left: u64,
    padding: u64,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    pub fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0, ended: false }
    }

    /// The next entry; none at the archive's end, which has then been checked to be one. Skips what is left of the one before.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        let mut long_path = None;
        let mut long_link = None;
        let mut records: Option<BTreeMap<Vec<u8>, Vec<u8>>> = None;
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                if long_path.is_some() || long_link.is_some() || records.is_some() {
                    return Err(Unreadable::new("its last entry is announced and does not come"));
                }
                return Ok(None);
            };
            self.left = header.size;
            self.padding = header.size.next_multiple_of(BLOCK_BYTES as u64) - header.size;
            let repeated = || Err(Unreadable::new("an entry has two headers of one kind"));
            match header.type_flag {
                b'L' if long_path.is_some() => return repeated(),
                b'K' if long_link.is_some() => return repeated(),
                b'x' if records.is_some() => return repeated(),
                // Some programs apply the records to the header that follows them, whichever that is.
                b'L' | b'K' if records.is_some() => return Err(two_dialects()),
                b'x' if long_path.is_some() || long_link.is_some() => return Err(two_dialects()),
                b'L' => long_path = Some(self.long_name()?),
                b'K' => long_link = Some(self.long_name()?),
                b'x' => records = Some(pax_records(&self.content(RECORDS_BYTES_MAX)?)?),
                // Such as git's, which names the commit: a comment has no effect on any entry.
                b'g' => {
                    if pax_records(&self.content(RECORDS_BYTES_MAX)?)?.keys().any(|key| key != b"comment") {
                        return Err(Unreadable::new("it has a global header that changes its entries"));
                    }
                }
                _ => {
                    let entry = entry(header, long_path, long_link, records.unwrap_or_default())?;
                    self.left = entry.size;
                    self.padding = entry.size.next_multiple_of(BLOCK_BYTES as u64) - entry.size;
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK_BYTES];
        match self.source.read_exact(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Unreadable::new("the archive ends without the blocks that end it"));
            }
            read => read?,
        }
        if block.iter().any(|byte| *byte != 0) {
            return Header::parse(&block).map(Some);
        }
        // POSIX: at least two blocks of zeros; programs fill up the last record with more of them.
        self.source.read_exact(&mut block)?;
        let mut rest = [0; 8 * BLOCK_BYTES];
        let mut len = block.len();
        rest[..len].copy_from_slice(&block);
        while len > 0 {
            if rest[..len].iter().any(|byte| *byte != 0) {
                return Err(Unreadable::new("something follows the end of the archive"));
            }
            len = self.source.read(&mut rest)?;
        }
        self.ended = true;
        Ok(None)
    }

    fn long_name(&mut self) -> Result<Vec<u8>> {
        let mut name = self.content(NAME_BYTES_MAX + 1)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn content(&mut self, bytes_max: u64) -> Result<Vec<u8>> {
        if self.left > bytes_max {
            return Err(Unreadable::new(format!("a header has {} bytes, {bytes_max} are read", self.left)));
        }
        let mut content = vec![0; self.left as usize];
        self.read_exact(&mut content)?;
        Ok(content)
    }

    fn skip_content(&mut self) -> Result<()> {
        let mut piece = [0; 8 << 10];
        let mut left = self.left + self.padding;
        while left > 0 {
            let len = left.min(piece.len() as u64) as usize;
            self.source.read_exact(&mut piece[..len])?;
            left -= len as u64;
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..len])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// The one form of a path: without `./` or `/` in front and `/` behind. None where it would lead upwards or has a part that could be read in two ways.
pub fn clean_path(path: &[u8]) -> Result<Vec<u8>> {
    let ambiguous = || Unreadable::new(format!("the path {:?} has more than one meaning", String::from_utf8_lossy(path)));
    let mut rest = path;
    while let Some(shorter) = rest.strip_prefix(b"./").or_else(|| rest.strip_prefix(b"/")) {
        rest = shorter;
    }
    let rest = rest.strip_suffix(b"/").unwrap_or(rest);
    if rest.is_empty() || rest == b"." {
        // The archive's own root.
        return if path.is_empty() { Err(ambiguous()) } else { Ok(Vec::new()) };
    }
    let plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    if rest.len() as u64 > NAME_BYTES_MAX || !rest.split(|byte| *byte == b'/').all(plain) {
        return Err(ambiguous());
    }
    Ok(rest.to_vec())
}

/// One header block.
struct Header {
    type_flag: u8,
    path: Vec<u8>,
    mode: u64,
    uid: u64,
    gid: u64,
    user: Vec<u8>,
    group: Vec<u8>,
    modified: u64,
    size: u64,
    link: Vec<u8>,
    device: (u64, u64),
}

impl Header {
    fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Self> {
        let sum: u64 =
            block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
        if number(&block[148..156], "checksum")? != sum {
            return Err(Unreadable::new("the checksum of a header is wrong"));
        }
        let magic = &block[257..265];
        let ustar = magic == b"ustar\x0000";
        let gnu = magic == b"ustar  \0";
        if !ustar && !gnu && magic != [0; 8] {
            return Err(Unreadable::new("a header is of an unknown dialect"));
        }
        let mut path = name(&block[..100])?;
        // GNU keeps other things where POSIX has the prefix; some programs end it after 130 bytes and have two times behind that.
        let prefix = match ustar {
            false => Vec::new(),
            true if block[475] == 0 => name(&block[345..476])?,
            true => name(&block[345..500])?,
        };
        if !prefix.is_empty() {
            path = [&prefix[..], b"/", &path].concat();
        }
        let known = ustar || gnu;
        let named = |range: std::ops::Range<usize>| if known { text(&block[range]) } else { Vec::new() };
        let device = |range: std::ops::Range<usize>| if known { number(&block[range], "device number") } else { Ok(0) };
        Ok(Self {
            type_flag: block[156],
            path,
            mode: number(&block[100..108], "mode")?,
            uid: number(&block[108..116], "user id")?,
            gid: number(&block[116..124], "group id")?,
            user: named(265..297),
            group: named(297..329),
            modified: number(&block[136..148], "time")?,
            size: number(&block[124..136], "size")?,
            link: name(&block[157..257])?,
            device: (device(329..337)?, device(337..345)?),
        })
    }
}

fn text(field: &[u8]) -> Vec<u8> {
    field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// Programs do not agree about what follows a zero in a name.
fn name(field: &[u8]) -> Result<Vec<u8>> {
    let name = text(field);
    if field[name.len()..].iter().any(|byte| *byte != 0) {
        return Err(Unreadable::new(format!("the name {:?} is followed by bytes", String::from_utf8_lossy(&name))));
    }
    Ok(name)
}

/// Octal digits with spaces in front and a space or zero behind, or GNU's binary form for what does not fit.
fn number(field: &[u8], what: &str) -> Result<u64> {
    let wrong = || Unreadable::new(format!("the {what} of a header is not a number"));
    if field[0] == 0x80 {
        return field[1..].iter().try_fold(
            0u64,
            |sum, byte| {
                if sum >> 56 == 0 { Ok(sum << 8 | u64::from(*byte)) } else { Err(wrong()) }
            },
        );
    }
    let field = field.trim_ascii_start();
    let digits = field.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(field.len());
    if field[digits..].iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return Err(wrong());
    }
    field[..digits].iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'7' => Ok(sum << 3 | u64::from(digit - b'0')),
        _ => Err(wrong()),
    })
}

/// `LENGTH KEY=VALUE\n`, the length counting all of it.
fn pax_records(bytes: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let wrong = || Unreadable::new("its pax records cannot be read");
    let mut records = BTreeMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length = decimal(&rest[..space]).ok_or_else(wrong)? as usize;
        let record = rest.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let (key, value) = (record[..equals].to_vec(), record[equals + 1..].to_vec());
        let sound = match &key[..] {
            key if TIME_RECORDS.contains(&key) => is_time(&value),
            // Programs that look for records line by line would find one of its own in a second line.
            key if LINE_RECORDS.contains(&key) => !value.iter().any(|byte| matches!(byte, 0 | b'\n')),
            _ => true,
        };
        if !sound {
            return Err(Unreadable::new(format!("the pax record {} cannot be one", String::from_utf8_lossy(&key))));
        }
        if key.is_empty() || records.insert(key, value).is_some() {
            return Err(Unreadable::new("two pax records of an entry have one key"));
        }
        rest = &rest[length..];
    }
    Ok(records)
}

/// Seconds, perhaps before 1970 and perhaps with a fraction. An empty record takes back what another said.
fn is_time(value: &[u8]) -> bool {
    let seconds = value.strip_prefix(b"-").unwrap_or(value);
    let mut parts = seconds.splitn(2, |byte| *byte == b'.');
    value.is_empty() || parts.all(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

fn two_dialects() -> Unreadable {
    Unreadable::new("an entry is described in two dialects")
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

fn entry(
    header: Header,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    mut records: BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<Entry> {
    if records.keys().any(|key| key.starts_with(b"GNU.sparse")) {
        return Err(Unreadable::new("it has a sparse file"));
    }
    let mut numeric = |key: &str| match records.remove(key.as_bytes()) {
        None => Ok(None),
        Some(value) => decimal(&value).map(Some).ok_or_else(|| Unreadable::new(format!("the pax record {key} is not a number"))),
    };
    let (size, uid, gid) = (numeric("size")?, numeric("uid")?, numeric("gid")?);
    let mut take = |key: &str| records.remove(key.as_bytes());
    let path = take("path").or(long_path).unwrap_or(header.path);
    let link = take("linkpath").or(long_link).unwrap_or(header.link);
    let (user, group) = (take("uname").unwrap_or(header.user), take("gname").unwrap_or(header.group));
    let modified = take("mtime").unwrap_or_else(|| header.modified.to_string().into_bytes());
    let attributes = records
        .extract_if(.., |key, _| key.starts_with(b"SCHILY.xattr."))
        .map(|(key, value)| (key[b"SCHILY.xattr.".len()..].to_vec(), value))
        .collect();
    let kind = match header.type_flag {
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::SymbolicLink,
        b'3' => Kind::CharacterDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => return Err(Unreadable::new("it has a sparse file")),
        other => return Err(Unreadable::new(format!("it has an entry of the unknown type {:?}", char::from(other)))),
    };
    // Programs that know no such record go on where the header's size says.
    if size.is_some_and(|size| size != header.size && size <= HEADER_SIZE_MAX) {
        return Err(Unreadable::new("an entry has two sizes"));
    }
    let size = size.unwrap_or(header.size);
    let (is_file, is_link) = (kind == Kind::File, matches!(kind, Kind::HardLink | Kind::SymbolicLink));
    let fault = if !is_file && size != 0 {
        "has content, as only files may"
    } else if is_file && path.ends_with(b"/") {
        "is a file by its type and a directory by its name"
    } else if path.is_empty() || path.len() as u64 > NAME_BYTES_MAX || path.contains(&0) {
        "has a name that cannot be one"
    } else if link.is_empty() == is_link || link.len() as u64 > NAME_BYTES_MAX || link.contains(&0) {
        "has a link target and is none, or is a link without one"
    } else if header.mode > u64::from(u32::MAX) {
        "has a mode that cannot be one"
    } else {
        let (mode, device) = (header.mode as u32, header.device);
        let (uid, gid) = (uid.unwrap_or(header.uid), gid.unwrap_or(header.gid));
        return Ok(Entry { path, kind, mode, uid, gid, user, group, modified, size, link, device, attributes, records });
    };
    Err(Unreadable::new(format!("the entry {:?} {fault}", String::from_utf8_lossy(&path))))
}

#[cfg(test)]
mod tests;
