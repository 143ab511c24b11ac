//! OpenTelemetry traces. A callout's trace is its correlation id, which Entra's sign-in log has too.
//!
//! Spans are made when a callout has ended, of what was noted on the way (`spans`): most callouts are not sampled and cost
//! nothing but the decision, and the trace's id is not known before the body has been read.

mod export;
mod spans;

use axum::http::HeaderMap;
use claimsmith_catalog::TracesConfig;
use claimsmith_runtime::{TraceContext, trace_id};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use uuid::Uuid;

pub(crate) use self::export::ExportError;
use self::export::Exporter;
pub use self::export::check_traces;
pub(crate) use self::spans::Ended;
use crate::controls;

/// The header of W3C Trace Context, section 3.2.
const TRACE_PARENT: &str = "traceparent";

/// A `traceparent` has 55 bytes; later versions may add some.
const MAX_TRACE_PARENT_BYTES: usize = 128;

/// Makes the traces of callouts.
#[derive(Debug)]
pub(crate) struct Tracer {
    exporter: Exporter,
    accept_traceparent: bool,
}

/// A callout's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    context: TraceContext,
    /// The callout's own span.
    span: u64,
    /// The span that it was called in; 0 if that is not known.
    parent: u64,
}

impl Trace {
    /// What invocations are told.
    pub(crate) fn context(&self) -> TraceContext {
        self.context
    }

    /// The trace's id, as it is written.
    pub(crate) fn id(&self) -> String {
        format!("{:032x}", self.context.id)
    }
}

impl Tracer {
    /// A tracer that sends to the configured collector; `None` when there is none.
    ///
    /// # Errors
    /// [`ExportError`]: a secret cannot be read, or the client cannot be made.
    pub(crate) fn start(config: &TracesConfig) -> Result<Option<Self>, ExportError> {
        let Some(endpoint) = &config.otlp_endpoint else {
            return Ok(None);
        };
        Ok(Some(Self {
            exporter: Exporter::start(endpoint, config)?,
            accept_traceparent: config.accept_traceparent,
        }))
    }

    /// The trace of a callout whose token was accepted: the request's, where that is wanted, or else its correlation id.
    pub(crate) fn of_known_caller(&self, headers: &HeaderMap, correlation_id: Option<&str>) -> Trace {
        let given = self.accept_traceparent.then(|| given(headers)).flatten();
        given.unwrap_or_else(|| Self::of_correlation_id(correlation_id))
    }

    /// The trace of a callout: its correlation id, or a new one where that is none.
    pub(crate) fn of_correlation_id(correlation_id: Option<&str>) -> Trace {
        let id = correlation_id.map(trace_id).filter(|id| *id != 0);
        let id = id.unwrap_or_else(|| Uuid::new_v4().as_u128());
        Trace {
            context: TraceContext {
                id,
                is_sampled: controls::is_sampled(id),
            },
            span: new_span(),
            parent: 0,
        }
    }

    /// Sends a callout's spans, if it is sampled. Never waits.
    pub(crate) fn tell(&self, ended: &Ended<'_>) {
        if ended.trace.context.is_sampled {
            self.exporter.submit(spans::of(ended));
        }
    }

    /// Sends what is left, for a while at most.
    pub(crate) async fn stop(&self) {
        self.exporter.stop().await;
    }
}

/// The trace that a request says it belongs to. Its sender decides whether it is sampled.
fn given(headers: &HeaderMap) -> Option<Trace> {
    let context = TraceContextPropagator::new().extract(&Given(headers));
    let span = context.span();
    let given = span.span_context().clone();
    given.is_valid().then(|| Trace {
        context: TraceContext {
            id: u128::from_be_bytes(given.trace_id().to_bytes()),
            is_sampled: given.is_sampled(),
        },
        span: new_span(),
        parent: u64::from_be_bytes(given.span_id().to_bytes()),
    })
}

fn new_span() -> u64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    (high ^ low).max(1)
}

/// The header fields that are read of a request: one `traceparent` of bounded length.
struct Given<'h>(&'h HeaderMap);

impl Extractor for Given<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter().filter(|_| key == TRACE_PARENT);
        let value = values.next()?;
        // Of several, nobody knows which is meant (W3C Trace Context, section 3.2.1).
        let is_alone = values.next().is_none() && value.len() <= MAX_TRACE_PARENT_BYTES;
        value.to_str().ok().filter(|_| is_alone)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACE_PARENT]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACE_PARENT, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_request_can_belong_to_a_trace() {
        let trace = given(&headers(&[GIVEN])).unwrap();
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent, 0x00f0_67aa_0ba9_02b7);
        assert!(trace.context.is_sampled && trace.span != trace.parent);
        let unsampled = given(&headers(&[&GIVEN.replace("-01", "-00")])).unwrap();
        assert!(!unsampled.context.is_sampled);
    }

    #[test]
    fn a_doubtful_trace_parent_is_none() {
        let long = format!("{}-{}", GIVEN.replacen("00", "01", 1), "x".repeat(200));
        for values in [
            vec![],
            vec![GIVEN, GIVEN],
            vec!["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            vec!["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-01"],
            vec![&long],
        ] {
            assert_eq!(given(&headers(&values)), None, "{values:?}");
        }
    }

    #[test]
    fn a_correlation_id_is_sampled_by_its_random_end() {
        controls::set_sample_ratio(0.5).unwrap();
        let sampled = |id: &str| Tracer::of_correlation_id(Some(id)).context.is_sampled;
        assert!(sampled("6c8ed0c9-8d1c-4ea7-b27f-33d8c0b3a1f2"));
        assert!(!sampled("6c8ed0c9-8d1c-4ea7-b280-33d8c0b3a1f2"));
        let share = (0..1000).filter(|_| sampled(&Uuid::new_v4().to_string())).count();
        assert!((400..600).contains(&share), "{share}");
        controls::set_sample_ratio(0.0).unwrap();
        assert!(!sampled("00000000-0000-4000-8000-000000000000"));
        controls::set_sample_ratio(1.0).unwrap();
        assert!(sampled("ffffffff-ffff-4fff-bfff-ffffffffffff"));
        assert!(matches!(
            controls::set_sample_ratio(1.5),
            Err(controls::ControlError::SampleRatio(_))
        ));
    }
}
