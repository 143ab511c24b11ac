//! One callout: what is checked before it, what is sent, what is accepted as an answer, and the record of it.
//!
//! The order in which errors win is: the listener's extension exists (1003011), target URL and resource id (1003020,
//! 1003014, 1003015, 1003016), connection (1003027), time (1003005), size (1003024), status (1003002), content type
//! (1003006), empty (1003009), JSON (1003003), number of actions (1003010), action type (1003012), and then the event's own
//! checks.

mod attribute_collection_start;
mod attribute_collection_submit;
mod attributes;
mod body;
mod code;
mod email_otp_send;
mod event;
mod oddity;
mod password_submit;
mod precheck;
mod send;
mod token_issuance_start;
mod verdict;
mod verified_id_claim_validation;

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

pub(crate) use attribute_collection_start::Start;
pub(crate) use attribute_collection_submit::Submit;
pub use attribute_collection_submit::ValidationError;
pub use attributes::{AttributeType, BlockPage, Identity};
pub(crate) use attributes::{CollectedAttribute, name_on_page, name_on_wire, user_sign_up_info};
pub use body::{CalloutBody, Client, ServicePrincipal};
pub use code::CalloutErrorCode;
pub(crate) use email_otp_send::otp_context;
pub use event::Event;
pub use oddity::Oddity;
pub(crate) use password_submit::PasswordAction;
pub use password_submit::PasswordPage;
pub use token_issuance_start::MAX_CLAIMS_BYTES;
pub(crate) use verified_id_claim_validation::ClaimValidation;
pub use verified_id_claim_validation::VerifiedIdClaims;

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
    /// The documented spelling of the answered action; absent when there was none that the event has.
    pub action: Option<&'static str>,
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
        self.run(|action| token_issuance_start::provided_claims(action)).await
    }

    /// Makes an attributeCollectionStart callout for a page with these attributes.
    pub(crate) async fn attribute_collection_start(
        &self,
        page: &[CollectedAttribute],
    ) -> (CalloutRecord, Option<Start>) {
        self.run(|action| attribute_collection_start::read(action, page)).await
    }

    /// Makes an attributeCollectionSubmit callout for a page with these attributes.
    pub(crate) async fn attribute_collection_submit(
        &self,
        page: &[CollectedAttribute],
    ) -> (CalloutRecord, Option<Submit>) {
        self.run(|action| attribute_collection_submit::read(action, page)).await
    }

    /// Makes an emailOtpSend callout, which succeeds or fails and says nothing.
    pub(crate) async fn email_otp_send(&self) -> CalloutRecord {
        self.run(|_| Ok(())).await.0
    }

    /// Makes a passwordSubmit callout whose answer must have this nonce.
    pub(crate) async fn password_submit(&self, nonce: &str) -> (CalloutRecord, Option<PasswordAction>) {
        self.run(|action| password_submit::read(action, nonce)).await
    }

    /// Makes a verifiedIdClaimValidation callout about these claims.
    pub(crate) async fn verified_id_claim_validation(
        &self,
        claims: &VerifiedIdClaims,
    ) -> (CalloutRecord, Option<ClaimValidation>) {
        self.run(|action| verified_id_claim_validation::read(action, claims))
            .await
    }

    /// A callout that can't be made: its record.
    pub(crate) fn impossible(&self, detail: impl Into<String>) -> CalloutRecord {
        let mut record = CalloutRecord::begin(self.listener);
        record.fail(Failure::new(CalloutErrorCode::EventHandlerUnexpectedError, detail));
        record
    }

    /// The callout, with the event's own reading of the action.
    async fn run<T>(
        &self,
        read: impl FnOnce(&mut verdict::Action) -> Result<T, Failure>,
    ) -> (CalloutRecord, Option<T>) {
        let mut record = CalloutRecord::begin(self.listener);
        let result = match self.action(&mut record).await {
            Ok(mut action) => {
                record.action = Some(action.name);
                let result = read(&mut action);
                record.warnings = action.warnings;
                result
            }
            Err(failure) => Err(failure),
        };
        match result {
            Ok(answer) => (record, Some(answer)),
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
            action: None,
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
