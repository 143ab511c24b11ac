//! Why the cache has no result.

use std::fmt;

use crate::bindings::cache as wit;

/// Why the cache has no result.
///
/// No [`std::error::Error`], so that `?` can choose the kind of the failure it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The binding has no cache.
    NotGranted(String),
    /// Key or value is larger than the binding's cache allows.
    TooLarge(String),
    /// The invocation has made all the calls it may make.
    QuotaExceeded,
    /// What the callout had left is over: whoever fills the key has not done so yet.
    DeadlineExceeded,
    /// The value cannot be written as JSON, or is not what was wanted.
    Value(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted(why) | Self::TooLarge(why) => formatter.write_str(why),
            Self::QuotaExceeded => formatter.write_str("the invocation has made all the calls it may make"),
            Self::DeadlineExceeded => formatter.write_str("nobody has filled the cache's key in time"),
            Self::Value(why) => write!(formatter, "the cache's value: {why}"),
        }
    }
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::DeadlineExceeded => Self::unavailable(message),
            _ => Self::internal(message),
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NotGranted(why) => Self::NotGranted(why),
            wit::Error::TooLarge(why) => Self::TooLarge(why),
            wit::Error::QuotaExceeded => Self::QuotaExceeded,
            wit::Error::DeadlineExceeded => Self::DeadlineExceeded,
        }
    }
}
