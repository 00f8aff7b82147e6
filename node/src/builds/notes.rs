//! What must be remembered of a running build across a restart: one small JSON file for each.
//!
//! ```text
//! <artifact folder>/builds/<build id>.json
//! ```
//!
//! It is a memory aid, never the truth: a lost note costs a second build on the pipeline, nothing else. So it is replaced in
//! one step, and not waited for until it is on the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pyrsia_ledger::BuildId;
use serde::{Deserialize, Serialize};

/// A note is some hundred bytes; what is larger is none.
const NOTE_BYTES_MAX: u64 = 4096;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The pipeline's own id of the build, to ask for its result instead of building twice.
    pub(super) pipeline_build_id: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Notes {
    folder: PathBuf,
}

impl Notes {
    pub(super) fn open(artifact_path: &Path) -> io::Result<Self> {
        let folder = artifact_path.join("builds");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Every note there is. Files that are not notes, such as unfinished ones, are removed.
    pub(super) fn all(&self) -> io::Result<Vec<(BuildId, Note)>> {
        let mut notes = vec![];
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let id = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")?.parse::<BuildId>().ok());
            match id.and_then(|id| Some((id, self.get(&id)?))) {
                Some(note) => notes.push(note),
                None if path.is_file() => fs::remove_file(&path)?,
                None => {}
            }
        }
        Ok(notes)
    }

    pub(super) fn get(&self, id: &BuildId) -> Option<Note> {
        let path = self.path(id);
        if fs::metadata(&path).ok()?.len() > NOTE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(super) fn put(&self, id: &BuildId, note: &Note) -> io::Result<()> {
        let path = self.path(id);
        let unfinished = path.with_extension("new");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(note)?)?;
        fs::rename(unfinished, path)
    }

    pub(super) fn remove(&self, id: &BuildId) {
        if let Err(error) = fs::remove_file(self.path(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(build_id = %id, %error, "the note of a finished build cannot be removed");
        }
    }

    fn path(&self, id: &BuildId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_ledger::{NetworkId, PackageCoordinate};

    #[test]
    fn notes_read_back_and_what_is_none_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::open(folder.path()).unwrap();
        let alpine = PackageCoordinate::new("docker", "alpine:3.16.0").unwrap();
        let id = BuildId::of(&NetworkId::UNFOUNDED, &alpine, 0);
        let note = Note { pipeline_build_id: Some("1".into()) };
        notes.put(&id, &note).unwrap();
        for (name, bytes) in [
            ("x.json", "{}"),
            ("half.new", "{"),
            (&*format!("{}.json", BuildId::of(&NetworkId::UNFOUNDED, &alpine, 1)), "{\"pip"),
        ] {
            fs::write(folder.path().join("builds").join(name), bytes).unwrap();
        }
        let notes = Notes::open(folder.path()).unwrap();
        assert_eq!(notes.all().unwrap(), [(id, note)]);
        assert_eq!(fs::read_dir(folder.path().join("builds")).unwrap().count(), 1);
        notes.remove(&id);
        assert_eq!(notes.all().unwrap(), []);
    }
}
