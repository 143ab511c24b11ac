//! Entra's error codes for custom authentication extensions, as one closed enum.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// An error that Entra shows in the sign-in log for a callout. There is no 1003013.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
        #[serde(try_from = "u32", into = "u32")]
        pub enum CalloutErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl CalloutErrorCode {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number, such as 1003002.
            #[must_use]
            pub fn code(self) -> u32 {
                match self { $(Self::$variant => $code,)* }
            }

            /// Entra's name, such as `CustomExtensionInvalidHTTPStatus`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
        }
    };
}

codes! {
    /// Unexpected failure in an event handler.
    EventHandlerUnexpectedError = 1_003_000,
    /// Unexpected failure while calling; here: the connection broke before the answer was complete.
    CustomExtensionUnexpectedError = 1_003_001,
    /// The status is not 200.
    CustomExtensionInvalidHTTPStatus = 1_003_002,
    /// The body is not what the event's schema says.
    CustomExtensionInvalidResponseBody = 1_003_003,
    /// Too many requests to extensions.
    CustomExtensionThrottlingError = 1_003_004,
    /// No answer in time.
    CustomExtensionTimedOut = 1_003_005,
    /// The content type is not `application/json`.
    CustomExtensionInvalidResponseContentType = 1_003_006,
    /// `claims` is absent or null.
    CustomExtensionNullClaimsResponse = 1_003_007,
    /// Another `apiSchemaVersion` than asked for (a legacy contract; never raised here).
    CustomExtensionInvalidResponseApiSchemaVersion = 1_003_008,
    /// The body is empty or `null`.
    CustomExtensionEmptyResponse = 1_003_009,
    /// Not exactly one action.
    CustomExtensionInvalidNumberOfActions = 1_003_010,
    /// The listener names an extension that does not exist.
    CustomExtensionNotFound = 1_003_011,
    /// The action is not one of the event's.
    CustomExtensionInvalidActionType = 1_003_012,
    /// The resource id is not `api://{host}/{appId}`.
    CustomExtensionIncorrectResourceIdFormat = 1_003_014,
    /// The target URL and the resource id have different hosts.
    CustomExtensionDomainNameDoesNotMatch = 1_003_015,
    /// The application of the resource id has no service principal.
    CustomExtensionResourceServicePrincipalNotFound = 1_003_016,
    /// The caller's service principal is missing.
    CustomExtensionClientServicePrincipalNotFound = 1_003_017,
    /// The caller's service principal is disabled.
    CustomExtensionClientServiceDisabled = 1_003_018,
    /// The resource's service principal is disabled.
    CustomExtensionResourceServicePrincipalDisabled = 1_003_019,
    /// The target URL is not a valid https URL.
    CustomExtensionIncorrectTargetUrlFormat = 1_003_020,
    /// `CustomAuthenticationExtension.Receive.Payload` has no admin consent.
    CustomExtensionPermissionNotGrantedToServicePrincipal = 1_003_021,
    /// Microsoft Graph's service principal is disabled or missing.
    CustomExtensionMsGraphServicePrincipalDisabledOrNotFound = 1_003_022,
    /// The endpoint is blocked by the service.
    CustomExtensionBlocked = 1_003_023,
    /// The answer is too big.
    CustomExtensionResponseSizeExceeded = 1_003_024,
    /// The claims are too big.
    CustomExtensionResponseClaimsSizeExceeded = 1_003_025,
    /// A claim has an empty key.
    CustomExtensionNullOrEmptyClaimKeyNotSupported = 1_003_026,
    /// No connection could be made.
    CustomExtensionConnectionError = 1_003_027,
}

impl CalloutErrorCode {
    /// Whether the code comes from a part of Entra that the local Entra does not have, so that only configuration can
    /// raise it.
    pub(crate) fn is_state_of_entra(self) -> bool {
        matches!(
            self,
            Self::CustomExtensionThrottlingError
                | Self::CustomExtensionResourceServicePrincipalNotFound
                | Self::CustomExtensionClientServicePrincipalNotFound
                | Self::CustomExtensionClientServiceDisabled
                | Self::CustomExtensionResourceServicePrincipalDisabled
                | Self::CustomExtensionPermissionNotGrantedToServicePrincipal
                | Self::CustomExtensionMsGraphServicePrincipalDisabledOrNotFound
                | Self::CustomExtensionBlocked
        )
    }
}

impl TryFrom<u32> for CalloutErrorCode {
    type Error = String;

    fn try_from(code: u32) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.code() == code)
            .ok_or_else(|| {
                format!("{code} is not an error code of custom authentication extensions (1003000 to 1003027)")
            })
    }
}

impl From<CalloutErrorCode> for u32 {
    fn from(code: CalloutErrorCode) -> Self {
        code.code()
    }
}

impl fmt::Display for CalloutErrorCode {
    /// As the sign-in log shows it: number and name.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.code(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_number_and_1003013_is_not() {
        for code in CalloutErrorCode::ALL {
            assert_eq!(CalloutErrorCode::try_from(code.code()), Ok(*code));
        }
        assert_eq!(CalloutErrorCode::ALL.len(), 27);
        assert!(CalloutErrorCode::try_from(1_003_013).is_err());
    }

    #[test]
    fn a_code_reads_as_in_the_sign_in_log() {
        assert_eq!(
            CalloutErrorCode::CustomExtensionInvalidHTTPStatus.to_string(),
            "1003002 CustomExtensionInvalidHTTPStatus"
        );
    }
}
