//! The metadata document and the keys of the fixed token, served on this machine.

use std::net::SocketAddr;

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

/// What issued the token.
const ISSUER: &str = "https://login.example/b0000001-0000-4000-8000-000000000001/v2.0";

const KEYS: &str = include_str!("../data/jwks.json");
const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

/// Serves the documents for as long as the process runs; where.
///
/// # Errors
/// When no port is free.
pub(crate) async fn serve() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let document = serde_json::json!({ "issuer": ISSUER, "jwks_uri": format!("http://{address}/keys") });
    let router = Router::new()
        .route("/document", get(async move || (JSON, document.to_string())))
        .route("/keys", get(async move || (JSON, KEYS)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}
