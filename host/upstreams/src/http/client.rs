//! Sending a request and reading its response.

use std::error::Error as StdError;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use claimsmith_runtime::interface::http::{Error, Header, Response};
use claimsmith_runtime::{BreakerPermit, CallContext};
use reqwest::header::HeaderValue;
use reqwest::{Method, Request, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};

use super::authentication::Credentials;
use super::{HttpUpstream, headers};
use crate::egress::NameRefused;
use crate::told::told;

/// Between an attempt and the next one, with as much again by chance.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// An upstream that did not answer for as long is to blame, whatever time a plugin gives it.
const BLAMED_AFTER: Duration = Duration::from_millis(400);

/// Why an attempt has no response.
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether it tells of the upstream, and another attempt may end better.
    pub(super) of_upstream: bool,
}

impl HttpUpstream {
    /// Sends a request, again where that does no harm, until the call's end.
    pub(super) async fn call(&self, request: Request, context: CallContext) -> Result<Response, Error> {
        let until = context.until.min(Instant::now() + self.limits.timeout);
        let unavailable = |why: &str| Error::Unavailable(why.to_owned());
        let place = timeout_at(until, self.places.acquire()).await;
        let place = place.map_err(|_| Error::DeadlineExceeded)?;
        let _place = place.map_err(|_| unavailable("the service is stopping"))?;
        let permit = self.breaker.permit();
        let permit = permit.ok_or_else(|| unavailable("it has failed too often and is not asked for a while"))?;
        let began = Instant::now();
        match timeout_at(until, self.attempts(request)).await {
            Ok(Ok(response)) => {
                settle(permit, is_failure(&response));
                Ok(response)
            }
            Ok(Err(failure)) => {
                settle(permit, failure.of_upstream);
                Err(failure.error)
            }
            Err(_) => {
                if began.elapsed() >= BLAMED_AFTER.min(self.limits.timeout) {
                    permit.failed();
                }
                Err(Error::DeadlineExceeded)
            }
        }
    }

    async fn attempts(&self, request: Request) -> Result<Response, Failure> {
        let is_idempotent = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE].contains(request.method());
        let waits = ExponentialBuilder::default()
            .with_min_delay(RETRY_AFTER)
            .with_jitter()
            .with_max_times(self.limits.retries);
        let mut waits = waits.build();
        loop {
            let Some(copy) = request.try_clone() else {
                return self.attempt(request).await;
            };
            let result = self.attempt(copy).await;
            let may_end_better = match &result {
                // An upstream that says when to come again is not asked before.
                Ok(response) => is_failure(response) && !has_header(response, "retry-after"),
                Err(failure) => failure.of_upstream,
            };
            match waits.next().filter(|_| is_idempotent && may_end_better) {
                Some(wait) => sleep(wait).await,
                None => return result,
            }
        }
    }

    /// Sends a request once; twice if the first token is not taken.
    async fn attempt(&self, request: Request) -> Result<Response, Failure> {
        let again = request.try_clone();
        let credentials = self.credentials().await?;
        let response = self.send(request, &credentials).await?;
        match again {
            Some(again)
                if response.status() == StatusCode::UNAUTHORIZED && self.authentication.refused(&credentials) =>
            {
                let credentials = self.credentials().await?;
                let response = self.send(again, &credentials).await?;
                self.read(response).await
            }
            _ => self.read(response).await,
        }
    }

    async fn credentials(&self) -> Result<Credentials, Failure> {
        self.authentication.credentials().await.map_err(|why| {
            tracing::warn!(tenant = self.tenant, upstream = self.name, %why, "upstream cannot be authenticated to");
            Failure {
                error: Error::Unavailable("the host has no credentials for it at the moment".to_owned()),
                of_upstream: true,
            }
        })
    }

    async fn send(&self, mut request: Request, credentials: &Credentials) -> Result<reqwest::Response, Failure> {
        if let Some((name, value)) = &credentials.header {
            request.headers_mut().insert(name, value.clone());
        }
        self.client.execute(request).await.map_err(|error| self.failed(&error))
    }

    /// Reads a response, as much of it as may be.
    async fn read(&self, mut response: reqwest::Response) -> Result<Response, Failure> {
        let most = self.limits.max_response_bytes;
        let status = response.status().as_u16();
        let headers = headers::of_response(response.headers());
        let announced = response.content_length().unwrap_or_default();
        let room = most.checked_sub(size(&headers));
        let mut room = room.filter(|room| announced <= *room as u64);
        let mut body = Vec::new();
        while let Some(left) = room {
            let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? else {
                return Ok(Response { status, headers, body });
            };
            room = left.checked_sub(chunk.len());
            if room.is_some() {
                body.extend_from_slice(&chunk);
            }
        }
        Err(Failure {
            error: Error::TooLarge(format!("the response has more than {most} bytes")),
            of_upstream: false,
        })
    }

    /// What the guest is told of a failure, and what the operator is.
    fn failed(&self, error: &reqwest::Error) -> Failure {
        let (tenant, upstream) = (self.tenant.as_str(), self.name.as_str());
        if let Some(refused) = find::<NameRefused>(error) {
            let hint = refused.hint();
            tracing::warn!(tenant, upstream, %refused, hint, "egress refused");
            return Failure {
                error: Error::Unavailable("its address is not one that the host connects to".to_owned()),
                of_upstream: false,
            };
        }
        let what = if error.is_timeout() {
            "making a connection took too long"
        } else if error.is_connect() {
            "no connection can be made"
        } else {
            "the connection broke off, or did not speak HTTP"
        };
        let cause = describe(error);
        tracing::info!(tenant, upstream, cause, "upstream failed: {what}");
        Failure {
            error: Error::Unavailable(what.to_owned()),
            of_upstream: true,
        }
    }
}

/// The innermost cause, as far as it is told: those around it name the URL, and with it what is known of a person.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    if let Some(refused) = find::<NameRefused>(error) {
        return format!("egress refused: {refused}; {}", refused.hint());
    }
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::addr_eq(cause, error) {
        return "no answer".to_owned();
    }
    told(cause)
}

fn settle(permit: BreakerPermit<'_>, has_failed: bool) {
    if has_failed {
        permit.failed();
    } else {
        permit.succeeded();
    }
}

/// Whether a response says that the upstream, or what is before it, cannot answer at the moment.
fn is_failure(response: &Response) -> bool {
    matches!(response.status, 502..=504)
}

fn has_header(response: &Response, name: &str) -> bool {
    response.headers.iter().any(|header| header.name == name)
}

fn size(headers: &[Header]) -> usize {
    headers
        .iter()
        .map(|header| header.name.len() + header.value.len())
        .sum()
}

fn find<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// W3C Trace Context: the callout's trace, and the span of this call.
pub(super) fn trace_parent(context: CallContext) -> Option<HeaderValue> {
    let CallContext {
        trace,
        span,
        is_sampled,
        ..
    } = context;
    let text = format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(is_sampled));
    HeaderValue::from_str(&text).ok().filter(|_| trace != 0)
}
