//! What users do beside signing in: sign up, ask for a one-time code, submit a password, recover an account.
//!
//! Each is one module: the request, how it can end, and the way there. A callout that fails is an outcome, not an error,
//! and so is whatever comes of it after the first callout; every outcome is in the sign-in log.

mod entry;
mod page;
mod recover_account;
mod send_otp;
mod sign_up;
mod submit_password;

use std::time::SystemTime;

use uuid::Uuid;

pub use recover_account::{AccountRecovered, RecoverAccountRequest};
pub use send_otp::{CodeDelivered, SendOtpRequest};
pub use sign_up::{SignUpRequest, SignedUp};
pub use submit_password::{PasswordSubmitted, SubmitPasswordRequest};

use crate::callout::{CalloutBody, CalloutErrorCode, CalloutRecord, Client, Event};
use crate::config::{ApplicationConfig, ListenerConfig};
use crate::directory::{self, Directory};
use crate::encryption;
use crate::sign_in::{self, Activity, Refusal, SignInRecord};

/// Where and how a user does something.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// The application's id or display name.
    pub application: String,
    /// What the callout says as `protocol`.
    pub protocol: String,
    /// The user's device.
    pub client: Client,
    /// Correlation id; a new one if absent.
    pub correlation_id: Option<Uuid>,
}

/// How something ended, and all callouts that were made on the way.
#[derive(Debug, Clone)]
pub struct Outcome<T> {
    /// Correlation id, the same as in the callouts and the log.
    pub correlation_id: Uuid,
    /// How it ended, or the callout's failure that ended it.
    pub result: Result<T, Refusal>,
    /// The callouts, oldest first.
    pub callouts: Vec<CalloutRecord>,
}

/// Why something could not even begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user or the application does not exist, or no listener applies.
    #[error(transparent)]
    SignIn(#[from] sign_in::Error),
    /// The application's sign-ups have no page.
    #[error("no user flow of directory {directory} names application {application}, so nobody can sign up")]
    NoUserFlow {
        /// The directory.
        directory: Uuid,
        /// The application's id.
        application: Uuid,
    },
    /// A submitted value can't have been submitted on the page.
    #[error("the value of `{name}` can't be submitted: {reason}")]
    Submission {
        /// The attribute.
        name: String,
        /// Why.
        reason: String,
    },
    /// The user can't be created, and nobody was asked.
    #[error("the user can't be created: {0}")]
    NotCreated(&'static str),
    /// The directory can't do it.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// The password can't be encrypted.
    #[error(transparent)]
    Encryption(#[from] encryption::Error),
}

// === impl Circumstances ===

impl Circumstances {
    /// By OAuth 2.0, from this machine.
    pub fn new(application: impl Into<String>) -> Self {
        Self {
            application: application.into(),
            protocol: "OAUTH2.0".to_owned(),
            client: Client::default(),
            correlation_id: None,
        }
    }
}

// === impl Outcome ===

impl<T> Outcome<T> {
    /// The last callout; absent when no listener applies to the application.
    #[must_use]
    pub fn callout(&self) -> Option<&CalloutRecord> {
        self.callouts.last()
    }
}

/// Something under way: what it shares with its callouts and its line in the log.
struct Visit<'a> {
    directory: &'a Directory,
    application: &'a ApplicationConfig,
    circumstances: &'a Circumstances,
    correlation_id: Uuid,
    created_date_time: String,
    callouts: Vec<CalloutRecord>,
}

impl<'a> Visit<'a> {
    fn begin(directory: &'a Directory, circumstances: &'a Circumstances) -> Result<Self, Error> {
        Ok(Self {
            directory,
            application: directory.application(&circumstances.application)?,
            circumstances,
            correlation_id: circumstances.correlation_id.unwrap_or_else(Uuid::new_v4),
            created_date_time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            callouts: Vec::new(),
        })
    }

    fn listener(&self, event: Event) -> Option<&'a ListenerConfig> {
        self.directory.find_listener(event, self.application.app_id)
    }

    /// The listener, where there must be one.
    fn needed_listener(&self, event: Event) -> Result<&'a ListenerConfig, Error> {
        let application = self.application.app_id;
        Ok(self
            .listener(event)
            .ok_or(sign_in::Error::NoListener { event, application })?)
    }

    fn body(&self, listener: &ListenerConfig) -> CalloutBody {
        let device = (self.circumstances.protocol.as_str(), &self.circumstances.client);
        self.directory
            .new_body(listener, self.application, device, self.correlation_id)
    }

    /// Keeps the record of a callout; what it failed with, if it did.
    fn record<T>(&mut self, (record, answer): (CalloutRecord, Option<T>)) -> Result<T, Refusal> {
        let code = record
            .error_code
            .unwrap_or(CalloutErrorCode::EventHandlerUnexpectedError);
        self.callouts.push(record);
        answer.ok_or(Refusal::Callout(code))
    }

    /// Writes the log. `error_code` is 0, or the number of the AADSTS error that the user sees.
    fn end<T>(
        self,
        activity: Activity,
        user_id: Uuid,
        result: Result<T, Refusal>,
        error_code: impl FnOnce(&T) -> u32,
    ) -> Outcome<T> {
        let error_code = match &result {
            Ok(value) => error_code(value),
            Err(refusal) => refusal.aadsts(),
        };
        let last = self.callouts.last();
        tracing::info!(
            directory = %self.directory.id(), correlation_id = %self.correlation_id, ?activity, error_code,
            application = %self.application.app_id,
            callout_error = last.and_then(|callout| callout.error_code).map(CalloutErrorCode::code),
            "done"
        );
        let mut earlier_callouts = self.callouts.clone();
        let callout = earlier_callouts.pop();
        self.directory.journal().add(SignInRecord {
            correlation_id: self.correlation_id,
            created_date_time: self.created_date_time,
            activity,
            user_id,
            app_id: self.application.app_id,
            error_code,
            callout,
            earlier_callouts,
        });
        Outcome {
            correlation_id: self.correlation_id,
            result,
            callouts: self.callouts,
        }
    }
}
