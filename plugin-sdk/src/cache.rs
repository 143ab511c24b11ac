//! What the binding keeps from one callout to another.
//!
//! The operator gives a binding a cache with `cache = {}`. Its entries are the binding's own; no other version of the plugin
//! and no other settings find them. They can go at any time.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use claimsmith_plugin::cache::{self, Ttl};
//! use claimsmith_plugin::{Result, http};
//!
//! #[derive(serde::Deserialize, serde::Serialize)]
//! struct Member {
//!     tier: String,
//! }
//!
//! fn member(id: &str) -> Result<Member> {
//!     let ttl = Ttl::fresh(Duration::from_mins(5)).stale(Duration::from_hours(1));
//!     cache::get_or_fill(id, ttl, || {
//!         let request = http::upstream("crm").get("/members/{id}").parameter("id", id);
//!         Ok(request.json()?)
//!     })
//! }
//! ```
//!
//! Of the callouts that want the same key at the same time one fills it, and the others wait for that one, each as long as
//! its own time lasts. If it fails, the next one tries.
//!
//! # Stale values
//!
//! A value that is kept beyond its fresh time ([`Ttl::stale`]) keeps sign-ins going while an upstream is slow or down: one
//! callout fills the key anew, with a third of the time it has left ([`deadline::within`]), and all
//! others use the stale value at once. If filling fails, that one uses the stale value too, and for 5 seconds nobody tries
//! again. A failure that is [`rejected`](crate::ErrorKind::Rejected) is no failure of an upstream: it removes the value, and
//! the callout fails.
//!
//! # Without a cache
//!
//! A binding that was given none, a key that is too long, an invocation that has made all its calls: [`get_or_fill`] and
//! [`find_or_fill`] then only fill. In native unit tests there is none until [`test::start`].

mod error;
#[cfg(not(target_family = "wasm"))]
pub mod test;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::error::Error;
pub use crate::host::Reservation;
use crate::{ErrorKind, Result, deadline, host};

/// Of the time that is left: what filling a key anew may take while there is a stale value.
const REVALIDATION_PART: u32 = 3;
/// How long nobody tries again to fill a key anew after that has failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long a value is kept. More than the binding's cache allows is shortened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    fresh: Duration,
    stale: Duration,
    absent: Duration,
}

impl Ttl {
    /// As long as it is fresh, and no longer.
    #[must_use]
    pub const fn fresh(fresh: Duration) -> Self {
        Self {
            fresh,
            stale: Duration::ZERO,
            absent: fresh,
        }
    }

    /// And for so long after that, to be used where it cannot be had anew.
    #[must_use]
    pub const fn stale(self, stale: Duration) -> Self {
        Self { stale, ..self }
    }

    /// [`find_or_fill`] remembers for so long that there is nothing; as long as a value is fresh if this is not said. It is
    /// never kept as a stale answer.
    #[must_use]
    pub const fn absent(self, absent: Duration) -> Self {
        Self { absent, ..self }
    }

    /// Of what there is not.
    const fn of_nothing(self) -> Self {
        Self::fresh(self.absent)
    }
}

impl From<Duration> for Ttl {
    fn from(fresh: Duration) -> Self {
        Self::fresh(fresh)
    }
}

/// What there is of a key: what [`get_or_fill`] is made of, for what that is not enough for.
#[derive(Debug)]
pub enum Lookup {
    /// A value.
    Fresh(Vec<u8>),
    /// A value that is older than it should be, and the key to fill anew, unless somebody else does.
    Stale(Vec<u8>, Option<Reservation>),
    /// No value: the key to fill.
    Reserved(Reservation),
}

/// The value of a key, or what `fill` makes, which is then kept as JSON.
///
/// # Errors
/// What `fill` fails with when there is not even a stale value; [`unavailable`](ErrorKind::Unavailable) when the callout's
/// time is over while another one fills the key.
pub fn get_or_fill<T: DeserializeOwned + Serialize>(
    key: &str,
    ttl: impl Into<Ttl>,
    fill: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let ttl = ttl.into();
    with_key(key, fill, |_| ttl)
}

