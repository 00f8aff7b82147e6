//! The bytes of an artifact on their way to a node, held against the digest that they had when the build ended.
//!
//! Builds run as the user of the pipeline, and not every machine can hide the results of one from the others. So nothing is
//! believed of the disk: of a file whose bytes are others, the last ones are never sent.

use std::io::{self, SeekFrom};

use futures::{Stream, TryStreamExt, stream};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::records::ArtifactFile;

/// Each piece costs a hop to a thread that may block: small ones make downloads slow.
const PIECE_BYTES: u64 = 256 << 10;
/// Up to this size the whole file is looked at before the answer begins; who asks for a larger one should not wait for that.
const CHECKED_FIRST_MAX_BYTES: u64 = 64 << 20;

/// The bytes, or `None` where they are known to be others than those of the build.
pub(super) async fn bytes_of(
    mut file: File,
    artifact: &ArtifactFile,
) -> io::Result<Option<impl Stream<Item = io::Result<Vec<u8>>> + Send + use<>>> {
    if file.metadata().await?.len() != artifact.size_bytes {
        return Ok(None);
    }
    if artifact.size_bytes <= CHECKED_FIRST_MAX_BYTES && artifact.sha256.is_some() {
        let mut digest = Sha256::new();
        let mut rest = (&mut file).take(artifact.size_bytes);
        let mut piece = vec![0; PIECE_BYTES as usize];
        loop {
            match rest.read(&mut piece).await? {
                0 => break,
                read => digest.update(&piece[..read]),
            }
        }
        if !is_digest(digest, artifact) {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(0)).await?;
    }
    let artifact = artifact.clone();
    let pieces = stream::try_unfold((file, Sha256::new(), 0_u64), move |(mut file, mut digest, sent)| {
        let artifact = artifact.clone();
        async move {
            let next = (artifact.size_bytes - sent).min(PIECE_BYTES);
            if next == 0 {
                return Ok(None);
            }
            let mut piece = vec![0; next as usize];
            file.read_exact(&mut piece).await?;
            digest.update(&piece);
            let sent = sent + next;
            if sent == artifact.size_bytes && !is_digest(digest.clone(), &artifact) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the artifact {} is damaged", artifact.file)));
            }
            Ok(Some((piece, (file, digest, sent))))
        }
    });
    Ok(Some(pieces.inspect_err(|error| tracing::error!(%error, "a download is broken off"))))
}

/// Records of earlier versions of this program have no digests.
fn is_digest(digest: Sha256, artifact: &ArtifactFile) -> bool {
    artifact.sha256.as_ref().is_none_or(|wanted| *wanted == hex::encode(digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(bytes: &[u8], digest_of: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let sha256 = Some(hex::encode(Sha256::digest(digest_of)));
        let artifact = ArtifactFile { file: "file".into(), size_bytes: bytes.len() as u64, sha256 };
        match bytes_of(File::open(&path).await.unwrap(), &artifact).await? {
            None => Ok(None),
            Some(pieces) => pieces.try_concat().await.map(Some),
        }
    }

    #[tokio::test]
    async fn a_file_is_sent_whole_or_not_to_its_end() {
        assert_eq!(sent(b"", b"").await.unwrap().unwrap(), b"");
        let small = vec![1; 3 * PIECE_BYTES as usize + 1];
        assert_eq!(sent(&small, &small).await.unwrap().unwrap(), small);
        assert!(sent(&small, b"other").await.unwrap().is_none());
        let large = vec![1; CHECKED_FIRST_MAX_BYTES as usize + 1];
        assert_eq!(sent(&large, &large).await.unwrap().unwrap(), large);
        assert_eq!(sent(&large, b"other").await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
