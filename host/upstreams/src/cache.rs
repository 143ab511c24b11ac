//! What a binding keeps from one callout to another: the capability `claimsmith:plugin/cache`.
//!
//! The first level is memory of this host (`level`). Of the callouts that look for a key that is not there one is given it to
//! fill, and the others wait for that one (`flights`). The second level is a Redis or Valkey that several hosts share
//! (`shared`): only whoever fills a key asks it, for a bounded time, and without it the first level goes on alone.
//!
//! What is kept belongs to one version of a plugin with one settings, in one place of one extension: what another version has
//! written may have another form, and what other settings have led to may be something else. A reload that changes neither
//! finds the first level as it was (`registry`).

mod config;
mod entry;
mod flights;
mod level;
mod meters;
mod registry;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::interface::cache::Error;
use claimsmith_runtime::{Cache, CacheFuture, CacheLookup, CallContext, ReservedKey};
use tokio::time::Instant;

pub use self::config::CacheConfig;
pub(crate) use self::config::MAX_VALUE_BYTES;
use self::entry::Entry;
use self::flights::{Flown, Held, Turn};
use self::level::Level;
use self::meters::Looked;
pub use self::registry::{CacheOf, Caches, TenantCaches};
use self::shared::Shared;

/// Bytes of a key. What identifies a person or a request has a tenth of it.
const MAX_KEY_BYTES: usize = 512;

/// The cache of one binding.
#[derive(Clone, Debug)]
pub(crate) struct BindingCache {
    level: Arc<Level>,
    shared: Option<Arc<Shared>>,
    max_ttl: Duration,
    max_value_bytes: usize,
}

impl Cache for BindingCache {
    fn get(&self, key: String, context: CallContext) -> CacheFuture<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let key = checked(key)?;
            let mut found = self.level.get(&key).await.filter(|entry| entry.is_fresh());
            if found.is_none() {
                let elsewhere = self.look_elsewhere(&key, context).await;
                found = elsewhere.filter(|entry| entry.is_fresh());
            }
            let looked = if found.is_some() { Looked::Hit } else { Looked::Miss };
            self.level.meters().looked(looked);
            Ok(found.map(|entry| entry.value.to_vec()))
        })
    }

    fn get_or_reserve(&self, key: String, context: CallContext) -> CacheFuture<'_, CacheLookup> {
        Box::pin(async move {
            let key = checked(key)?;
            if let Some(entry) = self.level.get(&key).await {
                if entry.is_fresh() {
                    return Ok(self.fresh(&entry));
                }
                // Whoever finds a value does not wait.
                let held = entry.may_be_filled().then(|| self.level.try_reserve(&key));
                return Ok(match held.flatten() {
                    Some(held) => self.with_key(held, context).await,
                    None => self.stale(&entry, None),
                });
            }
            Ok(match self.level.reserve(&key) {
                Turn::Held(held) => self.with_key(held, context).await,
                Turn::Waits(waiter) => {
                    self.level.meters().looked(Looked::Waited);
                    match waiter.wait().await {
                        Flown::Fresh(value) => CacheLookup::Fresh(value.to_vec()),
                        Flown::Stale(value) => CacheLookup::Stale(value.to_vec(), None),
                        Flown::PassedOn(held) => self.with_key(held, context).await,
                    }
                }
            })
        })
    }

    fn put(&self, key: String, value: Vec<u8>, fresh: u32, stale: u32, _: CallContext) -> CacheFuture<'_, ()> {
        Box::pin(async move {
            let key: Arc<str> = checked(key)?.into();
            let entry = self.entry(value, fresh, stale)?;
            self.keep(&key, &entry).await;
            self.level.tell_waiters(&key, &entry);
            Ok(())
        })
    }

    fn remove(&self, key: String, context: CallContext) -> CacheFuture<'_, ()> {
        Box::pin(async move {
            let key = checked(key)?;
            self.level.remove(&key).await;
            if let Some(shared) = &self.shared {
                shared.remove(&key, context.until).await;
                // What another callout has read there meanwhile.
                self.level.remove(&key).await;
            }
            Ok(())
        })
    }
}

