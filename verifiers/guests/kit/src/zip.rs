//! Zip archives as bytes: the central directory and every local header are read and must say the same, and together cover the file without gap or overlap.
//!
//! Follows PKWARE's APPNOTE 6.3. Programs disagree about which header counts, where the directory is and what lies between entries; an archive in which that could make
//! a difference is [`Unreadable`]: prefixes, gaps, overlaps, trailing bytes, a second end record, differing headers, equal names, names that lead upwards,
//! encryption, methods other than stored and deflated. Contents are verified while they are read.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::Crc;

use crate::files::{RangeReader, ReadAt};
use crate::inflate::{Bounds, DeflateReader};
use crate::unreadable::{Result, Unreadable};

mod names;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const END64_LOCATOR: u32 = 0x0706_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const LOCAL_HEADER_BYTES: u64 = 30;
const CENTRAL_HEADER_BYTES: usize = 46;
const END_BYTES: u64 = 22;
const END64_BYTES: u64 = 56;
const END64_LOCATOR_BYTES: u64 = 20;
/// The directory is held in memory.
const DIRECTORY_BYTES_MAX: u64 = 16 << 20;

const FLAG_ENCRYPTED: u16 = 1;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
pub const FLAG_UTF8: u16 = 1 << 11;
/// How well it was compressed (bits 1 and 2), sizes behind the content, names in UTF-8.
const FLAGS_KNOWN: u16 = 0b110 | FLAG_DESCRIPTOR | FLAG_UTF8;

pub const EXTRA_ZIP64: u16 = 0x0001;
/// Extra fields with nothing but times and owners, and the mark of Java's jar tool.
pub const EXTRA_NTFS_TIMES: u16 = 0x000a;
pub const EXTRA_TIMESTAMP: u16 = 0x5455;
pub const EXTRA_UNIX_TIMES: u16 = 0x5855;
pub const EXTRA_UNIX_OWNER: u16 = 0x7875;
pub const EXTRA_JAR_MARK: u16 = 0xcafe;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Stored,
    Deflated,
}

/// One entry, as both of its headers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As written: relative, with `/` between its parts and behind a directory's name.
    pub name: Vec<u8>,
    pub method: Method,
    pub flags: u16,
    /// Date and time as MS-DOS packs them.
    pub modified: u32,
    pub crc32: u32,
    pub compressed_size: u64,
    pub size: u64,
    /// The program's system (high byte: 3 is Unix) and version.
    pub made_by: u16,
    pub internal_attributes: u16,
    pub external_attributes: u32,
    pub comment: Vec<u8>,
    /// Extra fields of the directory, by id, without the one of zip64.
    pub extra: BTreeMap<u16, Vec<u8>>,
    /// Extra fields of the local header, by id, without the one of zip64. They often differ in length from those of the directory.
    pub local_extra: BTreeMap<u16, Vec<u8>>,
    local_offset: u64,
    data_offset: u64,
}

impl Entry {
    pub fn is_directory(&self) -> bool {
        self.name.ends_with(b"/")
    }

    /// Type and permissions, where a Unix program wrote them.
    pub fn unix_mode(&self) -> Option<u32> {
        let mode = self.external_attributes >> 16;
        (self.made_by >> 8 == 3 && mode != 0).then_some(mode)
    }

    pub fn is_symbolic_link(&self) -> bool {
        self.unix_mode().is_some_and(|mode| mode & 0o170_000 == 0o120_000)
    }

    /// The name for a report.
    pub fn name_text(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

pub struct Archive<'a, S: ?Sized> {
    source: &'a S,
    entries: Vec<Entry>,
    comment: Vec<u8>,
}

impl<'a, S: ReadAt + ?Sized> Archive<'a, S> {
    /// Reads all headers and checks that they leave no doubt, whatever file system the archive is unpacked to. `entries_max` bounds what is kept in memory.
    pub fn open(source: &'a S, entries_max: u64) -> Result<Self> {
        let archive = Self::open_by_exact_names(source, entries_max)?;
        match archive.contested_names().first() {
            None => Ok(archive),
            Some(name) => {
                let name = String::from_utf8_lossy(name);
                Err(Unreadable::new(format!("the entry {name:?} has the same name as another on some file systems")))
            }
        }
    }

