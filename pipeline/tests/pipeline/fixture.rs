//! A pipeline under test, a client for it, and git repositories to build from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pyrsia_pipeline::{BuildStatus, BuildView, BuilderChoice, BuilderProgram, Config, Pipeline, RunningPipeline};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Everything here but Maven is done in well under a second; this is for a busy machine and a slow repository.
pub(crate) const SOON: Duration = Duration::from_secs(180);

pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    running: Option<RunningPipeline>,
    pub(crate) http: reqwest::Client,
}

/// Defaults for tests: a free port, the embedded builder, no upstream, impatient retries.
pub(crate) fn config(data_dir: &Path) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstream: None,
        builder: BuilderChoice::Embedded,
        retry_delay: Duration::from_millis(10),
        network_gate: super::maven::gate(),
        ..Config::new(data_dir)
    }
}

impl Fixture {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder.path().join("data"));
        change(&mut config);
        let running = Some(Pipeline::start(config).await.unwrap());
        Self { folder, running, http: reqwest::Client::new() }
    }

    pub(crate) async fn importing_from(upstream: &str) -> Self {
        Self::start(|config| config.upstream = Some(upstream.parse().unwrap())).await
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    /// Starts again over the same data.
    pub(crate) async fn restart(&mut self) {
        if self.running.is_some() {
            self.stop().await;
        }
        self.running = Some(Pipeline::start(config(&self.data())).await.unwrap());
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.as_ref().unwrap().url())
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn put(&self, body: impl Into<reqwest::Body>) -> Response {
        self.http.put(self.url("/build")).body(body).send().await.unwrap()
    }

    /// Asks for a build and returns its id.
    pub(crate) async fn request(&self, body: Value) -> String {
        let response = self.put(body.to_string()).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn view(&self, id: &str) -> BuildView {
        self.get(&format!("/build/{id}")).await.json().await.unwrap()
    }

    pub(crate) async fn wait(&self, id: &str) -> BuildView {
        self.wait_until(id, |view| view.status != BuildStatus::Running).await
    }

    pub(crate) async fn wait_until(&self, id: &str, reached: impl Fn(&BuildView) -> bool) -> BuildView {
        let deadline = Instant::now() + SOON;
        loop {
            let view = self.view(id).await;
            if reached(&view) {
                return view;
            }
            assert!(Instant::now() < deadline, "{view:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn log(&self, id: &str) -> String {
        self.get(&format!("/build/{id}/log")).await.text().await.unwrap()
    }

    /// Builds an image, expects success, and returns the artifacts by file name.
    pub(crate) async fn build(&self, body: Value) -> BTreeMap<String, Vec<u8>> {
        let artifacts = self.build_files(body).await;
        assert!(artifacts.contains_key("manifest"));
        artifacts
    }

    /// Builds, expects success, and returns the artifacts by file name; `manifest` comes first where there is one.
    pub(crate) async fn build_files(&self, body: Value) -> BTreeMap<String, Vec<u8>> {
        let id = self.request(body).await;
        let view = self.wait(&id).await;
        let BuildStatus::Success { artifact_urls } = view.status else { panic!("{:?}\n{}", view.status, self.log(&id).await) };
        assert!(artifact_urls.iter().skip(1).all(|url| !url.ends_with("/manifest")));
        let mut artifacts = BTreeMap::new();
        for url in artifact_urls {
            let response = self.get(&url).await;
            assert_eq!(response.status(), StatusCode::OK);
            let length = response.content_length().unwrap();
            let bytes = response.bytes().await.unwrap().to_vec();
            assert_eq!(bytes.len() as u64, length);
            let file = url.rsplit('/').next().unwrap().to_owned();
            if let Some(digest) = file.strip_suffix(".blob") {
                assert_eq!(digest, digest_of(&bytes));
            }
            artifacts.insert(file, bytes);
        }
        artifacts
    }

    /// Builds, expects failure, and returns the reason.
    pub(crate) async fn fail(&self, body: Value) -> String {
        let id = self.request(body).await;
        let view = self.wait(&id).await;
        let kept = std::fs::read_dir(self.data().join("builds").join(&id).join("artifacts")).unwrap().count();
        assert_eq!(kept, 0, "a failed build keeps no artifacts");
        match view.status {
            BuildStatus::Failure(reason) => reason,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn docker(id: &str) -> Value {
    json!({ "package_type": "Docker", "package_specific_id": id, "source_repository": null, "build_spec_url": null })
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A git repository with one commit, tagged `v1`.
pub(crate) struct Repository {
    pub(crate) path: PathBuf,
    pub(crate) commit: String,
}

pub(crate) const COMMITTED_AT: u64 = 1_700_000_000;

impl Repository {
    /// Files are `(path, text)`; a path that ends in `*` is executable.
    pub(crate) fn new(parent: &Path, files: &[(&str, &str)]) -> Self {
        let path = parent.join("repository");
        std::fs::create_dir_all(&path).unwrap();
        let git = |arguments: &[&str]| git(&path, arguments);
        git(&["init", "--quiet", "--initial-branch=main"]);
        for (name, text) in files {
            let file = path.join(name.trim_end_matches('*'));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            git(&["add", name.trim_end_matches('*')]);
            if name.ends_with('*') {
                git(&["update-index", "--chmod=+x", name.trim_end_matches('*')]);
            }
        }
        git(&["commit", "--quiet", "--allow-empty", "-m", "one"]);
        git(&["tag", "v1"]);
        let commit = git(&["rev-parse", "HEAD"]);
        Self { path, commit }
    }

    /// Changes a file, commits, and puts the tag `v1` there.
    pub(crate) fn move_tag(&mut self, file: &str, text: &str) {
        std::fs::write(self.path.join(file), text).unwrap();
        git(&self.path, &["add", file]);
        git(&self.path, &["commit", "--quiet", "-m", "another"]);
        git(&self.path, &["tag", "--force", "v1"]);
        self.commit = git(&self.path, &["rev-parse", "HEAD"]);
    }

    pub(crate) fn tree(&self) -> String {
        git(&self.path, &["rev-parse", "v1^{tree}"])
    }

    /// A tag with an object of its own, as releases have them.
    pub(crate) fn annotate(&self, tag: &str) {
        git(&self.path, &["tag", "--annotate", "-m", "a release", tag]);
    }

    /// The request to have a build program make a package of it at its tag.
    pub(crate) fn package_request(&self, package_type: &str, id: &str) -> Value {
        let source = json!({ "Git": { "url": self.path, "tag": "v1" } });
        json!({ "package_type": package_type, "package_specific_id": id, "source_repository": source })
    }

    /// The request to build it at its tag.
    pub(crate) fn request(&self, image: &str) -> Value {
        let mut body = docker(image);
        body["source_repository"] = json!({ "Git": { "url": self.path, "tag": "v1" } });
        body
    }
}

/// Makes a shell script the build program of a type.
pub(crate) fn build_with(config: &mut Config, package_type: &str, script: &str) {
    let folder = config.data_dir.parent().unwrap();
    let (text, program) = (folder.join("script"), folder.join(format!("build-{package_type}")));
    std::fs::write(&text, format!("#!/bin/sh\nset -eu\n{script}\n")).unwrap();
    // By another process: while one of this process has it open for writing, which every fork of another test does for a
    // moment, a program cannot be run.
    let install = Command::new("install").args(["-m", "755"]).args([&text, &program]).status().unwrap();
    assert!(install.success());
    config.builder_programs.push(BuilderProgram::new(package_type, &program).unwrap());
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let date = format!("{COMMITTED_AT} +0000");
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_DATE", &date)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether a test that needs this program can run. With PYRSIA_REQUIRE_CLIENTS=1 it has to.
pub(crate) fn is_there(client: &str, found: bool) -> bool {
    if !found {
        assert_ne!(std::env::var("PYRSIA_REQUIRE_CLIENTS").as_deref(), Ok("1"), "needs {client}");
        println!("SKIPPED: needs {client}");
    }
    found
}

/// Whether this machine lets the pipeline keep programs in namespaces. One that does not is as good as any: the pipeline
/// says so there and goes on without.
pub(crate) fn namespaces_work() -> bool {
    let made = |options: &[&str]| Command::new("unshare").args(options).args(["--pid", "--fork", "--net", "true"]).status();
    let works = [made(&[]), made(&["--user", "--map-current-user"])].into_iter().flatten().any(|status| status.success());
    if !works {
        println!("SKIPPED: this machine makes no namespaces");
    }
    works
}
