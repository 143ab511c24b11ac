//! From outcome to HTTP: the one table of statuses, and the bodies of answers (RFC 9457 problem documents).

use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use claimsmith_audit::CLIENT_GONE_STATUS;
use claimsmith_contract::{EntraError, Outcome};
use claimsmith_runtime::GuestWords;
use http_body_util::Full;
use schemars::JsonSchema;
use serde::Serialize;

use crate::schema::Code;

/// An answer, all of it.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Why a callout is not answered with an action.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) outcome: Outcome,
    /// For the log: may hold what a plugin or an upstream said, never a token.
    pub(crate) detail: String,
    /// What Entra would have said of the plugin's answer, had it been sent.
    pub(crate) entra_error: Option<EntraError>,
    /// For the caller: what is wrong with its own request.
    pub(crate) errors: Vec<String>,
    /// For the log: what a plugin that failed said.
    pub(crate) words: Option<Box<GuestWords>>,
    /// When the caller may come again, where that is known.
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal about which the caller learns no more than its outcome.
    pub(crate) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: detail.into(),
            entra_error: None,
            errors: Vec::new(),
            words: None,
            retry_after: None,
        }
    }

    /// What a plugin that failed wrote to standard error, if anything.
    pub(crate) fn guest_stderr(&self) -> Option<&str> {
        let words = self.words.as_ref()?;
        Some(words.stderr.as_str()).filter(|text| !text.is_empty())
    }

    /// What it wrote to standard output, if anything.
    pub(crate) fn guest_stdout(&self) -> Option<&str> {
        let words = self.words.as_ref()?;
        Some(words.stdout.as_str()).filter(|text| !text.is_empty())
    }

    /// Which of its functions it failed in, if that is known.
    pub(crate) fn guest_backtrace(&self) -> Option<String> {
        self.words.as_ref()?.frames()
    }

    /// A refusal of a request whose sender can mend it.
    pub(crate) fn with_errors(outcome: Outcome, errors: Vec<String>) -> Self {
        Self {
            outcome,
            detail: errors.join("; "),
            entra_error: None,
            errors,
            words: None,
            retry_after: None,
        }
    }
}

/// The status of each outcome, and what the caller is told of it.
pub(crate) fn status_and_title(outcome: Outcome) -> (StatusCode, &'static str) {
    match outcome {
        Outcome::Answered => (StatusCode::OK, "Answered"),
        Outcome::UnknownTenant => (StatusCode::NOT_FOUND, "There is no such tenant"),
        Outcome::UnknownExtension => (StatusCode::NOT_FOUND, "The tenant has no such extension"),
        Outcome::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "An extension answers POST only"),
        Outcome::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json"),
        Outcome::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
        Outcome::BodyUnreadable => (StatusCode::BAD_REQUEST, "The body could not be read to its end"),
        Outcome::TokenMissing
        | Outcome::TokenMalformed
        | Outcome::TokenAlgorithm
        | Outcome::TokenUnknownKey
        | Outcome::TokenSignature
        | Outcome::TokenExpired
        | Outcome::TokenNotYetValid
        | Outcome::TokenIssuer
        | Outcome::TokenAudience
        | Outcome::TokenVersion
        | Outcome::TokenCaller
        | Outcome::TokenTenant => (StatusCode::UNAUTHORIZED, "The bearer token is not accepted"),
        Outcome::MalformedJson => (StatusCode::BAD_REQUEST, "The body is not acceptable JSON"),
        Outcome::InvalidRequest => (StatusCode::BAD_REQUEST, "The body is not a valid callout"),
        Outcome::EventMismatch => (StatusCode::BAD_REQUEST, "The extension answers another event"),
        Outcome::TenantMismatch => (StatusCode::BAD_REQUEST, "The body's tenant is not the token's"),
        Outcome::PasswordContext => (
            StatusCode::BAD_REQUEST,
            "The encrypted password context is not acceptable",
        ),
        Outcome::PluginUnavailable
        | Outcome::PluginRejected
        | Outcome::PluginInternal
        | Outcome::PluginTrapped
        | Outcome::PluginCpuLimit
        | Outcome::PluginMemoryLimit
        | Outcome::PluginTransferLimit
        | Outcome::PluginHostCallLimit
        | Outcome::PluginAnswerLimit
        | Outcome::PluginInstantiation => (StatusCode::INTERNAL_SERVER_ERROR, "The plugin failed"),
        Outcome::PluginQuarantined => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The plugin failed too often and is not invoked for a while",
        ),
        Outcome::ClaimsTooLarge
        | Outcome::EmptyClaimId
        | Outcome::DuplicateClaimId
        | Outcome::UnknownAttribute
        | Outcome::DuplicateAttribute
        | Outcome::AttributeType
        | Outcome::TextLength
        | Outcome::ResponseTooLarge
        | Outcome::EmptyFailedClaim => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "The plugin answered what Entra does not accept",
        ),
        // Of invocations alone.
        Outcome::PluginCutShort => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "The callout ended before the plugin did",
        ),
        // For records alone.
        Outcome::ClientGone => (
            StatusCode::from_u16(CLIENT_GONE_STATUS).unwrap_or(StatusCode::BAD_REQUEST),
            "The client closed its connection",
        ),
        Outcome::ClaimConflict => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "Several plugins answered the same claim",
        ),
        Outcome::RequiredClaimMissing => (StatusCode::INTERNAL_SERVER_ERROR, "A required claim is missing"),
        Outcome::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "The service failed"),
        Outcome::TenantUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The tenant's configuration is not valid",
        ),
        Outcome::KeysUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The keys to check the bearer token with are not available",
        ),
        // Not the service's fault, so that whoever watches it for 5xx is not woken by one tenant's load. Whether Entra
        // tries again after either status is not documented; both ask it to wait.
        Outcome::Throttled => (
            StatusCode::TOO_MANY_REQUESTS,
            "Too many callouts of the extension or its tenant at once",
        ),
        Outcome::RateLimited => (
            StatusCode::TOO_MANY_REQUESTS,
            "Too many callouts of the extension or its tenant in a second",
        ),
        Outcome::AuditUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The callout's audit record could not be kept",
        ),
        Outcome::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "Too many callouts at once"),
        Outcome::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "The deadline came before the answer"),
    }
}

