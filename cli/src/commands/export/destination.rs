//! Where an export, or a proof, is written: a file or a folder that appears, or changes, in one step.
//!
//! Never replaces what this command did not write, unless it is told to: such a file may hold what its owner trusts besides.

use crate::exit::Failure;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::{NamedTempFile, TempDir};

/// How far into a file a mark is looked for.
const HEAD_BYTES: u64 = 512;
/// A temporary file is for its owner alone; checksums are for everybody.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// Puts the text in the place of a file that this command wrote, which has one of its marks near its beginning, or of none.
pub(in crate::commands) fn replace(file: &Path, text: &str, marks: &[&str], force: bool) -> Result<(), Failure> {
    let unwritable = |error: io::Error| Failure::because(&format!("{} cannot be written", file.display()), &error);
    if !force && !is_ours(file, marks).map_err(unwritable)? {
        let failure = Failure::new(format!("{} was not written by this command", file.display()));
        return Err(failure.hint("name a new file, or have this one replaced with --force"));
    }
    let write = || {
        let folder = folder_of(file)?;
        let mut new = NamedTempFile::new_in(folder)?;
        new.write_all(text.as_bytes())?;
        new.as_file().set_permissions(Permissions::from_mode(FILE_MODE))?;
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(unwritable)
}

/// Makes a folder of files by their relative paths. One that holds anything is refused: a file that stays in it would vouch for
/// what is not published any longer.
pub(super) fn fill(folder: &Path, files: &[(String, String)]) -> Result<(), Failure> {
    let unwritable = |error: io::Error| Failure::because(&format!("{} cannot be written", folder.display()), &error);
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(false) => {
            let failure = Failure::new(format!("{} is not empty", folder.display()));
            return Err(failure.hint("a checksum file that stayed there would be trusted; remove the folder, or name a new one"));
        }
        Err(error) => return Err(unwritable(error)),
    }
    let write = || {
        let parent = folder_of(folder)?;
        let new = TempDir::new_in(parent)?;
        for (path, text) in files {
            let path = new.path().join(path);
            fs::create_dir_all(path.parent().expect("it lies in the folder"))?;
            let mut file = File::create(path)?;
            file.write_all(text.as_bytes())?;
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            file.sync_all()?;
        }
        settle(new.path())?;
        fs::rename(new.path(), folder)?;
        // Nothing is left under its own name to be removed.
        let _ = new.keep();
        File::open(parent)?.sync_all()
    };
    write().map_err(unwritable)
}

/// Has the folder and those in it opened to everybody, and written to the disk.
fn settle(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            settle(&entry.path())?;
        }
    }
    let folder = File::open(folder)?;
    folder.set_permissions(Permissions::from_mode(FOLDER_MODE))?;
    folder.sync_all()
}

fn is_ours(file: &Path, marks: &[&str]) -> io::Result<bool> {
    let mut head = vec![];
    match File::open(file) {
        Ok(open) => open.take(HEAD_BYTES).read_to_end(&mut head)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let head = String::from_utf8_lossy(&head);
    Ok(marks.iter().any(|mark| head.contains(mark)))
}

/// The folder that something is made in; it is made too.
fn folder_of(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::super::MARK;
    use super::*;

    #[test]
    fn a_file_of_this_command_is_replaced_and_another_only_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/checksums.sha256");
        for text in [format!("# {MARK} x\none"), format!("# {MARK} x\ntwo")] {
            replace(&file, &text, &[MARK], false).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, FILE_MODE);
        fs::write(&file, "somebody's own").unwrap();
        let refused = replace(&file, "new", &[MARK], false).unwrap_err().to_string();
        assert!(refused.contains("was not written by this command") && refused.contains("--force"), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "somebody's own");
        replace(&file, "new", &[MARK], true).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_folder_is_filled_once() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a/checksums");
        let files = [("g/a/1/a-1.jar.sha256".to_owned(), "00\n".to_owned())];
        fill(&target, &files).unwrap();
        assert_eq!(fs::read_to_string(target.join("g/a/1/a-1.jar.sha256")).unwrap(), "00\n");
        let mode = |path: &str| fs::metadata(target.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(""), mode("g"), mode("g/a/1")], [FOLDER_MODE; 3]);
        assert_eq!(mode("g/a/1/a-1.jar.sha256"), FILE_MODE);
        let refused = fill(&target, &files).unwrap_err().to_string();
        assert!(refused.contains("is not empty"), "{refused}");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        fill(&empty, &files).unwrap();
        assert!(empty.join("g").is_dir());
        assert!(fill(&empty.join("g/a/1/a-1.jar.sha256"), &files).is_err(), "a file is no folder");
    }
}
