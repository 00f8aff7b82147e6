//! A build pipeline that has every build ready at once.

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json, Path};
use poem::{EndpointExt, Response, Route, Server, get, handler, put};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinHandle;

pub(super) const REVISION: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";

/// A pipeline whose every build is done at once and gives the same files.
pub(super) struct Pipeline {
    pub(super) url: String,
    server: JoinHandle<()>,
}

type Files = Arc<BTreeMap<String, Vec<u8>>>;

impl Pipeline {
    pub(super) async fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let files: Files = Arc::new(files);
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
