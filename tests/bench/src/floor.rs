//! The floor: an HTTP server of the same make that reads the body and answers a constant.

use std::net::Ipv4Addr;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::scenario;

/// Serves until the process is ended.
///
/// # Errors
/// When the port is taken.
pub async fn serve(port: u16) -> Result<()> {
    let answer = Bytes::from(scenario::answer()?.to_string());
    let constant = async move |body: Bytes| {
        drop(body);
        ([(CONTENT_TYPE, "application/json")], answer.clone())
    };
    let router = Router::new()
        .route(scenario::PATH, post(constant))
        .route("/healthz", get(async || "alive"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    Ok(axum::serve(listener, router).await?)
}
