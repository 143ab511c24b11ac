//! Sending spans to a collector by OTLP. Whatever the collector does, nobody waits for it: what does not fit the queue is
//! dropped and counted.

use std::collections::HashMap;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use claimsmith_catalog::TracesConfig;
use metrics::{Counter, counter};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _};
use tokio::runtime::Handle;
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

/// How long one request to the collector may take.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// The same with what is around it, after which it counts as failed whatever it does.
const EXPORT_TIME: Duration = Duration::from_secs(10);
/// How long spans wait for others before they are sent.
const DELAY: Duration = Duration::from_secs(1);
/// Spans of one request.
const BATCH: usize = 512;
/// How long the end of the process waits for the last spans.
const STOP_TIME: Duration = Duration::from_secs(3);

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// A header's secret cannot be read.
    #[error("telemetry.traces.headers.{0}: {1}")]
    Secret(String, String),
    /// The HTTP client cannot be made.
    #[error("the client for telemetry.traces.otlp_endpoint cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    /// The exporter cannot be made.
    #[error("telemetry.traces cannot be used: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// A bounded queue of spans, and the thread that sends them.
#[derive(Debug)]
pub(super) struct Exporter {
    processor: Arc<BatchSpanProcessor>,
    queue: Arc<Queue>,
}

/// How many spans wait, and what became of the others.
#[derive(Debug)]
struct Queue {
    most: usize,
    length: AtomicUsize,
    sent: Counter,
    failed: Counter,
    dropped: Counter,
    /// Whether the last request failed.
    is_failing: AtomicBool,
    /// Where requests go to, for the log: without a user, a password or a query.
    endpoint: String,
}

impl Exporter {
    /// Starts the thread. Must be called within a tokio runtime.
    pub(super) fn start(endpoint: &Url, config: &TracesConfig) -> Result<Self, ExportError> {
        let headers = headers(config)?;
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIME)
            // The headers' secrets are for nobody else.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let inquirer = client.clone();
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.as_str())
            .with_timeout(REQUEST_TIME)
            .with_headers(headers)
            .build()?;
        exporter.set_resource(&resource(config));
        let spans = |result: &'static str| counter!("claimsmith_trace_spans_total", "result" => result);
        let queue = Arc::new(Queue {
            most: config.queue_length,
            length: AtomicUsize::new(0),
            sent: spans("sent"),
            failed: spans("failed"),
            dropped: spans("dropped"),
            is_failing: AtomicBool::new(false),
            endpoint: format!("{}{}", endpoint.origin().ascii_serialization(), endpoint.path()),
        });
        let exporter = OnRuntime {
            exporter: Arc::new(exporter),
            runtime: Handle::current(),
            queue: Arc::clone(&queue),
            inquirer,
            endpoint: endpoint.clone(),
        };
        let options = BatchConfigBuilder::default()
            // Its own bound is never met: what it is given has been counted, and it takes a batch out before that is.
            .with_max_queue_size(config.queue_length + BATCH)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        Ok(Self {
            processor: Arc::new(BatchSpanProcessor::new(exporter, options)),
            queue,
        })
    }

    /// Puts the spans of a callout into the queue, or drops all of them: half of a trace misleads.
    pub(super) fn submit(&self, spans: Vec<SpanData>) {
        let (count, queue) = (spans.len(), &self.queue);
        let before = queue.length.fetch_add(count, Ordering::Relaxed);
        if before + count > queue.most {
            queue.length.fetch_sub(count, Ordering::Relaxed);
            queue.dropped.increment(count as u64);
            return;
        }
        for span in spans {
            self.processor.on_end(span);
        }
    }

    /// Sends what is left, for a while at most.
    pub(super) async fn stop(&self) {
        let processor = Arc::clone(&self.processor);
        let stopped = tokio::task::spawn_blocking(move || processor.shutdown_with_timeout(STOP_TIME));
        match timeout(STOP_TIME, stopped).await {
            Ok(Ok(Ok(()))) => {}
            other => tracing::warn!(?other, "not all traces were sent"),
        }
    }
}

/// The header fields of requests to the collector.
fn headers(config: &TracesConfig) -> Result<HashMap<String, String>, ExportError> {
    let mut headers = HashMap::new();
    for (name, secret) in &config.headers {
        let value = secret.read_as_operator(&config.directory);
        let value = value.map_err(|why| ExportError::Secret(name.clone(), why))?;
        // The exporter leaves out what is no header field, without a word.
        if HeaderName::from_str(name).is_err() || HeaderValue::from_str(&value).is_err() {
            let why = "the name or the secret cannot be a header field".to_owned();
            return Err(ExportError::Secret(name.clone(), why));
        }
        headers.insert(name.clone(), value.to_string());
    }
    Ok(headers)
}

/// Whether traces could be sent as they are configured, as far as nobody has to be asked.
///
/// # Errors
/// What is wrong.
pub fn check_traces(config: &TracesConfig) -> Result<(), String> {
    if config.otlp_endpoint.is_none() {
        return Ok(());
    }
    headers(config).map(drop).map_err(|error| error.to_string())
}

/// What the spans are of.
fn resource(config: &TracesConfig) -> Resource {
    let own = [
        KeyValue::new("service.name", "claimsmith"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let configured = config.resource.iter();
    let configured = configured.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    // What is configured comes last, and so replaces what has its name.
    Resource::builder_empty()
        .with_attributes(own.into_iter().chain(configured))
        .build()
}

/// The processor's thread has no reactor, which the HTTP client needs: requests are made on the service's runtime.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    queue: Arc<Queue>,
    /// Finds out why the collector cannot be reached.
    inquirer: reqwest::Client,
    endpoint: Url,
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.queue.length.fetch_sub(count, Ordering::Relaxed);
        let exporter = Arc::clone(&self.exporter);
        let request = async move { timeout(EXPORT_TIME, exporter.export(batch)).await };
        let sent = match self.runtime.spawn(request).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(_)) => Err(OTelSdkError::Timeout(EXPORT_TIME)),
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        };
        let is_first_failure = sent.is_err() && !self.queue.is_failing.load(Ordering::Relaxed);
        let why = if is_first_failure { self.inquire().await } else { None };
        self.queue.note(count as u64, &sent, why.as_deref());
        sent
    }
}

impl OnRuntime {
    /// Why the collector cannot be reached, of which the exporter says `network error` and no more. Asked without the headers,
    /// whose secrets belong to spans alone.
    async fn inquire(&self) -> Option<String> {
        let request = self.inquirer.head(self.endpoint.clone());
        // Also made there: it sets its timers at once.
        let answer = self.runtime.spawn(async move { request.send().await }).await.ok()?;
        let error = answer.err()?.without_url();
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        Some(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }
}

impl Queue {
    /// Counts a batch. Tells of the first that fails, and of the first that does not again.
    fn note(&self, spans: u64, sent: &OTelSdkResult, why: Option<&str>) {
        let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match sent {
            Ok(()) => {
                self.sent.increment(spans);
                if was_failing {
                    tracing::info!("traces can be sent again");
                }
            }
            Err(error) => {
                self.failed.increment(spans);
                if !was_failing {
                    let endpoint = self.endpoint.as_str();
                    tracing::warn!(endpoint, %error, why, spans, "traces cannot be sent; they are dropped until the collector takes them");
                }
            }
        }
    }
}
