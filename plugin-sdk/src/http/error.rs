//! Why there is no response, or none that can be used.

use std::fmt;

use crate::bindings::http as wit;

/// Why there is no response, or none that can be used.
///
/// No [`std::error::Error`], so that `?` can choose the kind of the failure it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The binding was not granted an upstream of this name.
    NotGranted(String),
    /// The upstream is not open for this method and path.
    NotAllowed(String),
    /// The request is malformed, or has a header that plugins cannot set.
    Invalid(String),
    /// The request or the response is larger than the upstream allows.
    TooLarge(String),
    /// The upstream could not be reached or is not asked for a while because it has failed so often.
    Unavailable(String),
    /// The invocation has made all the calls it may make.
    QuotaExceeded,
    /// The time of the call, or what the callout had left, is over. The upstream may have acted on the request.
    DeadlineExceeded,
    /// The upstream answered with a status that says failure (4xx, 5xx), or with a redirect where a body was wanted.
    Status(u16),
    /// The body is not what was wanted.
    Body(String),
}

impl Error {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::DeadlineExceeded | Self::Status(408 | 429 | 500..=599)
        )
    }

    /// The status that was answered, if that is what was wrong.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted(why) | Self::NotAllowed(why) | Self::Invalid(why) | Self::TooLarge(why) => {
                formatter.write_str(why)
            }
            Self::Unavailable(why) => write!(formatter, "the upstream is unavailable: {why}"),
            Self::QuotaExceeded => formatter.write_str("the invocation has made all the calls it may make"),
            Self::DeadlineExceeded => formatter.write_str("the upstream did not answer in time"),
            Self::Status(status) => write!(formatter, "the upstream answered {status}"),
            Self::Body(why) => write!(formatter, "the upstream's answer: {why}"),
        }
    }
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        if error.is_transient() {
            Self::unavailable(message)
        } else {
            Self::internal(message)
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NotGranted(why) => Self::NotGranted(why),
            wit::Error::NotAllowed(why) => Self::NotAllowed(why),
            wit::Error::Invalid(why) => Self::Invalid(why),
            wit::Error::TooLarge(why) => Self::TooLarge(why),
            wit::Error::Unavailable(why) => Self::Unavailable(why),
            wit::Error::QuotaExceeded => Self::QuotaExceeded,
            wit::Error::DeadlineExceeded => Self::DeadlineExceeded,
        }
    }
}
