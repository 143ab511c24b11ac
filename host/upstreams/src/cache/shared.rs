//! The second level: what several hosts share in a Redis or Valkey.
//!
//! A value is there with its times by the wall clock, because no other clock is the hosts' common one; clocks that differ make
//! it fresh for longer or shorter by as much. What cannot be read is no value.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::RwLock;
use tokio::time::{Instant, timeout_at};

use super::config::CacheConfig;
use super::entry::Entry;
use super::level::Level;
use super::meters::Asked;
use crate::redis::{NotAsked, RedisUpstream};

/// The form of what is kept.
const FORM: u8 = 1;
/// Before the value: the form, until when it is fresh and until when it is kept, in milliseconds since 1970.
const HEAD_BYTES: usize = 1 + 8 + 8;

/// A part of a Redis: one binding's.
#[derive(Debug)]
pub(super) struct Shared {
    redis: Arc<RedisUpstream>,
    /// What all of its keys begin with.
    prefix: String,
    max_value_bytes: usize,
    /// Held for reading by what is still being set, so that removing a key comes after it.
    setting: Arc<RwLock<()>>,
    /// For what is counted.
    level: Arc<Level>,
}

impl Shared {
    pub(super) fn new(redis: Arc<RedisUpstream>, name: &str, config: &CacheConfig, level: &Arc<Level>) -> Self {
        Self {
            redis,
            prefix: format!("claimsmith/{name}/"),
            max_value_bytes: config.max_value_bytes,
            setting: Arc::default(),
            level: Arc::clone(level),
        }
    }

    /// What there is of a key, if the answer comes in time. It is kept for `max_ttl` at most.
    pub(super) async fn get(&self, key: &str, max_ttl: Duration, until: Instant) -> Option<Entry> {
        let found = self.redis.get(&self.key(key), until).await;
        let (asked, entry) = match found {
            Ok(Some(bytes)) => match self.decode(&bytes, max_ttl) {
                Some(entry) => (Asked::Hit, Some(entry)),
                None => (Asked::Miss, None),
            },
            Ok(None) => (Asked::Miss, None),
            Err(not_asked) => (not_asked.into(), None),
        };
        self.level.meters().asked(asked);
        entry
    }

    /// Keeps a value, beside whatever goes on: nobody waits for it.
    pub(super) fn set(self: &Arc<Self>, key: &str, entry: &Entry) {
        let (fresh, kept) = entry.left();
        if kept.as_millis() == 0 {
            return;
        }
        let bytes = encode(&entry.value, fresh, kept);
        let (shared, key) = (Arc::clone(self), self.key(key));
        // As many at once as the upstream has places: without one, none is begun. Nor while a key is being removed.
        let begun = Arc::clone(&self.setting).try_read_owned().ok();
        let Some((place, begun)) = self.redis.place().zip(begun) else {
            return self.level.meters().asked(Asked::Skipped);
        };
        tokio::spawn(async move {
            let set = shared.redis.set(place, &key, &bytes, kept).await;
            drop(begun);
            shared
                .level
                .meters()
                .asked(set.map_or_else(Into::into, |()| Asked::Stored));
        });
    }

    /// Removes a key.
    pub(super) async fn remove(&self, key: &str, until: Instant) {
        // What is being set ends in the time that the server has for an answer.
        let _alone = timeout_at(until, self.setting.write()).await.ok();
        let removed = self.redis.remove(&self.key(key), until).await;
        self.level
            .meters()
            .asked(removed.map_or_else(Into::into, |()| Asked::Removed));
    }

    /// A key names a person, whom not everybody who sees a Redis's keys need know.
    fn key(&self, key: &str) -> String {
        let digest = digest(&SHA256, key.as_bytes());
        format!("{}{}", self.prefix, hex::encode(digest))
    }

    fn decode(&self, bytes: &[u8], max_ttl: Duration) -> Option<Entry> {
        let (head, value) = bytes.split_at_checked(HEAD_BYTES)?;
        let (form, times) = head.split_first()?;
        let (fresh, kept) = times.split_at_checked(8)?;
        if *form != FORM || value.len() > self.max_value_bytes {
            return None;
        }
        let now = since_1970();
        let left = |until: &[u8]| {
            let until = Duration::from_millis(u64::from_be_bytes(until.try_into().ok()?));
            Some(until.saturating_sub(now).min(max_ttl))
        };
        let (fresh, kept) = (left(fresh)?, left(kept)?);
        (!kept.is_zero()).then(|| Entry::new(value.into(), fresh, kept))
    }
}

fn encode(value: &[u8], fresh: Duration, kept: Duration) -> Vec<u8> {
    let now = since_1970();
    let until = |left: Duration| {
        let until = (now + left).as_millis();
        u64::try_from(until).unwrap_or(u64::MAX).to_be_bytes()
    };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + value.len());
    bytes.push(FORM);
    bytes.extend_from_slice(&until(fresh));
    bytes.extend_from_slice(&until(kept));
    bytes.extend_from_slice(value);
    bytes
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl From<NotAsked> for Asked {
    fn from(not_asked: NotAsked) -> Self {
        match not_asked {
            NotAsked::Failed => Self::Failed,
            NotAsked::Skipped => Self::Skipped,
        }
    }
}
