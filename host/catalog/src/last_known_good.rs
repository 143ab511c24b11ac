//! The claims that users last had, for `on_failure = "last_known_good"`.
//!
//! Each tenant has a memory of its own, bounded in entries and bytes, which outlives its reloads. What is in it belongs to
//! one version with one set of settings, upstreams and statements in one binding: with any of these changed, an earlier
//! answer may be wrong (a right that was taken away, a defect that was mended), so nothing finds it any more, and it goes
//! with its age.
//!
//! That a user was refused is remembered too, in place of the claims: otherwise a person who was shut out would be let in
//! again as soon as the plugin fails.

use std::future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use claimsmith_contract::Callout;
use claimsmith_contract::token_issuance_start::{Claim, ClaimValue};
use moka::Expiry;
use moka::future::Cache;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use serde::Deserialize;
use uuid::Uuid;

/// What an entry takes besides its texts, about: key, list, the cache's own nodes.
const ENTRY_BYTES: u32 = 512;
/// What a claim or a value takes besides its text.
const VALUE_BYTES: usize = 48;

/// `[last_known_good]`: how much is remembered of each tenant's users.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LastKnownGoodConfig {
    /// Answers of one tenant's bindings; those that were used longest ago go first. Default 20000.
    pub max_entries: u32,
    /// Bytes of them. Default 16777216.
    pub max_bytes: u32,
}

impl Default for LastKnownGoodConfig {
    fn default() -> Self {
        Self {
            max_entries: 20_000,
            max_bytes: 16 << 20,
        }
    }
}

impl LastKnownGoodConfig {
    /// The rules, and whether each holds.
    pub(crate) fn rules(self) -> [(bool, &'static str); 2] {
        [
            (self.max_entries > 0, "last_known_good.max_entries must be at least 1"),
            (
                self.max_bytes >= 65_536,
                "last_known_good.max_bytes must be at least 65536: one answer must fit",
            ),
        ]
    }
}

/// Whose claims they are: a person who signs in to an application, for a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    directory: Uuid,
    user: Uuid,
    application: Option<Uuid>,
    resource: Option<Uuid>,
}

impl Subject {
    /// Who a callout is about. `None` without the user's object id: names and addresses are given to others, object ids
    /// are not.
    #[must_use]
    pub fn of(callout: &Callout<'_>) -> Option<Self> {
        let id = |text: &str| Uuid::try_parse(text).ok();
        let user = callout.user.as_ref()?.id.as_deref().and_then(id)?;
        let application = callout.client_service_principal.as_ref();
        let resource = callout.resource_service_principal.as_ref();
        Some(Self {
            directory: callout.tenant_id,
            user,
            application: application.and_then(|client| client.app_id.as_deref()).and_then(id),
            resource: resource.and_then(|resource| resource.app_id.as_deref()).and_then(id),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The version with its settings in its binding.
    of: u64,
    subject: Subject,
}

#[derive(Clone, Debug)]
struct Entry {
    known: Known,
    since: Instant,
    max_age: Duration,
}

/// What a version with its settings has last decided for a user.
#[derive(Clone, Debug)]
enum Known {
    Answered(Arc<[Claim]>),
    Refused,
}

/// What is known of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// The claims that were answered last, and how long ago.
    Claims(Vec<Claim>, Duration),
    /// The user was refused last.
    Refused,
    /// Nothing, or nothing that is recent enough.
    Nothing,
}

struct Age;

impl Expiry<Key, Entry> for Age {
    fn expire_after_create(&self, _key: &Key, entry: &Entry, _now: Instant) -> Option<Duration> {
        Some(entry.max_age)
    }

    fn expire_after_update(&self, _: &Key, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.max_age)
    }
}

/// One tenant's memory, made when a binding needs it: most tenants have no such binding.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    config: LastKnownGoodConfig,
    cache: Arc<OnceLock<Cache<Key, Entry>>>,
}

impl Memory {
    pub(crate) fn new(config: LastKnownGoodConfig) -> Self {
        let cache = Arc::default();
        Self { config, cache }
    }

    fn cache(&self) -> &Cache<Key, Entry> {
        self.cache.get_or_init(|| Self::made(self.config))
    }

    fn made(config: LastKnownGoodConfig) -> Cache<Key, Entry> {
        // One bound for both: no entry weighs less than its part of all bytes.
        let least = (config.max_bytes / config.max_entries.max(1)).max(1);
        let weigher = move |_: &Key, entry: &Entry| match &entry.known {
            Known::Answered(claims) => bytes(claims).max(least),
            Known::Refused => bytes(&[]).max(least),
        };
        Cache::builder()
            .max_capacity(config.max_bytes.into())
            .eviction_policy(EvictionPolicy::lru())
            .weigher(weigher)
            .expire_after(Age)
            .build()
    }
}

fn bytes(claims: &[Claim]) -> u32 {
    let of_claim = |claim: &Claim| match &claim.value {
        ClaimValue::Text(text) => claim.id.len() + text.len() + 2 * VALUE_BYTES,
        ClaimValue::Texts(texts) => {
            claim.id.len() + VALUE_BYTES + texts.iter().map(|text| text.len() + VALUE_BYTES).sum::<usize>()
        }
    };
    let bytes: usize = claims.iter().map(of_claim).sum();
    u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(ENTRY_BYTES)
}

/// What a version with its settings has answered in one binding.
#[derive(Clone, Debug)]
pub struct LastKnownGood {
    memory: Cache<Key, Entry>,
    of: u64,
    max_age: Duration,
}

