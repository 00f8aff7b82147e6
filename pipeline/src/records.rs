//! Build records on disk: one folder for each build, written so that a crash leaves the old or the new record.
//!
//! ```text
//! <data>/builds/<uuid>/record.json   what is known of the build
//!                     /log           what its builders printed
//!                     /artifacts/    what came of it; complete when the record says so
//!                     /work/         scratch space of the running build
//! ```
//!
//! A record is written when a build is accepted and when it ends. A build that has a record without an outcome when
//! the service starts was interrupted. This module decides nothing about builds; it keeps what it is given.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::wire::{BuildStatus, BuildView, MappingInfo, Phase, SourceView};

const RECORD_FILE: &str = "record.json";
/// A program that was just killed may add files while its folder is cleared; together the attempts take half a second.
const CLEAR_ATTEMPTS: usize = 10;
const CLEAR_PAUSE: Duration = Duration::from_millis(50);

/// Everything that outlives a restart about one build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: Uuid,
    pub(crate) request: MappingInfo,
    pub(crate) phase: Phase,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) source: Option<SourceView>,
    pub(crate) queued_at: u64,
    pub(crate) started_at: Option<u64>,
    pub(crate) finished_at: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Success {
        artifacts: Vec<ArtifactFile>,
    },
    Failure {
        reason: String,
    },
    /// The pipeline ended before the build did, or could not finish it for a reason of its own.
    Interrupted,
}

/// How a build failed that was interrupted.
pub(crate) const INTERRUPTED: &str = "interrupted by a restart or a fault of the pipeline";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArtifactFile {
    pub(crate) file: String,
    pub(crate) size_bytes: u64,
    /// In lower case hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
}

impl Record {
    pub(crate) fn queued(id: Uuid, request: MappingInfo, now: u64) -> Self {
        Self {
            id,
            request,
            phase: Phase::Queued,
            outcome: None,
            source: None,
            queued_at: now,
            started_at: None,
            finished_at: None,
        }
    }

    pub(crate) fn finish(&mut self, outcome: Outcome, now: u64) {
        self.phase = if outcome == Outcome::Interrupted { Phase::Interrupted } else { Phase::Done };
        self.outcome = Some(outcome);
        self.finished_at = Some(now);
    }