    /// The same for archives that are read in place, such as a jar: names are what they are byte by byte. Whoever unpacks one of these may still put
    /// two entries into one place; which of them is then left is a matter of their order, and so the order of [`Archive::contested_names`] has to be compared.
    pub fn open_by_exact_names(source: &'a S, entries_max: u64) -> Result<Self> {
        let end = End::find(source)?;
        if end.count > entries_max {
            return Err(Unreadable::new(format!("it has {} entries, {entries_max} are read", end.count)));
        }
        if end.directory_size > DIRECTORY_BYTES_MAX {
            return Err(Unreadable::new(format!("its directory has more than {DIRECTORY_BYTES_MAX} bytes")));
        }
        let directory = fetch(source, end.directory_offset, end.directory_size as usize)?;
        let mut entries = directory_entries(&directory, end.count)?;
        names::check(&entries)?;
        check_layout(source, &mut entries, end.directory_offset)?;
        Ok(Self { source, entries, comment: end.comment })
    }

    /// In the order of the directory.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn comment(&self) -> &[u8] {
        &self.comment
    }

    /// The names of entries that get in each other's way on a file system that takes upper and lower case, or a letter with its accent in one character
    /// and in two, for the same: in the order of the directory.
    pub fn contested_names(&self) -> Vec<&[u8]> {
        names::contested(&self.entries).into_iter().map(|at| &self.entries[at].name[..]).collect()
    }

    /// The content of an entry, verified by the time it has been read to its end.
    pub fn reader(&self, entry: &Entry, bounds: Bounds) -> EntryReader<'a, S> {
        let stored = RangeReader::new(self.source, entry.data_offset, entry.compressed_size);
        let bounds = Bounds { bytes_max: bounds.bytes_max.min(entry.size), ..bounds };
        let content = match entry.method {
            Method::Stored => Content::Stored(stored),
            Method::Deflated => Content::Deflated(DeflateReader::new(stored, bounds)),
        };
        let (crc32, size, compressed_size) = (entry.crc32, entry.size, entry.compressed_size);
        EntryReader { content, crc: Crc::new(), made: 0, crc32, size, compressed_size, bytes_max: bounds.bytes_max }
    }
}

enum Content<'a, S: ?Sized> {
    Stored(RangeReader<'a, S>),
    Deflated(DeflateReader<RangeReader<'a, S>>),
}

/// One entry's content as a stream.
pub struct EntryReader<'a, S: ?Sized> {
    content: Content<'a, S>,
    crc: Crc,
    made: u64,
    crc32: u32,
    size: u64,
    compressed_size: u64,
    bytes_max: u64,
}

impl<S: ReadAt + ?Sized> Read for EntryReader<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (len, consumed) = match &mut self.content {
            Content::Stored(stored) => (stored.read(buffer)?, self.compressed_size),
            Content::Deflated(deflated) => (deflated.read(buffer)?, deflated.consumed()),
        };
        self.crc.update(&buffer[..len]);
        self.made += len as u64;
        if self.made > self.bytes_max {
            return Err(Unreadable::new(format!("it unpacks to more than {} bytes", self.bytes_max)).into());
        }
        let whole = self.made == self.size && self.crc.sum() == self.crc32 && consumed == self.compressed_size;
        if len == 0 && !buffer.is_empty() && !whole {
            return Err(Unreadable::new("its content does not have the size or checksum of its header").into());
        }
        Ok(len)
    }
}

struct End {
    count: u64,
    directory_offset: u64,
    directory_size: u64,
    comment: Vec<u8>,
}

