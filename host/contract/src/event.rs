//! The events Entra calls an extension for, and how the wire spells them.

use std::fmt;
use std::str::FromStr;

/// An event of Entra's custom authentication extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// A token is about to be issued; the extension adds claims.
    TokenIssuanceStart,
}

impl Event {
    /// Every event this version answers.
    pub const ALL: [Self; 1] = [Self::TokenIssuanceStart];

    /// The event's name as configuration, metrics and logs write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenIssuanceStart => "tokenIssuanceStart",
        }
    }

    /// The request's `type`.
    #[must_use]
    pub const fn request_type(self) -> &'static str {
        match self {
            Self::TokenIssuanceStart => "microsoft.graph.authenticationEvent.tokenIssuanceStart",
        }
    }

    /// The request's `data.@odata.type`.
    #[must_use]
    pub const fn callout_data_type(self) -> &'static str {
        match self {
            Self::TokenIssuanceStart => "microsoft.graph.onTokenIssuanceStartCalloutData",
        }
    }

    /// The response's `data.@odata.type`.
    #[must_use]
    pub const fn response_data_type(self) -> &'static str {
        match self {
            Self::TokenIssuanceStart => "microsoft.graph.onTokenIssuanceStartResponseData",
        }
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
#[error("unknown event `{0}`, expected `tokenIssuanceStart`")]
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
