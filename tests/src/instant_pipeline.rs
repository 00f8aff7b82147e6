//! A build pipeline that has every build ready at once, or misbehaves as it is told to.
//!
//! Speaks the pipeline API (docs/pipeline-api.md) as far as a node asks for it. Every image is a small one of its own, the same
//! from every honest pipeline: what is left when it is measured is the network's own time.

use crate::image::Image;
use crate::service::{Answer, JSON, Request, Service};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How a pipeline meets a wish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    #[default]
    Honest,
    /// Makes every object of every image another one, marked with this text; they fit each other.
    Corrupt(String),
    /// Passes on whatever the pipeline at this URL makes.
    Copy(String),
    /// The same, with a byte of everything but the manifest changed.
    CopyAndChange(String),
    /// Ends every build without a result.
    Fail,
    /// Never ends a build.
    Hang,
    /// Takes this long.
    Slow(Duration),
}

/// What an honest pipeline makes of an image's name.
pub fn honest_image(name: &str) -> Image {
    Image::small(name)
}

pub struct InstantPipeline {
    pub url: String,
    kitchen: Arc<Kitchen>,
    _service: Service,
}

/// What the connections share.
#[derive(Default)]
struct Kitchen {
    conduct: Mutex<Conduct>,
    /// By id.
    builds: Mutex<BTreeMap<String, Build>>,
    client: reqwest::Client,
}

#[derive(Clone)]
struct Build {
    conduct: Conduct,
    /// What pins the recipe: the same for everybody, whatever was made of it.
    revision: String,
    image: Image,
    begun: Instant,
}

impl InstantPipeline {
    /// An honest one on loopback.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_on("127.0.0.1", Conduct::Honest).await
    }

    pub async fn start_on(host: &str, conduct: Conduct) -> std::io::Result<Self> {
        let kitchen = Arc::new(Kitchen { conduct: Mutex::new(conduct), ..Kitchen::default() });
        let shared = kitchen.clone();
        let answer = move |request: Request| {
            let kitchen = shared.clone();
            async move { kitchen.answer(&request.method, &request.path, request.body).await }
        };
        let service = Service::start(host, answer).await?;
        Ok(Self { url: service.url.clone(), kitchen, _service: service })
    }

    /// Meets the wishes that come from here on in another way.
    pub fn conduct(&self, conduct: Conduct) {
        *self.kitchen.conduct.lock().expect("nobody panics with it") = conduct;
    }

    /// How many builds it was asked for, each once however often.
    pub fn builds(&self) -> usize {
        self.kitchen.builds.lock().expect("nobody panics with it").len()
    }
}

impl Kitchen {
    async fn answer(&self, method: &str, path: &str, body: Vec<u8>) -> Answer {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        if let ("PUT", ["build"]) = (method, segments.as_slice()) {
            return self.begin(body).await;
        }
        let found = segments.get(1).and_then(|id| self.builds.lock().expect("nobody panics with it").get(*id).cloned());
        let Some(build) = found else { return Answer::refusal(404) };
        match (method, segments.as_slice(), &build.conduct) {
            ("GET", [..], Conduct::Copy(other)) => self.pass_on(other, path).await,
            ("GET", ["build", _], Conduct::CopyAndChange(other)) => self.pass_on(other, path).await,
            ("GET", [.., file], Conduct::CopyAndChange(other)) => {
                let mut answer = self.pass_on(other, path).await;
                if let (Some(last), true) = (answer.body.last_mut(), *file != "manifest") {
                    *last ^= 1;
                }
                answer
            }
            ("GET", ["build", id], _) => Answer::json(&status(id, &build)),
            ("GET", ["build", _, "artifacts", file], _) => {
                let blob = build.image.blobs().find(|blob| file.strip_suffix(".blob") == Some(&blob.digest));
                let blob = if *file == "manifest" { Some(&build.image.manifest) } else { blob };
                blob.map_or_else(|| Answer::refusal(404), |blob| Answer::bytes(blob.bytes.clone()))
            }
            _ => Answer::refusal(404),
        }
    }

    async fn begin(&self, body: Vec<u8>) -> Answer {
        let wish: Value = serde_json::from_slice(&body).unwrap_or_default();
        let name = wish["package_specific_id"].as_str().unwrap_or_default();
        let conduct = self.conduct.lock().expect("nobody panics with it").clone();
        let honest = honest_image(name);
        let revision = honest.manifest.digest.clone();
        let image = match &conduct {
            Conduct::Corrupt(mark) => Image::small(&format!("{name} {mark}")),
            _ => honest,
        };
        let id = match &conduct {
            Conduct::Copy(other) | Conduct::CopyAndChange(other) => match self.ask_for(other, body).await {
                Ok(id) => id,
                Err(_) => return Answer::refusal(503),
            },
            _ => uuid_of(&image),
        };
        let build = Build { conduct, revision, image, begun: Instant::now() };
        self.builds.lock().expect("nobody panics with it").insert(id.clone(), build);
        Answer::json(&json!(id))
    }

    async fn ask_for(&self, other: &str, wish: Vec<u8>) -> reqwest::Result<String> {
        let request = self.client.put(format!("{other}/build")).header("content-type", JSON).body(wish);
        request.send().await?.error_for_status()?.json().await
    }

    async fn pass_on(&self, other: &str, path: &str) -> Answer {
        let fetched = async {
            let response = self.client.get(format!("{other}{path}")).send().await?.error_for_status()?;
            response.bytes().await
        };
        let is_file = path.contains("/artifacts/");
        match fetched.await {
            Ok(bytes) if is_file => Answer::bytes(bytes.to_vec()),
            Ok(bytes) => Answer { status: 200, media_type: JSON.to_owned(), body: bytes.to_vec() },
            Err(_) => Answer::refusal(503),
        }
    }
}

fn status(id: &str, build: &Build) -> Value {
    let is_under_way = match &build.conduct {
        Conduct::Hang => true,
        Conduct::Slow(duration) => build.begun.elapsed() < *duration,
        _ => false,
    };
    if is_under_way {
        return json!({ "id": id, "status": "Running", "phase": "building", "source": null });
    }
    if build.conduct == Conduct::Fail {
        return json!({ "id": id, "status": { "Failure": "the recipe does not build" }, "phase": "done", "source": null });
    }
    let image = &build.image;
    let files = std::iter::once("manifest".to_owned()).chain(image.blobs().map(|blob| format!("{}.blob", blob.digest)));
    let urls: Vec<String> = files.map(|file| format!("/build/{id}/artifacts/{file}")).collect();
    let source = json!({ "kind": "import", "location": "http://127.0.0.1/", "revision": build.revision, "tree": null });
    json!({ "id": id, "status": { "Success": { "artifact_urls": urls } }, "phase": "done", "source": source })
}

/// A version 4 UUID in form; its digits are those of the image.
fn uuid_of(image: &Image) -> String {
    let hex = &image.manifest.digest["sha256:".len()..];
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
}
