//! A cache in native unit tests, where there is no host.
//!
//! ```
//! use std::time::Duration;
//!
//! use claimsmith_plugin::cache::{self, Ttl};
//! use claimsmith_plugin::Error;
//!
//! let kept = cache::test::start();
//! let ttl = Ttl::fresh(Duration::from_mins(5)).stale(Duration::from_hours(1));
//! let tier = |fill: fn() -> claimsmith_plugin::Result<String>| cache::get_or_fill("ada", ttl, fill);
//! assert_eq!(tier(|| Ok("gold".into()))?, "gold");
//! assert_eq!(tier(|| panic!("it is kept"))?, "gold");
//! kept.advance(Duration::from_mins(6));
//! assert_eq!(tier(|| Err(Error::unavailable("the CRM is down")))?, "gold");
//! kept.advance(Duration::from_hours(2));
//! assert!(tier(|| Err(Error::unavailable("the CRM is down"))).is_err());
//! # Ok::<(), claimsmith_plugin::Error>(())
//! ```

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use super::{Error, Lookup, Reservation};

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    held: HashSet<String>,
    now: Duration,
}

struct Entry {
    value: Vec<u8>,
    fresh_until: Duration,
    filled_from: Duration,
    kept_until: Duration,
}

/// Gives this thread an empty cache until what is returned is dropped.
#[must_use = "the cache is there until this is dropped"]
pub fn start() -> TestCache {
    KEPT.set(Some(Kept::default()));
    TestCache(())
}

/// The cache of a test.
pub struct TestCache(());

impl TestCache {
    /// Lets time pass for what is kept.
    pub fn advance(&self, time: Duration) {
        KEPT.with_borrow_mut(|kept| {
            if let Some(kept) = kept {
                kept.now += time;
            }
        });
    }

    /// The keys that are kept, fresh or stale, in their order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let keys = with(|kept| {
            let there = kept.entries.iter().filter(|(_, entry)| kept.now < entry.kept_until);
            let mut keys: Vec<_> = there.map(|(key, _)| key.clone()).collect();
            keys.sort();
            keys
        });
        keys.unwrap_or_default()
    }
}

impl Drop for TestCache {
    fn drop(&mut self) {
        KEPT.set(None);
    }
}

impl fmt::Debug for TestCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TestCache")
    }
}

/// A key that a test's plugin holds.
#[derive(Debug)]
pub(crate) struct HeldKey(String);

impl HeldKey {
    pub(crate) fn fill(self, value: &[u8], fresh: Duration, stale: Duration) -> Result<(), Error> {
        put(&self.0, value, fresh, stale)
    }

    pub(crate) fn postpone(self, time: Duration) -> Result<(), Error> {
        with(|kept| {
            if let Some(entry) = kept.entries.get_mut(&self.0) {
                entry.filled_from = kept.now + time;
            }
        })
    }
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        // Without a cache any more, nobody waits.
        let _is_over = with(|kept| kept.held.remove(&self.0)).is_err();
    }
}

pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    with(|kept| {
        let entry = kept.entries.get(key).filter(|entry| kept.now < entry.fresh_until);
        entry.map(|entry| entry.value.clone())
    })
}

pub(crate) fn get_or_reserve(key: &str) -> Result<Lookup, Error> {
    with(|kept| {
        let now = kept.now;
        let mut hold = || {
            let is_free = kept.held.insert(key.to_owned());
            is_free.then(|| Reservation(HeldKey(key.to_owned())))
        };
        match kept.entries.get(key).filter(|entry| now < entry.kept_until) {
            Some(entry) if now < entry.fresh_until => Ok(Lookup::Fresh(entry.value.clone())),
            Some(entry) => {
                let reservation = (entry.filled_from <= now).then(hold).flatten();
                Ok(Lookup::Stale(entry.value.clone(), reservation))
            }
            // Nobody else is there who could fill it.
            None => hold().map(Lookup::Reserved).ok_or(Error::DeadlineExceeded),
        }
    })?
}

pub(crate) fn put(key: &str, value: &[u8], fresh: Duration, stale: Duration) -> Result<(), Error> {
    with(|kept| {
        let fresh_until = kept.now + fresh;
        let entry = Entry {
            value: value.to_vec(),
            fresh_until,
            filled_from: fresh_until,
            kept_until: fresh_until + stale,
        };
        kept.entries.insert(key.to_owned(), entry);
    })
}

pub(crate) fn remove(key: &str) -> Result<(), Error> {
    with(|kept| drop(kept.entries.remove(key)))
}

fn with<R>(use_it: impl FnOnce(&mut Kept) -> R) -> Result<R, Error> {
    let used = KEPT.with_borrow_mut(|kept| kept.as_mut().map(use_it));
    used.ok_or_else(|| Error::NotGranted("the test has no cache: give it one with `cache::test::start`".to_owned()))
}
