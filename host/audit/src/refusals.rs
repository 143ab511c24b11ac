//! Refusals of callers that nothing is known of: anybody can cause any number of them, so only some have a record each,
//! and the others are counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_contract::Outcome;
use tokio::time::Instant;

use crate::record::Context;

/// How many refusals of one tenant have records at once, after a quiet time.
const BURST: f64 = 100.0;
/// How many more have each second: 90 days of a flood are some 200 MB for each tenant.
const PER_SECOND: f64 = 0.1;
/// How often what was only counted is told.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// What is counted together: refusals of one tenant's one extension, for one reason.
type Key = (Arc<str>, Arc<str>, Outcome);

/// What there has been of refusals.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// What each tenant has left, and since when. Only names of the catalog come here, and the empty one.
    left: HashMap<Arc<str>, (f64, Instant)>,
    counted: HashMap<Key, u64>,
    told: Option<Instant>,
}

impl Refusals {
    /// Whether a refusal has a record of its own; otherwise it is counted.
    pub(crate) fn admit(&mut self, context: &Context, outcome: Outcome) -> bool {
        let now = Instant::now();
        let (left, since) = self.left.entry(Arc::clone(&context.tenant)).or_insert((BURST, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * PER_SECOND).min(BURST);
        *since = now;
        if *left >= 1.0 {
            *left -= 1.0;
            return true;
        }
        let key = (Arc::clone(&context.tenant), Arc::clone(&context.extension), outcome);
        *self.counted.entry(key).or_default() += 1;
        false
    }

    /// What was only counted, when it is time to tell it.
    pub(crate) fn take(&mut self, at_once: bool) -> Vec<(Key, u64)> {
        let now = Instant::now();
        let due = self.told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        if self.counted.is_empty() || !(due || at_once) {
            return Vec::new();
        }
        self.told = Some(now);
        self.counted.drain().collect()
    }
}
