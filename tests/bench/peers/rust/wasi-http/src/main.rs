//! The same service as a wasi:http component. Where the host starts an instance for each request, nothing outlives one:
//! the key set comes with the environment, and the token cache is only used where the host keeps instances.

use std::env;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use bench_peer_callout::{Expected, Refusal, Request as Callout, Verifier, answer};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use wstd::http::{Body, Error, HeaderMap, Method, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let verifier = verifier()?;
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => Ok(Response::new("ok".into())),
        (&Method::POST, "/tenants/bench/extensions/claims") => match claims(verifier, &mut request).await {
            Ok(response) => Ok(response),
            Err(refusal) => refuse(refusal),
        },
        _ => Ok(status(StatusCode::NOT_FOUND).body(Body::empty())?),
    }
}

async fn claims(verifier: &Verifier, request: &mut Request<Body>) -> Result<Response<Body>, Refusal> {
    let bad_request = |error: &dyn std::fmt::Display| Refusal::BadRequest(error.to_string());
    let authorization = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let token = verifier.authenticate(authorization)?;
    if !is_json(request.headers()) {
        return Err(Refusal::BadRequest("expected application/json".into()));
    }
    let body = request
        .body_mut()
        .contents()
        .await
        .map_err(|error| bad_request(&error))?;
    let callout: Callout = serde_json::from_slice(body).map_err(|error| bad_request(&error))?;
    let response = serde_json::to_vec(&answer(&callout, &token)?).map_err(|error| bad_request(&error))?;
    status(StatusCode::OK)
        .header(CONTENT_TYPE, "application/json")
        .body(response.into())
        .map_err(|error| bad_request(&error))
}

/// `charset` and other parameters change nothing: JSON is UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let media_type = value.split_once(';').map_or(value, |(media_type, _)| media_type);
    media_type.trim().eq_ignore_ascii_case("application/json")
}

fn refuse(refusal: Refusal) -> Result<Response<Body>, Error> {
    Ok(match refusal {
        Refusal::Unauthorized => status(StatusCode::UNAUTHORIZED).body(Body::empty())?,
        Refusal::BadRequest(error) => status(StatusCode::BAD_REQUEST).body(error.into())?,
    })
}

fn status(status: StatusCode) -> wstd::http::response::Builder {
    Response::builder().status(status)
}

/// Made once by an instance.
fn verifier() -> Result<&'static Verifier> {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    if let Some(verifier) = VERIFIER.get() {
        return Ok(verifier);
    }
    let expected = Expected {
        issuer: variable("ISSUER")?,
        audience: variable("AUDIENCE")?,
        caller: variable("CALLER")?.parse().context("CALLER")?,
        tenant_id: variable("TENANT_ID")?.parse().context("TENANT_ID")?,
    };
    let keys = serde_json::from_str(&variable("JWKS")?).context("JWKS")?;
    let with_cache = env::var("TOKEN_CACHE").is_ok_and(|cache| cache == "on");
    Ok(VERIFIER.get_or_init(|| Verifier::new(expected, &keys, with_cache)))
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("the environment variable {name}"))
}
