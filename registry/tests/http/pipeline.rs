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

/// A pipeline whose every build of a package is done at once and gives the same files.
pub(super) struct Pipeline {
    pub(super) url: String,
    server: JoinHandle<()>,
}

/// What a build gives.
pub(super) type Files = BTreeMap<String, Vec<u8>>;
/// By the packages' ids.
type Packages = Arc<BTreeMap<String, Files>>;

/// Stands for every package that is not named.
const ANY: &str = "";

impl Pipeline {
    pub(super) async fn start(files: Files) -> Self {
        Self::of_packages(BTreeMap::from([(ANY.to_owned(), files)])).await
    }

    pub(super) async fn of_packages(packages: BTreeMap<String, Files>) -> Self {
        let packages: Packages = Arc::new(packages);
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a free port");
        let address = acceptor.local_addr().remove(0);
        let url = format!("http://{}", address.as_socket_addr().expect("a TCP address"));
        let routes = Route::new()
            .at("/build", put(build))
            .at("/build/:id", get(status))
            .at("/build/:id/artifacts/:file", get(artifact))
            .data(packages);
        let server = tokio::spawn(async move { Server::new_with_acceptor(acceptor).run(routes).await.expect("serves") });
        Self { url, server }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A build's id has the number of its package at its end.
#[handler]
fn build(asked: Json<Value>, packages: Data<&Packages>) -> Result<Json<String>, StatusCode> {
    let named = |id: &str| packages.keys().position(|package| package == id);
    let number = asked["package_specific_id"].as_str().and_then(named).or_else(|| named(ANY));
    let number = number.ok_or(StatusCode::UNPROCESSABLE_ENTITY)?;
    Ok(Json(format!("6d3b1e9c-9e0f-4c4b-8a57-{number:012}")))
}

fn files_of<'p>(packages: &'p Packages, id: &str) -> Option<&'p Files> {
    packages.values().nth(id.rsplit('-').next()?.parse().ok()?)
}

#[handler]
fn status(Path(id): Path<String>, packages: Data<&Packages>) -> Result<Json<Value>, StatusCode> {
    let files = files_of(&packages, &id).ok_or(StatusCode::NOT_FOUND)?;
    let urls: Vec<String> = files.keys().map(|file| format!("/build/{id}/artifacts/{file}")).collect();
    let source = json!({"kind": "git", "location": "https://git.example/hello.git", "revision": REVISION, "tree": null});
    Ok(Json(json!({"id": id, "status": {"Success": {"artifact_urls": urls}}, "source": source})))
}

#[handler]
fn artifact(Path((id, file)): Path<(String, String)>, packages: Data<&Packages>) -> Response {
    match files_of(&packages, &id).and_then(|files| files.get(&file)) {
        Some(bytes) => bytes.clone().into(),
        None => StatusCode::NOT_FOUND.into(),
    }
}
