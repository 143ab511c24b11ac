//! The events Entra calls an extension for, and how the wire spells them.

use std::fmt;
use std::str::FromStr;

/// An event of Entra's custom authentication extensions (contract.md, section 0.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// A token is about to be issued; the extension adds claims.
    TokenIssuanceStart,
    /// The page that collects a new user's attributes is about to be shown.
    AttributeCollectionStart,
    /// A new user has submitted that page.
    AttributeCollectionSubmit,
    /// A one-time code has to reach a user.
    EmailOtpSend,
    /// A user who is still to be migrated has typed a password.
    PasswordSubmit,
    /// A user who recovers an account has presented a Verified ID.
    VerifiedIdClaimValidation,
}

/// How the wire spells an event: capitals are Entra's, and differ between events.
struct Spelling {
    name: &'static str,
    request_type: &'static str,
    callout_data_type: &'static str,
    response_data_type: &'static str,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 6] = [
        Self::TokenIssuanceStart,
        Self::AttributeCollectionStart,
        Self::AttributeCollectionSubmit,
        Self::EmailOtpSend,
        Self::PasswordSubmit,
        Self::VerifiedIdClaimValidation,
    ];

    const fn spelling(self) -> Spelling {
        match self {
            Self::TokenIssuanceStart => Spelling {
                name: "tokenIssuanceStart",
                request_type: "microsoft.graph.authenticationEvent.tokenIssuanceStart",
                callout_data_type: "microsoft.graph.onTokenIssuanceStartCalloutData",
                response_data_type: "microsoft.graph.onTokenIssuanceStartResponseData",
            },
            Self::AttributeCollectionStart => Spelling {
                name: "attributeCollectionStart",
                request_type: "microsoft.graph.authenticationEvent.attributeCollectionStart",
                callout_data_type: "microsoft.graph.onAttributeCollectionStartCalloutData",
                response_data_type: "microsoft.graph.onAttributeCollectionStartResponseData",
            },
            Self::AttributeCollectionSubmit => Spelling {
                name: "attributeCollectionSubmit",
                request_type: "microsoft.graph.authenticationEvent.attributeCollectionSubmit",
                callout_data_type: "microsoft.graph.onAttributeCollectionSubmitCalloutData",
                response_data_type: "microsoft.graph.onAttributeCollectionSubmitResponseData",
            },
            Self::EmailOtpSend => Spelling {
                name: "emailOtpSend",
                request_type: "microsoft.graph.authenticationEvent.emailOtpSend",
                callout_data_type: "microsoft.graph.onOtpSendCalloutData",
                response_data_type: "microsoft.graph.OnOtpSendResponseData",
            },
            Self::PasswordSubmit => Spelling {
                name: "passwordSubmit",
                request_type: "microsoft.graph.authenticationEvent.passwordSubmit",
                callout_data_type: "microsoft.graph.onPasswordSubmitCalloutData",
                response_data_type: "microsoft.graph.onPasswordSubmitResponseData",
            },
            Self::VerifiedIdClaimValidation => Spelling {
                name: "verifiedIdClaimValidation",
                request_type: "microsoft.graph.authenticationEvent.verifiedIdClaimValidation",
                callout_data_type: "microsoft.graph.onVerifiedIdClaimValidationCalloutData",
                response_data_type: "microsoft.graph.onVerifiedIdClaimValidationResponseData",
            },
        }
    }

    /// The event's name as configuration, metrics and logs write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spelling().name
    }

    /// The request's `type`.
    #[must_use]
    pub const fn request_type(self) -> &'static str {
        self.spelling().request_type
    }

    /// The request's `data.@odata.type`.
    #[must_use]
    pub const fn callout_data_type(self) -> &'static str {
        self.spelling().callout_data_type
    }

    /// The response's `data.@odata.type`.
    #[must_use]
    pub const fn response_data_type(self) -> &'static str {
        self.spelling().response_data_type
    }

    /// The event whose request `type` this is. Case is ignored: Microsoft's own library compares it so and spells it
    /// in more than one way.
    #[must_use]
    pub fn from_request_type(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|event| event.request_type().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A text that names no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown event `{0}`, expected one of {names}", names = Event::ALL.map(Event::name).join(", "))]
pub struct UnknownEvent(String);

impl FromStr for Event {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        Self::ALL
            .into_iter()
            .find(|event| event.name() == text)
            .ok_or_else(|| UnknownEvent(text.to_owned()))
    }
}
