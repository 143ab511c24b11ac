//! The one question that is asked of a database.

use claimsmith_plugin::Result;

pub(crate) use on_target::hashes;

#[cfg(target_family = "wasm")]
mod on_target {
    use claimsmith_plugin::Error;

    use super::Result;
    use bindings::claimsmith::plugin::sql::{self, Value};

    #[allow(
        missing_docs,
        unreachable_pub,
        unsafe_code,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code; `wit/` holds its documentation"
    )]
    mod bindings {
        wit_bindgen::generate!({
            path: "../../wit",
            inline: "
                package claimsmith:legacy-password;
                world database {
                    import claimsmith:plugin/sql@0.1.0;
                }
            ",
            generate_all,
        });
    }

    /// The first column of the rows that a named statement gives for a user.
    pub(crate) fn hashes(database: &str, statement: &str, username: &str) -> Result<Vec<Option<String>>> {
        let request = sql::Request {
            upstream: database.to_owned(),
            statement: sql::Statement::Named(statement.to_owned()),
            parameters: vec![Value::Text(username.to_owned())],
            timeout_milliseconds: None,
        };
        let rows = sql::query(&request).map_err(|error| match error {
            sql::Error::Unavailable(why) => Error::unavailable(why),
            sql::Error::DeadlineExceeded => Error::unavailable("it did not answer in time"),
            sql::Error::QuotaExceeded => Error::internal("the invocation has made all the calls it may make"),
            sql::Error::NotGranted(why)
            | sql::Error::NotAllowed(why)
            | sql::Error::Invalid(why)
            | sql::Error::TooLarge(why)
            | sql::Error::Failed(why) => Error::internal(why),
        })?;
        let first = |row: Vec<Value>| match row.into_iter().next() {
            Some(Value::Text(hash)) => Ok(Some(hash)),
            Some(Value::Bytes(hash)) => String::from_utf8(hash).map(Some).map_err(|_| no_text()),
            Some(Value::Null) => Ok(None),
            _ => Err(no_text()),
        };
        rows.rows.into_iter().map(first).collect()
    }

    fn no_text() -> Error {
        Error::internal("the statement's first column is no text: expected the hash")
    }
}

#[cfg(not(target_family = "wasm"))]
mod on_target {
    use std::cell::RefCell;

    use super::Result;

    /// What a test has a statement give for a user.
    pub(crate) type Answer = fn(&str, &str, &str) -> Result<Vec<Option<String>>>;

    thread_local! {
        pub(crate) static ANSWER: RefCell<Answer> =
            const { RefCell::new(|_, _, _| Err(claimsmith_plugin::Error::internal("there is no host"))) };
    }

    /// What a test has prepared.
    pub(crate) fn hashes(database: &str, statement: &str, username: &str) -> Result<Vec<Option<String>>> {
        let answer = ANSWER.with_borrow(|answer| *answer);
        answer(database, statement, username)
    }
}

#[cfg(test)]
pub(crate) use on_target::ANSWER;
