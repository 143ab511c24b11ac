//! A collector of traces: receives them by OTLP (`http/protobuf`) in the test's process, or does what collectors do when
//! they are ill.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use prost::Message as _;
use tokio::net::TcpListener;

use crate::eventually;

/// How a collector answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Takes everything.
    Well,
    /// Answers 503.
    Refuses,
    /// Reads and never answers.
    Hangs,
}

/// A collector.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Received>,
}

#[derive(Debug)]
struct Received {
    health: Mutex<Health>,
    spans: Mutex<Vec<Span>>,
    headers: Mutex<Vec<HeaderMap>>,
}

/// A span as it was received.
#[derive(Clone, Debug)]
pub struct Span {
    /// In hexadecimal digits.
    pub trace: String,
    /// In hexadecimal digits.
    pub id: String,
    /// In hexadecimal digits; empty if it has none.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// `SPAN_KIND_…`, by number.
    pub kind: i32,
    /// When it began and ended, in nanoseconds since 1970.
    pub times: (u64, u64),
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// The attributes of its events.
    pub events: Vec<BTreeMap<String, String>>,
    /// What its status says of an error; `None` without one.
    pub error: Option<String>,
    /// The attributes of what sent it.
    pub resource: BTreeMap<String, String>,
}

impl Collector {
    /// Starts it on a free port.
    pub async fn start(health: Health) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Received {
            health: Mutex::new(health),
            spans: Mutex::default(),
            headers: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(Arc::clone(&received));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, received }
    }

    /// The host's configuration to send it all callouts.
    #[must_use]
    pub fn config(&self) -> String {
        config(self.address)
    }

    /// Changes how it answers.
    pub fn set_health(&self, health: Health) {
        *self.received.health.lock().unwrap() = health;
    }

    /// Every span that it was sent, whatever it answered.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().unwrap().clone()
    }

    /// The header fields of each request.
    #[must_use]
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.received.headers.lock().unwrap().clone()
    }

    /// Waits for the spans of a callout: those of the trace that its correlation id is an attribute of.
    pub async fn trace_of(&self, correlation_id: &str) -> Vec<Span> {
        let is_callout =
            |span: &Span| span.attributes.get("claimsmith.correlation_id").map(String::as_str) == Some(correlation_id);
        eventually("the callout is traced", async || self.spans().iter().any(is_callout)).await;
        let spans = self.spans();
        let trace = spans.iter().find(|span| is_callout(span)).unwrap().trace.clone();
        spans.into_iter().filter(|span| span.trace == trace).collect()
    }
}

/// The host's configuration to send all callouts to a collector at this address.
#[must_use]
pub fn config(address: SocketAddr) -> String {
    format!("telemetry.traces.otlp_endpoint = \"http://{address}/v1/traces\"\ntelemetry.traces.sample_ratio = 1.0\n")
}

async fn receive(State(received): State<Arc<Received>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    received.headers.lock().unwrap().push(headers);
    received.spans.lock().unwrap().extend(spans(request));
    let health = *received.health.lock().unwrap();
    match health {
        Health::Well => StatusCode::OK,
        Health::Refuses => StatusCode::SERVICE_UNAVAILABLE,
        Health::Hangs => std::future::pending().await,
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut all = Vec::new();
    for of_resource in request.resource_spans {
        let resource = attributes(&of_resource.resource.unwrap().attributes);
        let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        all.extend(spans.map(|span| {
            Span {
                trace: hexadecimal(&span.trace_id),
                id: hexadecimal(&span.span_id),
                parent: hexadecimal(&span.parent_span_id),
                name: span.name,
                kind: span.kind,
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
                attributes: attributes(&span.attributes),
                events: span.events.iter().map(|event| attributes(&event.attributes)).collect(),
                error: span
                    .status
                    .filter(|status| status.code == 2)
                    .map(|status| status.message),
                resource: resource.clone(),
            }
        }));
    }
    all
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

fn attributes(of: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    };
    of.iter()
        .map(|attribute| (attribute.key.clone(), text(attribute)))
        .collect()
}
