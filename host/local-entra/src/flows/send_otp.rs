//! Sending a one-time code.

use serde::Serialize;
use uuid::Uuid;

use super::{Circumstances, Error, Outcome, Visit};
use crate::callout::{CalloutBody, Event, otp_context};
use crate::config::BehaviorOnError;
use crate::directory::Directory;
use crate::sign_in::{Activity, Refusal};

/// Who gets a one-time code, and what for.
#[derive(Debug, Clone)]
pub struct SendOtpRequest {
    /// Directory id.
    pub directory: Uuid,
    /// The address.
    pub identifier: String,
    /// What the code is for: `signUp` is the only value that Entra documents.
    pub request_type: String,
    /// The code; eight random digits if absent.
    pub one_time_code: Option<String>,
    /// Where and how.
    pub circumstances: Circumstances,
}

/// Who sent the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CodeDelivered {
    /// The extension.
    ByExtension,
    /// Microsoft, because no listener applies.
    ByMicrosoft,
    /// Microsoft, because the extension failed and the listener says so.
    ByMicrosoftAfterFailure,
}

impl SendOtpRequest {
    /// A code for a sign-up.
    pub fn new(directory: Uuid, identifier: impl Into<String>, application: impl Into<String>) -> Self {
        Self {
            directory,
            identifier: identifier.into(),
            request_type: "signUp".to_owned(),
            one_time_code: None,
            circumstances: Circumstances::new(application),
        }
    }
}

impl Directory {
    /// The body of the callout that sending a code would make.
    ///
    /// # Errors
    /// When the application does not exist or no listener applies.
    pub fn email_otp_send_body(&self, request: &SendOtpRequest) -> Result<CalloutBody, Error> {
        let visit = Visit::begin(self, &request.circumstances)?;
        Ok(body(&visit, request)?.0)
    }

    /// Sends a one-time code. The outcome does not hold the code.
    ///
    /// # Errors
    /// When the application does not exist.
    pub async fn send_otp(&self, request: &SendOtpRequest) -> Result<Outcome<CodeDelivered>, Error> {
        let mut visit = Visit::begin(self, &request.circumstances)?;
        let result = if visit.listener(Event::EmailOtpSend).is_none() {
            Ok(CodeDelivered::ByMicrosoft)
        } else {
            let (body, listener) = body(&visit, request)?;
            let record = self.callout(listener, &body).email_otp_send().await;
            let failed = record.error_code;
            visit.callouts.push(record);
            match (failed, self.behavior_on_error(listener)) {
                (None, _) => Ok(CodeDelivered::ByExtension),
                (Some(_), Some(BehaviorOnError::FallbackToMicrosoftProvider)) => {
                    Ok(CodeDelivered::ByMicrosoftAfterFailure)
                }
                (Some(code), None) => Err(Refusal::Callout(code)),
            }
        };
        let user_id = self.users().find(&request.identifier).map(|user| user.profile.id);
        Ok(visit.end(Activity::SendOtp, user_id.unwrap_or_default(), result, |_| 0))
    }
}

fn body<'a>(
    visit: &Visit<'a>,
    request: &SendOtpRequest,
) -> Result<(CalloutBody, &'a crate::config::ListenerConfig), Error> {
    let listener = visit.needed_listener(Event::EmailOtpSend)?;
    let code = request.one_time_code.clone().unwrap_or_else(random_code);
    let body = CalloutBody {
        request_type: Some(request.request_type.clone()),
        data: otp_context(&request.identifier, &code),
        ..visit.body(listener)
    };
    Ok((body, listener))
}

fn random_code() -> String {
    format!("{:08}", Uuid::new_v4().as_u128() % 100_000_000)
}