/// Entra's action.
pub(crate) fn action(body: Vec<u8>) -> Answer {
    with_content("application/json", StatusCode::OK, body)
}

/// A refusal, in the form that its status asks for.
pub(crate) fn refusal(refusal: &Refusal, correlation_id: Option<&str>) -> Answer {
    let (status, title) = status_and_title(refusal.outcome);
    let mut response = if status == StatusCode::UNAUTHORIZED {
        // Says nothing of which check failed: that is for the log.
        with_status(status)
    } else {
        let problem = Problem {
            title,
            status: status.as_u16(),
            code: refusal.outcome.code(),
            correlation_id,
            errors: &refusal.errors,
        };
        with_content(
            "application/problem+json",
            status,
            serde_json::to_vec(&problem).unwrap_or_default(),
        )
    };
    if let Some((name, value)) = header(refusal.outcome) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Some(wait) = refusal.retry_after {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
    }
    response
}

/// The header that an outcome's answer has beside the usual ones.
pub(crate) fn header(outcome: Outcome) -> Option<(HeaderName, &'static str)> {
    match (outcome, status_and_title(outcome).0) {
        (Outcome::TokenMissing, _) => Some((WWW_AUTHENTICATE, "Bearer error=\"invalid_request\"")),
        (_, StatusCode::UNAUTHORIZED) => Some((WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")),
        (Outcome::MethodNotAllowed, _) => Some((ALLOW, "POST")),
        (_, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => Some((RETRY_AFTER, "1")),
        _ => None,
    }
}

/// Why a callout is not answered with an action: a problem document (RFC 9457). Its `type` is absent, which means
/// `about:blank`: `code` is the stable name.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Problem<'a> {
    /// For people.
    title: &'static str,
    /// The answer's status.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// The outcome: the same in logs and metrics. A code never changes its meaning.
    #[schemars(with = "Code")]
    code: &'static str,
    /// The sign-in's, where it could be read.
    #[serde(rename = "correlationId", skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claimsmith_contract::schema::without_null)]
    correlation_id: Option<&'a str>,
    /// What is wrong with the request, where its sender can mend it.
    errors: &'a [String],
}

fn with_status(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn with_content(content_type: &'static str, status: StatusCode, body: Vec<u8>) -> Answer {
    let mut response = with_status(status);
    *response.body_mut() = Full::from(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
