//! A small HTTP server inside a test: what stands in for a service of the world, or between two programs of ours.
//!
//! Reads whole requests and answers them in turn, connections side by side. HTTP/1.1 with `Content-Length` and nothing more.

use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The largest request body read, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
pub const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

pub struct Request {
    pub method: String,
    /// With its query, as it was sent.
    pub path: String,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub media_type: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(value: &serde_json::Value) -> Self {
        Self { status: 200, media_type: JSON.to_owned(), body: value.to_string().into_bytes() }
    }

    pub fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, media_type: BYTES.to_owned(), body }
    }

    /// An answer with nothing to say but its status.
    pub fn refusal(status: u16) -> Self {
        Self { status, media_type: JSON.to_owned(), body: b"{}".to_vec() }
    }
}

/// Ends with the value.
pub struct Service {
    pub url: String,
    accepting: JoinHandle<()>,
}

impl Service {
    /// Answers with `answer` on a free port of this address.
    pub async fn start<F, A>(host: &str, answer: F) -> std::io::Result<Self>
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind((host, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let answer = Arc::new(answer);
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, answer.clone()));
            }
        });
        Ok(Self { url, accepting })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers the requests of one connection, in turn.
async fn serve<F, A>(connection: TcpStream, answer: Arc<F>) -> std::io::Result<()>
where
    F: Fn(Request) -> A,
    A: Future<Output = Answer>,
{
    drop(connection.set_nodelay(true));
    let mut connection = BufReader::new(connection);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            connection.read_line(&mut header).await?;
            if header.trim().is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or((header.as_str(), ""));
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().unwrap_or(0).min(BODY_BYTES_MAX);
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await?;
        let head_only = method == "HEAD";
        let Answer { status, media_type, body } = answer(Request { method, path, body }).await;
        let head = format!("HTTP/1.1 {status} \r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n", body.len());
        let body: &[u8] = if head_only { &[] } else { &body };
        connection.write_all(&[head.as_bytes(), body].concat()).await?;
    }
}
