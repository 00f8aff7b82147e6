//! The passes: every difference that comparison forgives, by name, in the order in which they run.
//!
//! A closed list. Each is something that npm itself makes nothing of when it unpacks a package: its own extraction takes the names, contents and permissions to
//! execute from the archive, and owner, times and other permissions from the machine (pacote, `lib/fetcher.js`).

use pyrsia_verifier_kit as kit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    ArchiveForm,
    EntryOrder,
    EntryTimes,
    EntryOwners,
    FileModes,
    FolderEntries,
}

impl Pass {
    const ALL: [Self; 6] =
        [Self::ArchiveForm, Self::EntryOrder, Self::EntryTimes, Self::EntryOwners, Self::FileModes, Self::FolderEntries];

    pub fn name(self) -> &'static str {
        match self {
            Self::ArchiveForm => "archive-form",
            Self::EntryOrder => "entry-order",
            Self::EntryTimes => "entry-times",
            Self::EntryOwners => "entry-owners",
            Self::FileModes => "file-modes",
            Self::FolderEntries => "folder-entries",
        }
    }

    fn forgives(self) -> &'static str {
        match self {
            Self::ArchiveForm => {
                "How the archive is written down: the header and the compression of gzip, the dialect of tar (ustar, pax, GNU) and where it puts long names, how it pads \
                 numbers, and how many blocks of zeros end it."
            }
            Self::EntryOrder => "The order of the entries, no two of which have one path.",
            Self::EntryTimes => "The times of modification, access and change of the entries.",
            Self::EntryOwners => "The numbers and names of the owners and groups of the entries.",
            Self::FileModes => {
                "Permission to read and to write an entry, for its owner, its group and others; permission to execute and every other bit of the mode is compared."
            }
            Self::FolderEntries => {
                "Entries of folders that hold files, with their permissions; one with a setuid, setgid or sticky bit, an extended attribute or a pax record that is not \
                 a time is compared."
            }
        }
    }
}

/// Passes that changed something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassSet(u8);

impl PassSet {
    pub fn add_if(&mut self, pass: Pass, changed: bool) {
        self.0 |= u8::from(changed) << pass as u8;
    }

    /// In the order in which they run.
    pub fn names(self) -> Vec<String> {
        Pass::ALL.iter().filter(|pass| self.0 & 1 << **pass as u8 != 0).map(|pass| pass.name().to_owned()).collect()
    }
}

/// All of them, for the description.
pub fn described() -> Vec<kit::Pass> {
    Pass::ALL.iter().map(|pass| kit::Pass::new(pass.name(), pass.forgives())).collect()
}
