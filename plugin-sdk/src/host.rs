//! The host's functions. Outside WebAssembly, where plugins run in unit tests, there is no host: this is the one place
//! that knows what they do then.

pub(crate) use on_target::{authenticate, execute, fetch, log, query, remaining, search, settings_json};

#[cfg(target_family = "wasm")]
mod on_target {
    use std::time::Duration;

    use zeroize::Zeroize as _;

    use crate::bindings::log::{Field, Level};
    use crate::bindings::{deadline, directory as wit_directory, http, log, settings, sql as wit_sql};
    use crate::directory::{self, Authentication, Entry, Search};
    use crate::http::{Error, Request, Response};
    use crate::sql;

    pub(crate) fn settings_json() -> String {
        settings::json()
    }

    pub(crate) fn remaining() -> Duration {
        Duration::from_nanos(deadline::remaining())
    }

    pub(crate) fn log(level: Level, message: &str, fields: &[Field]) {
        log::write(level, message, fields);
    }

    pub(crate) fn fetch(request: Request) -> Result<Response, Error> {
        Ok(http::fetch(&request.into())?.into())
    }

    pub(crate) fn search(search: Search) -> Result<Vec<Entry>, directory::Error> {
        let entries = wit_directory::search(&search.into())?;
        Ok(entries.into_iter().map(Into::into).collect())
    }

    pub(crate) fn authenticate(authentication: Authentication) -> Result<bool, directory::Error> {
        let mut request = wit_directory::AuthenticateRequest::from(authentication);
        let result = wit_directory::authenticate(&request);
        request.password.zeroize();
        Ok(result?)
    }

    pub(crate) fn query(request: sql::Request) -> Result<sql::Rows, sql::Error> {
        Ok(wit_sql::query(&request.into())?.into())
    }

    pub(crate) fn execute(request: sql::Request) -> Result<u64, sql::Error> {
        Ok(wit_sql::execute(&request.into())?)
    }
}

#[cfg(not(target_family = "wasm"))]
mod on_target {
    use std::time::Duration;

    use crate::bindings::log::{Field, Level};
    use crate::directory::{self, Authentication, Entry, Search};
    use crate::http::{Error, Request, Response};
    use crate::sql;

    /// Those of a binding that gives none.
    pub(crate) fn settings_json() -> String {
        "{}".to_owned()
    }

    /// What Entra allows a callout: nothing has been used of it yet.
    pub(crate) const fn remaining() -> Duration {
        Duration::from_secs(2)
    }

    /// Nobody reads it; a test that wants records installs a logger of its own.
    pub(crate) const fn log(_: Level, _: &str, _: &[Field]) {}

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn fetch(request: Request) -> Result<Response, Error> {
        crate::http::test::fetch(&request)
    }

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn search(search: Search) -> Result<Vec<Entry>, directory::Error> {
        directory::test::searched(&search)
    }

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn query(request: sql::Request) -> Result<sql::Rows, sql::Error> {
        sql::test::query(&request)
    }

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn authenticate(authentication: Authentication) -> Result<bool, directory::Error> {
        directory::test::authenticated(&authentication)
    }

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn execute(request: sql::Request) -> Result<u64, sql::Error> {
        sql::test::execute(&request)
    }
}
