//! Importing from the registry of the distribution project, as Debian packages it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::fixture::{Fixture, SOON, digest_of, docker, is_there};
use super::upstream::{DOCKER_MANIFEST, OCI_MANIFEST};

const PROGRAM: &str = "docker-registry";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

struct Registry {
    url: String,
    child: Child,
    _folder: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself, which the test noticed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    async fn start() -> Option<Self> {
        if !is_there(PROGRAM, Command::new(PROGRAM).arg("--version").output().is_ok()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.path().join("config.yml");
        let data = folder.path().join("data");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { url: format!("http://127.0.0.1:{port}"), child: command.spawn().unwrap(), _folder: folder };
        let deadline = Instant::now() + SOON;
        while reqwest::get(format!("{}/v2/", registry.url)).await.is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(registry)
    }

    async fn push_blob(&self, repository: &str, bytes: Vec<u8>) -> Value {
        let http = reqwest::Client::new();
        let started = http.post(format!("{}/v2/{repository}/blobs/uploads/", self.url)).send().await.unwrap();
        let location = started.headers()["location"].to_str().unwrap().to_owned();
        let (digest, size) = (digest_of(&bytes), bytes.len());
        let url = format!("{location}&digest={digest}");
        let stored = http.put(url).header("content-type", "application/octet-stream").body(bytes).send().await.unwrap();
        assert_eq!(stored.status(), 201);
        json!({ "mediaType": "application/octet-stream", "digest": digest, "size": size })
    }

    async fn push_manifest(&self, repository: &str, tag: &str, media_type: &str, manifest: &Value) -> Value {
        let url = format!("{}/v2/{repository}/manifests/{tag}", self.url);
        let bytes = serde_json::to_vec(manifest).unwrap();
        let description = json!({ "mediaType": media_type, "digest": digest_of(&bytes), "size": bytes.len() });
        let stored = reqwest::Client::new().put(url).header("content-type", media_type).body(bytes).send().await.unwrap();
        assert_eq!(stored.status(), 201, "{}", stored.text().await.unwrap());
        description
    }
}

#[tokio::test]
async fn images_of_all_kinds_come_out_of_a_real_registry() {
    let Some(registry) = Registry::start().await else { return };
    let mut children = Vec::new();
    for (media_type, architecture) in [(DOCKER_MANIFEST, "amd64"), (OCI_MANIFEST, "arm64")] {
        let mut config = registry.push_blob("team/app", format!("{{\"architecture\":\"{architecture}\"}}").into_bytes()).await;
        config["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
        let mut layer = registry.push_blob("team/app", architecture.as_bytes().repeat(700_000)).await;
        layer["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
        let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer] });
        let mut child = registry.push_manifest("team/app", architecture, media_type, &manifest).await;
        child["platform"] = json!({ "os": "linux", "architecture": architecture });
        children.push(child);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": children });
    let index = registry.push_manifest("team/app", "1.0", DOCKER_INDEX, &index).await;

    let fixture = Fixture::importing_from(&registry.url).await;
    let artifacts = fixture.build(docker("team/app:1.0")).await;
    assert_eq!(digest_of(&artifacts["manifest"]), index["digest"].as_str().unwrap());
    assert_eq!(artifacts.len(), 7);
    for (tag, child) in ["amd64", "arm64"].into_iter().zip(&children) {
        let artifacts = fixture.build(docker(&format!("team/app:{tag}"))).await;
        assert_eq!(digest_of(&artifacts["manifest"]), child["digest"].as_str().unwrap());
        assert_eq!(artifacts.len(), 3);
    }
    let reason = fixture.fail(docker("team/app:2.0")).await;
    assert!(reason.contains("has no manifest team/app:2.0 (404)"), "{reason}");
}