impl End {
    /// The end record, which ends with the file and is the only one that could be meant.
    fn find<S: ReadAt + ?Sized>(source: &S) -> Result<Self> {
        let size = source.size();
        let tail_len = size.min(END_BYTES + u64::from(u16::MAX));
        let tail = fetch(source, size - tail_len, tail_len as usize)?;
        // Stored archives within the archive have end records of their own; only one that ends with the file could be this one's.
        let reaches_end = |at: &usize| {
            let comment_len = tail.get(at + 20..at + 22).map(|len| usize::from(u16::from_le_bytes([len[0], len[1]])));
            comment_len.is_some_and(|len| at + END_BYTES as usize + len == tail.len())
        };
        let signatures: Vec<usize> =
            tail.windows(4).enumerate().filter(|(_, window)| *window == END.to_le_bytes()).map(|(at, _)| at).collect();
        let mut meant = signatures.iter().copied().filter(reaches_end);
        let at = meant.next().ok_or_else(|| Unreadable::new("it does not end with the end record of a zip archive"))?;
        // Some programs take the last signature, whatever follows it.
        if meant.next().is_some() || signatures.last() != Some(&at) {
            return Err(Unreadable::new("more than one place could be its end record"));
        }
        let mut record = Fields(tail.get(at + 4..).unwrap_or_default());
        let disks = [record.u16()?, record.u16()?];
        let counts = [record.u16()?, record.u16()?];
        let (directory_size, directory_offset) = (record.u32()?, record.u32()?);
        let _comment_len = record.u16()?;
        let comment = record.0.to_vec();
        let end_at = size - tail_len + at as u64;
        let is_zip64 = disks == [u16::MAX; 2]
            || counts[0] == u16::MAX
            || counts[1] == u16::MAX
            || directory_size == u32::MAX
            || directory_offset == u32::MAX;
        let locator_at = end_at.checked_sub(END64_LOCATOR_BYTES);
        let located =
            locator_at.map(|at| Ok::<_, Unreadable>((at, fetch(source, at, END64_LOCATOR_BYTES as usize)?))).transpose()?;
        let located = located.filter(|(_, bytes)| bytes[..4] == END64_LOCATOR.to_le_bytes());
        let (end, directory_end) = match located {
            Some((locator_at, locator)) => Self::of_zip64(source, &locator, locator_at, comment)?,
            None if is_zip64 => return Err(Unreadable::new("its end record points to one of zip64 that is not there")),
            None => {
                if disks != [0; 2] || counts[0] != counts[1] {
                    return Err(Unreadable::new("it is a part of a divided archive"));
                }
                let (directory_offset, directory_size) = (u64::from(directory_offset), u64::from(directory_size));
                (Self { count: u64::from(counts[0]), directory_offset, directory_size, comment }, end_at)
            }
        };
        let narrow = |value: u64, written: u64, max: u64| written == value || written == max;
        let agrees = narrow(end.count, u64::from(counts[1]), u64::from(u16::MAX))
            && narrow(end.directory_size, u64::from(directory_size), u64::from(u32::MAX))
            && narrow(end.directory_offset, u64::from(directory_offset), u64::from(u32::MAX));
        if !agrees {
            return Err(Unreadable::new("its two end records disagree"));
        }
        if end.directory_offset.checked_add(end.directory_size) != Some(directory_end) {
            return Err(Unreadable::new("its directory does not end where the end record begins"));
        }
        Ok(end)
    }

    /// The record, and where it begins.
    fn of_zip64<S: ReadAt + ?Sized>(source: &S, locator: &[u8], locator_at: u64, comment: Vec<u8>) -> Result<(Self, u64)> {
        let mut locator = Fields(&locator[4..]);
        let (disk, at, disks) = (locator.u32()?, locator.u64()?, locator.u32()?);
        if at.checked_add(END64_BYTES) != Some(locator_at) || disk != 0 || disks != 1 {
            return Err(Unreadable::new("its zip64 end record is not where it should be"));
        }
        let bytes = fetch(source, at, END64_BYTES as usize)?;
        let mut record = Fields(&bytes);
        let (signature, length, _versions) = (record.u32()?, record.u64()?, record.u32()?);
        let (disks, counts) = ([record.u32()?, record.u32()?], [record.u64()?, record.u64()?]);
        if signature != END64 || length != END64_BYTES - 12 || disks != [0; 2] || counts[0] != counts[1] {
            return Err(Unreadable::new("its zip64 end record cannot be read"));
        }
        let (directory_size, directory_offset) = (record.u64()?, record.u64()?);
        Ok((Self { count: counts[0], directory_offset, directory_size, comment }, at))
    }
}

