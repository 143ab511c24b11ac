//! Databases in native unit tests, where there is no host.
//!
//! ```
//! use claimsmith_plugin::sql::{self, Rows, Statement};
//!
//! let _hr = sql::test::answer(|request| {
//!     assert_eq!(request.statement, Statement::from("role_by_mail"));
//!     assert_eq!(request.parameters, ["ada@example.org".into()]);
//!     Ok(Rows::new(["role"]).with(["auditor".into()]).into())
//! });
//! #[derive(serde::Deserialize)]
//! struct Role {
//!     role: String,
//! }
//! let roles: Vec<Role> = sql::database("hr").query_as("role_by_mail", &["ada@example.org".into()])?;
//! assert_eq!(roles[0].role, "auditor");
//! # Ok::<(), claimsmith_plugin::Error>(())
//! ```

use std::cell::RefCell;
use std::fmt;

use super::{Error, Request, Rows};

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The rows of a query.
    Rows(Rows),
    /// How many rows a statement that was executed for its effect concerned.
    Count(u64),
}

impl From<Rows> for Answer {
    fn from(rows: Rows) -> Self {
        Self::Rows(rows)
    }
}

impl From<u64> for Answer {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

type Answers = Box<dyn FnMut(&Request) -> Result<Answer, Error>>;

thread_local! {
    static ANSWER: RefCell<Option<Answers>> = const { RefCell::new(None) };
}

/// Has `answer` answer all requests of this thread until what is returned is dropped.
#[must_use = "requests are answered until this is dropped"]
pub fn answer(answer: impl FnMut(&Request) -> Result<Answer, Error> + 'static) -> Answering {
    ANSWER.set(Some(Box::new(answer)));
    Answering(())
}

/// Answers requests until it is dropped.
pub struct Answering(());

impl Drop for Answering {
    fn drop(&mut self) {
        ANSWER.set(None);
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Answering")
    }
}

pub(crate) fn query(request: &Request) -> Result<Rows, Error> {
    match answered(request)? {
        Answer::Rows(rows) => Ok(rows),
        Answer::Count(_) => Err(Error::Invalid("the test answers a query with a count".to_owned())),
    }
}

pub(crate) fn execute(request: &Request) -> Result<u64, Error> {
    match answered(request)? {
        Answer::Count(count) => Ok(count),
        Answer::Rows(_) => Err(Error::Invalid("the test answers `execute` with rows".to_owned())),
    }
}

/// What a request is answered with; without a test's [`answer`], what a binding without databases gets.
fn answered(request: &Request) -> Result<Answer, Error> {
    // Taken out meanwhile: an answer may send requests of its own, which nobody answers.
    let answer = ANSWER.take();
    let Some(mut answer) = answer else {
        let why = format!(
            "upstream `{}`: there is no host; see `sql::test::answer`",
            request.database
        );
        return Err(Error::NotGranted(why));
    };
    let answered = answer(request);
    ANSWER.set(Some(answer));
    answered
}
