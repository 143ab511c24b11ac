//! The events, and what each of them is called on the wire.
//!
//! Adding an event is adding a variant here and a module with its [`Spec`], its part of the body and its reading of the
//! action.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    attribute_collection_start, attribute_collection_submit, email_otp_send, password_submit, token_issuance_start,
    verified_id_claim_validation,
};
use crate::config::DirectoryKind;

/// An event that a listener can listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Event {
    /// A token is about to be issued to an application.
    #[serde(rename = "tokenIssuanceStart")]
    TokenIssuanceStart,
    /// The page on which a new user fills in attributes is about to be shown.
    #[serde(rename = "attributeCollectionStart")]
    AttributeCollectionStart,
    /// A new user has submitted that page.
    #[serde(rename = "attributeCollectionSubmit")]
    AttributeCollectionSubmit,
    /// A one-time code is to be mailed.
    #[serde(rename = "emailOtpSend")]
    EmailOtpSend,
    /// A user who is to be migrated has submitted a password that is not the stored one.
    #[serde(rename = "passwordSubmit")]
    PasswordSubmit,
    /// A user who recovers an account has presented a Verified ID.
    #[serde(rename = "verifiedIdClaimValidation")]
    VerifiedIdClaimValidation,
}

/// An event's names on the wire.
#[derive(Debug)]
pub(crate) struct Spec {
    /// The event's own name.
    pub(crate) name: &'static str,
    /// `type` of the body.
    pub(crate) body_type: &'static str,
    /// `data.@odata.type` of the body.
    pub(crate) callout_data_type: &'static str,
    /// `data.@odata.type` of the answer.
    pub(crate) response_data_type: &'static str,
    /// `@odata.type` of the actions that may be answered, as documented.
    pub(crate) action_types: &'static [&'static str],
    /// Action types of earlier versions of the contract that are still understood, with a warning.
    pub(crate) legacy_action_types: &'static [(&'static str, &'static str)],
}

impl Event {
    /// The event's name, such as `tokenIssuanceStart`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    pub(crate) fn spec(self) -> &'static Spec {
        match self {
            Self::TokenIssuanceStart => &token_issuance_start::SPEC,
            Self::AttributeCollectionStart => &attribute_collection_start::SPEC,
            Self::AttributeCollectionSubmit => &attribute_collection_submit::SPEC,
            Self::EmailOtpSend => &email_otp_send::SPEC,
            Self::PasswordSubmit => &password_submit::SPEC,
            Self::VerifiedIdClaimValidation => &verified_id_claim_validation::SPEC,
        }
    }

    /// The kind of directory that has the event; absent when all have it.
    #[must_use]
    pub fn directory_kind(self) -> Option<DirectoryKind> {
        match self {
            Self::TokenIssuanceStart => None,
            Self::AttributeCollectionStart
            | Self::AttributeCollectionSubmit
            | Self::EmailOtpSend
            | Self::PasswordSubmit => Some(DirectoryKind::External),
            Self::VerifiedIdClaimValidation => Some(DirectoryKind::Workforce),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
