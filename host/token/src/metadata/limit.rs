//! How often tokens may have a document fetched.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// So many fetches may follow each other at once after a quiet time. With one alone, any token with a made-up `kid`, which
/// costs its sender nothing, would keep keys that roll afterwards unknown for a whole interval.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// The shortest interval, for "no limit": the limiter knows none of zero.
const MIN_INTERVAL: Duration = Duration::from_nanos(1);

/// The longest, so that the limiter's nanoseconds do not overflow.
const MAX_INTERVAL: Duration = Duration::from_hours(24 * 365);

/// One fetch in each interval on average, and a few at once after a quiet time.
pub(super) struct FetchLimit(DefaultDirectRateLimiter);

impl FetchLimit {
    /// A limit from which nothing has been taken.
    pub(super) fn new(interval: Duration) -> Option<Self> {
        let quota = Quota::with_period(interval.clamp(MIN_INTERVAL, MAX_INTERVAL))?;
        Some(Self(RateLimiter::direct(quota.allow_burst(BURST))))
    }

    /// Takes one fetch.
    ///
    /// # Errors
    /// There is none left: when the next one is.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let refused = |until: governor::NotUntil<_>| until.wait_time_from(DefaultClock::default().now());
        self.0.check().map_err(refused)
    }
}

impl fmt::Debug for FetchLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FetchLimit").finish_non_exhaustive()
    }
}
