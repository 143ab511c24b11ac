//! Refusals of the admin API: problem documents (RFC 9457) with a code for machines.

use std::borrow::Cow;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use claimsmith_catalog::ActivationError;
use claimsmith_runtime::LoadError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::json;

use crate::store::StoreError;

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Unauthenticated,
    Forbidden,
    UnknownTenant,
    UnknownVersion,
    NotFound,
    BadRequest,
    TooLarge,
    ManagedByFiles,
    TenantExists,
    VersionExists,
    TooManyPlugins,
    TooManyBytes,
    NothingBefore,
    Busy,
    Invalid,
    NotAPlugin,
    Signature,
    RolledBack,
    StoreUnavailable,
}

impl Code {
    pub(crate) const ALL: [Self; 19] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::UnknownTenant,
        Self::UnknownVersion,
        Self::NotFound,
        Self::BadRequest,
        Self::TooLarge,
        Self::ManagedByFiles,
        Self::TenantExists,
        Self::VersionExists,
        Self::TooManyPlugins,
        Self::TooManyBytes,
        Self::NothingBefore,
        Self::Busy,
        Self::Invalid,
        Self::NotAPlugin,
        Self::Signature,
        Self::RolledBack,
        Self::StoreUnavailable,
    ];

    /// The status, the code and what it means: the one table.
    pub(crate) const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Unauthenticated => (401, "unauthenticated", "The request carries no token that is accepted"),
            Self::Forbidden => (403, "forbidden", "Your roles do not allow this for this tenant"),
            Self::UnknownTenant => (404, "unknown_tenant", "There is no such tenant"),
            Self::UnknownVersion => (404, "unknown_version", "There is no such version"),
            Self::NotFound => (404, "not_found", "There is nothing at this path"),
            Self::BadRequest => (400, "bad_request", "The request is not acceptable"),
            Self::TooLarge => (413, "too_large", "The body is too large"),
            Self::ManagedByFiles => (409, "managed_by_files", "The tenant's plugins are files"),
            Self::TenantExists => (409, "tenant_exists", "The tenant has a directory"),
            Self::VersionExists => (409, "version_exists", "Another component was pushed as this version"),
            Self::TooManyPlugins => (409, "too_many_plugins", "The tenant has as many plugins as it may"),
            Self::TooManyBytes => (
                409,
                "too_many_bytes",
                "The tenant's versions have as many bytes as they may",
            ),
            Self::NothingBefore => (409, "nothing_before", "There is no version to go back to"),
            Self::Busy => (409, "busy", "The tenant's files or versions change at the moment"),
            Self::Invalid => (422, "invalid", "The tenant would not be valid with this"),
            Self::NotAPlugin => (422, "not_a_plugin", "The component cannot be loaded as a plugin"),
            Self::Signature => (422, "signature", "The signature is not accepted"),
            Self::RolledBack => (
                409,
                "rolled_back",
                "The activation was taken back: it did not serve as it should",
            ),
            Self::StoreUnavailable => (503, "store_unavailable", "The version store cannot be used"),
        }
    }
}

/// A refusal.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) errors: Vec<String>,
}

/// A refusal as it is answered.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Problem<'p> {
    title: &'p str,
    status: u16,
    #[schemars(with = "Codes")]
    code: &'p str,
    /// What is wrong, and what to do.
    errors: &'p [String],
}

/// The codes, for the schema.
struct Codes;

impl JsonSchema for Codes {
    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let codes = Code::ALL.map(|code| {
            let (_, code, title) = code.row();
            json!({ "const": code, "description": title })
        });
        json_schema!({ "type": "string", "oneOf": codes })
    }
}

impl Refusal {
    pub(crate) fn new(code: Code, error: impl Into<String>) -> Self {
        Self {
            code,
            errors: vec![error.into()],
        }
    }

    /// All of it, for the log.
    pub(crate) fn text(&self) -> String {
        self.errors.join("; ")
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the version store cannot be used");
        Self::new(Code::StoreUnavailable, "the service's log says why")
    }
}

impl From<ActivationError> for Refusal {
    fn from(error: ActivationError) -> Self {
        let code = match &error {
            ActivationError::UnknownTenant(_) => Code::UnknownTenant,
            ActivationError::ManagedByFiles(_) => Code::ManagedByFiles,
            ActivationError::TenantExists(_) | ActivationError::TenantUnseen(..) => Code::TenantExists,
            ActivationError::Invalid(_) => Code::Invalid,
            ActivationError::Unsettled(_) => Code::Busy,
        };
        match error {
            ActivationError::Invalid(errors) => Self {
                code,
                errors: errors.0.iter().map(ToString::to_string).collect(),
            },
            other => Self::new(code, other.to_string()),
        }
    }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        Self::new(Code::NotAPlugin, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, title) = self.code.row();
        let problem = Problem {
            title,
            status,
            code,
            errors: &self.errors,
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
