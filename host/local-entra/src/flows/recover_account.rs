//! Recovering an account with a Verified ID.

use serde::Serialize;
use uuid::Uuid;

use super::{Circumstances, Error, Outcome, Visit};
use crate::callout::{CalloutBody, ClaimValidation, Event, VerifiedIdClaims};
use crate::config::ListenerConfig;
use crate::directory::Directory;
use crate::sign_in::Activity;
use crate::users::User;

/// Who recovers an account, and with what.
#[derive(Debug, Clone)]
pub struct RecoverAccountRequest {
    /// Directory id.
    pub directory: Uuid,
    /// The user's object id, mail or user principal name.
    pub user: String,
    /// What the user presented.
    pub claims: VerifiedIdClaims,
    /// Where and how.
    pub circumstances: Circumstances,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum AccountRecovered {
    /// The claims are the user's, or no listener applies: the user got a Temporary Access Pass.
    TemporaryAccessPassIssued {
        /// The pass's id. There is nothing to use it for here.
        id: Uuid,
    },
    /// Claims are not the user's.
    ClaimsFailed {
        /// Which.
        failed_claims: Vec<String>,
    },
}

impl RecoverAccountRequest {
    /// A recovery with some claims.
    pub fn new(
        directory: Uuid,
        user: impl Into<String>,
        application: impl Into<String>,
        claims: VerifiedIdClaims,
    ) -> Self {
        Self {
            directory,
            user: user.into(),
            claims,
            circumstances: Circumstances::new(application),
        }
    }
}

impl Directory {
    /// The body of the callout that a recovery would make.
    ///
    /// # Errors
    /// When user or application do not exist, or no listener applies.
    pub fn verified_id_claim_validation_body(&self, request: &RecoverAccountRequest) -> Result<CalloutBody, Error> {
        let visit = Visit::begin(self, &request.circumstances)?;
        let user = self.user(&request.user)?;
        let listener = visit.needed_listener(Event::VerifiedIdClaimValidation)?;
        Ok(body(&visit, listener, &user, request))
    }

    /// Recovers an account.
    ///
    /// # Errors
    /// When user or application do not exist.
    pub async fn recover_account(&self, request: &RecoverAccountRequest) -> Result<Outcome<AccountRecovered>, Error> {
        let mut visit = Visit::begin(self, &request.circumstances)?;
        let user = self.user(&request.user)?;
        let validation = match visit.listener(Event::VerifiedIdClaimValidation) {
            None => Ok(ClaimValidation::Pass),
            Some(listener) => {
                let body = body(&visit, listener, &user, request);
                let answered = self
                    .callout(listener, &body)
                    .verified_id_claim_validation(&request.claims)
                    .await;
                visit.record(answered)
            }
        };
        let result = validation.map(|validation| match validation {
            ClaimValidation::Pass => AccountRecovered::TemporaryAccessPassIssued { id: Uuid::new_v4() },
            ClaimValidation::Failed(failed_claims) => AccountRecovered::ClaimsFailed { failed_claims },
        });
        Ok(visit.end(Activity::RecoverAccount, user.profile.id, result, |_| 0))
    }
}

fn body(visit: &Visit<'_>, listener: &ListenerConfig, user: &User, request: &RecoverAccountRequest) -> CalloutBody {
    CalloutBody {
        user: Some(user.profile.clone()),
        data: request.claims.to_data(),
        ..visit.body(listener)
    }
}
