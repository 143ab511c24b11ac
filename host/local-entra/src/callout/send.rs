//! The HTTP exchange: attempts, time, size.
//!
//! What is retried: an attempt that got no complete answer, because time ran out or because the connection could not be
//! made or broke. What is not: any complete answer, whatever its status. Entra documents the retry after a timeout; whether
//! it also retries a 5xx or a refused connection is not documented, and the local Entra assumes no for the first and yes
//! for the second. Every attempt has the same body and the same correlation id, and the whole time for itself.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use tokio::time::Instant;
use url::Url;

use super::{CalloutErrorCode, Failure};

/// What is sent, and how long it may take.
pub(super) struct Exchange<'a> {
    pub(super) url: Url,
    pub(super) bearer: &'a str,
    pub(super) body: String,
    pub(super) timeout: Duration,
    pub(super) maximum_retries: u8,
    pub(super) max_response_bytes: usize,
}

/// A complete answer.
pub(super) struct HttpAnswer {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) body: Vec<u8>,
}

/// How the exchange went.
pub(super) struct Exchanged {
    pub(super) attempts: u32,
    pub(super) duration: Duration,
    pub(super) answer: Result<HttpAnswer, Failure>,
}

/// Sends the request until it is answered or no retry is left.
pub(super) async fn exchange(client: &reqwest::Client, exchange: &Exchange<'_>) -> Exchanged {
    let started = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let answer = match tokio::time::timeout(exchange.timeout, attempt(client, exchange)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new(
                CalloutErrorCode::CustomExtensionTimedOut,
                format!("no complete answer within {} ms", exchange.timeout.as_millis()),
            )),
        };
        let again = answer.as_ref().is_err_and(|failure| is_retried(failure.code));
        if !again || attempts > u32::from(exchange.maximum_retries) {
            return Exchanged {
                attempts,
                duration: started.elapsed(),
                answer,
            };
        }
        tracing::debug!(attempts, "the extension did not answer, trying again");
    }
}

fn is_retried(code: CalloutErrorCode) -> bool {
    matches!(
        code,
        CalloutErrorCode::CustomExtensionTimedOut
            | CalloutErrorCode::CustomExtensionConnectionError
            | CalloutErrorCode::CustomExtensionUnexpectedError
    )
}

async fn attempt(client: &reqwest::Client, exchange: &Exchange<'_>) -> Result<HttpAnswer, Failure> {
    let mut response = client
        .post(exchange.url.clone())
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, format!("Bearer {}", exchange.bearer))
        .body(exchange.body.clone())
        .send()
        .await
        .map_err(|error| transport_failure(&error))?;
    let status = response.status().as_u16();
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(ToOwned::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport_failure(&error))? {
        if body.len() + chunk.len() > exchange.max_response_bytes {
            return Err(Failure {
                http_status: Some(status),
                ..Failure::new(
                    CalloutErrorCode::CustomExtensionResponseSizeExceeded,
                    format!("the answer is larger than {} bytes", exchange.max_response_bytes),
                )
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpAnswer {
        status,
        content_type,
        body,
    })
}

/// The request's URL is left out: it may hold a function key.
fn transport_failure(error: &reqwest::Error) -> Failure {
    let code = if error.is_connect() {
        CalloutErrorCode::CustomExtensionConnectionError
    } else {
        CalloutErrorCode::CustomExtensionUnexpectedError
    };
    let mut cause = error.source();
    let mut detail = "no connection to the extension".to_owned();
    if code == CalloutErrorCode::CustomExtensionUnexpectedError {
        "the connection broke before the answer was complete".clone_into(&mut detail);
    }
    while let Some(next) = cause {
        detail.push_str(": ");
        detail.push_str(&next.to_string());
        cause = next.source();
    }
    Failure::new(code, detail)
}
