//! A registry made by hand: serves what a test puts in, and misbehaves as the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::fixture::digest_of;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// With the query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Says the length of the whole body and sends only this much of it.
    pub(crate) cut_after: Option<usize>,
    /// Keeps the connection open after that, for ever.
    pub(crate) stalls: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.into(), ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

pub(crate) struct Upstream {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Answers each request by the function, which also gets the number of earlier requests for the same path.
    pub(crate) async fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::<Request>::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    // A client that hangs up is what some of the tests are about.
                    let _ = Self::serve(stream, &seen, &*answer).await;
                });
            }
        });
        Self { url, requests, task }
    }

    async fn serve(
        mut stream: TcpStream,
        seen: &Mutex<Vec<Request>>,
        answer: &(impl Fn(&Request, usize) -> Reply + Send + Sync),
    ) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            headers.entry(name.to_lowercase()).or_default().push_str(value);
        }
        let request = Request { path, headers };
        let earlier = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.iter().filter(|other| other.path == request.path).count() - 1
        };
        let reply = answer(&request, earlier);
        let mut text = format!("HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            text += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        stream.write_all(&reply.body[..reply.cut_after.unwrap_or(reply.body.len())]).await?;
        stream.flush().await?;
        if reply.stalls {
            std::future::pending::<()>().await;
        }
        stream.shutdown().await
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.path.contains(part)).count()
    }
}

/// The content of a registry with one repository.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    objects: BTreeMap<String, (String, Vec<u8>)>,
    pub(crate) repository: String,
}

impl Content {
    pub(crate) fn new(repository: &str) -> Self {
        Self { objects: BTreeMap::new(), repository: repository.to_owned() }
    }

    pub(crate) fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest_of(bytes);
        let path = format!("/v2/{}/blobs/{digest}", self.repository);
        self.objects.insert(path, ("application/octet-stream".to_owned(), bytes.to_vec()));
        json!({ "mediaType": media_type, "size": bytes.len(), "digest": digest })
    }

    pub(crate) fn manifest(&mut self, tag: Option<&str>, media_type: &str, manifest: &Value) -> Value {
        let bytes = serde_json::to_vec_pretty(manifest).unwrap();
        let digest = digest_of(&bytes);
        for reference in [Some(digest.as_str()), tag].into_iter().flatten() {
            let path = format!("/v2/{}/manifests/{reference}", self.repository);
            self.objects.insert(path, (media_type.to_owned(), bytes.clone()));
        }
        json!({ "mediaType": media_type, "size": bytes.len(), "digest": digest })
    }

    /// An image of these layers, with an OCI manifest.
    pub(crate) fn image(&mut self, tag: Option<&str>, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let config = json!({ "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } });
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let layers: Vec<Value> =
            layers.iter().map(|layer| self.blob("application/vnd.oci.image.layer.v1.tar+gzip", layer)).collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
        self.manifest(tag, OCI_MANIFEST, &manifest)
    }

    /// Two platforms under one tag.
    pub(crate) fn two_platforms(&mut self, tag: &str) -> Value {
        let mut manifests = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let layers = [vec![7; 1000], architecture.as_bytes().repeat(5000)];
            let mut child = self.image(None, architecture, &layers);
            child["platform"] = json!({ "os": "linux", "architecture": architecture });
            manifests.push(child);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
        self.manifest(Some(tag), OCI_INDEX, &index)
    }

    pub(crate) fn digests(&self) -> Vec<String> {
        self.objects
            .keys()
            .filter_map(|path| path.rsplit('/').next())
            .filter(|name| name.contains(':'))
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn answer(&self, request: &Request) -> Reply {
        match self.objects.get(request.path.split('?').next().unwrap()) {
            Some((content_type, bytes)) => {
                let reply = Reply::new(200, content_type, bytes.clone());
                if request.path.contains("/manifests/") { reply.with("docker-content-digest", &digest_of(bytes)) } else { reply }
            }
            None => Reply::new(404, "application/json", "{}"),
        }
    }
}
