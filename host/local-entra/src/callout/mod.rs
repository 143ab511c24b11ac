//! One callout: what is checked before it, what is sent, what is accepted as an answer, and the record of it.
//!
//! The order in which errors win is: the listener's extension exists (1003011), target URL and resource id (1003020,
//! 1003014, 1003015, 1003016), connection (1003027), time (1003005), size (1003024), status (1003002), content type
//! (1003006), empty (1003009), JSON (1003003), number of actions (1003010), action type (1003012), and then the event's own
//! checks.

mod body;
mod code;
mod event;
mod precheck;
mod send;
mod token_issuance_start;
mod verdict;

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use body::{CalloutBody, Client, ServicePrincipal};
pub use code::CalloutErrorCode;
pub use event::Event;
pub use token_issuance_start::MAX_CLAIMS_BYTES;

use crate::config::ListenerConfig;
use crate::directory::Directory;
use crate::extension::Extension;
use crate::mapping::MappingReport;

/// One line of the sign-in log's "Authentication Events" tab. Where Microsoft Graph has a name for a member
/// (`appliedAuthenticationEventListener`, `customExtensionCalloutResult`), it has that name here.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CalloutRecord {
    /// The event.
    pub event_type: Event,
    /// The listener that applied.
    pub executed_listener_id: Uuid,
    /// The extension it names.
    pub custom_extension_id: Uuid,
    /// When the callout began, RFC 3339 with milliseconds.
    pub callout_date_time: String,
    /// Status of the last attempt that was answered.
    pub http_status: Option<u16>,
    /// Why the callout failed.
    pub error_code: Option<CalloutErrorCode>,
    /// Entra's name of `error_code`.
    pub error_name: Option<&'static str>,
    /// What exactly was wrong. Entra does not tell.
    pub error_detail: Option<String>,
    /// How often the extension was called; 0 when a check before the call failed.
    pub number_of_attempts: u32,
    /// Time from the first attempt's start to the last one's end, in milliseconds.
    pub duration_ms: f64,
    /// What Entra lets pass although it is not as documented.
    pub warnings: Vec<String>,
    /// What became of the returned claims; absent when there are none to speak of.
    pub claims: Option<MappingReport>,
}

/// Why a callout failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) code: CalloutErrorCode,
    pub(crate) detail: String,
    pub(crate) http_status: Option<u16>,
}

/// A callout to make.
pub(crate) struct Callout<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) listener: &'a ListenerConfig,
    pub(crate) body: &'a CalloutBody,
}

// === impl Failure ===

impl Failure {
    fn new(code: CalloutErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            http_status: None,
        }
    }
}

// === impl Callout ===

impl Callout<'_> {
    /// Makes a tokenIssuanceStart callout: its record, and the returned claims unless it failed.
    pub(crate) async fn token_issuance_start(&self) -> (CalloutRecord, Option<Map<String, Value>>) {
        let mut record = CalloutRecord::begin(self.listener);
        let result = self.action(&mut record).await.and_then(|action| {
            record.warnings.clone_from(&action.warnings);
            token_issuance_start::provided_claims(&action)
        });
        match result {
            Ok(claims) => (record, Some(claims)),
            Err(failure) => {
                record.fail(failure);
                (record, None)
            }
        }
    }

    /// Everything up to the event's own checks.
    async fn action(&self, record: &mut CalloutRecord) -> Result<verdict::Action, Failure> {
        let extension = self.directory.find_extension(self.listener.extension).ok_or_else(|| {
            Failure::new(
                CalloutErrorCode::CustomExtensionNotFound,
                format!("the directory has no extension {}", self.listener.extension),
            )
        })?;
        let target_url = extension.target_url();
        let url = precheck::precheck(&extension.config, &target_url)?;
        let bearer = self
            .directory
            .bearer(extension)
            .map_err(|error| Failure::new(CalloutErrorCode::EventHandlerUnexpectedError, error.to_string()))?;
        let exchange = send::Exchange {
            url,
            bearer: &bearer,
            body: self.body.to_json().to_string(),
            timeout: self.timeout(extension),
            maximum_retries: self
                .listener
                .maximum_retries
                .unwrap_or(extension.config.maximum_retries),
            max_response_bytes: self.directory.max_response_bytes(),
        };
        let exchanged = send::exchange(self.directory.http_client(), &exchange).await;
        record.number_of_attempts = exchanged.attempts;
        // Rounded to microseconds.
        record.duration_ms = (exchanged.duration.as_secs_f64() * 1e6).round() / 1e3;
        let answer = exchanged.answer?;
        record.http_status = Some(answer.status);
        verdict::judge(self.listener.event, &answer)
    }

    fn timeout(&self, extension: &Extension) -> Duration {
        Duration::from_millis(self.listener.timeout.unwrap_or(extension.config.timeout))
    }
}

// === impl CalloutRecord ===

impl CalloutRecord {
    fn begin(listener: &ListenerConfig) -> Self {
        Self {
            event_type: listener.event,
            executed_listener_id: listener.id,
            custom_extension_id: listener.extension,
            callout_date_time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            http_status: None,
            error_code: None,
            error_name: None,
            error_detail: None,
            number_of_attempts: 0,
            duration_ms: 0.0,
            warnings: Vec::new(),
            claims: None,
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.http_status = failure.http_status.or(self.http_status);
        self.error_code = Some(failure.code);
        self.error_name = Some(failure.code.name());
        self.error_detail = Some(failure.detail);
    }
}
