//! Files that leave by a connection without their bytes passing through this process: sendfile(2).
//!
//! hyper writes the bytes that a body gives it, and here a body gives *stand-ins*: slices of one static array, for the length of them alone. The
//! socket knows that array by its address and sends the next bytes of the file in their place. Each stand-in is put in line here before hyper gets
//! it, and hyper writes in the order of the bodies of a connection, so that the front of the line is always what a stand-in stands for; a stand-in
//! with nothing in line breaks the connection.
//!
//! Why so: beside mapped files, which cost a copy, this takes no `unsafe`, a file that somebody truncates is an error of one connection and no
//! SIGBUS, and no page of a file counts as memory of this process. The kernel reads what is not in its cache while the caller waits, so a body
//! looks first and has that done on a thread that may block.

use futures::{Stream, TryStreamExt as _};
use hyper::body::Bytes;
use poem::Body;
use rustix::fs::{Advice, fadvise, sendfile};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use socket2::SockRef;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The most that one stand-in stands for, and so the most that is sent before another connection has its turn.
const STAND_IN_BYTES: usize = 2 << 20;
/// Zeros that nobody reads: they take no memory.
static STAND_IN: [u8; STAND_IN_BYTES] = [0; STAND_IN_BYTES];
/// What the kernel is asked to read ahead of a connection when a file turns out not to be in its cache.
const READ_AHEAD_BYTES: u64 = 8 << 20;
/// Of send(2) on Linux: more follows at once (`MSG_MORE`), and no signal if the client has gone (`MSG_NOSIGNAL`).
const BEGIN_FLAGS: i32 = 0x8000 | 0x4000;
/// One read that brings a file into the cache.
const READ_BYTES: usize = 128 * 1_024;

fn is_stand_in(bytes: &[u8]) -> bool {
    STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

/// Part of a file that is to be sent.
#[derive(Clone, Debug)]
struct Part {
    file: Arc<File>,
    offset: u64,
    size_bytes: u64,
}

/// The files that a connection is to send, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    line: Arc<Mutex<VecDeque<Part>>>,
}

impl Outbox {
    /// A body that sends so many bytes of a file, by the connection this is the outbox of and by no other.
    pub(crate) fn body(&self, file: File, offset: u64, size_bytes: u64) -> Body {
        let range = offset..offset + size_bytes;
        self.body_of(Arc::new(file), futures::stream::once(async { Ok(range) }))
    }

    /// The same of a file that is still being written: one range after the other, each as soon as it comes.
    pub(crate) fn body_of(&self, file: Arc<File>, ranges: impl Stream<Item = io::Result<Range<u64>>> + Send + 'static) -> Body {
        let begin = (self.clone(), file, Box::pin(ranges), 0..0);
        Body::from_bytes_stream(futures::stream::try_unfold(begin, |(outbox, file, mut ranges, mut rest)| async move {
            while rest.is_empty() {
                match ranges.try_next().await? {
                    Some(range) => rest = range,
                    None => return Ok(None),
                }
            }
            let size_bytes = (rest.end - rest.start).min(STAND_IN_BYTES as u64);
            let part = Part { file: file.clone(), offset: rest.start, size_bytes };
            rest.start += size_bytes;
            part.bring_into_cache().await?;
            outbox.line().push_back(part);
            Ok::<_, io::Error>(Some((Bytes::from_static(&STAND_IN[..size_bytes as usize]), (outbox, file, ranges, rest))))
        }))
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Part>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends up to `bytes_max` of what is first in line.
    fn send(&self, socket: &TcpStream, bytes_max: usize) -> io::Result<usize> {
        let mut line = self.line();
        let part = line.front_mut().ok_or_else(|| io::Error::other("no file is in line for a stand-in"))?;
        let count = usize::try_from(part.size_bytes).map_or(bytes_max, |size| size.min(bytes_max));
        match rustix::io::retry_on_intr(|| sendfile(socket, &*part.file, Some(&mut part.offset), count))? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter")),
            sent => {
                part.size_bytes -= sent as u64;
                if part.size_bytes == 0 {
                    line.pop_front();
                }
                Ok(sent)
            }
        }
    }
}

impl Part {
    async fn bring_into_cache(&self) -> io::Result<()> {
        if self.is_in_cache(self.offset) && self.is_in_cache(self.offset + self.size_bytes - 1) {
            return Ok(());
        }
        let part = self.clone();
        tokio::task::spawn_blocking(move || part.read()).await.map_err(io::Error::other)?
    }

    /// Whether a byte can be read without waiting for the disk. Where the file system cannot say, it is taken to be so.
    fn is_in_cache(&self, offset: u64) -> bool {
        let mut byte = [0];
        preadv2(&*self.file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN)
    }

    fn read(&self) -> io::Result<()> {
        // Only advice: without it the reads below take longer.
        let _ = fadvise(&*self.file, self.offset, NonZeroU64::new(READ_AHEAD_BYTES), Advice::WillNeed);
        let mut buffer = vec![0; READ_BYTES];
        let end = self.offset + self.size_bytes;
        let mut offset = self.offset;
        while offset < end {
            match self.file.read_at(&mut buffer, offset)? {
                0 => break,
                read => offset += read as u64,
            }
        }
        Ok(())
    }
}

