//! The host's functions. Outside WebAssembly, where plugins run in unit tests, there is no host: this is the one place
//! that knows what they do then.

pub use on_target::Reservation;
pub(crate) use on_target::{
    cache_get, cache_get_or_reserve, cache_put, cache_remove, fetch, log, remaining, settings_json,
};

#[cfg(target_family = "wasm")]
mod on_target {
    use std::time::Duration;

    use crate::bindings::log::{Field, Level};
    use crate::bindings::{cache, deadline, http, log, settings};
    use crate::cache::{Error as CacheError, Lookup};
    use crate::http::{Error, Request, Response};

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

    /// A key that this callout has been given to fill. Dropped, it is passed on to the next one who waits for it.
    #[derive(Debug)]
    pub struct Reservation(cache::Reservation);

    impl Reservation {
        /// Puts the value and gives it to all who wait for it.
        ///
        /// # Errors
        /// When it cannot be put; the key is then passed on.
        pub fn fill(self, value: &[u8], fresh: Duration, stale: Duration) -> Result<(), CacheError> {
            let filled = cache::Reservation::fill(self.0, value, milliseconds(fresh), milliseconds(stale));
            Ok(filled?)
        }

        /// Gives the key back unfilled: its stale value is used for so long before anybody is given the key again.
        ///
        /// # Errors
        /// When the host cannot be told; the key is then passed on.
        pub fn postpone(self, time: Duration) -> Result<(), CacheError> {
            Ok(cache::Reservation::postpone(self.0, milliseconds(time))?)
        }
    }

    pub(crate) fn cache_get(key: &str) -> Result<Option<Vec<u8>>, CacheError> {
        Ok(cache::get(key)?)
    }

    pub(crate) fn cache_get_or_reserve(key: &str) -> Result<Lookup, CacheError> {
        Ok(match cache::get_or_reserve(key)? {
            cache::Lookup::Fresh(value) => Lookup::Fresh(value),
            cache::Lookup::Stale(stale) => Lookup::Stale(stale.value, stale.reservation.map(Reservation)),
            cache::Lookup::Reserved(reservation) => Lookup::Reserved(Reservation(reservation)),
        })
    }

    pub(crate) fn cache_put(key: &str, value: &[u8], fresh: Duration, stale: Duration) -> Result<(), CacheError> {
        Ok(cache::put(key, value, milliseconds(fresh), milliseconds(stale))?)
    }

    pub(crate) fn cache_remove(key: &str) -> Result<(), CacheError> {
        Ok(cache::remove(key)?)
    }

    fn milliseconds(time: Duration) -> u32 {
        u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
    }
}

#[cfg(not(target_family = "wasm"))]
mod on_target {
    use std::time::Duration;

    use crate::bindings::log::{Field, Level};
    pub(crate) use crate::cache::test::{
        get as cache_get, get_or_reserve as cache_get_or_reserve, put as cache_put, remove as cache_remove,
    };
    use crate::cache::{Error as CacheError, test::HeldKey};
    use crate::http::{Error, Request, Response};

    /// A key that this callout has been given to fill. Dropped, it is passed on to the next one who waits for it.
    #[derive(Debug)]
    pub struct Reservation(pub(crate) HeldKey);

    impl Reservation {
        /// Puts the value and gives it to all who wait for it.
        ///
        /// # Errors
        /// When it cannot be put; the key is then passed on.
        pub fn fill(self, value: &[u8], fresh: Duration, stale: Duration) -> Result<(), CacheError> {
            self.0.fill(value, fresh, stale)
        }

        /// Gives the key back unfilled: its stale value is used for so long before anybody is given the key again.
        ///
        /// # Errors
        /// When the host cannot be told; the key is then passed on.
        pub fn postpone(self, time: Duration) -> Result<(), CacheError> {
            self.0.postpone(time)
        }
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
