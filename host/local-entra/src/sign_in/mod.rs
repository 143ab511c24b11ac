//! Signing a user in: find the listener, call the extension, map its claims, issue the ID token, write the log.
//!
//! There is no authentication: whoever is named is signed in.

mod claims;
mod journal;

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

pub(crate) use journal::Journal;
pub use journal::{Activity, SignInRecord};

use crate::callout::{CalloutBody, CalloutErrorCode, CalloutRecord, Client, Event};
use crate::config::{ApplicationConfig, ClaimsMappingPolicy, TokenVersion, UserConfig};
use crate::directory::{self, Directory};
use crate::mapping::{self, MappingReport};
use crate::users::User;

/// Who signs in to what.
#[derive(Debug, Clone)]
pub struct SignInRequest {
    /// Directory id.
    pub directory: Uuid,
    /// The user's object id, mail or user principal name.
    pub user: String,
    /// The application's id or display name.
    pub application: String,
    /// What the callout says as `protocol`; the token is an ID token in any case.
    pub protocol: String,
    /// The user's device.
    pub client: Client,
    /// Correlation id; a new one if absent.
    pub correlation_id: Option<Uuid>,
}

/// How a sign-in ended, and all that was seen on the way.
#[derive(Debug, Clone)]
pub struct SignInOutcome {
    /// Correlation id, the same as in the callout and the log.
    pub correlation_id: Uuid,
    /// The token, or why there is none.
    pub result: Result<SignedIn, Refusal>,
    /// The callout; absent when no listener applies to the application.
    pub callout: Option<CalloutRecord>,
}

/// A token was issued.
#[derive(Debug, Clone, Serialize)]
pub struct SignedIn {
    /// The ID token.
    pub id_token: String,
    /// The token's claims without mapping.
    pub claims_before: Map<String, Value>,
    /// The token's claims.
    pub claims_after: Map<String, Value>,
    /// What mapping added or replaced.
    pub added: Map<String, Value>,
}

/// No token was issued, and this is what the application is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The callout failed.
    #[error("AADSTS1100001: Non-retryable error has occurred. The custom authentication extension failed: {0}.")]
    Callout(CalloutErrorCode),
    /// Claims are mapped for an application that does not accept mapped claims.
    #[error(
        "AADSTS50146: This application is required to be configured with an application-specific signing key, or to set \
         `accept_mapped_claims`, because claims are mapped for it."
    )]
    MappedClaimsNotAccepted,
}

/// Why a sign-in could not even begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such user.
    #[error("AADSTS50034: The user `{user}` does not exist in directory {directory}.")]
    UnknownUser {
        /// As asked for.
        user: String,
        /// Where.
        directory: Uuid,
    },
    /// There is no such application.
    #[error("AADSTS700016: The application `{application}` was not found in directory {directory}.")]
    UnknownApplication {
        /// As asked for.
        application: String,
        /// Where.
        directory: Uuid,
    },
    /// No listener applies to the application, so there would be no callout.
    #[error("no listener for {event} applies to application {application}, so there is no callout for it")]
    NoListener {
        /// The event.
        event: Event,
        /// The application's id.
        application: Uuid,
    },
    /// The token can't be signed.
    #[error(transparent)]
    Directory(#[from] directory::Error),
}

// === impl SignInRequest ===

