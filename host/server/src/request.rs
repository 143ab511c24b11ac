//! What is checked of a request before its body means anything, and the reading of the body.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use claimsmith_contract::Outcome;
use http_body_util::{BodyExt as _, Either, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::Refusal;

/// How much of an unwanted body is read and thrown away, and for how long: closing a connection that the client is
/// still writing to would lose the answer that tells it why.
const MAX_DISCARDED_BYTES: usize = 4 << 20;
const MAX_DISCARD_TIME: Duration = Duration::from_millis(500);

/// A request's body, as it comes from the connection or from the router.
pub(crate) type RequestBody = Either<Incoming, Body>;

/// Checks method, content type and announced size.
pub(crate) fn admit(method: &Method, headers: &HeaderMap, max_body_bytes: usize) -> Result<(), Refusal> {
    if method != Method::POST {
        return Err(Refusal::new(
            Outcome::MethodNotAllowed,
            format!("the method is {method}"),
        ));
    }
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !content_type.is_some_and(is_json) {
        return Err(Refusal::new(
            Outcome::UnsupportedMediaType,
            content_type.map_or(
                "the request has no content type",
                |_| "the content type is not application/json",
            ),
        ));
    }
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > max_body_bytes as u64) {
        return Err(too_large(max_body_bytes));
    }
    Ok(())
}

/// `application/json`, with or without parameters such as a charset.
fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Reads the body, of `max_bytes` at most, until `deadline`.
pub(crate) async fn read_body(body: &mut RequestBody, max_bytes: usize, deadline: Instant) -> Result<Bytes, Refusal> {
    match timeout_at(deadline, Limited::new(body, max_bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(max_bytes)),
        Ok(Err(error)) => Err(Refusal::new(Outcome::BodyUnreadable, error.to_string())),
        Err(_elapsed) => Err(Refusal::new(
            Outcome::DeadlineExceeded,
            "the deadline came before the end of the request's body",
        )),
    }
}

fn too_large(max_bytes: usize) -> Refusal {
    Refusal::with_errors(
        Outcome::BodyTooLarge,
        vec![format!("the body has more than {max_bytes} bytes")],
    )
}

/// Reads what is left of a body that nobody wants, within bounds.
pub(crate) async fn discard(body: RequestBody) {
    let rest = Limited::new(body, MAX_DISCARDED_BYTES);
    let mut rest = std::pin::pin!(rest);
    let read_all = async { while let Some(Ok(_frame)) = rest.frame().await {} };
    // Whether all of it came makes no difference to the answer.
    let _elapsed = timeout(MAX_DISCARD_TIME, read_all).await.is_err();
}
