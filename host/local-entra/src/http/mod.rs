//! The HTTP endpoints. A directory is named by its id or its domain, as in Entra.

mod error;
mod flows;
mod index;
mod simulator;
mod token_endpoint;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use uuid::Uuid;

use self::error::ApiError;
use crate::World;
use crate::config::TokenVersion;
use crate::directory::Directory;
use crate::discovery;

/// More than any request of a client of the local Entra needs.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// What every handler gets.
type Shared = State<Arc<World>>;

/// All endpoints.
pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/", get(index::index))
        .route("/{tid}/.well-known/openid-configuration", get(configuration_v1))
        .route("/{tid}/v2.0/.well-known/openid-configuration", get(configuration_v2))
        .route("/{tid}/discovery/keys", get(keys_v1))
        .route("/{tid}/discovery/v2.0/keys", get(keys_v2))
        .route("/{tid}/oauth2/v2.0/token", post(token_endpoint::token))
        .route("/{tid}/oauth2/v2.0/authorize", get(authorize).post(authorize))
        .route("/{tid}/sign-in", post(simulator::sign_in))
        .route("/{tid}/sign-up", post(flows::sign_up))
        .route("/{tid}/send-otp", post(flows::send_otp))
        .route("/{tid}/submit-password", post(flows::submit_password))
        .route("/{tid}/recover-account", post(flows::recover_account))
        .route(
            "/{tid}/extensions/{extension}/encryption-key",
            get(flows::encryption_key),
        )
        .route("/{tid}/sign-ins", get(simulator::sign_ins))
        .route("/{tid}/keys/roll", post(simulator::roll_keys))
        .route("/{tid}/callout-tokens", post(simulator::callout_token))
        .route(
            "/{tid}/extensions/{extension}/target-url",
            put(simulator::set_target_url),
        )
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(world)
}

impl World {
    /// The directory that a URL names.
    fn directory(&self, name: &str) -> Result<&Directory, ApiError> {
        let id = Uuid::try_parse(name).ok();
        self.directories
            .iter()
            .find(|directory| Some(directory.id()) == id || directory.config().domain.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let message = format!("AADSTS90002: Tenant '{name}' not found. `GET /` lists the directories.");
                ApiError::new(StatusCode::BAD_REQUEST, "invalid_tenant", message)
            })
    }
}

async fn configuration_v1(State(world): Shared, Path(tid): Path<String>) -> Result<Response, ApiError> {
    let directory = world.directory(&tid)?;
    Ok(Json(discovery::openid_configuration(directory, TokenVersion::V1)).into_response())
}

async fn configuration_v2(State(world): Shared, Path(tid): Path<String>) -> Result<Response, ApiError> {
    let directory = world.directory(&tid)?;
    Ok(Json(discovery::openid_configuration(directory, TokenVersion::V2)).into_response())
}

async fn keys_v1(State(world): Shared, Path(tid): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(discovery::key_set(world.directory(&tid)?, TokenVersion::V1)).into_response())
}

async fn keys_v2(State(world): Shared, Path(tid): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(discovery::key_set(world.directory(&tid)?, TokenVersion::V2)).into_response())
}

/// Discovery documents must name this endpoint, so it says why it does nothing.
async fn authorize() -> ApiError {
    let message = "the local Entra has no browser sign-in page yet: sign users in with POST /{tid}/sign-in";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "unsupported_response_type", message)
}

async fn not_found() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such endpoint; `GET /` lists them",
    )
}
