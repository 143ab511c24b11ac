//! Why there is no result, or none that can be used.

use std::fmt;

use crate::bindings::sql as wit;

/// Why there is no result, or none that can be used.
///
/// No [`std::error::Error`], so that `?` can choose the kind of the failure it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The binding was not granted a database of this name.
    NotGranted(String),
    /// There is no statement of this name, the database does not take statements' texts, or it is read-only.
    NotAllowed(String),
    /// The parameters are not those that the statement takes, or it gives values that have no form here.
    Invalid(String),
    /// The result or the parameters are larger than the upstream allows.
    TooLarge(String),
    /// The database refused the statement.
    Failed {
        /// The SQLSTATE, or SQLite's result code.
        code: Option<String>,
        /// What it says. It can hold values of the statement and of rows.
        message: String,
    },
    /// The database could not be reached or is not asked for a while because it has failed so often.
    Unavailable(String),
    /// The invocation has made all the calls it may make.
    QuotaExceeded,
    /// The time of the call, or what the callout had left, is over.
    DeadlineExceeded,
    /// A row is not what was wanted.
    Row(String),
}

impl Error {
    /// Whether a later attempt may succeed.
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
            Self::Failed { code, message } => {
                formatter.write_str("the database refused the statement")?;
                if let Some(code) = code {
                    write!(formatter, ", {code}")?;
                }
                // Data exceptions and violated constraints are told with the values, and this text is logged.
                let tells_values = code
                    .as_deref()
                    .is_some_and(|code| code.starts_with("22") || code.starts_with("23"));
                if tells_values {
                    Ok(())
                } else {
                    write!(formatter, ": {message}")
                }
            }
            Self::Unavailable(why) => write!(formatter, "the database is unavailable: {why}"),
            Self::QuotaExceeded => formatter.write_str("the invocation has made all the calls it may make"),
            Self::DeadlineExceeded => formatter.write_str("the database did not answer in time"),
            Self::Row(why) => write!(formatter, "a row: {why}"),
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
            wit::Error::Failed(wit::Refusal { code, message }) => Self::Failed { code, message },
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
    fn what_a_later_attempt_may_mend_is_unavailable() {
        let refused = |code: &str| Error::Failed {
            code: Some(code.to_owned()),
            message: "ada@example.org".to_owned(),
        };
        for (error, kind) in [
            (Error::Unavailable("x".into()), ErrorKind::Unavailable),
            (Error::DeadlineExceeded, ErrorKind::Unavailable),
            (Error::NotGranted("x".into()), ErrorKind::Internal),
            (Error::NotAllowed("x".into()), ErrorKind::Internal),
            (Error::QuotaExceeded, ErrorKind::Internal),
            (Error::Row("x".into()), ErrorKind::Internal),
            (refused("42P01"), ErrorKind::Internal),
        ] {
            assert_eq!(crate::Error::from(error.clone()).kind(), kind, "{error}");
        }
        assert_eq!(
            refused("42P01").to_string(),
            "the database refused the statement, 42P01: ada@example.org"
        );
        assert_eq!(
            refused("22P02").to_string(),
            "the database refused the statement, 22P02"
        );
    }
}
