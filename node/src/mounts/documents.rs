//! Documents that were made, kept as long as nothing they were made from changes.
//!
//! A document is a function of the verifier, the path, the mount and the records, so their digest is its name here and nothing ever has to be forgotten because it
//! is out of date. What was not asked for longest makes room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyrsia_ledger::Sha256Digest;
use pyrsia_verifiers::{Document, PublishedRecord};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bodies that are kept together, in bytes.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Documents of a few bytes are bounded by their number.
const KEPT_MAX: usize = 4_096;
/// Documents made at a time: as many as verifiers run calls at a time.
const MAKING_MAX: usize = 8;

pub(crate) struct Documents {
    kept: Mutex<Kept>,
    making: Semaphore,
}

#[derive(Default)]
struct Kept {
    /// With when it was asked for last.
    documents: BTreeMap<Sha256Digest, (u64, Arc<Document>)>,
    bytes: usize,
    questions: u64,
}

impl Documents {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), making: Semaphore::new(MAKING_MAX) }
    }

    pub(crate) fn get(&self, name: &Sha256Digest) -> Option<Document> {
        let mut kept = self.kept();
        kept.questions += 1;
        let now = kept.questions;
        let (asked, document) = kept.documents.get_mut(name)?;
        *asked = now;
        let document = Arc::clone(document);
        drop(kept);
        Some(Document::clone(&document))
    }

    pub(crate) fn keep(&self, name: Sha256Digest, document: &Document) {
        let mut kept = self.kept();
        let now = kept.questions;
        kept.bytes += document.body.len();
        if let Some((_, before)) = kept.documents.insert(name, (now, Arc::new(document.clone()))) {
            kept.bytes -= before.body.len();
        }
        while kept.bytes > KEPT_BYTES_MAX || kept.documents.len() > KEPT_MAX {
            let oldest = kept.documents.iter().min_by_key(|(_, (asked, _))| *asked).map(|(name, _)| *name);
            let Some((_, dropped)) = oldest.and_then(|name| kept.documents.remove(&name)) else { break };
            kept.bytes -= dropped.body.len();
        }
    }

    /// A place to make one. Whoever waited for it looks first whether another made the same meanwhile.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.making.acquire().await.ok()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that holds it leaves it half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a document: everything it depends on. Which records had files is not a part of it; only documents for which all were there are kept.
pub(crate) fn name(module: &Sha256Digest, path: &str, mount: &str, records: &[PublishedRecord]) -> Sha256Digest {
    let mut bytes = Vec::new();
    let mut field = |field: &[u8]| {
        bytes.extend((field.len() as u64).to_be_bytes());
        bytes.extend(field);
    };
    field(module.as_bytes());
    field(path.as_bytes());
    field(mount.as_bytes());
    for record in records {
        field(record.coordinate.as_str().as_bytes());
        field(record.artifact_id.as_str().as_bytes());
        field(record.media_type.as_bytes());
        field(&record.size_bytes.to_be_bytes());
        field(record.sha256.as_bytes());
    }
    Sha256Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use pyrsia_ledger::{ArtifactId, PackageId};

    use super::*;

    fn document(size_bytes: usize) -> Document {
        Document { media_type: "text/plain".into(), body: vec![0; size_bytes] }
    }

    fn named(number: u64) -> Sha256Digest {
        Sha256Digest::of(&number.to_be_bytes())
    }

    #[test]
    fn what_was_not_asked_for_longest_makes_room() {
        let documents = Documents::new();
        let size = KEPT_BYTES_MAX / 4;
        for number in 0..4 {
            documents.keep(named(number), &document(size));
            assert!(documents.get(&named(0)).is_some());
        }
        documents.keep(named(4), &document(size));
        let here: Vec<u64> = (0..5).filter(|number| documents.get(&named(*number)).is_some()).collect();
        assert_eq!(here, [0, 2, 3, 4]);
        documents.keep(named(9), &document(KEPT_BYTES_MAX + 1));
        assert!(documents.kept().bytes <= KEPT_BYTES_MAX);
    }

    #[test]
    fn small_documents_are_bounded_by_their_number_and_one_kept_twice_counts_once() {
        let documents = Documents::new();
        for number in 0..KEPT_MAX as u64 + 10 {
            documents.keep(named(number), &document(1));
            documents.keep(named(number), &document(1));
        }
        let kept = documents.kept();
        assert_eq!((kept.documents.len(), kept.bytes), (KEPT_MAX, KEPT_MAX));
    }

    #[test]
    fn everything_a_document_depends_on_is_in_its_name() {
        let record = |version: &str| PublishedRecord {
            coordinate: PackageId::new(format!("a@{version}")).unwrap(),
            artifact_id: ArtifactId::new(format!("a-{version}")).unwrap(),
            media_type: "text/plain".into(),
            size_bytes: 1,
            sha256: named(1),
            file: None,
        };
        let (one, other) = (record("1"), PublishedRecord { sha256: named(2), ..record("1") });
        let names = [
            name(&named(1), "/a", "http://m", &[]),
            name(&named(2), "/a", "http://m", &[]),
            name(&named(1), "/b", "http://m", &[]),
            name(&named(1), "/a", "http://n", &[]),
            name(&named(1), "/a", "http://m", std::slice::from_ref(&one)),
            name(&named(1), "/a", "http://m", &[other]),
            name(&named(1), "/a", "http://m", &[one, record("2")]),
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