/// The socket of a client, which sends files in the place of their stand-ins.
pub(super) struct FileSocket {
    socket: TcpStream,
    outbox: Outbox,
}

impl FileSocket {
    pub(super) fn new(socket: TcpStream, outbox: Outbox) -> Self {
        Self { socket, outbox }
    }

    fn poll_send(&self, context: &mut Context<'_>, bytes_max: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            match self.socket.try_io(Interest::WRITABLE, || self.outbox.send(&self.socket, bytes_max)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Sends what goes before a file: in one packet with its beginning, so that a client does not wake up for a head alone.
    fn poll_begin(&self, context: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            let begin = || SockRef::from(&self.socket).send_vectored_with_flags(bytes, BEGIN_FLAGS);
            match self.socket.try_io(Interest::WRITABLE, begin) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl AsyncRead for FileSocket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for FileSocket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if is_stand_in(bytes) {
            return self.poll_send(context, bytes.len());
        }
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match buffers.iter().position(|bytes| is_stand_in(bytes)) {
            Some(0) => self.poll_send(context, buffers[0].len()),
            Some(own) => self.poll_begin(context, &buffers[..own]),
            None => Pin::new(&mut self.socket).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use poem::http::header::CONTENT_LENGTH;
    use std::convert::Infallible;
    use std::io::Write;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Longer than two stand-ins.
    const FILE_BYTES: usize = 2 * STAND_IN_BYTES + 12_345;

    fn bytes() -> Vec<u8> {
        (0..FILE_BYTES).map(|at| (at % 251) as u8 + 1).collect()
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("room on the disk");
        file
    }

    /// Serves one connection: `/FIRST/COUNT` is that part of the file, announced as `announced` bytes more.
    async fn server(file: File, announced: u64) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.expect("a client");
            let (outbox, file) = (Outbox::default(), &file);
            let socket = FileSocket::new(socket, outbox.clone());
            let service = service_fn(|request| {
                let (outbox, file) = (outbox.clone(), file.try_clone().expect("a second handle"));
                async move {
                    let request: hyper::Request<hyper::body::Incoming> = request;
                    let (first, count) = request.uri().path()[1..].split_once('/').expect("two numbers");
                    let (first, count): (u64, u64) = (first.parse().expect("a number"), count.parse().expect("a number"));
                    let body = outbox.body(file, first, count + announced);
                    let response = poem::Response::builder().header(CONTENT_LENGTH, count + announced).body(body);
                    Ok::<hyper::Response<_>, Infallible>(response.into())
                }
            });
            let server = hyper::server::conn::http1::Builder::new().writev(true).serve_connection(TokioIo::new(socket), service);
            let _ = server.await;
        });
        address
    }

    /// Everything that comes back for these requests, sent at once.
    async fn exchange(address: SocketAddr, requests: &str) -> Vec<u8> {
        let mut client = TcpStream::connect(address).await.expect("a connection");
        client.write_all(requests.as_bytes()).await.expect("room");
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("an end");
        received
    }

    #[tokio::test]
    async fn answers_that_wait_in_line_bring_each_its_own_bytes() {
        let bytes = bytes();
        let address = server(file(&bytes), 0).await;
        let parts = [(0, FILE_BYTES), (7, 1), (STAND_IN_BYTES - 1, STAND_IN_BYTES + 2), (FILE_BYTES - 3, 3), (5, 0)];
        let mut requests = String::new();
        for (at, (first, count)) in parts.iter().enumerate() {
            let last = if at + 1 == parts.len() { "connection: close\r\n" } else { "" };
            requests += &format!("GET /{first}/{count} HTTP/1.1\r\nhost: a\r\n{last}\r\n");
        }
        let received = exchange(address, &requests).await;
        let mut rest = received.as_slice();
        for (first, count) in parts {
            let head = rest.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
            assert!(rest.starts_with(b"HTTP/1.1 200"));
            assert!(rest[head..head + count] == bytes[first..first + count], "{count} bytes from {first}");
            rest = &rest[head + count..];
        }
        assert!(rest.is_empty(), "{} bytes too many", rest.len());
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_breaks_the_connection_off() {
        let bytes = bytes();
        let address = server(file(&bytes), 1_000).await;
        let received = exchange(address, &format!("GET /0/{FILE_BYTES} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let head = received.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        assert!(received[head..] == bytes[..], "all that there is, and nothing in the place of the rest");
    }

    #[tokio::test]
    async fn a_stand_in_with_nothing_in_line_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        let (socket, _) = listener.accept().await.expect("a client");
        let mut socket = FileSocket::new(socket, Outbox::default());
        socket.write_all(&STAND_IN[..10]).await.expect_err("nothing is in line");
        drop(socket);
        let mut received = Vec::new();
        { client }.read_to_end(&mut received).await.expect("an end");
        assert!(received.is_empty());
    }
}
