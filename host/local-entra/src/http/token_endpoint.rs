//! `POST /{tid}/oauth2/v2.0/token`: the client-credentials grant.
//!
//! The token names the application that asked in `azp`/`appid`, not Entra's own caller, so an extension that checks the
//! caller refuses it unless it is told to accept it. The resource decides the token's version, as in Entra: that of the
//! extension whose resource application it is, otherwise 2.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded;
use uuid::Uuid;

use super::Shared;
use super::error::ApiError;
use crate::config::{ApplicationConfig, TokenVersion};
use crate::directory::Directory;
use crate::token::AccessToken;

/// What a token is for.
struct Resource {
    version: TokenVersion,
    audience: String,
}

/// The parameters of a token request.
#[derive(Default)]
struct Parameters {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
}

pub(super) async fn token(
    State(world): Shared,
    Path(tid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let directory = world.directory(&tid)?;
    let parameters = Parameters::read(&headers, &body);
    let grant_type = required(parameters.grant_type.as_deref(), "grant_type")?;
    if grant_type != "client_credentials" {
        let message = format!("AADSTS70003: The app requested an unsupported grant type '{grant_type}'.");
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            message,
        ));
    }
    let caller = authenticate(directory, &parameters)?;
    let resource = find_resource(directory, required(parameters.scope.as_deref(), "scope")?)?;
    let mut claims = AccessToken {
        issuer: directory.issuer(resource.version),
        tenant_id: directory.id(),
        version: resource.version,
        audience: &resource.audience,
        caller_app_id: caller.app_id,
        caller_object_id: caller.service_principal_id,
        authentication: "1",
    }
    .claims();
    for (name, values) in &caller.token_claims {
        // What Entra itself says cannot be configured away.
        claims.entry(name.as_str()).or_insert_with(|| json!(values));
    }
    let seconds = |name: &str| claims.get(name).and_then(Value::as_u64).unwrap_or_default();
    let expires_in = seconds("exp").saturating_sub(seconds("iat"));
    let answer = json!({
        "token_type": "Bearer",
        "expires_in": expires_in,
        "ext_expires_in": expires_in,
        "access_token": directory.sign(resource.version, claims)?,
    });
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

fn authenticate<'a>(directory: &'a Directory, parameters: &Parameters) -> Result<&'a ApplicationConfig, ApiError> {
    let client_id = required(parameters.client_id.as_deref(), "client_id")?;
    let unknown = || {
        let message = format!(
            "AADSTS700016: Application with identifier '{client_id}' was not found in directory {}.",
            directory.id()
        );
        ApiError::new(StatusCode::BAD_REQUEST, "unauthorized_client", message)
    };
    let app_id = Uuid::try_parse(client_id).map_err(|_| unknown())?;
    let mut applications = directory.config().applications.iter();
    let application = applications
        .find(|application| application.app_id == app_id)
        .ok_or_else(unknown)?;
    let Some(candidate) = parameters.client_secret.as_deref() else {
        let message = "AADSTS7000218: The request body must contain the following parameter: 'client_secret'.";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_client", message));
    };
    if directory.secret(app_id).is_some_and(|secret| secret.matches(candidate)) {
        return Ok(application);
    }
    let message = format!("AADSTS7000215: Invalid client secret provided for app '{app_id}'.");
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_client", message))
}

/// Finds what `{identifier URI or app id}/.default` names: an extension's resource application, or an application.
fn find_resource(directory: &Directory, scope: &str) -> Result<Resource, ApiError> {
    let Some(name) = scope.strip_suffix("/.default") else {
        let message = format!(
            "AADSTS1002012: The provided value for scope {scope} is not valid. Client credential flows must have a scope \
             value with /.default suffixed to the resource identifier (application ID URI)."
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_scope", message));
    };
    let app_id = Uuid::try_parse(name.strip_prefix("api://").unwrap_or(name)).ok();
    let mut extensions = directory.config().extensions.iter();
    let extension =
        extensions.find(|extension| extension.resource_id == name || Some(extension.resource_app_id) == app_id);
    if let Some(extension) = extension {
        let audience = match extension.token_version {
            TokenVersion::V1 => name.to_owned(),
            TokenVersion::V2 => extension.resource_app_id.to_string(),
        };
        return Ok(Resource {
            version: extension.token_version,
            audience,
        });
    }
    let mut applications = directory.config().applications.iter();
    let application = applications
        .find(|application| Some(application.app_id) == app_id)
        .ok_or_else(|| {
            let message = format!(
                "AADSTS500011: The resource principal named {name} was not found in the tenant {}.",
                directory.id()
            );
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_resource", message)
        })?;
    Ok(Resource {
        version: TokenVersion::V2,
        audience: application.app_id.to_string(),
    })
}

fn required<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, ApiError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        let message = format!("AADSTS900144: The request body must contain the following parameter: '{name}'.");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    })
}

impl Parameters {
    /// Reads the form; client id and secret may be in a Basic `Authorization` header instead.
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let mut parameters = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let parameter = match name.as_ref() {
                "grant_type" => &mut parameters.grant_type,
                "client_id" => &mut parameters.client_id,
                "client_secret" => &mut parameters.client_secret,
                "scope" => &mut parameters.scope,
                _ => continue,
            };
            *parameter = Some(value.into_owned());
        }
        if let Some((client_id, client_secret)) = basic_credentials(headers) {
            parameters.client_id.get_or_insert(client_id);
            parameters.client_secret.get_or_insert(client_secret);
        }
        parameters
    }
}

/// Both parts are form-encoded before they are joined (RFC 6749, section 2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let credentials = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (client_id, client_secret) = credentials.split_once(':')?;
    let decode = |part: &str| {
        let decoded = form_urlencoded::parse(part.as_bytes())
            .next()
            .map(|(name, _)| name.into_owned());
        decoded.unwrap_or_default()
    };
    Some((decode(client_id), decode(client_secret)))
}
