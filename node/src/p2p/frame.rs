//! Frames on a stream: the length as a little-endian u32, then that many bytes.

use borsh::{BorshDeserialize, BorshSerialize};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use std::io;

/// Writes a frame without flushing it.
pub(super) async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame of over 4 GiB"))?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(bytes).await
}

/// Reads the length of the next frame, at most `bytes_max`; none at the end of the stream.
pub(super) async fn read_length(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> io::Result<Option<usize>> {
    let mut length = [0; 4];
    let first = stream.read(&mut length).await?;
    if first == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[first..]).await?;
    let length = u32::from_le_bytes(length) as usize;
    if length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes, over {bytes_max}")));
    }
    Ok(Some(length))
}

/// Reads the bytes of a frame. Memory grows with what has come, not with what a peer announces.
pub(super) async fn read_body(stream: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    if stream.take(length as u64).read_to_end(&mut bytes).await? != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Writes a message as a frame, and flushes it.
pub(super) async fn write_message(stream: &mut (impl AsyncWrite + Unpin), message: &impl BorshSerialize) -> io::Result<()> {
    write_frame(stream, &borsh::to_vec(message)?).await?;
    stream.flush().await
}

/// Reads a frame that holds exactly one message; none at the end of the stream.
pub(super) async fn read_message<M: BorshDeserialize>(
    stream: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<Option<M>> {
    let Some(length) = read_length(stream, bytes_max).await? else { return Ok(None) };
    borsh::from_slice(&read_body(stream, length).await?).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    #[tokio::test]
    async fn a_message_reads_back_and_one_that_is_too_long_or_cut_off_does_not() {
        let mut bytes = vec![];
        write_message(&mut futures::io::AllowStdIo::new(&mut bytes), &7u64).await.expect("writes");
        let read = async |bytes: &[u8], bytes_max| read_message::<u64>(&mut Cursor::new(bytes), bytes_max).await;
        assert_eq!(read(&bytes, 8).await.expect("reads"), Some(7));
        assert!(read(&bytes, 7).await.is_err());
        for cut in 1..bytes.len() {
            assert!(read(&bytes[..cut], 8).await.is_err(), "cut at {cut}");
        }
        assert_eq!(read(&[], 8).await.expect("ends"), None);
    }
}
