//! A callout's spans: its own, one for each stage, each invocation, and each call of an upstream.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use claimsmith_catalog::{Extension, Stage};
use claimsmith_contract::Outcome;
use claimsmith_runtime::{CapabilityCall, LogRecord, TraceContext};
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::time::Instant;

use super::{Trace, new_span};
use crate::course::{Invocation, Stages};

static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder("claimsmith")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
});

/// A callout that has ended.
pub(crate) struct Ended<'c> {
    pub(crate) trace: Trace,
    pub(crate) extension: Option<&'c Extension>,
    pub(crate) correlation_id: Option<&'c str>,
    pub(crate) generation: u64,
    pub(crate) is_probe: bool,
    pub(crate) outcome: Outcome,
    pub(crate) status: StatusCode,
    pub(crate) arrived: Instant,
    pub(crate) took: Duration,
    pub(crate) stages: &'c Stages,
    pub(crate) invocations: Vec<Invocation>,
}

/// What all spans of one trace have in common.
struct Spans {
    context: TraceContext,
    /// A point in time on both clocks.
    now: (Instant, SystemTime),
    made: Vec<SpanData>,
}

/// A span on its way.
struct New {
    name: Cow<'static, str>,
    kind: SpanKind,
    parent: u64,
    began: Instant,
    took: Duration,
    attributes: Vec<KeyValue>,
}

/// The spans of a callout.
pub(super) fn of(ended: &Ended<'_>) -> Vec<SpanData> {
    let mut spans = Spans {
        context: ended.trace.context,
        now: (Instant::now(), SystemTime::now()),
        made: Vec::new(),
    };
    spans.callout(ended);
    for (stage, began, took) in ended.stages.each() {
        let span = spans.add(New {
            name: stage.name().into(),
            kind: SpanKind::Internal,
            parent: ended.trace.span,
            began,
            took,
            attributes: Vec::new(),
        });
        if stage == Stage::Invoke {
            for invocation in &ended.invocations {
                spans.invocation(span, invocation);
            }
        }
    }
    spans.made
}

impl Spans {
    fn callout(&mut self, ended: &Ended<'_>) {
        let mut attributes = vec![
            text("claimsmith.outcome", ended.outcome.code()),
            KeyValue::new("http.request.method", "POST"),
            number("http.response.status_code", u64::from(ended.status.as_u16())),
            number("claimsmith.generation", ended.generation),
        ];
        if let Some(extension) = ended.extension {
            attributes.extend([
                owned("claimsmith.tenant", &extension.tenant),
                owned("claimsmith.extension", &extension.name),
                text("claimsmith.event", extension.event.name()),
            ]);
        }
        if let Some(correlation_id) = ended.correlation_id {
            attributes.push(owned("claimsmith.correlation_id", correlation_id));
        }
        if ended.is_probe {
            attributes.push(KeyValue::new("claimsmith.probe", true));
        }
        let mut span = self.data(
            ended.trace.span,
            New {
                name: "callout".into(),
                kind: SpanKind::Server,
                parent: ended.trace.parent,
                began: ended.arrived,
                took: ended.took,
                attributes,
            },
        );
        span.parent_span_is_remote = ended.trace.parent != 0;
        // What the caller did wrong is not this service's error (OpenTelemetry's conventions for HTTP servers).
        if ended.status.is_server_error() {
            span.status = Status::error(ended.outcome.code());
        }
        self.made.push(span);
    }

    fn invocation(&mut self, parent: u64, invocation: &Invocation) {
        let (began, ended) = invocation.times;
        let usage = &invocation.usage;
        let span = new_span();
        let mut data = self.data(
            span,
            New {
                name: format!("plugin {}", invocation.plugin).into(),
                kind: SpanKind::Internal,
                parent,
                began,
                took: ended.saturating_duration_since(began),
                attributes: vec![
                    owned("claimsmith.plugin", &invocation.plugin),
                    owned("claimsmith.version", &invocation.version),
                    text("claimsmith.outcome", invocation.outcome.code()),
                    number("claimsmith.cpu_ms", usage.cpu.as_millis()),
                    number("claimsmith.memory_bytes", usage.memory_bytes as u64),
                    number("claimsmith.host_calls", usage.host_calls as u64),
                ],
            },
        );
        if invocation.outcome != Outcome::Answered {
            data.status = Status::error(invocation.outcome.code());
        }
        let mut events = SpanEvents::default();
        events.events = invocation.log.iter().map(event).collect();
        data.events = events;
        self.made.push(data);

        let started = ended.checked_sub(usage.elapsed).unwrap_or(began);
        let ran = started + usage.instantiated;
        let mut stage = |stage: Stage, began, took| {
            self.add(New {
                name: stage.name().into(),
                kind: SpanKind::Internal,
                parent: span,
                began,
                took,
                attributes: Vec::new(),
            })
        };
        if !usage.instantiated.is_zero() {
            stage(Stage::Instantiate, started, usage.instantiated);
        }
        let run = stage(Stage::Run, ran, usage.elapsed.saturating_sub(usage.instantiated));
        for call in invocation.journal.calls() {
            self.call(run, started, call);
        }
    }

    fn call(&mut self, parent: u64, started: Instant, call: &CapabilityCall) {
        // A name that was not granted is the guest's text: it could be a one-time code that the guest was given.
        let upstream = if call.is_granted { &*call.upstream } else { "" };
        let mut attributes = vec![
            owned("claimsmith.upstream", upstream),
            text("claimsmith.result", call.result),
            number("claimsmith.sent_bytes", call.sent_bytes as u64),
            number("claimsmith.received_bytes", call.received_bytes as u64),
        ];
        attributes.extend(call.status.map(|status| number("http.response.status_code", status)));
        let mut span = self.data(
            call.span.max(1),
            New {
                name: call.function.into(),
                kind: SpanKind::Client,
                parent,
                began: started + call.began,
                took: call.took,
                attributes,
            },
        );
        if call.result != "ok" {
            span.status = Status::error(call.result);
        }
        self.made.push(span);
    }

    /// Adds a span with a new id, which it tells.
    fn add(&mut self, new: New) -> u64 {
        let span = new_span();
        let data = self.data(span, new);
        self.made.push(data);
        span
    }

    fn data(&self, span: u64, new: New) -> SpanData {
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(self.context.id.to_be_bytes()),
                SpanId::from_bytes(span.to_be_bytes()),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: SpanId::from_bytes(new.parent.to_be_bytes()),
            parent_span_is_remote: false,
            span_kind: new.kind,
            name: new.name,
            start_time: self.at(new.began),
            end_time: self.at(new.began + new.took),
            attributes: new.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: SCOPE.clone(),
        }
    }

    fn at(&self, instant: Instant) -> SystemTime {
        let (now, wall) = self.now;
        let ago = now.saturating_duration_since(instant);
        let ahead = instant.saturating_duration_since(now);
        wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH) + ahead
    }
}

/// A guest's log record as an event of its invocation.
fn event(record: &LogRecord) -> Event {
    let attributes = vec![
        text("level", record.level),
        owned("message", &record.message),
        owned("fields", &record.fields),
    ];
    Event::new("log", record.at, attributes, 0)
}

fn text(key: &'static str, value: &'static str) -> KeyValue {
    KeyValue::new(key, value)
}

fn owned(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, Value::String(StringValue::from(value.to_owned())))
}

fn number(key: &'static str, value: impl TryInto<i64>) -> KeyValue {
    KeyValue::new(key, value.try_into().unwrap_or(i64::MAX))
}
