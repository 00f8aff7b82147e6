//! The way from a build pipeline to its node, on which its artifacts can be changed.
//!
//! Passes on every request and answer as it is, but for the bytes of artifacts: those go through a function of the test.

use crate::service::{Answer, JSON, Request, Service};
use std::sync::{Arc, Mutex};

/// Makes other bytes of a file by its name.
type Change = Arc<dyn Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync>;

pub struct Relay {
    pub url: String,
    wire: Arc<Wire>,
    _service: Service,
}

struct Wire {
    pipeline: String,
    client: reqwest::Client,
    change: Mutex<Option<Change>>,
}

impl Relay {
    /// An honest way to the pipeline at this URL.
    pub async fn start(pipeline: &str) -> Self {
        let wire = Arc::new(Wire { pipeline: pipeline.to_owned(), client: reqwest::Client::new(), change: Mutex::new(None) });
        let shared = wire.clone();
        let answer = move |request: Request| {
            let wire = shared.clone();
            async move { wire.answer(request).await }
        };
        let service = Service::start("127.0.0.1", answer).await.expect("a free port");
        Self { url: service.url.clone(), wire, _service: service }
    }

    /// Changes the artifacts that are asked for from here on.
    pub fn change(&self, change: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) {
        self.set(Some(Arc::new(change)));
    }

    pub fn be_honest(&self) {
        self.set(None);
    }

    fn set(&self, change: Option<Change>) {
        *self.wire.change.lock().expect("nobody panics with it") = change;
    }
}

impl Wire {
    async fn answer(&self, request: Request) -> Answer {
        let Request { method, path, body } = request;
        let Ok(method) = method.parse::<reqwest::Method>() else { return Answer::refusal(400) };
        let asked = async {
            let request = self.client.request(method, format!("{}{path}", self.pipeline)).header("content-type", JSON);
            let response = request.body(body).send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, response.bytes().await?.to_vec()))
        };
        let Ok((status, headers, mut body)) = asked.await else { return Answer::refusal(503) };
        let change = self.change.lock().expect("nobody panics with it").clone();
        if let (200, Some((_, file)), Some(change)) = (status, path.split_once("/artifacts/"), change) {
            body = change(file, body);
        }
        let media_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        Answer { status, media_type, body }
    }
}
