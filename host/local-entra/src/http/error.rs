//! Errors as Entra's endpoints write them: OAuth's `error` and `error_description`, and Entra's further members.

use std::time::SystemTime;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use crate::callout::CalloutRecord;

/// An error on the wire.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    error: &'static str,
    description: String,
    correlation_id: Uuid,
    callout: Option<Box<CalloutRecord>>,
}

impl ApiError {
    /// An error with OAuth's `error` code; the AADSTS number is read from the description's beginning.
    pub(super) fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status,
            error,
            description: description.into(),
            correlation_id: Uuid::new_v4(),
            callout: None,
        }
    }

    /// Belongs to a sign-in.
    pub(super) fn of_sign_in(mut self, correlation_id: Uuid, callout: Option<CalloutRecord>) -> Self {
        self.correlation_id = correlation_id;
        self.callout = callout.map(Box::new);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let number = self
            .description
            .strip_prefix("AADSTS")
            .and_then(|rest| rest.split_once(':'))
            .and_then(|(number, _)| number.parse::<u32>().ok());
        let trace_id = Uuid::new_v4();
        let timestamp = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let description = format!(
            "{} Trace ID: {trace_id} Correlation ID: {} Timestamp: {timestamp}",
            self.description, self.correlation_id
        );
        let mut body = json!({
            "error": self.error,
            "error_description": description,
            "error_codes": number.into_iter().collect::<Vec<u32>>(),
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": self.correlation_id,
        });
        if let (Some(callout), Some(members)) = (self.callout, body.as_object_mut()) {
            members.insert("callout".to_owned(), json!(callout));
        }
        (self.status, Json(body)).into_response()
    }
}
