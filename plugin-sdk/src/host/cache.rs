//! `claimsmith:plugin/cache`.

pub use self::on_target::Reservation;
pub(crate) use self::on_target::{cache_get, cache_get_or_reserve, cache_put, cache_remove};

#[cfg(target_family = "wasm")]
mod on_target {
    use std::time::Duration;

    use crate::bindings::cache;
    use crate::cache::{Error as CacheError, Lookup};

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

    pub(crate) use crate::cache::test::{
        get as cache_get, get_or_reserve as cache_get_or_reserve, put as cache_put, remove as cache_remove,
    };
    use crate::cache::{Error as CacheError, test::HeldKey};

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
}