/// The same for what there may not be: that there is nothing is remembered for as long as [`Ttl::absent`] says.
///
/// # Errors
/// As [`get_or_fill`].
pub fn find_or_fill<T: DeserializeOwned + Serialize>(
    key: &str,
    ttl: impl Into<Ttl>,
    find: impl FnOnce() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let ttl = ttl.into();
    with_key(
        key,
        find,
        |found: &Option<T>| {
            if found.is_some() { ttl } else { ttl.of_nothing() }
        },
    )
}

/// The value of a key, if there is one that is fresh.
///
/// # Errors
/// When the cache cannot be asked, or the value is not what `T` wants.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    let found = host::cache_get(key)?;
    found.map(|bytes| decode(&bytes)).transpose()
}

/// Puts a value.
///
/// # Errors
/// When it cannot be put, or written as JSON.
pub fn put<T: Serialize>(key: &str, value: &T, ttl: impl Into<Ttl>) -> Result<(), Error> {
    let ttl = ttl.into();
    host::cache_put(key, &encode(value)?, ttl.fresh, ttl.stale)
}

/// Removes a key.
///
/// # Errors
/// When the cache cannot be asked.
pub fn remove(key: &str) -> Result<(), Error> {
    host::cache_remove(key)
}

/// What there is of a key. When there is nothing, one caller is given the key to fill, and all others wait.
///
/// Hold one key at a time: two callouts that each wait for the other's wait until their time is over.
///
/// # Errors
/// When the cache cannot be asked, and [`Error::DeadlineExceeded`] when nobody has filled the key in time.
pub fn get_or_reserve(key: &str) -> Result<Lookup, Error> {
    host::cache_get_or_reserve(key)
}

fn with_key<T: DeserializeOwned + Serialize>(
    key: &str,
    fill: impl FnOnce() -> Result<T>,
    ttl: impl Fn(&T) -> Ttl,
) -> Result<T> {
    let lookup = match get_or_reserve(key) {
        Ok(lookup) => lookup,
        Err(error @ Error::DeadlineExceeded) => return Err(error.into()),
        Err(why) => {
            log::debug!(why:% = why; "filled without the cache");
            return fill();
        }
    };
    let (known, reservation) = match lookup {
        Lookup::Fresh(bytes) => (known(&bytes), None),
        Lookup::Stale(bytes, reservation) => (known(&bytes), reservation),
        Lookup::Reserved(reservation) => (None, Some(reservation)),
    };
    match (known, reservation) {
        (Some(value), None) => Ok(value),
        (Some(stale), Some(reservation)) => fill_anew(key, stale, reservation, fill, ttl),
        (None, reservation) => {
            let value = fill()?;
            keep(key, reservation, &value, ttl(&value));
            Ok(value)
        }
    }
}

/// Fills a key that has a stale value.
fn fill_anew<T: Serialize>(
    key: &str,
    stale: T,
    reservation: Reservation,
    fill: impl FnOnce() -> Result<T>,
    ttl: impl Fn(&T) -> Ttl,
) -> Result<T> {
    match deadline::within(deadline::remaining() / REVALIDATION_PART, fill) {
        Ok(value) => {
            keep(key, Some(reservation), &value, ttl(&value));
            Ok(value)
        }
        Err(error) if error.kind() == ErrorKind::Rejected => {
            if let Err(why) = remove(key) {
                log::warn!(why:% = why; "a value that holds no more cannot be removed");
            }
            Err(error)
        }
        Err(error) => {
            log::warn!(error:% = error; "a stale value is used");
            let retry_after = RETRY_AFTER.min(ttl(&stale).fresh);
            if let Err(why) = reservation.postpone(retry_after) {
                log::debug!(why:% = why; "the key is tried again at once");
            }
            Ok(stale)
        }
    }
}

/// Keeps a value, which is the answer whether it can be kept or not.
fn keep<T: Serialize>(key: &str, reservation: Option<Reservation>, value: &T, ttl: Ttl) {
    let kept = encode(value).and_then(|bytes| match reservation {
        Some(reservation) => reservation.fill(&bytes, ttl.fresh, ttl.stale),
        None => host::cache_put(key, &bytes, ttl.fresh, ttl.stale),
    });
    if let Err(why) = kept {
        log::warn!(why:% = why; "a value cannot be kept");
    }
}

/// What is kept, unless another type was kept there: then it is as if there were nothing.
fn known<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value = decode(bytes);
    value.map_err(|why| log::warn!(why:% = why; "filled anew")).ok()
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Value(error.to_string()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Value(error.to_string()))
}