impl LastKnownGood {
    /// Nothing yet.
    pub(crate) fn new(memory: &Memory, max_age: Duration) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self {
            memory: memory.cache().clone(),
            of: NUMBERS.fetch_add(1, Ordering::Relaxed),
            max_age,
        }
    }

    /// The same for another time.
    pub(crate) fn with_max_age(&self, max_age: Duration) -> Self {
        Self {
            max_age,
            ..self.clone()
        }
    }

    /// Notes what an invocation has answered that began at `began`. A refusal since then is the later decision, whichever
    /// of the two was done first.
    pub async fn remember(&self, subject: Subject, claims: &[Claim], began: Instant) {
        let entry = self.entry(Known::Answered(claims.into()));
        let decide = |before: Option<moka::Entry<Key, Entry>>| match before.map(moka::Entry::into_value) {
            Some(before) if matches!(before.known, Known::Refused) && before.since >= began => future::ready(Op::Nop),
            _ => future::ready(Op::Put(entry)),
        };
        let key = Key { of: self.of, subject };
        drop(self.memory.entry(key).and_compute_with(decide).await);
    }

    /// Notes that the user has been refused, which takes the place of what was answered before.
    pub async fn refuse(&self, subject: Subject) {
        let key = Key { of: self.of, subject };
        self.memory.insert(key, self.entry(Known::Refused)).await;
    }

    fn entry(&self, known: Known) -> Entry {
        Entry {
            known,
            since: Instant::now(),
            max_age: self.max_age,
        }
    }

    /// What was decided last, unless that is too long ago.
    pub async fn recall(&self, subject: Subject) -> Recalled {
        let Some(entry) = self.memory.get(&Key { of: self.of, subject }).await else {
            return Recalled::Nothing;
        };
        let age = entry.since.elapsed();
        match entry.known {
            _ if age > self.max_age => Recalled::Nothing,
            Known::Answered(claims) => Recalled::Claims(claims.to_vec(), age),
            Known::Refused => Recalled::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use claimsmith_contract::token_issuance_start::{Claim, ClaimValue};
    use uuid::Uuid;

    use super::{LastKnownGood, LastKnownGoodConfig, Memory, Recalled, Subject};

    const HOUR: Duration = Duration::from_hours(1);

    fn subject(user: u128) -> Subject {
        Subject {
            directory: Uuid::from_u128(1),
            user: Uuid::from_u128(user),
            application: None,
            resource: None,
        }
    }

    fn claims(text: &str) -> Vec<Claim> {
        vec![Claim {
            id: "tier".to_owned(),
            value: ClaimValue::Text(text.to_owned()),
        }]
    }

    /// The claims that are known of a user.
    async fn known(good: &LastKnownGood, of: Subject) -> Option<Vec<Claim>> {
        match good.recall(of).await {
            Recalled::Claims(claims, _) => Some(claims),
            Recalled::Refused | Recalled::Nothing => None,
        }
    }

    async fn remembered(memory: &Memory) -> u64 {
        memory.cache().run_pending_tasks().await;
        memory.cache().entry_count()
    }

    #[tokio::test]
    async fn only_the_same_user_of_the_same_version_is_found() {
        let memory = Memory::new(LastKnownGoodConfig::default());
        let (one, other) = (LastKnownGood::new(&memory, HOUR), LastKnownGood::new(&memory, HOUR));
        one.remember(subject(1), &claims("gold"), Instant::now()).await;
        assert_eq!(known(&one, subject(1)).await, Some(claims("gold")));
        assert_eq!(one.recall(subject(2)).await, Recalled::Nothing);
        assert_eq!(other.recall(subject(1)).await, Recalled::Nothing);
        let elsewhere = Subject {
            application: Some(Uuid::from_u128(9)),
            ..subject(1)
        };
        assert_eq!(one.recall(elsewhere).await, Recalled::Nothing);
        // A shorter age holds for what is there already.
        let shorter = one.with_max_age(Duration::ZERO);
        assert_eq!(shorter.recall(subject(1)).await, Recalled::Nothing);
        one.remember(subject(1), &claims("silver"), Instant::now()).await;
        assert_eq!(known(&one, subject(1)).await, Some(claims("silver")));
    }

    #[tokio::test]
    async fn a_refusal_counts_more_than_what_began_before_it() {
        let good = LastKnownGood::new(&Memory::new(LastKnownGoodConfig::default()), HOUR);
        let began = Instant::now();
        good.remember(subject(1), &claims("gold"), began).await;
        good.refuse(subject(1)).await;
        assert_eq!(good.recall(subject(1)).await, Recalled::Refused);
        good.remember(subject(1), &claims("gold"), began).await;
        assert_eq!(good.recall(subject(1)).await, Recalled::Refused);
        good.remember(subject(1), &claims("gold"), Instant::now()).await;
        assert_eq!(known(&good, subject(1)).await, Some(claims("gold")));
    }

    #[tokio::test]
    async fn entries_and_bytes_are_bounded_and_the_newest_stay() {
        let few = Memory::new(LastKnownGoodConfig {
            max_entries: 10,
            max_bytes: 1 << 20,
        });
        let small = Memory::new(LastKnownGoodConfig {
            max_entries: 1_000,
            max_bytes: 65_536,
        });
        let (in_few, in_small) = (LastKnownGood::new(&few, HOUR), LastKnownGood::new(&small, HOUR));
        for user in 0..500 {
            let now = Instant::now();
            in_few.remember(subject(user), &claims("x"), now).await;
            in_small.remember(subject(user), &claims(&"x".repeat(3_000)), now).await;
        }
        assert_eq!(remembered(&few).await, 10);
        let kept = remembered(&small).await;
        assert!((1..=20).contains(&kept), "{kept}");
        for good in [in_few, in_small] {
            assert!(known(&good, subject(499)).await.is_some());
            assert_eq!(good.recall(subject(0)).await, Recalled::Nothing);
        }
    }
}
