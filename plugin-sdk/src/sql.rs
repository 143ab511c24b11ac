//! SQL databases that the binding was granted.
//!
//! The tenant's configuration names a database, its address, the credentials and the statements that a binding may execute;
//! a plugin knows names alone. Values are parameters, and never part of a statement's text.
//!
//! ```no_run
//! use claimsmith_plugin::{Result, sql};
//!
//! #[derive(serde::Deserialize)]
//! struct Employee {
//!     department: String,
//!     manager: Option<String>,
//! }
//!
//! fn department(mail: &str) -> Result<Option<String>> {
//!     let employees: Vec<Employee> = sql::database("hr").query_as("employee_by_mail", &[mail.into()])?;
//!     Ok(employees.into_iter().next().map(|employee| employee.department))
//! }
//! ```
//!
//! Columns are read by name, with serde. What SQL has more types for than there are here is text: dates and times (ISO 8601),
//! decimal numbers, UUIDs, JSON.
//!
//! By `?`, an [`Error`] becomes a failure of the kind it is: a database that does not answer is
//! [`unavailable`](crate::ErrorKind::Unavailable); anything else is [`internal`](crate::ErrorKind::Internal).

mod error;
mod rows;
#[cfg(not(target_family = "wasm"))]
pub mod test;
mod value;

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::bindings::sql as wit;
use crate::grants;

pub use self::error::Error;
pub use self::rows::{Row, Rows};
pub use self::value::Value;

/// A database, by its name in the tenant's configuration.
pub fn database(name: impl Into<String>) -> Database {
    let name = name.into();
    grants::note(&name, grants::Kind::Sql);
    Database { name, timeout: None }
}

/// A statement's text, for a database that takes any. Parameters are written as the database writes them: `$1` in
/// PostgreSQL, `?1` or `?` in SQLite.
///
/// ```
/// # use claimsmith_plugin::sql::{self, Rows};
/// # let _hr = sql::test::answer(|_| Ok(Rows::new(["count"]).with([7.into()]).into()));
/// let rows = sql::database("hr").query(sql::text("select count(*) from employees where site = $1"), &["Oslo".into()])?;
/// assert_eq!(rows.first().and_then(|row| row.get("count")?.as_integer()), Some(7));
/// # Ok::<(), claimsmith_plugin::Error>(())
/// ```
pub fn text(text: impl Into<String>) -> Statement {
    Statement::Text(text.into())
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// One of those that the binding's configuration names.
    Named(String),
    /// Its text.
    Text(String),
}

impl From<&str> for Statement {
    /// A statement by its name.
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

impl From<String> for Statement {
    /// A statement by its name.
    fn from(name: String) -> Self {
        Self::Named(name)
    }
}

impl From<&String> for Statement {
    /// A statement by its name.
    fn from(name: &String) -> Self {
        Self::Named(name.clone())
    }
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    name: String,
    timeout: Option<Duration>,
}

impl<'de> Deserialize<'de> for Database {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = grants::deserialize_name(deserializer, grants::Kind::Sql)?;
        Ok(Self { name, timeout: None })
    }
}

impl Database {
    /// How long a call may take; the callout's remaining time is the most.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Executes a statement and gives its rows.
    ///
    /// # Errors
    /// When there is no result.
    pub fn query(&self, statement: impl Into<Statement>, parameters: &[Value]) -> Result<Rows, Error> {
        crate::host::query(self.request(statement.into(), parameters))
    }

    /// Executes a statement and reads each of its rows into a `T`, by the columns' names.
    ///
    /// # Errors
    /// As [`Self::query`], and when a row is not what `T` wants.
    pub fn query_as<T: DeserializeOwned>(
        &self,
        statement: impl Into<Statement>,
        parameters: &[Value],
    ) -> Result<Vec<T>, Error> {
        self.query(statement, parameters)?.read()
    }

    /// Executes a statement for its effect; gives the number of rows it concerned. For a database that may be written to.
    ///
    /// # Errors
    /// When there is no result; what it was to write may have been written all the same after
    /// [`Error::DeadlineExceeded`] and [`Error::Unavailable`].
    pub fn execute(&self, statement: impl Into<Statement>, parameters: &[Value]) -> Result<u64, Error> {
        crate::host::execute(self.request(statement.into(), parameters))
    }

    fn request(&self, statement: Statement, parameters: &[Value]) -> Request {
        Request {
            database: self.name.clone(),
            statement,
            parameters: parameters.to_vec(),
            timeout: self.timeout,
        }
    }
}

/// A request as it goes to the host; tests get it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// The database's name.
    pub database: String,
    /// What is executed.
    pub statement: Statement,
    /// The parameters, in the statement's order.
    pub parameters: Vec<Value>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl From<Request> for wit::Request {
    fn from(request: Request) -> Self {
        Self {
            upstream: request.database,
            statement: match request.statement {
                Statement::Named(name) => wit::Statement::Named(name),
                Statement::Text(text) => wit::Statement::Text(text),
            },
            parameters: request.parameters.into_iter().map(Into::into).collect(),
            timeout_milliseconds: crate::deadline::at_most(request.timeout)
                .map(|timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parameters hold what is known of people; a log is no place for that.
        formatter
            .debug_struct("Request")
            .field("database", &self.database)
            .field("statement", &self.statement)
            .finish_non_exhaustive()
    }
}