impl SignInRequest {
    /// A sign-in by OAuth 2.0 from this machine.
    pub fn new(directory: Uuid, user: impl Into<String>, application: impl Into<String>) -> Self {
        Self {
            directory,
            user: user.into(),
            application: application.into(),
            protocol: "OAUTH2.0".to_owned(),
            client: Client::default(),
            correlation_id: None,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// The number after `AADSTS`.
    #[must_use]
    pub fn aadsts(self) -> u32 {
        match self {
            Self::Callout(_) => 1_100_001,
            Self::MappedClaimsNotAccepted => 50_146,
        }
    }
}

// === impl Directory ===

impl Directory {
    /// The body of the callout that a sign-in would make.
    ///
    /// # Errors
    /// When user or application do not exist, or no listener applies.
    pub fn callout_body(&self, request: &SignInRequest) -> Result<CalloutBody, Error> {
        let (user, application) = self.who_and_what(request)?;
        let event = Event::TokenIssuanceStart;
        let listener = self.find_listener(event, application.app_id).ok_or(Error::NoListener {
            event,
            application: application.app_id,
        })?;
        let correlation_id = request.correlation_id.unwrap_or_else(Uuid::new_v4);
        let device = (request.protocol.as_str(), &request.client);
        Ok(CalloutBody {
            user: Some(user.profile.clone()),
            ..self.new_body(listener, application, device, correlation_id)
        })
    }

    /// Signs a user in. A callout that fails is an outcome, not an error.
    ///
    /// # Errors
    /// When user or application do not exist, or the token can't be signed.
    pub async fn sign_in(&self, request: &SignInRequest) -> Result<SignInOutcome, Error> {
        let (user, application) = self.who_and_what(request)?;
        let created_date_time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let correlation_id = request.correlation_id.unwrap_or_else(Uuid::new_v4);
        let request = SignInRequest {
            correlation_id: Some(correlation_id),
            ..request.clone()
        };

        let (mut callout, returned) = self.call_extension(&request, application).await?;
        let failed = callout.as_ref().and_then(|callout| callout.error_code);
        let result = match failed {
            Some(code) => Err(Refusal::Callout(code)),
            None => self.issue(&user.profile, application, returned.as_ref(), callout.as_mut())?,
        };

        let error_code = result.as_ref().err().map_or(0, |refusal| refusal.aadsts());
        tracing::info!(
            directory = %self.id(), %correlation_id, application = %application.app_id, error_code,
            callout_error = callout.as_ref().and_then(|callout| callout.error_code).map(CalloutErrorCode::code),
            attempts = callout.as_ref().map(|callout| callout.number_of_attempts),
            "sign-in"
        );
        self.journal().add(SignInRecord {
            correlation_id,
            created_date_time,
            activity: Activity::SignIn,
            user_id: user.profile.id,
            app_id: application.app_id,
            error_code,
            callout: callout.clone(),
            earlier_callouts: Vec::new(),
        });
        Ok(SignInOutcome {
            correlation_id,
            result,
            callout,
        })
    }

    /// The sign-in log, newest first.
    #[must_use]
    pub fn sign_ins(&self) -> Vec<SignInRecord> {
        self.journal().newest_first()
    }

    fn who_and_what(&self, request: &SignInRequest) -> Result<(Arc<User>, &ApplicationConfig), Error> {
        Ok((self.user(&request.user)?, self.application(&request.application)?))
    }

    /// The user that a request names.
    pub(crate) fn user(&self, name: &str) -> Result<Arc<User>, Error> {
        self.users().find(name).ok_or_else(|| Error::UnknownUser {
            user: name.to_owned(),
            directory: self.id(),
        })
    }

    /// The application that a request names.
    pub(crate) fn application(&self, name: &str) -> Result<&ApplicationConfig, Error> {
        self.find_application(name).ok_or_else(|| Error::UnknownApplication {
            application: name.to_owned(),
            directory: self.id(),
        })
    }

    async fn call_extension(
        &self,
        request: &SignInRequest,
        application: &ApplicationConfig,
    ) -> Result<(Option<CalloutRecord>, Option<Map<String, Value>>), Error> {
        let Some(listener) = self.find_listener(Event::TokenIssuanceStart, application.app_id) else {
            return Ok((None, None));
        };
        let body = self.callout_body(request)?;
        let (record, returned) = self.callout(listener, &body).token_issuance_start().await;
        Ok((Some(record), returned))
    }

    /// Issues the token. `acceptMappedClaims` is looked at last, so that the log shows the callout; where Entra looks at it
    /// is not documented.
    fn issue(
        &self,
        user: &UserConfig,
        application: &ApplicationConfig,
        returned: Option<&Map<String, Value>>,
        callout: Option<&mut CalloutRecord>,
    ) -> Result<Result<SignedIn, Refusal>, Error> {
        let policy = self.find_policy(application.app_id);
        let nothing = Map::new();
        let (added, report) = mapping::apply(policy, returned.unwrap_or(&nothing));
        if let Some(callout) = callout {
            warn_about(&report, application);
            callout.claims = Some(report);
        }
        if !application.accept_mapped_claims && policy.is_some_and(mapping::maps_anything) {
            return Ok(Err(Refusal::MappedClaimsNotAccepted));
        }
        let basic_claim_set = policy.is_none_or(ClaimsMappingPolicy::includes_basic_claim_set);
        let claims_before = claims::id_token_claims(self, application, user, basic_claim_set);
        let mut claims_after = claims_before.clone();
        claims_after.extend(added.clone());
        let id_token = self.sign(TokenVersion::V2, claims_after.clone())?;
        Ok(Ok(SignedIn {
            id_token,
            claims_before,
            claims_after,
            added,
        }))
    }
}

fn warn_about(report: &MappingReport, application: &ApplicationConfig) {
    for hint in &report.hints {
        tracing::warn!(application = %application.app_id, hint, "claims mapping");
    }
}