impl BindingCache {
    /// What there is for somebody who has been given a key to fill.
    async fn with_key(&self, held: Held, context: CallContext) -> CacheLookup {
        // It may have been filled between looking and being given the key.
        let mut known = self.level.get(held.key()).await;
        if !known.as_ref().is_some_and(|entry| entry.is_fresh())
            && let Some(elsewhere) = self.look_elsewhere(held.key(), context).await
        {
            known = Some(elsewhere);
        }
        match known {
            Some(entry) if entry.is_fresh() => {
                held.done(&Flown::fresh(&entry));
                self.fresh(&entry)
            }
            Some(entry) if entry.may_be_filled() => {
                held.tell(&entry);
                self.stale(&entry, Some(self.reserved(held)))
            }
            Some(entry) => {
                held.done(&Flown::stale(&entry));
                self.stale(&entry, None)
            }
            None => {
                self.level.meters().looked(Looked::Miss);
                CacheLookup::Reserved(self.reserved(held))
            }
        }
    }

    /// What the second level has, which the first level has from then on.
    async fn look_elsewhere(&self, key: &str, context: CallContext) -> Option<Arc<Entry>> {
        let shared = self.shared.as_ref()?;
        let found = shared.get(key, self.max_ttl, context.until).await?;
        let entry = Arc::new(found);
        self.level.insert(&key.into(), &entry).await;
        Some(entry)
    }

    /// Keeps a value in both levels; this one's callout does not wait for the second.
    async fn keep(&self, key: &Arc<str>, entry: &Arc<Entry>) {
        self.level.insert(key, entry).await;
        if let Some(shared) = &self.shared {
            shared.set(key, entry);
        }
    }

    fn entry(&self, value: Vec<u8>, fresh: u32, stale: u32) -> Result<Arc<Entry>, Error> {
        if value.len() > self.max_value_bytes {
            return Err(Error::TooLarge(format!(
                "the value has {} bytes: expected at most {}, the cache's `max_value_bytes`",
                value.len(),
                self.max_value_bytes
            )));
        }
        let fresh = milliseconds(fresh).min(self.max_ttl);
        let kept = (fresh + milliseconds(stale)).min(self.max_ttl);
        Ok(Arc::new(Entry::new(value.into(), fresh, kept)))
    }

    fn reserved(&self, held: Held) -> Box<dyn ReservedKey> {
        let cache = self.clone();
        Box::new(ReservedIn { cache, held })
    }

    fn fresh(&self, entry: &Entry) -> CacheLookup {
        self.level.meters().looked(Looked::Hit);
        CacheLookup::Fresh(entry.value.to_vec())
    }

    fn stale(&self, entry: &Entry, reserved: Option<Box<dyn ReservedKey>>) -> CacheLookup {
        self.level.meters().looked(Looked::Stale);
        CacheLookup::Stale(entry.value.to_vec(), reserved)
    }
}

/// A key that a callout has been given to fill.
#[derive(Debug)]
struct ReservedIn {
    cache: BindingCache,
    held: Held,
}

impl ReservedKey for ReservedIn {
    fn fill(self: Box<Self>, value: Vec<u8>, fresh: u32, stale: u32, _: CallContext) -> CacheFuture<'static, ()> {
        Box::pin(async move {
            let Self { cache, held } = *self;
            // Too large: the key is passed on.
            let entry = cache.entry(value, fresh, stale)?;
            cache.keep(held.key(), &entry).await;
            held.done(&Flown::fresh(&entry));
            Ok(())
        })
    }

    fn postpone(self: Box<Self>, milliseconds: u32, _: CallContext) -> CacheFuture<'static, ()> {
        Box::pin(async move {
            let Self { cache, held } = *self;
            if let Some(entry) = cache.level.get(held.key()).await {
                let until = Instant::now() + self::milliseconds(milliseconds).min(cache.max_ttl);
                let postponed = Arc::new(entry.not_filled_before(until));
                cache.level.insert(held.key(), &postponed).await;
                held.done(&Flown::stale(&postponed));
            }
            Ok(())
        })
    }
}

fn checked(key: String) -> Result<String, Error> {
    if key.len() <= MAX_KEY_BYTES {
        return Ok(key);
    }
    let bytes = key.len();
    Err(Error::TooLarge(format!(
        "the key has {bytes} bytes: expected at most {MAX_KEY_BYTES}"
    )))
}

fn milliseconds(milliseconds: u32) -> Duration {
    Duration::from_millis(milliseconds.into())
}