fn directory_entries(directory: &[u8], count: u64) -> Result<Vec<Entry>> {
    let mut rest = Fields(directory);
    let mut entries = Vec::new();
    while !rest.0.is_empty() {
        entries.push(central_header(&mut rest)?);
    }
    if entries.len() as u64 != count {
        return Err(Unreadable::new(format!("its directory has {} entries, its end record says {count}", entries.len())));
    }
    Ok(entries)
}

fn central_header(fields: &mut Fields<'_>) -> Result<Entry> {
    if fields.0.len() < CENTRAL_HEADER_BYTES || fields.u32()? != CENTRAL_HEADER {
        return Err(Unreadable::new("its directory cannot be read"));
    }
    let (made_by, _needed) = (fields.u16()?, fields.u16()?);
    let (flags, method, modified, crc32) = (fields.u16()?, fields.u16()?, fields.u32()?, fields.u32()?);
    let (compressed_size, size) = (fields.u32()?, fields.u32()?);
    let (name_len, extra_len, comment_len) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let (disk, internal_attributes, external_attributes) = (fields.u16()?, fields.u16()?, fields.u32()?);
    let local_offset = fields.u32()?;
    let name = fields.take(usize::from(name_len))?.to_vec();
    let fault = |what: &str| Unreadable::new(format!("the entry {:?} {what}", String::from_utf8_lossy(&name)));
    let mut extra =
        extra_fields(fields.take(usize::from(extra_len))?).ok_or_else(|| fault("has extra fields that cannot be read"))?;
    let comment = fields.take(usize::from(comment_len))?.to_vec();
    let zip64 = extra.remove(&EXTRA_ZIP64);
    let mut wide = Fields(zip64.as_deref().unwrap_or_default());
    let mut widened = |narrow: u32| if narrow == u32::MAX { wide.u64() } else { Ok(u64::from(narrow)) };
    // The order of the extra field, which has only those whose narrow field is all ones.
    let (size, compressed_size, local_offset) = (widened(size)?, widened(compressed_size)?, widened(local_offset)?);
    if !wide.0.is_empty() {
        return Err(fault("has sizes in two places"));
    }
    if disk != 0 {
        return Err(fault("lies in another part of a divided archive"));
    }
    let method = known_method(flags, method).ok_or_else(|| fault("is encrypted, or compressed in an unknown way"))?;
    Ok(Entry {
        method,
        flags,
        modified,
        crc32,
        compressed_size,
        size,
        made_by,
        internal_attributes,
        external_attributes,
        comment,
        extra,
        local_extra: BTreeMap::new(),
        local_offset,
        data_offset: 0,
        name,
    })
}

fn known_method(flags: u16, method: u16) -> Option<Method> {
    if flags & FLAG_ENCRYPTED != 0 || flags & !FLAGS_KNOWN != 0 {
        return None;
    }
    match method {
        0 => Some(Method::Stored),
        8 => Some(Method::Deflated),
        _ => None,
    }
}

fn extra_fields(bytes: &[u8]) -> Option<BTreeMap<u16, Vec<u8>>> {
    let mut rest = Fields(bytes);
    let mut fields = BTreeMap::new();
    while !rest.0.is_empty() {
        let (id, len) = (rest.u16().ok()?, rest.u16().ok()?);
        let value = rest.take(usize::from(len)).ok()?;
        if fields.insert(id, value.to_vec()).is_some() {
            return None;
        }
    }
    Some(fields)
}

/// Reads the local headers in the order of the file, which they cover up to the directory.
fn check_layout<S: ReadAt + ?Sized>(source: &S, entries: &mut [Entry], directory_offset: u64) -> Result<()> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|index| entries[*index].local_offset);
    let ends: Vec<u64> = order.iter().skip(1).map(|index| entries[*index].local_offset).chain([directory_offset]).collect();
    let first = order.first().map_or(directory_offset, |index| entries[*index].local_offset);
    if first != 0 {
        return Err(Unreadable::new("something precedes its first entry"));
    }
    for (index, end) in order.into_iter().zip(ends) {
        local_header(source, &mut entries[index], end)?;
    }
    Ok(())
}