    pub(crate) fn view(&self) -> BuildView {
        BuildView {
            id: self.id.to_string(),
            status: match &self.outcome {
                None => BuildStatus::Running,
                Some(Outcome::Failure { reason }) => BuildStatus::Failure(reason.clone()),
                Some(Outcome::Interrupted) => BuildStatus::Failure(INTERRUPTED.to_owned()),
                Some(Outcome::Success { artifacts }) => BuildStatus::Success {
                    artifact_urls: artifacts
                        .iter()
                        .map(|artifact| format!("/build/{}/artifacts/{}", self.id, artifact.file))
                        .collect(),
                },
            },
            package_type: self.request.package_type.clone(),
            package_specific_id: self.request.package_specific_id.clone(),
            phase: self.phase,
            source: self.source.clone(),
            queued_at: self.queued_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct RecordStore {
    builds: PathBuf,
}

impl RecordStore {
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let builds = data_dir.join("builds");
        fs::create_dir_all(&builds)?;
        // A request may have the password of a repository in it.
        #[cfg(unix)]
        fs::set_permissions(&builds, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(Self { builds: fs::canonicalize(builds)? })
    }

    pub(crate) fn folder(&self, id: Uuid) -> PathBuf {
        self.builds.join(id.to_string())
    }

    pub(crate) fn log_path(&self, id: Uuid) -> PathBuf {
        self.folder(id).join("log")
    }

    pub(crate) fn artifacts(&self, id: Uuid) -> PathBuf {
        self.folder(id).join("artifacts")
    }

    pub(crate) fn work(&self, id: Uuid) -> PathBuf {
        self.folder(id).join("work")
    }

    pub(crate) fn create(&self, record: &Record) -> io::Result<()> {
        fs::create_dir(self.folder(record.id))?;
        fs::create_dir(self.artifacts(record.id))?;
        self.write(record)?;
        sync_folder(&self.builds)
    }

    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        let folder = self.folder(record.id);
        let temporary = folder.join("record.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(record).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&temporary, folder.join(RECORD_FILE))?;
        sync_folder(&folder)
    }

    /// All records, after clearing away scratch space and what a crash left of builds that were never accepted.
    pub(crate) fn load(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.builds)? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(|name| Uuid::parse_str(name).ok()) else {
                continue;
            };
            self.clear_work(id)?;
            match fs::read(entry.path().join(RECORD_FILE)) {
                Ok(bytes) => match serde_json::from_slice::<Record>(&bytes) {
                    Ok(record) if record.id == id => records.push(record),
                    Ok(_) => tracing::error!(build = %id, "the record in this folder is of another build; it is left alone"),
                    Err(error) => tracing::error!(build = %id, %error, "the record cannot be read; it is left alone"),
                },
                // The answer to the request is sent after the record is there, so nobody knows this build.
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_dir_all(entry.path())?,
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Removes the scratch space of a build, in whatever state its programs left it. Blocks.
    pub(crate) fn clear_work(&self, id: Uuid) -> io::Result<()> {
        let work = self.work(id);
        for _ in 1..CLEAR_ATTEMPTS {
            if remove_if_there(&work).is_ok() {
                return Ok(());
            }
            make_folders_writable(&work);
            std::thread::sleep(CLEAR_PAUSE);
        }
        remove_if_there(&work)
    }

    /// Half a result is no result: a build that failed keeps its record and its log.
    pub(crate) fn discard_artifacts(&self, id: Uuid) -> io::Result<()> {
        remove_if_there(&self.artifacts(id))?;
        fs::create_dir(self.artifacts(id))
    }

    pub(crate) fn remove(&self, id: Uuid) -> io::Result<()> {
        // The record goes last: half a removal is gone on with at the next one, not mistaken for a whole build.
        remove_if_there(&self.artifacts(id))?;
        remove_if_there(&self.folder(id))
    }
}

fn remove_if_there(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Tools write-protect folders, caches above all, and then nobody but root can remove what is in them.
fn make_folders_writable(root: &Path) {
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        #[cfg(unix)]
        let _ = fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700));
        // What cannot be read here fails the removal, which reports it.
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        open.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
}

/// Makes renames and new names inside the folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let request = MappingInfo {
            package_type: "Docker".into(),
            package_specific_id: "library/a:1".into(),
            source_repository: None,
            build_spec_url: None,
            docker: None,
            program: None,
        };
        Record::queued(Uuid::new_v4(), request, 1)
    }

    #[test]
    fn records_come_back_and_scratch_space_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = RecordStore::open(folder.path()).unwrap();
        let mut record = record();
        store.create(&record).unwrap();
        fs::create_dir(store.work(record.id)).unwrap();
        record.finish(Outcome::Failure { reason: "no".into() }, 2);
        store.write(&record).unwrap();
        let store = RecordStore::open(folder.path()).unwrap();
        assert_eq!(store.load().unwrap(), [record.clone()]);
        assert!(!store.work(record.id).exists());
        store.remove(record.id).unwrap();
        assert_eq!(store.load().unwrap(), []);
    }

    #[cfg(unix)]
    #[test]
    fn other_users_of_the_machine_cannot_read_records() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("builds")).unwrap();
        RecordStore::open(folder.path()).unwrap();
        assert_eq!(folder.path().join("builds").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_crash_at_any_step_of_accepting_leaves_nothing_or_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let store = RecordStore::open(folder.path()).unwrap();
        let id = Uuid::new_v4();
        fs::create_dir_all(store.artifacts(id)).unwrap();
        fs::write(store.folder(id).join("record.json.new"), "{\"id\":").unwrap();
        assert_eq!(store.load().unwrap(), []);
        assert!(!store.folder(id).exists());
    }

    #[test]
    fn a_damaged_record_does_not_keep_the_service_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let store = RecordStore::open(folder.path()).unwrap();
        let (good, bad) = (record(), record());
        store.create(&good).unwrap();
        store.create(&bad).unwrap();
        fs::write(store.folder(bad.id).join(RECORD_FILE), "{").unwrap();
        assert_eq!(store.load().unwrap(), [good]);
    }
}
