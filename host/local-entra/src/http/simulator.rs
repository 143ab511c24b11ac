//! Endpoints that Entra does not have: signing in without a browser, the log, keys, and tokens for curl.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Shared;
use super::error::ApiError;
use crate::callout::Client;
use crate::directory;
use crate::sign_in::{self, Refusal, SignInRequest};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignInBody {
    user: String,
    application: String,
    protocol: Option<String>,
    client: Option<Client>,
    correlation_id: Option<Uuid>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBody {
    #[serde(default)]
    remove_previous: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CalloutTokenBody {
    extension: Uuid,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetUrlBody {
    target_url: String,
}

pub(super) async fn sign_in(
    State(world): Shared,
    Path(tid): Path<String>,
    body: Result<Json<SignInBody>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let directory = world.directory(&tid)?;
    let Json(body) = body?;
    let mut request = SignInRequest::new(directory.id(), body.user, body.application);
    request.client = body.client.unwrap_or_default();
    request.correlation_id = body.correlation_id;
    if let Some(protocol) = body.protocol {
        request.protocol = protocol;
    }
    let outcome = directory.sign_in(&request).await?;
    match outcome.result {
        Ok(signed_in) => Ok(Json(json!({
            "id_token": signed_in.id_token,
            "claims_before": signed_in.claims_before,
            "claims_after": signed_in.claims_after,
            "added": signed_in.added,
            "callout": outcome.callout,
            "correlation_id": outcome.correlation_id,
        }))),
        Err(refusal) => {
            let error = match refusal {
                Refusal::Callout(_) => "server_error",
                Refusal::MappedClaimsNotAccepted => "invalid_request",
            };
            let error = ApiError::new(StatusCode::BAD_REQUEST, error, refusal.to_string());
            Err(error.of_sign_in(outcome.correlation_id, outcome.callout))
        }
    }
}

pub(super) async fn sign_ins(State(world): Shared, Path(tid): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "value": world.directory(&tid)?.sign_ins() })))
}

/// The body may be absent.
pub(super) async fn roll_keys(
    State(world): Shared,
    Path(tid): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let directory = world.directory(&tid)?;
    let body = if body.trim_ascii().is_empty() {
        RollBody::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| bad_request(&error.to_string()))?
    };
    let current = directory.roll_keys(body.remove_previous).await?;
    let published: Vec<String> = directory
        .keys()
        .published
        .iter()
        .map(|key| key.key_id().to_owned())
        .collect();
    Ok(Json(json!({ "current": current.key_id(), "published": published })))
}

pub(super) async fn callout_token(
    State(world): Shared,
    Path(tid): Path<String>,
    body: Result<Json<CalloutTokenBody>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let directory = world.directory(&tid)?;
    let Json(body) = body?;
    Ok(Json(
        json!({ "token_type": "Bearer", "access_token": directory.callout_bearer(body.extension)? }),
    ))
}

pub(super) async fn set_target_url(
    State(world): Shared,
    Path((tid, extension)): Path<(String, String)>,
    body: Result<Json<TargetUrlBody>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let directory = world.directory(&tid)?;
    let extension = Uuid::try_parse(&extension).map_err(|_| bad_request("the extension is named by its GUID"))?;
    let Json(body) = body?;
    directory.set_target_url(extension, &body.target_url)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn bad_request(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", message)
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "invalid_request", rejection.body_text())
    }
}

impl From<directory::Error> for ApiError {
    fn from(error: directory::Error) -> Self {
        match error {
            directory::Error::UnknownExtension { .. } => {
                Self::new(StatusCode::NOT_FOUND, "invalid_request", error.to_string())
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string()),
        }
    }
}

impl From<sign_in::Error> for ApiError {
    fn from(error: sign_in::Error) -> Self {
        let message = error.to_string();
        match error {
            sign_in::Error::UnknownUser { .. } => Self::new(StatusCode::BAD_REQUEST, "invalid_grant", message),
            sign_in::Error::UnknownApplication { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "unauthorized_client", message)
            }
            sign_in::Error::NoListener { .. } => bad_request(&message),
            sign_in::Error::Directory(error) => error.into(),
        }
    }
}
