//! Why a plugin has no answer.

use std::fmt;

use crate::bindings::callout::Failure;

/// What a function of a plugin returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a plugin has no answer: a kind, for the host's decision, and a text, for the host's log.
///
/// The text never reaches Entra or the user. `?` makes an [`internal`](ErrorKind::Internal) failure of any
/// [`std::error::Error`], with the texts of its sources; [`Context`] says more or chooses another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The kinds of failure a host tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A system the plugin needs did not answer: a later attempt may succeed.
    Unavailable,
    /// The callout holds something the plugin does not accept.
    Rejected,
    /// A defect of the plugin.
    Internal,
}

impl Error {
    /// A system the plugin needs did not answer: a later attempt may succeed.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message.into())
    }

    /// The callout holds something the plugin does not accept.
    #[must_use]
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Rejected, message.into())
    }

    /// A defect of the plugin.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message.into())
    }

    const fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message }
    }

    /// What kind of failure this is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// Not for [`Error`] itself, which is no [`std::error::Error`] for exactly this reason.
impl<E: std::error::Error + 'static> From<E> for Error {
    #[cold]
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::internal(message)
    }
}

impl From<Error> for Failure {
    fn from(Error { kind, message }: Error) -> Self {
        match kind {
            ErrorKind::Unavailable => Self::Unavailable(message),
            ErrorKind::Rejected => Self::Rejected(message),
            ErrorKind::Internal => Self::Internal(message),
        }
    }
}

/// Says what was tried when it failed, on any [`Result`](std::result::Result), and on [`Option`], whose `None` then is
/// the failure.
///
/// ```
/// use claimsmith_plugin::{Context as _, ErrorKind, Result};
///
/// fn employee_number(text: &str) -> Result<u32> {
///     text.parse().context("employee number")
/// }
///
/// let error = employee_number("x").unwrap_err();
/// assert_eq!(error.to_string(), "employee number: invalid digit found in string");
/// assert_eq!(error.kind(), ErrorKind::Internal);
/// ```
pub trait Context<T>: Sized {
    /// Puts `what` before the failure's text and keeps its kind; [`internal`](ErrorKind::Internal) if it has none.
    ///
    /// # Errors
    /// When `self` is one.
    fn context(self, what: impl fmt::Display) -> Result<T>;

    /// The same as an [`unavailable`](ErrorKind::Unavailable) failure.
    ///
    /// # Errors
    /// When `self` is one.
    fn or_unavailable(self, what: impl fmt::Display) -> Result<T> {
        self.context(what).map_err(|error| Error {
            kind: ErrorKind::Unavailable,
            ..error
        })
    }

    /// The same as a [`rejected`](ErrorKind::Rejected) failure.
    ///
    /// # Errors
    /// When `self` is one.
    fn or_rejected(self, what: impl fmt::Display) -> Result<T> {
        self.context(what).map_err(|error| Error {
            kind: ErrorKind::Rejected,
            ..error
        })
    }
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| {
            let Error { kind, message } = error.into();
            Error::new(kind, format!("{what}: {message}"))
        })
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error::internal(what.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;

    use super::*;

    #[derive(Debug)]
    struct Refused(std::num::ParseIntError);

    impl fmt::Display for Refused {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("refused")
        }
    }

    impl StdError for Refused {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    fn refused() -> std::result::Result<(), Refused> {
        "x".parse::<i32>().map(drop).map_err(Refused)
    }

    #[test]
    fn a_question_mark_makes_an_internal_failure_with_the_sources() {
        let error = (|| -> Result<()> { Ok(refused()?) })().unwrap_err();
        assert_eq!(error, Error::internal("refused: invalid digit found in string"));
    }

    #[test]
    fn context_keeps_the_kind_and_the_others_choose_it() {
        let kept = Err::<(), _>(Error::rejected("no")).context("tier").unwrap_err();
        assert_eq!(kept, Error::rejected("tier: no"));
        let chosen = refused().or_unavailable("directory").unwrap_err();
        assert_eq!(chosen.kind(), ErrorKind::Unavailable);
        assert_eq!(chosen.to_string(), "directory: refused: invalid digit found in string");
        assert_eq!(
            None::<()>.or_rejected("no mail").unwrap_err(),
            Error::rejected("no mail")
        );
    }

    #[test]
    fn each_kind_is_lowered_to_its_case() {
        let text = || "why".to_owned();
        assert!(matches!(Error::unavailable(text()).into(), Failure::Unavailable(why) if why == "why"));
        assert!(matches!(Error::rejected(text()).into(), Failure::Rejected(why) if why == "why"));
        assert!(matches!(Error::internal(text()).into(), Failure::Internal(why) if why == "why"));
    }
}
