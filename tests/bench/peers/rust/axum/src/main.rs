//! The hand-written Rust service: axum and jsonwebtoken, for one tenant and one event.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::rejection::JsonRejection;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bench_peer_callout::{Expected, Refusal, Request, Token, Verifier, answer};
use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS_ARE_FETCHED_EVERY: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let metadata: Metadata = fetch(&variable("METADATA_URL")?).await?;
    let keys = fetch(&metadata.jwks_uri).await?;
    let expected = Expected {
        issuer: metadata.issuer,
        audience: variable("AUDIENCE")?,
        caller: variable("CALLER")?.parse().context("CALLER")?,
        tenant_id: variable("TENANT_ID")?.parse().context("TENANT_ID")?,
    };
    let with_cache = env::var("TOKEN_CACHE").is_ok_and(|cache| cache == "on");
    let verifier = Arc::new(Verifier::new(expected, &keys, with_cache));
    tokio::spawn(keep_keys(Arc::clone(&verifier), metadata.jwks_uri));

    let router = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/tenants/bench/extensions/claims", post(claims))
        .with_state(verifier);
    let listener = TcpListener::bind(format!("127.0.0.1:{}", variable("PORT")?)).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    Ok(())
}

async fn claims(Authenticated(token): Authenticated, request: Result<Json<Request>, JsonRejection>) -> Response {
    let Json(request) = match request {
        Ok(request) => request,
        Err(rejection) => return refuse(Refusal::BadRequest(rejection.body_text())),
    };
    match answer(&request, &token) {
        Ok(response) => Json(response).into_response(),
        Err(refusal) => refuse(refusal),
    }
}

/// The caller's token. It is taken before the body is read.
struct Authenticated(Arc<Token>);

impl FromRequestParts<Arc<Verifier>> for Authenticated {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, verifier: &Arc<Verifier>) -> Result<Self, Response> {
        let authorization = parts.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        verifier.authenticate(authorization).map(Self).map_err(refuse)
    }
}

fn refuse(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Unauthorized => StatusCode::UNAUTHORIZED.into_response(),
        Refusal::BadRequest(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    }
}

async fn keep_keys(verifier: Arc<Verifier>, jwks_uri: String) {
    loop {
        tokio::time::sleep(KEYS_ARE_FETCHED_EVERY).await;
        match fetch::<JwkSet>(&jwks_uri).await {
            Ok(keys) => verifier.set_keys(&keys),
            Err(error) => eprintln!("the keys cannot be fetched again: {error:#}"),
        }
    }
}

async fn fetch<T: serde::de::DeserializeOwned>(url: &str) -> Result<T> {
    let response = reqwest::get(url).await?.error_for_status()?;
    response.json().await.with_context(|| url.to_owned())
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("the environment variable {name}"))
}
