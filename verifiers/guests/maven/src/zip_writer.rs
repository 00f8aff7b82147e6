//! Zip archives for tests, written field by field, so that a test can say of each what it is.

use std::io::Write;

use flate2::Crc;
use flate2::write::DeflateEncoder;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZipEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) level: Option<u32>,
    pub(crate) with_descriptor: bool,
    pub(crate) flags: u16,
    pub(crate) modified: u32,
    pub(crate) made_by: u16,
    pub(crate) internal: u16,
    pub(crate) external: u32,
    pub(crate) comment: Vec<u8>,
    pub(crate) extra: Vec<u8>,
    pub(crate) local_extra: Vec<u8>,
    /// Sizes and offsets in fields of 64 bits.
    pub(crate) is_zip64: bool,
}

impl ZipEntry {
    /// As canonical as an entry can be.
    pub(crate) fn new(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            content: content.into(),
            level: None,
            with_descriptor: false,
            flags: 0,
            modified: 0x0021_0000,
            made_by: 20,
            internal: 0,
            external: 0,
            comment: Vec::new(),
            extra: Vec::new(),
            local_extra: Vec::new(),
            is_zip64: false,
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// One extra field.
pub(crate) fn extra(id: u16, value: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value].concat()
}

pub(crate) fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    zip_with_comment(entries, b"")
}

pub(crate) fn zip_with_comment(entries: &[ZipEntry], comment: &[u8]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut crc = Crc::new();
        crc.update(&entry.content);
        let data = match entry.level {
            None => entry.content.clone(),
            Some(level) => {
                let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
                encoder.write_all(&entry.content).unwrap();
                encoder.finish().unwrap()
            }
        };
        let flags = entry.flags | if entry.with_descriptor { 8 } else { 0 };
        let method: u16 = if entry.level.is_some() { 8 } else { 0 };
        let (size, packed, offset) = (entry.content.len() as u64, data.len() as u64, bytes.len() as u64);
        let narrow = |value: u64| if entry.is_zip64 { u32::MAX } else { value as u32 };
        let wide = |values: &[u64]| match entry.is_zip64 {
            true => extra(1, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()),
            false => Vec::new(),
        };
        let head = |crc: u32, packed: u32, size: u32| {
            let times = entry.modified.to_le_bytes();
            let numbers = [crc, packed, size].map(u32::to_le_bytes).concat();
            [
                &[20, 0][..],
                &flags.to_le_bytes(),
                &method.to_le_bytes(),
                &times,
                &numbers,
                &(entry.name.len() as u16).to_le_bytes(),
            ]
            .concat()
        };
        let local_extra = match entry.with_descriptor {
            true => entry.local_extra.clone(),
            false => [wide(&[size, packed]), entry.local_extra.clone()].concat(),
        };
        bytes.extend(b"PK\x03\x04");
        bytes.extend(if entry.with_descriptor { head(0, 0, 0) } else { head(crc.sum(), narrow(packed), narrow(size)) });
        bytes.extend((local_extra.len() as u16).to_le_bytes());
        bytes.extend([&entry.name[..], &local_extra, &data].concat());
        if entry.with_descriptor {
            bytes.extend([&b"PK\x07\x08"[..], &crc.sum().to_le_bytes()].concat());
            if entry.is_zip64 {
                bytes.extend([packed.to_le_bytes(), size.to_le_bytes()].concat());
            } else {
                bytes.extend([(packed as u32).to_le_bytes(), (size as u32).to_le_bytes()].concat());
            }
        }
        let central_extra = [wide(&[size, packed, offset]), entry.extra.clone()].concat();
        directory
            .extend([&b"PK\x01\x02"[..], &entry.made_by.to_le_bytes(), &head(crc.sum(), narrow(packed), narrow(size))].concat());
        directory
            .extend([(central_extra.len() as u16).to_le_bytes(), (entry.comment.len() as u16).to_le_bytes(), [0; 2]].concat());
        directory
            .extend([&entry.internal.to_le_bytes()[..], &entry.external.to_le_bytes(), &narrow(offset).to_le_bytes()].concat());
        directory.extend([&entry.name[..], &central_extra, &entry.comment].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let place = [(directory.len() as u32).to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &place, &(comment.len() as u16).to_le_bytes(), comment].concat();
    [bytes, directory, end].concat()
}
