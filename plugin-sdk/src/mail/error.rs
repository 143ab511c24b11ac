//! Why a message was not sent.

use std::fmt;

use crate::bindings::mail as wit;

/// Why a message was not sent.
///
/// No [`std::error::Error`], so that `?` can choose the kind of the failure it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The binding was not granted a mail server of this name.
    NotGranted(String),
    /// The upstream does not send to this address.
    NotAllowed(String),
    /// The address, the subject or the language is malformed.
    Invalid(String),
    /// The message is larger than the upstream allows.
    TooLarge(String),
    /// The server refused the message for good.
    Refused(String),
    /// The server could not be reached, refused for now, or is not asked for a while because it has failed so often.
    Unavailable(String),
    /// The invocation has made all the calls it may make.
    QuotaExceeded,
    /// The time of the call, or what the callout had left, is over. The server may have taken the message.
    DeadlineExceeded,
}

impl Error {
    /// Whether the same message may be taken later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::DeadlineExceeded)
    }

    /// Whether it is about the message or whom it is for, which the callout decides: not about the configuration or the
    /// server.
    #[must_use]
    pub const fn is_of_message(&self) -> bool {
        matches!(self, Self::NotAllowed(_) | Self::Invalid(_) | Self::Refused(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted(why)
            | Self::NotAllowed(why)
            | Self::Invalid(why)
            | Self::TooLarge(why)
            | Self::Refused(why) => formatter.write_str(why),
            Self::Unavailable(why) => write!(formatter, "the mail server is unavailable: {why}"),
            Self::QuotaExceeded => formatter.write_str("the invocation has made all the calls it may make"),
            Self::DeadlineExceeded => formatter.write_str("the mail server did not answer in time"),
        }
    }
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        if error.is_transient() {
            Self::unavailable(message)
        } else if error.is_of_message() {
            Self::rejected(message)
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
            wit::Error::Refused(why) => Self::Refused(why),
            wit::Error::Unavailable(why) => Self::Unavailable(why),
            wit::Error::QuotaExceeded => Self::QuotaExceeded,
            wit::Error::DeadlineExceeded => Self::DeadlineExceeded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Error;
    use crate::ErrorKind;

    #[test]
    fn a_question_mark_makes_the_failure_that_it_is() {
        let why = || "why".to_owned();
        for (error, kind) in [
            (Error::NotGranted(why()), ErrorKind::Internal),
            (Error::NotAllowed(why()), ErrorKind::Rejected),
            (Error::Invalid(why()), ErrorKind::Rejected),
            (Error::TooLarge(why()), ErrorKind::Internal),
            (Error::Refused(why()), ErrorKind::Rejected),
            (Error::Unavailable(why()), ErrorKind::Unavailable),
            (Error::QuotaExceeded, ErrorKind::Internal),
            (Error::DeadlineExceeded, ErrorKind::Unavailable),
        ] {
            assert_eq!(crate::Error::from(error.clone()).kind(), kind, "{error:?}");
        }
    }
}
