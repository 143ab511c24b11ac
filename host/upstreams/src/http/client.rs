//! Sending a request and reading its response.

use std::error::Error as StdError;

use claimsmith_runtime::CallContext;
use claimsmith_runtime::interface::http::{Error, Header, Response};
use reqwest::header::{HeaderMap, HeaderValue};

use super::{Checked, HttpUpstream, headers};
use crate::egress::NameRefused;

impl HttpUpstream {
    pub(super) async fn send(&self, request: Checked, context: CallContext) -> Result<Response, Error> {
        let mut headers = request.headers;
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        if let Some(parent) = trace_parent(context.trace) {
            headers.insert("traceparent", parent);
        }
        if let Some((name, value)) = self.authentication.header() {
            headers.insert(name, value);
        }
        let builder = self.client.request(request.method, request.url).headers(headers);
        let builder = match request.body {
            Some(body) => builder.body(body),
            None => builder,
        };
        let sent = builder.send().await;
        self.read(sent.map_err(|error| self.failed(&error))?).await
    }

    /// Reads a response, as much of it as may be.
    async fn read(&self, mut response: reqwest::Response) -> Result<Response, Error> {
        let most = self.limits.max_response_bytes;
        let status = response.status().as_u16();
        let headers = headers::of_response(response.headers());
        let mut left = Some(most).and_then(|left| left.checked_sub(size(&headers)));
        let announced = response.content_length().unwrap_or_default();
        if left.is_none_or(|left| announced > left as u64) && !is_without_body(response.headers(), announced) {
            left = None;
        }
        let mut body = Vec::new();
        while let Some(room) = left {
            let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? else {
                return Ok(Response { status, headers, body });
            };
            left = room.checked_sub(chunk.len());
            if left.is_some() {
                body.extend_from_slice(&chunk);
            }
        }
        Err(Error::TooLarge(format!("the response has more than {most} bytes")))
    }

    /// What the guest is told of a failure, and what the operator is.
    fn failed(&self, error: &reqwest::Error) -> Error {
        let (tenant, upstream) = (self.tenant.as_str(), self.name.as_str());
        if let Some(refused) = find::<NameRefused>(error) {
            let hint = match &refused.first {
                Some(first) if first.can_be_opened => {
                    "if it is meant, the upstream must name its network in `networks`, and the operator allow it in \
                     claimsmith.toml: egress.networks"
                }
                Some(_) => "this address cannot be opened",
                None => "the name has no address",
            };
            tracing::warn!(tenant, upstream, refused = %refused, hint, "egress refused");
            return Error::Unavailable("its address is not one that the host connects to".to_owned());
        }
        let what = if error.is_connect() {
            "no connection can be made"
        } else if error.is_timeout() {
            "making a connection took too long"
        } else {
            "the connection broke off, or did not speak HTTP"
        };
        // The innermost cause: those around it name the URL.
        let mut cause: &dyn StdError = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        tracing::info!(tenant, upstream, %cause, "upstream failed: {what}");
        Error::Unavailable(what.to_owned())
    }
}

/// A response to HEAD announces what GET would give.
fn is_without_body(_: &HeaderMap, announced: u64) -> bool {
    announced == 0
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

/// W3C Trace Context: the callout's trace, and a span of this call.
fn trace_parent(trace: u128) -> Option<HeaderValue> {
    let mut span = [0; 8];
    aws_lc_rs::rand::fill(&mut span).ok()?;
    let span = u64::from_ne_bytes(span).max(1);
    let text = format!("00-{trace:032x}-{span:016x}-01");
    HeaderValue::from_str(&text).ok().filter(|_| trace != 0)
}
