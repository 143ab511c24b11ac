//! What the plugin and the operator are told when something fails.

use claimsmith_runtime::interface::sql::{Error, Refusal};
use sqlx::error::DatabaseError;

use crate::told::told;

/// Why a call has no result.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether it tells of the database, and not of what it was asked.
    pub(super) of_upstream: bool,
    /// For the operator.
    pub(super) cause: Option<String>,
}

/// What ended a statement.
pub(super) enum Stop {
    /// The transaction could not be begun: nothing has been done.
    Begin(sqlx::Error),
    /// It was not begun: the parameters do not fit.
    Before(Error),
    /// Its rows are not read on.
    During(Error),
    /// The driver or the database.
    Driver(sqlx::Error),
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

/// What came of preparing a statement while a tenant is loaded.
pub(super) enum Wrong {
    /// The statement is wrong.
    Statement(String),
    /// The database does not answer, and why.
    Database(String),
}

impl Failure {
    /// A failure that tells of the call alone.
    pub(super) fn of_call(error: Error) -> Self {
        Self {
            error,
            of_upstream: false,
            cause: None,
        }
    }

    /// A database that cannot be asked.
    pub(super) fn of_upstream(cause: String) -> Self {
        Self {
            error: Error::Unavailable("it cannot be connected to, or the connection broke off".to_owned()),
            of_upstream: true,
            cause: Some(cause),
        }
    }

    /// What an error of the driver or the database is; `refusal` knows the database's codes.
    pub(super) fn of(error: &sqlx::Error, refusal: impl Fn(&dyn DatabaseError) -> Option<Error>) -> Self {
        match error {
            sqlx::Error::Database(refused) => {
                refusal(refused.as_ref()).map_or_else(|| Self::of_upstream(describe(error)), Self::of_call)
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
                Self::of_call(Error::Invalid(describe(error)))
            }
            _ => Self::of_upstream(describe(error)),
        }
    }
}

/// What a database has said.
pub(super) fn refused(error: &dyn DatabaseError) -> Error {
    Error::Failed(Refusal {
        code: error.code().map(Into::into),
        message: error.message().to_owned(),
    })
}

/// An error's text, as far as it is told. No error of the driver tells what it was connected with.
pub(super) fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(refused) => describe_refusal(refused.as_ref()),
        other => told(other),
    }
}

/// The same of what a database has against something.
pub(super) fn describe_refusal(refused: &dyn DatabaseError) -> String {
    match refused.code() {
        Some(code) => told(&format_args!("{code}: {}", refused.message())),
        None => told(refused.message()),
    }
}