fn local_header<S: ReadAt + ?Sized>(source: &S, entry: &mut Entry, end: u64) -> Result<()> {
    let text = entry.name_text();
    let fault = |what: &str| Unreadable::new(format!("the entry {text:?} {what}"));
    let at = entry.local_offset;
    let room = end.saturating_sub(at).checked_sub(LOCAL_HEADER_BYTES).ok_or_else(|| fault("overlaps what follows it"))?;
    // One read for the header with its name and, as a rule, its extra fields.
    let ahead = room.min(entry.name.len() as u64 + 64);
    let bytes = fetch(source, at, (LOCAL_HEADER_BYTES + ahead) as usize)?;
    let mut header = Fields(&bytes);
    let (signature, _needed) = (header.u32()?, header.u16()?);
    let (flags, method, modified, crc32) = (header.u16()?, header.u16()?, header.u32()?, header.u32()?);
    let (compressed_size, size) = (header.u32()?, header.u32()?);
    let (name_len, extra_len) = (header.u16()?, header.u16()?);
    let length = LOCAL_HEADER_BYTES + u64::from(name_len) + u64::from(extra_len);
    if signature != LOCAL_HEADER || length > end - at {
        return Err(fault("has no header of its own"));
    }
    let names = fetch(source, at + LOCAL_HEADER_BYTES, (length - LOCAL_HEADER_BYTES) as usize)?;
    let (name, extra) = names.split_at(usize::from(name_len));
    let mut extra = extra_fields(extra).ok_or_else(|| fault("has extra fields that cannot be read"))?;
    let zip64 = extra.remove(&EXTRA_ZIP64);
    let has_descriptor = flags & FLAG_DESCRIPTOR != 0;
    let mut wide = Fields(zip64.as_deref().unwrap_or_default());
    let mut widened = |narrow: u32| if narrow == u32::MAX && zip64.is_some() { wide.u64() } else { Ok(u64::from(narrow)) };
    let sizes = (widened(size)?, widened(compressed_size)?, crc32);
    let central = (entry.size, entry.compressed_size, entry.crc32);
    let same_sizes = sizes == central || has_descriptor && sizes == (0, 0, 0);
    let same = name == entry.name
        && flags == entry.flags
        && known_method(flags, method) == Some(entry.method)
        && modified == entry.modified
        && wide.0.is_empty();
    if !same || !same_sizes {
        return Err(fault("is described differently by its own header and by the directory"));
    }
    entry.local_extra = extra;
    entry.data_offset = at + length;
    let content_end = entry.data_offset.checked_add(entry.compressed_size).filter(|content_end| *content_end <= end);
    let behind = end - content_end.ok_or_else(|| fault("overlaps what follows it"))?;
    let covered = match has_descriptor {
        false => behind == 0,
        true => is_descriptor(&fetch(source, end - behind.min(24), behind.min(24) as usize)?, entry) && behind <= 24,
    };
    if covered { Ok(()) } else { Err(fault("is followed by bytes that belong to nothing")) }
}

/// Checksum and sizes behind the content, in any of the four ways they are written.
fn is_descriptor(bytes: &[u8], entry: &Entry) -> bool {
    let narrow = |size: u64| u32::try_from(size).ok().map(u32::to_le_bytes);
    let crc = entry.crc32.to_le_bytes();
    let wide = [&crc[..], &entry.compressed_size.to_le_bytes(), &entry.size.to_le_bytes()].concat();
    let short = narrow(entry.compressed_size).zip(narrow(entry.size)).map(|(compressed, size)| [crc, compressed, size].concat());
    let unsigned = bytes.strip_prefix(&DESCRIPTOR.to_le_bytes());
    [Some(bytes), unsigned].into_iter().flatten().any(|bytes| bytes == wide || short.as_deref() == Some(bytes))
}

fn fetch<S: ReadAt + ?Sized>(source: &S, offset: u64, len: usize) -> Result<Vec<u8>> {
    source.bytes_at(offset, len).ok_or_else(|| Unreadable::new("it ends too early"))
}

/// Little-endian fields, one after the other.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn take(&mut self, len: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| Unreadable::new("it ends within a header"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from(self.u16()?) | u32::from(self.u16()?) << 16)
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }
}

#[cfg(test)]
mod tests;
