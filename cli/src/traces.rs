//! Traces for a collector of OpenTelemetry: OTLP over HTTP with protobuf.
//!
//! Owns the way from a span to the collector: a queue that is bounded in bytes, a thread that empties it, and the node's own HTTP client. What does
//! not fit in the queue is dropped; a collector that is slow or gone costs the node nothing else, and is said once. Further
//! headers for the collector and attributes of the resource are taken from the variables that OpenTelemetry names
//! (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`).

use async_trait::async_trait;
use opentelemetry::trace::{Status, TracerProvider};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};
use url::Url;

/// Spans that wait for the collector.
const QUEUED_SPANS_MAX: usize = 1_024;
/// Lines of log that go along with one span.
const SPAN_EVENTS_MAX: u32 = 32;
/// Bytes of one text of a span: much of what stands there a client has chosen.
const TEXT_BYTES_MAX: usize = 256;
/// Spans in one request to the collector, and how long they are gathered.
const BATCH_SPANS_MAX: usize = 512;
const BATCH_DELAY: Duration = Duration::from_secs(2);
/// How long the collector may take for one request.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stopping node waits for its last spans to be sent; hardly at all where the collector did not answer before.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
const VAIN_FLUSH_TIMEOUT: Duration = Duration::from_millis(100);
/// More of an answer of a collector is not read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Debug)]
pub struct TraceConfig {
    /// `/v1/traces` is put behind it.
    pub endpoint: Url,
    /// The share of what begins here that is traced, from 0 to 1.
    pub sampled_share: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("an HTTP client for the collector cannot be made")]
    Client(#[from] reqwest::Error),
    #[error("the collector cannot be used: {0}")]
    Exporter(String),
}

/// Traces that are being made.
pub struct Traces {
    provider: SdkTracerProvider,
    collector: Arc<Collector>,
}

impl Traces {
    /// Starts the thread that sends; requests run on `runtime`. For the whole process: clients' places in traces are understood from then on.
    pub fn start(config: &TraceConfig, service: &'static str, runtime: Handle) -> Result<Self, TraceError> {
        let http = reqwest::Client::builder().timeout(SEND_TIMEOUT).build()?;
        let shown = config.endpoint.host_str().unwrap_or_default().to_owned();
        let collector = Arc::new(Collector { http, runtime, shown, is_down: AtomicBool::new(false) });
        let exporter = SpanExporter::builder()
            .with_http()
            .with_shared_http_client(collector.clone())
            .with_endpoint(format!("{}/v1/traces", config.endpoint.as_str().trim_end_matches('/')))
            .with_timeout(SEND_TIMEOUT)
            .build()
            .map_err(|error| TraceError::Exporter(error.to_string()))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUED_SPANS_MAX)
            .with_max_export_batch_size(BATCH_SPANS_MAX)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let resource = Resource::builder().with_service_name(service);
        let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sampled_share))))
            .with_resource(resource.build())
            .with_max_events_per_span(SPAN_EVENTS_MAX)
            .with_span_processor(Shortened(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build()))
            .build();
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Self { provider, collector })
    }

    /// What turns this project's spans into those of OpenTelemetry, whatever is logged.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("pyrsia"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target("pyrsia", LevelFilter::INFO))
    }

    /// Sends what still waits, for a bounded time.
    pub async fn stop(self) {
        let is_down = self.collector.is_down.load(Ordering::Relaxed);
        let timeout = if is_down { VAIN_FLUSH_TIMEOUT } else { FLUSH_TIMEOUT };
        let flushed = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(timeout)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::info!("the last traces could not be sent");
        }
    }
}

/// A layer in the form that logging takes.
pub type TraceLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Cuts the texts of a span before it waits.
#[derive(Debug)]
struct Shortened<P>(P);

impl<P: SpanProcessor> SpanProcessor for Shortened<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        shorten(&mut span.attributes);
        for event in &mut span.events.events {
            if event.name.len() > TEXT_BYTES_MAX {
                event.name = cut(&event.name).into();
            }
            shorten(&mut event.attributes);
        }
        if let Status::Error { description } = &mut span.status
            && description.len() > TEXT_BYTES_MAX
        {
            *description = cut(description).into();
        }
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn shorten(attributes: &mut [KeyValue]) {
    let shorten = |text: &mut StringValue| {
        if text.as_str().len() > TEXT_BYTES_MAX {
            *text = cut(text.as_str()).into();
        }
    };
    for attribute in attributes {
        match &mut attribute.value {
            Value::String(text) => shorten(text),
            Value::Array(Array::String(texts)) => texts.iter_mut().for_each(shorten),
            _ => {}
        }
    }
}

/// A copy: what is cut from the end of a text would still take its room.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// Requests to the collector, made on the runtime of the node whatever thread wants them.
#[derive(Debug)]
struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    /// Its host: the URL may carry a password.
    shown: String,
    is_down: AtomicBool,
}

impl Collector {
    fn note(&self, answered: &Result<Response<Bytes>, HttpError>) {
        let problem = match answered {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        match (problem, self.is_down.load(Ordering::Relaxed)) {
            (Some(problem), false) => {
                tracing::warn!("traces do not reach the collector at {}: {problem}; the node goes on without", self.shown);
                self.is_down.store(true, Ordering::Relaxed);
            }
            (None, true) => {
                tracing::info!("traces reach the collector at {} again", self.shown);
                self.is_down.store(false, Ordering::Relaxed);
            }
            (Some(_), true) | (None, false) => {}
        }
    }
}

async fn send(http: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let mut answer = http.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = std::mem::take(answer.headers_mut());
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(format!("its answer has more than {ANSWER_BYTES_MAX} bytes").into());
        }
        body.extend_from_slice(&part);
    }
    Ok(response.body(body.into())?)
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answered = self.runtime.spawn(send(self.http.clone(), request)).await;
        let answered = answered.unwrap_or_else(|error| Err(error.into()));
        self.note(&answered);
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Kept {
        fn on_start(&self, _: &mut Span, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn a_client_does_not_decide_how_much_room_a_span_takes() {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_span_processor(Shortened(kept.clone())).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        // The limit is in the middle of a letter of two bytes.
        let long = format!("a{}", "ä".repeat(TEXT_BYTES_MAX));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            let span = tracing::info_span!("asked", path = long, short = "short", "otel.status_description" = long);
            span.in_scope(|| tracing::error!(path = long, "{long}"));
        });
        let spans = kept.0.lock().unwrap();
        let [span] = &spans[..] else { panic!("one span ends") };
        let texts: Vec<&KeyValue> = span.attributes.iter().chain(&span.events[0].attributes).collect();
        let text = |key: &str| {
            texts.iter().find(|attribute| attribute.key.as_str() == key).map(|found| found.value.as_str().into_owned())
        };
        assert_eq!(text("short").as_deref(), Some("short"));
        assert_eq!(text("path").map(|path| path.len()), Some(TEXT_BYTES_MAX - 1));
        assert!(texts.iter().all(|attribute| attribute.value.as_str().len() <= TEXT_BYTES_MAX), "{texts:?}");
        assert!(span.events[0].name.len() <= TEXT_BYTES_MAX, "{:?}", span.events[0].name);
    }
}
