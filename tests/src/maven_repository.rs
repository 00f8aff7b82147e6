//! The repository that Maven itself knows, at an address of the test's own, with what was fetched once kept between runs.
//!
//! Stands for the world: build pipelines take plugins and dependencies from it, and so do the projects of users. Files of releases
//! are kept, lists of versions are asked for each time.

use crate::maven::{Maven, clients_folder};
use crate::program::succeed;
use crate::service::{Answer, Request, Service};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

const METADATA: &str = "maven-metadata.xml";
/// How often a file is asked for, because the network may fail where nothing is wrong.
const TRIES: usize = 3;

pub struct MavenRepository {
    pub url: String,
    requests: Arc<AtomicUsize>,
    _service: Service,
}

struct Shelf {
    upstream: String,
    folder: PathBuf,
    client: reqwest::Client,
}

impl MavenRepository {
    pub async fn start() -> Self {
        let folder = clients_folder().join("repository");
        let client = reqwest::Client::new();
        let shelf = Arc::new(Shelf { upstream: upstream().to_owned(), folder, client });
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let answer = move |request: Request| {
            counted.fetch_add(1, Ordering::Relaxed);
            let shelf = shelf.clone();
            async move { shelf.answer(&request).await }
        };
        let service = Service::start("127.0.0.1", answer).await.expect("a free port");
        Self { url: service.url.clone(), requests, _service: service }
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// A file of a release, by its path.
    pub async fn fetch(&self, path: &str) -> Vec<u8> {
        let response = reqwest::get(format!("{}/{path}", self.url)).await.expect("an answer");
        let bytes = response.error_for_status().unwrap_or_else(|error| panic!("{path}: {error}")).bytes().await;
        bytes.expect("a whole file").to_vec()
    }
}

impl Shelf {
    async fn answer(&self, request: &Request) -> Answer {
        let path = request.path.trim_start_matches('/');
        let plain = |step: &str| !step.is_empty() && !step.starts_with('.') && !step.contains(['%', '?', '\\']);
        if !matches!(request.method.as_str(), "GET" | "HEAD") || !path.split('/').all(plain) {
            return Answer::refusal(404);
        }
        let file = self.folder.join(path);
        let kept = !path.contains(METADATA);
        if let (true, Ok(bytes)) = (kept, std::fs::read(&file)) {
            return Answer::bytes(bytes);
        }
        let mut answer = self.ask(path).await;
        for _ in 1..TRIES {
            if answer.status < 500 {
                break;
            }
            answer = self.ask(path).await;
        }
        if kept && answer.status == 200 {
            keep(&file, &answer.body);
        }
        answer
    }

    async fn ask(&self, path: &str) -> Answer {
        let asked = async {
            let response = self.client.get(format!("{}/{path}", self.upstream)).send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        };
        match asked.await {
            Ok((200, bytes)) => Answer::bytes(bytes.to_vec()),
            Ok((status, _)) => Answer::refusal(status),
            Err(error) => {
                println!("{path}: {error:?}");
                Answer::refusal(503)
            }
        }
    }
}

/// Whole or not at all, whoever else keeps it at the same time.
fn keep(file: &Path, bytes: &[u8]) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let unique = format!(".{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let part = file.with_file_name(unique);
    std::fs::create_dir_all(file.parent().expect("a file has a folder")).expect("a folder of the repository");
    std::fs::write(&part, bytes).expect("a file of the repository");
    std::fs::rename(&part, file).expect("it lies beside it");
}

/// What the super POM of the installed Maven names, so that no text of ours names a host.
fn upstream() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lib = Maven::installed().home.join("lib");
        let files = std::fs::read_dir(&lib).expect("Maven has libraries").flatten().map(|entry| entry.path());
        let is_model =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("maven-model-builder"));
        let jar = files.into_iter().find(is_model).expect("Maven has a model builder");
        let entry = "org/apache/maven/model/pom-4.0.0.xml";
        succeed(Command::new("jar").current_dir(folder.path()).arg("xf").arg(jar).arg(entry));
        let pom = std::fs::read_to_string(folder.path().join(entry)).expect("the super POM");
        let url = pom.split_once("<url>").and_then(|(_, rest)| rest.split_once("</url>"));
        url.expect("the super POM names a repository").0.trim().trim_end_matches('/').to_owned()
    })
}
