//! What an entry has besides its name and content: how much of it is compared.

use std::collections::BTreeMap;

use pyrsia_verifier_kit::Unreadable;
use pyrsia_verifier_kit::hash::FieldHasher;
use pyrsia_verifier_kit::unreadable::Result;
use pyrsia_verifier_kit::zip::{
    EXTRA_JAR_MARK, EXTRA_NTFS_TIMES, EXTRA_TIMESTAMP, EXTRA_UNIX_OWNER, EXTRA_UNIX_TIMES, Entry, FLAG_UTF8, Method,
};

use crate::passes::{Pass, PassSet};

/// The first moment MS-DOS can write, 1980-01-01 00:00:00: what reproducible builds put where a time must stand.
const TIME_NONE: u32 = 0x0021_0000;
/// Version 2.0 of the format, by a program of MS-DOS or of nothing in particular.
const MADE_BY_NONE: u16 = 20;
const SYSTEM_UNIX: u16 = 3;
/// Group and others may write.
const MODE_UMASK: u32 = 0o022;
const MODE_TYPE: u32 = 0o170_000;
const MODE_DIRECTORY: u32 = 0o040_000;
const MODE_FILE: u32 = 0o100_000;
/// What Maven's archiver writes where it knows of no mode.
const MODE_UNKNOWN: u32 = 0o177_777;
/// The program took the entry for a text.
const INTERNAL_TEXT: u16 = 1;

/// The attributes that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Type and permissions without those of the umask, where a Unix program wrote them.
    pub mode: Option<u32>,
    /// The high half where another system wrote it.
    pub foreign: Option<(u16, u32)>,
    pub dos: u32,
    pub internal: u16,
    pub comment: Vec<u8>,
    /// Whether a name or comment beyond ASCII is marked as UTF-8.
    pub marked_utf8: Option<bool>,
    /// Extra fields of the directory (false) and of the local header (true) that are not known to be noise.
    pub extra: BTreeMap<(bool, u16), Vec<u8>>,
}

impl Attributes {
    pub fn of(entry: &Entry, passes: &mut PassSet) -> Result<Self> {
        let mode = entry.unix_mode();
        let known_mode = mode.filter(|mode| *mode != MODE_UNKNOWN);
        let kind = known_mode.unwrap_or(0) & MODE_TYPE;
        if entry.is_symbolic_link() || kind != 0 && kind != if entry.is_directory() { MODE_DIRECTORY } else { MODE_FILE } {
            return Err(Unreadable::new("it is a link or something else that is neither a file nor a directory of that name"));
        }
        let system = entry.made_by >> 8;
        let high = entry.external_attributes >> 16;
        let extra = kept_extra(entry, passes);
        passes.add_if(Pass::ZipTime, entry.modified != TIME_NONE);
        passes.add_if(Pass::ZipCompression, entry.method == Method::Deflated || entry.flags & !FLAG_UTF8 != 0);
        passes.add_if(Pass::ZipMode, known_mode.is_some_and(|mode| mode & MODE_UMASK != 0));
        let is_ascii = entry.name.is_ascii() && entry.comment.is_ascii();
        let is_marked = entry.flags & FLAG_UTF8 != 0;
        let made_by_none = if high == 0 { MADE_BY_NONE } else { entry.made_by & 0xff00 | MADE_BY_NONE };
        let is_origin_told =
            entry.made_by != made_by_none || entry.internal_attributes & INTERNAL_TEXT != 0 || is_ascii && is_marked;
        passes.add_if(Pass::ZipOrigin, is_origin_told);
        Ok(Self {
            mode: known_mode.map(|mode| mode & !MODE_UMASK).or(mode),
            foreign: (system != SYSTEM_UNIX && high != 0).then_some((system, high)),
            dos: entry.external_attributes & 0xffff,
            internal: entry.internal_attributes & !INTERNAL_TEXT,
            comment: entry.comment.clone(),
            marked_utf8: (!is_ascii).then_some(is_marked),
            extra,
        })
    }

    pub fn add_to(&self, hasher: &mut FieldHasher) {
        let Self { mode, foreign, dos, internal, comment, marked_utf8, extra } = self;
        if let Some(mode) = mode {
            hasher.number("mode", u64::from(*mode));
        }
        if let Some((system, attributes)) = foreign {
            hasher.number("system", u64::from(*system)).number("attributes", u64::from(*attributes));
        }
        hasher.number("dos", u64::from(*dos)).number("internal", u64::from(*internal)).field("comment", comment);
        if let Some(is_marked) = marked_utf8 {
            hasher.number("utf8", u64::from(*is_marked));
        }
        for ((is_local, id), value) in extra {
            hasher.field(if *is_local { "local-extra" } else { "extra" }, &id.to_be_bytes()).field("value", value);
        }
    }
}

/// Extra fields without those that hold nothing but times, owners and the mark of Java's tool, in the forms their specifications give them.
fn kept_extra(entry: &Entry, passes: &mut PassSet) -> BTreeMap<(bool, u16), Vec<u8>> {
    let mut kept = BTreeMap::new();
    for (is_local, fields) in [(false, &entry.extra), (true, &entry.local_extra)] {
        for (id, value) in fields {
            match noise(*id, value) {
                Some(pass) => passes.add(pass),
                None => {
                    kept.insert((is_local, *id), value.clone());
                }
            }
        }
    }
    kept
}

fn noise(id: u16, value: &[u8]) -> Option<Pass> {
    let len = value.len();
    let (pass, is_well_formed) = match id {
        // Flags that say which times follow; the directory has the first of them at most.
        EXTRA_TIMESTAMP => (Pass::ZipTime, matches!(len, 1 | 5 | 9 | 13) && value[0] & !0b111 == 0),
        // Reserved, then one attribute, number 1, with three times.
        EXTRA_NTFS_TIMES => (Pass::ZipTime, len == 32 && value[..8] == [0, 0, 0, 0, 1, 0, 24, 0]),
        EXTRA_UNIX_TIMES => (Pass::ZipOrigin, len == 8 || len == 12),
        // A version, and two numbers with their lengths. The directory may have none of it.
        EXTRA_UNIX_OWNER => (Pass::ZipOrigin, len == 0 || is_unix_owner(value)),
        EXTRA_JAR_MARK => (Pass::ZipOrigin, len == 0),
        _ => return None,
    };
    is_well_formed.then_some(pass)
}

fn is_unix_owner(value: &[u8]) -> bool {
    let number = |bytes: &[u8]| -> Option<usize> { Some(1 + usize::from(*bytes.first()?)).filter(|len| *len <= 9) };
    let Some(rest) = value.strip_prefix(&[1]) else { return false };
    let group = number(rest).and_then(|len| rest.get(len..));
    group.is_some_and(|rest| number(rest) == Some(rest.len()))
}
