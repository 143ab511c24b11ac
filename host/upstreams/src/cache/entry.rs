//! A value and its times.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// A value and its times.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) value: Arc<[u8]>,
    fresh_until: Instant,
    /// When it is stale and somebody is given the key to fill it anew.
    filled_from: Instant,
    kept_until: Instant,
}

impl Entry {
    /// A value that is fresh for `fresh` from now on, and kept for `kept`.
    pub(super) fn new(value: Arc<[u8]>, fresh: Duration, kept: Duration) -> Self {
        let now = Instant::now();
        Self {
            value,
            fresh_until: now + fresh,
            filled_from: now + fresh,
            kept_until: now + kept,
        }
    }

    /// The same value, whose key is given to nobody before `then`.
    pub(super) fn not_filled_before(&self, then: Instant) -> Self {
        Self {
            filled_from: then.max(self.fresh_until),
            ..self.clone()
        }
    }

    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    /// Whether a stale value's key may be given to somebody.
    pub(super) fn may_be_filled(&self) -> bool {
        self.filled_from <= Instant::now()
    }

    /// How long it is fresh, and how long it is kept.
    pub(super) fn left(&self) -> (Duration, Duration) {
        let now = Instant::now();
        let left = |until: Instant| until.saturating_duration_since(now);
        (left(self.fresh_until), left(self.kept_until))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is what an upstream knows of a person.
        formatter
            .debug_struct("Entry")
            .field("bytes", &self.value.len())
            .finish_non_exhaustive()
    }
}
