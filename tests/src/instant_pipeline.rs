//! A build pipeline that has every build ready at once: what is left when it is measured is the network's own time.
//!
//! Speaks the pipeline API (docs/pipeline-api.md) as far as a node asks for it. Every image is a small one of its own.

use crate::image::Image;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The largest request body read, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub struct InstantPipeline {
    pub url: String,
    accepting: JoinHandle<()>,
}

/// Builds by id.
type Builds = Arc<Mutex<BTreeMap<String, Image>>>;

impl InstantPipeline {
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let builds = Builds::default();
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, builds.clone()));
            }
        });
        Ok(Self { url, accepting })
    }
}

impl Drop for InstantPipeline {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers the requests of one connection, in turn.
async fn serve(connection: TcpStream, builds: Builds) -> std::io::Result<()> {
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
        let (status, media_type, answer) = answer(&method, &path, &body, &builds);
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n", answer.len());
        connection.write_all(&[head.as_bytes(), &answer].concat()).await?;
    }
}

fn answer(method: &str, path: &str, body: &[u8], builds: &Builds) -> (&'static str, &'static str, Vec<u8>) {
    const JSON: &str = "application/json";
    let mut builds = builds.lock().expect("no answer panics");
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let found = segments.get(1).and_then(|id| builds.get(*id));
    match (method, segments.as_slice(), found) {
        ("PUT", ["build"], _) => {
            let wish: Value = serde_json::from_slice(body).unwrap_or_default();
            let image = Image::small(&wish["package_specific_id"].to_string());
            // A version 4 UUID in form; its digits are those of the image.
            let hex = &image.manifest.digest["sha256:".len()..];
            let id = format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30]);
            builds.insert(id.clone(), image);
            ("200 OK", JSON, json!(id).to_string().into_bytes())
        }
        ("GET", ["build", id], Some(image)) => {
            let files = std::iter::once("manifest".to_owned()).chain(image.blobs().map(|blob| format!("{}.blob", blob.digest)));
            let urls: Vec<String> = files.map(|file| format!("/build/{id}/artifacts/{file}")).collect();
            let source =
                json!({ "kind": "import", "location": "http://127.0.0.1/", "revision": image.manifest.digest, "tree": null });
            let status =
                json!({ "id": id, "status": { "Success": { "artifact_urls": urls } }, "phase": "done", "source": source });
            ("200 OK", JSON, status.to_string().into_bytes())
        }
        ("GET", ["build", _, "artifacts", file], Some(image)) => {
            let blob = image.blobs().find(|blob| file.strip_suffix(".blob") == Some(&blob.digest));
            let blob = if *file == "manifest" { Some(&image.manifest) } else { blob };
            let missing = || ("404 Not Found", JSON, b"{}".to_vec());
            blob.map_or_else(missing, |blob| ("200 OK", "application/octet-stream", blob.bytes.clone()))
        }
        _ => ("404 Not Found", JSON, b"{}".to_vec()),
    }
}
