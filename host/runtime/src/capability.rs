//! Capabilities: what plugins reach outside, by the names their bindings were granted.
//!
//! A capability is a trait here, implemented in a crate that knows its protocol, and the implementation of its interface
//! of `wit/` in a module of its own (`http`). Whatever its kind, a call goes through [`CallState::through`]: the one place
//! where calls are limited in number and time, listed, counted, traced, recorded and replayed.

/// Names an interface's errors. Every interface has those of a deadline and a quota.
macro_rules! capability_error {
    ($error:ty { $($variant:ident $(($text:tt))? => $code:literal,)* }) => {
        impl $crate::capability::CapabilityError for $error {
            fn deadline_exceeded() -> Self {
                Self::DeadlineExceeded
            }

            fn quota_exceeded() -> Self {
                Self::QuotaExceeded
            }

            fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant $(($text))? => $code,)*
                }
            }
        }
    };
}

mod cache;
mod directory;
mod grants;
mod http;
mod mail;
mod sql;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::engine::EPOCH_TICK;
use crate::journal::{CUT_SHORT, CapabilityCall, Digester};
use crate::recording::Call;
use crate::state::CallState;
use crate::trace::TraceContext;

pub use self::cache::{Cache, CacheFuture, CacheLookup, Reservation, ReservedKey};
pub use self::directory::DirectoryUpstream;
pub use self::grants::{Grants, Upstream};
pub use self::http::HttpUpstream;
pub use self::mail::MailUpstream;
pub use self::sql::SqlUpstream;

/// A result that is on its way. The call's end drops the future, which then has to let go of everything it holds.
pub type CapabilityFuture<'u, R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send + 'u>>;

/// What a plugin has of the callout's time when a call used all of it: it may still answer with what it has. Where an upstream
/// hangs, the calls of many callouts end at the same moment, and their plugins answer one after another.
const RESERVE: Duration = Duration::from_millis(40);

/// What a call of an upstream is for, and until when.
#[derive(Clone, Copy, Debug)]
pub struct CallContext {
    /// When there must be a result. Whoever makes the call is dropped then.
    pub until: Instant,
    /// The trace that the call belongs to (W3C Trace Context); 0 if there is none.
    pub trace: u128,
    /// The call's own span in it.
    pub span: u64,
    /// Whether the trace is sampled, as far as this service decides.
    pub is_sampled: bool,
}

/// A capability's error, as far as it is the same for all of them.
pub(crate) trait CapabilityError: Serialize + DeserializeOwned {
    /// The time of the call is over.
    fn deadline_exceeded() -> Self;
    /// The invocation has made all the calls it may make.
    fn quota_exceeded() -> Self;
    /// Its name in lists, metrics and traces.
    fn code(&self) -> &'static str;
}

/// A capability's result, as far as lists, metrics and traces tell of it.
pub(crate) trait CapabilityResult: Serialize + DeserializeOwned {
    /// Bytes that the guest is given.
    fn bytes(&self) -> usize;
    /// What the upstream's protocol says of it, in numbers.
    fn status(&self) -> Option<u16> {
        None
    }
}

/// What is known of a call before it is made.
pub(crate) struct Asked<'c> {
    /// `interface.function`
    pub(crate) function: &'static str,
    /// As the guest named it.
    pub(crate) upstream: &'c str,
    pub(crate) arguments: Digester,
    /// The guest's own limit.
    pub(crate) timeout: Option<Duration>,
}

impl CallState {
    /// Says what callout the invocation is for.
    pub(crate) fn belongs_to(&mut self, correlation_id: &str, trace: Option<TraceContext>) {
        match trace {
            Some(trace) => {
                self.trace = trace;
                if trace.is_sampled {
                    self.log.keep();
                }
            }
            // Who makes no traces leaves it to upstreams whether to sample.
            None if !self.grants.is_empty() => {
                self.trace = TraceContext {
                    id: trace_id(correlation_id),
                    is_sampled: true,
                };
            }
            None => {}
        }
    }

