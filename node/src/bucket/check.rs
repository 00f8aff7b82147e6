//! Looking after the copies in the bucket: whether those that are known are there, and, where that is wished, whether they are whole.

use super::read::list_bytes;
use super::{Bucket, BucketError, BucketRead};
use futures::TryStreamExt as _;
use pyrsia_ledger::Sha256Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Copies that are looked at in one go.
const PAGE: usize = 1_000;

/// How closely the bucket is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketDepth {
    /// Lists it and compares the sizes.
    #[default]
    Sizes,
    /// Reads every copy as well.
    Bytes,
}

/// What a look at the bucket found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketCheck {
    /// Copies that were looked at.
    pub copies: u64,
    pub bytes_read: u64,
    /// Copies that were known and are not there.
    pub gone: u64,
    /// Copies whose size or bytes are others.
    pub wrong: u64,
    /// Copies that were not known here: of other nodes, or of an earlier life of this one.
    pub unknown: u64,
    /// Why it was not looked at to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Bucket {
    /// Looks at every known copy, and makes the chunk lists anew that are lost or false. `pause` is told how many bytes were read, and says how long to wait before more are. What it
    /// finds damaged or gone counts as a copy no more.
    pub(crate) async fn check(
        &self,
        depth: BucketDepth,
        mut pause: impl FnMut(u64) -> Duration + Send,
    ) -> (BucketCheck, Vec<Sha256Digest>) {
        let (mut check, mut lost) = (BucketCheck::default(), vec![]);
        if let Err(error) = self.look(depth, &mut check, &mut lost, &mut pause).await {
            tracing::warn!(%error, "the bucket cannot be looked at to the end");
            check.reason = Some("the bucket did not answer; the node's log says why".into());
        }
        (check, lost)
    }

    async fn look(
        &self,
        depth: BucketDepth,
        check: &mut BucketCheck,
        lost: &mut Vec<Sha256Digest>,
        pause: &mut (impl FnMut(u64) -> Duration + Send),
    ) -> Result<(), BucketError> {
        // What is copied while the bucket is listed may not be listed: only what was known before can be missed.
        let mut known: BTreeMap<Sha256Digest, u64> = BTreeMap::new();
        while let page = self.page(known.last_key_value().map(|(last, _)| last), PAGE)
            && !page.is_empty()
        {
            known.extend(page);
        }
        let mut missing = known.clone();
        let mut listless: BTreeSet<Sha256Digest> =
            known.iter().filter(|(_, size_bytes)| list_bytes(**size_bytes) > 0).map(|(sha256, _)| *sha256).collect();
        let mut objects = self.objects();
        while let Some(object) = objects.try_next().await? {
            if let Some(sha256) = self.artifact_of_list(&object)
                && known.get(&sha256).is_some_and(|size_bytes| list_bytes(*size_bytes) == object.size)
            {
                listless.remove(&sha256);
            }
            let Some(sha256) = self.artifact_of(&object) else { continue };
            match missing.remove(&sha256) {
                None if known.contains_key(&sha256) => {}
                None => check.unknown += 1,
                Some(size_bytes) if size_bytes == object.size => check.copies += 1,
                Some(_) => {
                    check.copies += 1;
                    check.wrong += 1;
                    self.note_wrong(&sha256, &format!("has {} bytes instead of {}", object.size, known[&sha256])).await;
                    lost.push(sha256);
                }
            }
        }
        if !missing.is_empty() {
            self.see_mark().await?;
        }
        for sha256 in missing.into_keys() {
            check.gone += 1;
            self.note_gone(&sha256).await;
            lost.push(sha256);
        }
        // A list is made of the bytes alone, so that what lacks one is read in any case.
        let is_read = |sha256: &Sha256Digest| depth == BucketDepth::Bytes || listless.contains(sha256);
        for sha256 in known.into_keys().filter(is_read) {
            if self.known_copy(&sha256).is_some() {
                let bytes_read = &mut check.bytes_read;
                let read = self.read_whole(&sha256, |bytes| {
                    *bytes_read += bytes;
                    pause(bytes)
                });
                match read.await {
                    Ok(BucketRead::Found(list)) => self.keep_list(&sha256, &list).await?,
                    Ok(BucketRead::NotThere) => {
                        self.see_mark().await?;
                        check.gone += 1;
                        self.note_gone(&sha256).await;
                        lost.push(sha256);
                    }
                    Err(BucketError::Wrong { .. }) => {
                        check.wrong += 1;
                        lost.push(sha256);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
