//! The host's functions. Outside WebAssembly, where plugins run in unit tests, there is no host: this is the one place
//! that knows what they do then.

mod cache;
mod directory;
mod mail;
mod sql;

pub use self::cache::Reservation;
pub(crate) use self::cache::{cache_get, cache_get_or_reserve, cache_put, cache_remove};
pub(crate) use self::directory::{authenticate, search};
pub(crate) use self::mail::send_mail;
pub(crate) use self::on_target::{fetch, granted_upstreams, log, remaining, settings_json};
pub(crate) use self::sql::{execute, query};

#[cfg(target_family = "wasm")]
mod on_target {
    use std::time::Duration;

    use crate::bindings::log::{Field, Level};
    use crate::bindings::{deadline, grants, http, log, settings};
    use crate::http::{Error, Request, Response};

    #[expect(clippy::unnecessary_wraps, reason = "outside WebAssembly there are none")]
    pub(crate) fn granted_upstreams() -> Option<Vec<grants::Upstream>> {
        Some(grants::upstreams())
    }

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
}

#[cfg(not(target_family = "wasm"))]
mod on_target {
    use std::time::Duration;

    use crate::bindings::grants::Upstream;
    use crate::bindings::log::{Field, Level};
    use crate::http::{Error, Request, Response};

    /// There is no binding.
    pub(crate) const fn granted_upstreams() -> Option<Vec<Upstream>> {
        None
    }

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
}
