//! Entra's own error codes for answers it does not accept (contract.md, section 3.3): what its sign-in log would show.

use std::fmt;

use serde::{Serialize, Serializer};

/// An error of Entra's that an answer can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntraError {
    /// The body does not fit the event's schema.
    InvalidResponseBody,
    /// The claims are null.
    NullClaimsResponse,
    /// There is no body, or it is null.
    EmptyResponse,
    /// Not exactly one action.
    InvalidNumberOfActions,
    /// An action that the event does not have.
    InvalidActionType,
    /// The whole body is too large.
    ResponseSizeExceeded,
    /// The claims are too large.
    ResponseClaimsSizeExceeded,
    /// A claim has no id.
    NullOrEmptyClaimKeyNotSupported,
}

impl EntraError {
    /// The number in Entra's sign-in log.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::InvalidResponseBody => 1_003_003,
            Self::NullClaimsResponse => 1_003_007,
            Self::EmptyResponse => 1_003_009,
            Self::InvalidNumberOfActions => 1_003_010,
            Self::InvalidActionType => 1_003_012,
            Self::ResponseSizeExceeded => 1_003_024,
            Self::ResponseClaimsSizeExceeded => 1_003_025,
            Self::NullOrEmptyClaimKeyNotSupported => 1_003_026,
        }
    }

    /// Entra's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidResponseBody => "CustomExtensionInvalidResponseBody",
            Self::NullClaimsResponse => "CustomExtensionNullClaimsResponse",
            Self::EmptyResponse => "CustomExtensionEmptyResponse",
            Self::InvalidNumberOfActions => "CustomExtensionInvalidNumberOfActions",
            Self::InvalidActionType => "CustomExtensionInvalidActionType",
            Self::ResponseSizeExceeded => "CustomExtensionResponseSizeExceeded",
            Self::ResponseClaimsSizeExceeded => "CustomExtensionResponseClaimsSizeExceeded",
            Self::NullOrEmptyClaimKeyNotSupported => "CustomExtensionNullOrEmptyClaimKeyNotSupported",
        }
    }
}

impl fmt::Display for EntraError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.code(), self.name())
    }
}

impl Serialize for EntraError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.code())
    }
}
