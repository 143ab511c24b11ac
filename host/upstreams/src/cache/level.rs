//! The first level: what this host keeps in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;

use super::config::CacheConfig;
use super::entry::Entry;
use super::flights::{Flights, Flown, Held, Turn};
use super::meters::Meters;

/// What an entry takes besides its key and its value. Counted with an allocator that counts (moka 0.12.16, 64-bit, 8 bytes
/// for each allocation): 489 bytes with ten thousand entries, 486 with a hundred thousand. A cache without entries has 34 KB.
const ENTRY_BYTES: usize = 512;

/// What is kept in memory, and who fills what is not.
#[derive(Debug)]
pub(super) struct Level {
    entries: Cache<Arc<str>, Arc<Entry>>,
    flights: Arc<Flights>,
    meters: Arc<Meters>,
}

impl Level {
    pub(super) fn new(config: &CacheConfig, meters: Meters) -> Self {
        let meters = Arc::new(meters);
        let told = Arc::clone(&meters);
        let (capacity, weigh) = weigher(config);
        let entries = Cache::builder()
            .max_capacity(capacity)
            // What was used longest ago goes first: who signs in signs in again soon. (moka's other policy keeps new entries
            // out of a full cache until they have been asked for several times.)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(weigh)
            .expire_after(KeptFor)
            .eviction_listener(move |key: Arc<Arc<str>>, entry: Arc<Entry>, cause| {
                told.gone(bytes(&key, &entry), cause == RemovalCause::Size);
            })
            .build();
        Self {
            entries,
            flights: Arc::default(),
            meters,
        }
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// What is kept for a key, fresh or stale.
    pub(super) async fn get(&self, key: &str) -> Option<Arc<Entry>> {
        let entry = self.entries.get(key).await;
        // It may have expired since moka looked at the clock.
        entry.filter(|entry| !entry.left().1.is_zero())
    }

    /// Keeps a value.
    pub(super) async fn insert(&self, key: &Arc<str>, entry: &Arc<Entry>) {
        if entry.left().1.is_zero() {
            return self.remove(key).await;
        }
        self.meters.came(bytes(key, entry));
        self.entries.insert(Arc::clone(key), Arc::clone(entry)).await;
        // moka makes room some time later; the bounds would hold only nearly.
        self.entries.run_pending_tasks().await;
    }

    pub(super) async fn remove(&self, key: &str) {
        self.entries.invalidate(key).await;
        self.entries.run_pending_tasks().await;
    }

    pub(super) fn reserve(&self, key: &str) -> Turn {
        self.flights.reserve(key)
    }

    pub(super) fn try_reserve(&self, key: &str) -> Option<Held> {
        self.flights.try_reserve(key)
    }

    /// Gives a value to all who wait for a key that somebody else holds.
    pub(super) fn tell_waiters(&self, key: &str, entry: &Entry) {
        self.flights.tell(key, Flown::fresh(entry));
    }
}

fn bytes(key: &str, entry: &Entry) -> usize {
    key.len() + entry.value.len() + ENTRY_BYTES
}

/// Weighs entries so that their sum bounds both, and says what that sum may be: each weighs its bytes, but at least the part of
/// `max_bytes` that it has when there are `max_entries`. So one more than these never fits.
fn weigher(config: &CacheConfig) -> (u64, impl Fn(&Arc<str>, &Arc<Entry>) -> u32 + Send + Sync + 'static) {
    let part = config.max_bytes / config.max_entries.max(1);
    let capacity = if part == 0 {
        config.max_bytes
    } else {
        part * config.max_entries
    };
    let least = u32::try_from(part).unwrap_or(u32::MAX);
    let weigh =
        move |key: &Arc<str>, entry: &Arc<Entry>| u32::try_from(bytes(key, entry)).unwrap_or(u32::MAX).max(least);
    (capacity, weigh)
}

/// Each entry is kept as long as it says.
struct KeptFor;

impl Expiry<Arc<str>, Arc<Entry>> for KeptFor {
    fn expire_after_create(&self, _: &Arc<str>, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.left().1)
    }

    fn expire_after_update(
        &self,
        _: &Arc<str>,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.left().1)
    }
}
