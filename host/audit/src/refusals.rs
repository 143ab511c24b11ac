//! Refusals that somebody can cause any number of: only some have a record each, and the others are counted.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_contract::Outcome;
use tokio::time::Instant;

/// How many refusals of callers that nothing is known of have records at once, of one tenant, after a quiet time.
const BURST: f64 = 100.0;
/// How many more have each second: 90 days of a flood are some 200 MB for each tenant.
const PER_SECOND: f64 = 0.1;
/// How often what was only counted is told.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Refusals of callouts that are counted together: tenant, extension and why.
pub(crate) type Kind = (Arc<str>, Arc<str>, Outcome);

/// What there has been of refusals, of which those of one kind `K` are counted together.
#[derive(Debug)]
pub struct Refusals<K> {
    burst: f64,
    per_second: f64,
    /// What each tenant has left, and since when. Only names of the catalog come here, and the empty one.
    left: HashMap<Arc<str>, (f64, Instant)>,
    counted: HashMap<K, u64>,
    told: Option<Instant>,
}

impl Refusals<Kind> {
    /// Those of callers that nothing is known of.
    pub(crate) fn of_strangers() -> Self {
        Self::new(BURST, PER_SECOND)
    }
}

impl<K: Eq + Hash> Refusals<K> {
    /// None yet. Of each tenant so many have records at once after a quiet time, and so many more each second.
    #[must_use]
    pub fn new(burst: f64, per_second: f64) -> Self {
        Self {
            burst,
            per_second,
            left: HashMap::new(),
            counted: HashMap::new(),
            told: None,
        }
    }

    /// Whether a refusal has a record of its own; otherwise it is counted.
    pub fn admit(&mut self, tenant: &Arc<str>, kind: impl FnOnce() -> K) -> bool {
        let now = Instant::now();
        let (left, since) = self.left.entry(Arc::clone(tenant)).or_insert((self.burst, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * self.per_second).min(self.burst);
        *since = now;
        if *left >= 1.0 {
            *left -= 1.0;
            return true;
        }
        *self.counted.entry(kind()).or_default() += 1;
        false
    }

    /// What was only counted, when it is time to tell it.
    pub fn take(&mut self, at_once: bool) -> Vec<(K, u64)> {
        let now = Instant::now();
        let due = self.told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        if self.counted.is_empty() || !(due || at_once) {
            return Vec::new();
        }
        self.told = Some(now);
        self.counted.drain().collect()
    }
}