    /// The one way to an upstream. `make` is given the call's end, at which it is dropped. A replay does not make it.
    ///
    /// # Errors
    /// What ends the guest: a limit of the host, or a replay that asks for something else than was recorded.
    pub(crate) async fn through<R, E, F>(
        &mut self,
        asked: Asked<'_>,
        make: impl FnOnce(CallContext) -> F,
    ) -> wasmtime::Result<Result<R, E>>
    where
        R: CapabilityResult,
        E: CapabilityError,
        F: Future<Output = Result<R, E>>,
    {
        let Asked {
            function,
            upstream,
            arguments,
            timeout,
        } = asked;
        let sent_bytes = arguments.bytes();
        self.budget.transfer().take(sent_bytes)?;
        self.budget.check()?;
        let began = Instant::now();
        let span = self.trace.new_span();
        let arguments = arguments.finish();
        // A name that was not granted is the guest's: it would be another one each time, and could be a secret that it knows.
        let label = self.grants.label(upstream);
        let is_granted = label.is_some();
        let asked = Call {
            function,
            upstream,
            arguments,
        };
        let mut call = CapabilityCall {
            function,
            upstream: self.journal.name(upstream),
            is_granted,
            arguments,
            result: CUT_SHORT,
            status: None,
            sent_bytes,
            received_bytes: 0,
            began: began.saturating_duration_since(self.started),
            took: Duration::ZERO,
            span,
        };
        let recorded = self.tape.replay(|| asked)?;
        // Before it is made: whoever drops it in the middle has asked all the same.
        let listed = self.journal.begin(&call);
        let result = match recorded {
            Some(recorded) => recorded,
            None if self.budget.capability_call() => {
                let until = self.end_of_call(began, timeout);
                let context = CallContext {
                    until,
                    trace: self.trace.id,
                    span,
                    is_sampled: self.trace.is_sampled,
                };
                let ended = timeout_at(until, make(context)).await;
                ended.unwrap_or_else(|_| Err(E::deadline_exceeded()))
            }
            None => Err(E::quota_exceeded()),
        };
        self.tape.record(|| asked, &result);
        call.took = began.elapsed();
        // The epoch went on meanwhile, which is not time that the guest has computed.
        self.has_waited |= call.took >= EPOCH_TICK;
        call.result = result.as_ref().map_or_else(E::code, |_| "ok");
        call.status = result.as_ref().ok().and_then(R::status);
        call.received_bytes = result.as_ref().map_or(0, R::bytes);
        if !self.tape.is_replay() {
            self.tell(&call, &label.unwrap_or_default());
        }
        self.journal.end(listed, call);
        Ok(result)
    }

    /// When a call that begins now must be over.
    fn end_of_call(&self, now: Instant, timeout: Option<Duration>) -> Instant {
        let left = self.deadline.saturating_duration_since(now);
        let most = left.saturating_sub(RESERVE.min(left / 10));
        now + timeout.map_or(most, |timeout| timeout.min(most))
    }

    /// Counts and traces a call.
    fn tell(&self, call: &CapabilityCall, upstream: &Arc<str>) {
        let labels = [
            metrics::Label::new("tenant", Arc::clone(&self.grants.tenant)),
            metrics::Label::new("upstream", Arc::clone(upstream)),
            metrics::Label::from_static_parts("function", call.function),
        ];
        metrics::histogram!("claimsmith_capability_call_seconds", labels.iter()).record(call.took);
        let [of_tenant, of_upstream, of_function] = labels;
        let labels = [
            of_tenant,
            of_upstream,
            of_function,
            metrics::Label::from_static_parts("result", call.result),
        ];
        metrics::counter!("claimsmith_capability_calls_total", labels.iter()).increment(1);
        tracing::debug!(
            plugin = &*self.plugin,
            function = call.function,
            upstream = &**upstream,
            result = call.result,
            status = call.status,
            sent_bytes = call.sent_bytes,
            received_bytes = call.received_bytes,
            took_us = call.took.as_micros(),
            "capability called"
        );
    }
}

/// A guest's own limit of a call.
fn timeout(milliseconds: Option<u32>) -> Option<Duration> {
    milliseconds.map(|milliseconds| Duration::from_millis(milliseconds.into()))
}

/// The trace of a callout: its correlation id (a GUID) without hyphens; 0 of what is none.
#[must_use]
pub fn trace_id(correlation_id: &str) -> u128 {
    let digits = correlation_id.bytes().filter(|byte| *byte != b'-');
    let add = |id: u128, digit: u8| Some((id << 4) | u128::from(char::from(digit).to_digit(16)?));
    digits.take(32).try_fold(0, add).unwrap_or_default()
}

impl fmt::Debug for Asked<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The arguments are the guest's.
        formatter
            .debug_struct("Asked")
            .field("function", &self.function)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::trace_id;

    #[test]
    fn a_correlation_id_is_a_trace_id() {
        assert_eq!(
            trace_id("6c8ed0c9-8d1c-4ea7-b2fa-33d8c0b3a1f2"),
            0x6c8e_d0c9_8d1c_4ea7_b2fa_33d8_c0b3_a1f2
        );
        assert_eq!(trace_id("no guid"), 0);
    }
}
