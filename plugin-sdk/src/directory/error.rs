//! Why there is no answer, or none that can be used.

use std::fmt;

use crate::bindings::directory as wit;

/// Why there is no answer, or none that can be used.
///
/// No [`std::error::Error`], so that `?` can choose the kind of the failure it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The binding was not granted a directory of this name.
    NotGranted(String),
    /// The upstream does not allow it: a base outside its own, an attribute, or `authenticate`.
    NotAllowed(String),
    /// Filter, base or arguments are malformed.
    Invalid(String),
    /// There are more entries or bytes than the upstream allows.
    TooLarge(String),
    /// The directory refused what was asked: its result code and name.
    Failed(String),
    /// The directory could not be reached or is not asked for a while because it has failed so often.
    Unavailable(String),
    /// The invocation has made all the calls it may make.
    QuotaExceeded,
    /// The time of the call, or what the callout had left, is over.
    DeadlineExceeded,
    /// There are several entries where one was wanted.
    Ambiguous,
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::DeadlineExceeded)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted(why) | Self::NotAllowed(why) | Self::Invalid(why) | Self::TooLarge(why) => {
                formatter.write_str(why)
            }
            Self::Failed(why) => write!(formatter, "the directory refused it: {why}"),
            Self::Unavailable(why) => write!(formatter, "the directory is unavailable: {why}"),
            Self::QuotaExceeded => formatter.write_str("the invocation has made all the calls it may make"),
            Self::DeadlineExceeded => formatter.write_str("the directory did not answer in time"),
            Self::Ambiguous => formatter.write_str("the directory has several entries where one was wanted"),
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
            wit::Error::Failed(why) => Self::Failed(why),
            wit::Error::Unavailable(why) => Self::Unavailable(why),
            wit::Error::QuotaExceeded => Self::QuotaExceeded,
            wit::Error::DeadlineExceeded => Self::DeadlineExceeded,
        }
    }
}
