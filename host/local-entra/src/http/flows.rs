//! Signing up, one-time codes, passwords and recovery, without a browser.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Shared;
use super::error::ApiError;
use super::simulator::bad_request;
use crate::callout::{Client, Identity, VerifiedIdClaims};
use crate::flows::{
    Circumstances, Error, Outcome, RecoverAccountRequest, SendOtpRequest, SignUpRequest, SubmitPasswordRequest,
};

type Body<T> = Result<Json<T>, JsonRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignUpBody {
    email: String,
    application: String,
    values: Option<Map<String, Value>>,
    #[serde(default)]
    corrections: Vec<Map<String, Value>>,
    #[serde(default)]
    identities: Vec<Identity>,
    protocol: Option<String>,
    client: Option<Client>,
    correlation_id: Option<Uuid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendOtpBody {
    identifier: String,
    application: String,
    request_type: Option<String>,
    one_time_code: Option<String>,
    protocol: Option<String>,
    client: Option<Client>,
    correlation_id: Option<Uuid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmitPasswordBody {
    user: String,
    password: String,
    application: String,
    new_password: Option<String>,
    protocol: Option<String>,
    client: Option<Client>,
    correlation_id: Option<Uuid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecoverAccountBody {
    user: String,
    application: String,
    claims: BTreeMap<String, String>,
    #[serde(default)]
    identities: Vec<Identity>,
    #[serde(default)]
    additional_info: BTreeMap<String, String>,
    protocol: Option<String>,
    client: Option<Client>,
    correlation_id: Option<Uuid>,
}

pub(super) async fn sign_up(
    State(world): Shared,
    Path(tid): Path<String>,
    body: Body<SignUpBody>,
) -> Result<Json<Value>, ApiError> {
    let directory = world.directory(&tid)?;
    let Json(body) = body?;
    let mut submissions = vec![body.values.unwrap_or_default()];
    submissions.extend(body.corrections);
    let request = SignUpRequest {
        directory: directory.id(),
        email: body.email,
        identities: body.identities,
        submissions,
        circumstances: circumstances(body.application, body.protocol, body.client, body.correlation_id),
    };
    answer(directory.sign_up(&request).await?)
}

pub(super) async fn send_otp(
    State(world): Shared,
    Path(tid): Path<String>,
    body: Body<SendOtpBody>,
) -> Result<Json<Value>, ApiError> {
    let directory = world.directory(&tid)?;
    let Json(body) = body?;
    let mut request = SendOtpRequest::new(directory.id(), body.identifier, "");
    request.one_time_code = body.one_time_code;
    if let Some(request_type) = body.request_type {
        request.request_type = request_type;
    }
    request.circumstances = circumstances(body.application, body.protocol, body.client, body.correlation_id);
    answer(directory.send_otp(&request).await?)
}

pub(super) async fn submit_password(
    State(world): Shared,
    Path(tid): Path<String>,
    body: Body<SubmitPasswordBody>,
) -> Result<Json<Value>, ApiError> {
    let directory = world.directory(&tid)?;
    let Json(body) = body?;
    let request = SubmitPasswordRequest {
        directory: directory.id(),
        user: body.user,
        password: body.password,
        new_password: body.new_password,
        circumstances: circumstances(body.application, body.protocol, body.client, body.correlation_id),
    };
    answer(directory.submit_password(&request).await?)
}

pub(super) async fn recover_account(
    State(world): Shared,
    Path(tid): Path<String>,
    body: Body<RecoverAccountBody>,
) -> Result<Json<Value>, ApiError> {
    let directory = world.directory(&tid)?;
    let Json(body) = body?;
    let request = RecoverAccountRequest {
        directory: directory.id(),
        user: body.user,
        claims: VerifiedIdClaims {
            identities: body.identities,
            additional_info: body.additional_info,
            claims: body.claims,
        },
        circumstances: circumstances(body.application, body.protocol, body.client, body.correlation_id),
    };
    answer(directory.recover_account(&request).await?)
}

/// The private key is there only if the local Entra made it: it is a key for tests, and those need it.
pub(super) async fn encryption_key(
    State(world): Shared,
    Path((tid, extension)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let directory = world.directory(&tid)?;
    let extension = Uuid::try_parse(&extension).map_err(|_| bad_request("the extension is named by its GUID"))?;
    let key = directory.encryption_key(extension)?;
    Ok(Json(json!({
        "x5t": key.thumbprint(),
        "certificate": key.certificate_pem(),
        "private_key": key.private_key_pem(),
    })))
}

fn circumstances(
    application: String,
    protocol: Option<String>,
    client: Option<Client>,
    correlation_id: Option<Uuid>,
) -> Circumstances {
    let mut circumstances = Circumstances::new(application);
    circumstances.client = client.unwrap_or_default();
    circumstances.correlation_id = correlation_id;
    if let Some(protocol) = protocol {
        circumstances.protocol = protocol;
    }
    circumstances
}

fn answer<T: Serialize>(mut outcome: Outcome<T>) -> Result<Json<Value>, ApiError> {
    match outcome.result {
        Ok(result) => {
            let mut answer = json!(result);
            if let Value::Object(members) = &mut answer {
                members.insert("callouts".to_owned(), json!(outcome.callouts));
                members.insert("correlation_id".to_owned(), json!(outcome.correlation_id));
            }
            Ok(Json(answer))
        }
        Err(refusal) => {
            let error = ApiError::new(StatusCode::BAD_REQUEST, "server_error", refusal.to_string());
            Err(error.of_sign_in(outcome.correlation_id, outcome.callouts.pop()))
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::SignIn(error) => error.into(),
            Error::Directory(error) => error.into(),
            Error::Encryption(error) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string()),
            Error::NoUserFlow { .. } | Error::Submission { .. } | Error::NotCreated(_) => {
                bad_request(&error.to_string())
            }
        }
    }
}
