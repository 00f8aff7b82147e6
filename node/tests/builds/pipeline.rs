//! The world outside of a node: a pipeline that speaks the prototype's HTTP, and can be made to misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pyrsia_ledger::Sha256Digest;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Connections end before a byte is answered.
    Down,
    /// Requests are read and never answered.
    Hangs,
    Html,
    Errors,
    Refuses,
    Fails,
    /// Every build is unknown as soon as it was taken.
    Forgets,
    /// It is started again whenever it builds.
    Restarts,
    NeverEnds,
    HalfFile,
    /// A blob has other bytes than its name says.
    WrongDigest,
    /// The artifacts are said to lie elsewhere.
    LeavesPipeline,
}

/// What a pipeline builds: the files by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A Maven project without code, written with one of the line ends that its verifier forgives.
pub(crate) fn maven_project(name: &str, line_end: &str) -> Files {
    let lines = [
        "<project>".into(),
        "<modelVersion>4.0.0</modelVersion>".into(),
        format!("<groupId>org.example</groupId><artifactId>{name}</artifactId><version>1.0</version>"),
        "<packaging>pom</packaging>".into(),
        "</project>".into(),
    ];
    let pom: String = lines.map(|line| format!("{line}{line_end}")).concat();
    Files::from([(format!("{name}-1.0.pom"), pom.into_bytes())])
}

/// A small image in Docker's schema 2.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layer: Vec<u8>,
}

impl Image {
    pub(crate) fn new(name: &str) -> Self {
        let layer: Vec<u8> = name.bytes().cycle().take(300_000).collect();
        let diff_id = Sha256Digest::of(&layer).to_oci();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let config = config.into_bytes();
        let described = |media_type: &str, bytes: &[u8]| {
            let (digest, size) = (Sha256Digest::of(bytes).to_oci(), bytes.len());
            format!(r#"{{"mediaType":"{media_type}","size":{size},"digest":"{digest}"}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{},"layers":[{}]}}"#,
            described("application/vnd.docker.container.image.v1+json", &config),
            described("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer),
        );
        Self { manifest: manifest.into_bytes(), config, layer }
    }

    pub(crate) fn files(&self) -> Files {
        let blob = |bytes: &Vec<u8>| (format!("{}.blob", Sha256Digest::of(bytes).to_oci()), bytes.clone());
        BTreeMap::from([("manifest".into(), self.manifest.clone()), blob(&self.config), blob(&self.layer)])
    }
}

pub(crate) struct Pipeline {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    files: Mutex<Arc<Files>>,
    fault: Mutex<Fault>,
    builds: AtomicUsize,
    /// The answer to `PUT /mapping`, and of a mapping service; none, as pipelines have that are older than the call.
    mapping: Mutex<Option<(u16, String)>>,
    /// What was asked for: method, path and body.
    requests: Mutex<Vec<(String, String, String)>>,
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Pipeline {
    pub(crate) async fn start(image: &Image) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            files: Mutex::new(Arc::new(image.files())),
            fault: Mutex::new(Fault::None),
            builds: AtomicUsize::new(0),
            mapping: Mutex::default(),
            requests: Mutex::default(),
        });
        let serving = shared.clone();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = serving.clone();
                // A client that hangs up is none of the pipeline's trouble.
                tokio::spawn(async move { shared.serve(stream).await.unwrap_or(()) });
            }
        });
        Self { address, shared, server }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// What is built from here on.
    pub(crate) fn serve(&self, files: Files) {
        *self.shared.files.lock().unwrap() = Arc::new(files);
    }

    pub(crate) fn map(&self, status: u16, answer: impl Into<String>) {
        *self.shared.mapping.lock().unwrap() = Some((status, answer.into()));
    }

    /// The bodies of the requests with this method whose path ends so.
    pub(crate) fn bodies(&self, method: &str, path: &str) -> Vec<String> {
        let requests = self.shared.requests.lock().unwrap();
        let fits = requests.iter().filter(|(with, to, _)| with == method && to.ends_with(path));
        fits.map(|(_, _, body)| body.clone()).collect()
    }

    /// How many builds were started.
    pub(crate) fn builds(&self) -> usize {
        self.shared.builds.load(Ordering::SeqCst)
    }
}

impl Shared {
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let fault = *self.fault.lock().unwrap();
        if fault == Fault::Down {
            return Ok(());
        }
        let (method, path, body) = read_request(&mut stream).await?;
        self.requests.lock().unwrap().push((method.clone(), path.clone(), body));
        let mapping = self.mapping.lock().unwrap().clone().filter(|_| path == "/mapping" || path.ends_with(".mapping"));
        let json = |status: u16, body: String| (status, body.into_bytes(), usize::MAX);
        let files = self.files.lock().unwrap().clone();
        let names: Vec<&String> = files.keys().collect();
        let (status, body, sent) = match (method.as_str(), path.as_str(), fault) {
            (_, _, Fault::Hangs) => std::future::pending().await,
            (_, _, Fault::Html) => json(200, "<html><body>It works!</body></html>".into()),
            (_, _, Fault::Errors) => json(500, "<html>oops</html>".into()),
            ("PUT" | "GET", _, _) if mapping.is_some() => {
                let (status, answer) = mapping.unwrap_or_default();
                json(status, answer)
            }
            ("PUT", "/build", Fault::Refuses) => {
                json(422, r#"{"errors":[{"code":"NO_MAPPING","message":"no mapping for it"}]}"#.into())
            }
            ("PUT", "/build", _) => json(200, format!("\"build-{}\"", self.builds.fetch_add(1, Ordering::SeqCst))),
            ("DELETE", _, _) => json(200, "{}".into()),
            ("GET", path, fault) => match path.rsplit_once("/artifacts/") {
                Some((_, name)) => match files.get(name) {
                    Some(bytes) if fault == Fault::HalfFile => (200, bytes.clone(), bytes.len() / 2),
                    Some(bytes) if fault == Fault::WrongDigest && name != "manifest" => {
                        (200, bytes.iter().map(|byte| byte ^ 1).collect(), usize::MAX)
                    }
                    Some(bytes) => (200, bytes.clone(), usize::MAX),
                    None => json(404, "{}".into()),
                },
                None => {
                    let url = |name: &&String| match fault {
                        Fault::LeavesPipeline => format!("\"http://127.0.0.1:1/{name}\""),
                        _ => format!("\"{path}/artifacts/{name}\""),
                    };
                    let urls = names.iter().map(url).collect::<Vec<_>>().join(",");
                    match fault {
                        Fault::Forgets => json(404, String::new()),
                        Fault::Restarts => {
                            json(200, r#"{"id":"1","status":{"Failure":"interrupted"},"phase":"interrupted"}"#.into())
                        }
                        Fault::NeverEnds => json(200, r#"{"id":"1","status":"Running"}"#.into()),
                        Fault::Fails => json(200, r#"{"id":"1","status":{"Failure":"the compiler says no"}}"#.into()),
                        _ => json(200, format!(r#"{{"id":"1","status":{{"Success":{{"artifact_urls":[{urls}]}}}}}}"#)),
                    }
                }
            },
            _ => json(405, String::new()),
        };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body[..sent.min(body.len())]).await?;
        stream.shutdown().await
    }
}

/// Method, path and body.
async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<(String, String, String)> {
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first).await?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let mut words = first.split_whitespace().map(str::to_owned);
    Ok((words.next().unwrap_or_default(), words.next().unwrap_or_default(), String::from_utf8_lossy(&body).into_owned()))
}
