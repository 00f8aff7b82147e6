//! A small image, and a pipeline that builds it.

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json, Path};
use poem::{EndpointExt, Response, Route, Server, get, handler, put};
use pyrsia_ledger::Sha256Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinHandle;

pub(super) const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const REVISION: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";

/// An image with one layer of a few hundred kilobytes.
pub(super) struct Image {
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
    pub(super) layer: Vec<u8>,
}

impl Image {
    pub(super) fn new() -> Self {
        let layer: Vec<u8> = (0..700_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[..1].to_vec()).collect();
        let diff_id = Sha256Digest::of(&layer).to_oci();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        });
        let config = serde_json::to_vec(&config).expect("JSON");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor("application/vnd.docker.container.image.v1+json", &config),
            "layers": [descriptor("application/vnd.docker.image.rootfs.diff.tar", &layer)],
        });
        Self { manifest: serde_json::to_vec(&manifest).expect("JSON"), config, layer }
    }

    pub(super) fn digests(&self) -> [String; 3] {
        [&self.manifest, &self.config, &self.layer].map(|bytes| Sha256Digest::of(bytes).to_oci())
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "size": bytes.len(), "digest": Sha256Digest::of(bytes).to_oci()})
}

/// A pipeline whose every build is done at once and gives `image`.
pub(super) struct Pipeline {
    pub(super) url: String,
    server: JoinHandle<()>,
}

type Files = Arc<BTreeMap<String, Vec<u8>>>;

impl Pipeline {
    pub(super) async fn start(image: &Image) -> Self {
        let [_, config, layer] = image.digests();
        let files: Files = Arc::new(BTreeMap::from([
            ("manifest".to_owned(), image.manifest.clone()),
            (format!("{config}.blob"), image.config.clone()),
            (format!("{layer}.blob"), image.layer.clone()),
        ]));
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a free port");
        let address = acceptor.local_addr().remove(0);
        let url = format!("http://{}", address.as_socket_addr().expect("a TCP address"));
        let routes = Route::new()
            .at("/build", put(build))
            .at("/build/:id", get(status))
            .at("/build/:id/artifacts/:file", get(artifact))
            .data(files);
        let server = tokio::spawn(async move { Server::new_with_acceptor(acceptor).run(routes).await.expect("serves") });
        Self { url, server }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[handler]
fn build(_asked: Json<Value>) -> Json<&'static str> {
    Json("6d3b1e9c-9e0f-4c4b-8a57-0f5d0e2b7a11")
}

#[handler]
fn status(Path(id): Path<String>, files: Data<&Files>) -> Json<Value> {
    let urls: Vec<String> = files.keys().map(|file| format!("/build/{id}/artifacts/{file}")).collect();
    let source = json!({"kind": "git", "location": "https://git.example/hello.git", "revision": REVISION, "tree": null});
    Json(json!({"id": id, "status": {"Success": {"artifact_urls": urls}}, "source": source}))
}

#[handler]
fn artifact(Path((_, file)): Path<(String, String)>, files: Data<&Files>) -> Response {
    match files.get(&file) {
        Some(bytes) => bytes.clone().into(),
        None => StatusCode::NOT_FOUND.into(),
    }
}
