//! Bodies of requests, within bounds of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::problem::{Code, Refusal};

/// A request's JSON, and a signature: both have some hundred bytes.
pub(super) const MAX_SMALL_BODY_BYTES: usize = 64 << 10;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_mins(2);
/// How long a body may take that is not wanted.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// What was found out before the body is read, and the body. A body that is not wanted is read to its end within bounds, or
/// the client would see its connection break instead of the answer.
pub(super) async fn or_discard<T>(found: Result<T, Refusal>, body: Body, most: usize) -> Result<(T, Body), Refusal> {
    match found {
        Ok(found) => Ok((found, body)),
        Err(refusal) => {
            let mut body = Limited::new(body, most);
            let discard = async { while let Some(Ok(_)) = body.frame().await {} };
            let _was_slow = timeout(DISCARD_TIME, discard).await.is_err();
            Err(refusal)
        }
    }
}

pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Refusal> {
    let late = |_| Refusal::new(Code::BadRequest, format!("the body did not come within {BODY_TIME:?}"));
    let too_large = |_| {
        let message = format!("expected at most {most} bytes, all of them");
        Refusal::new(Code::TooLarge, message)
    };
    timeout(BODY_TIME, to_bytes(body, most))
        .await
        .map_err(late)?
        .map_err(too_large)
}

pub(super) async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let bytes = read(body, MAX_SMALL_BODY_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))
}
