//! How many callouts a tenant or an extension may make in a time: `rate_limit` and `[rate_limits]`.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Deserialize;

/// More than one machine answers.
const MAX_RATE: u32 = 1_000_000;

/// How many callouts are let through.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// So many in each second, evenly.
    pub per_second: NonZeroU32,
    /// So many at once after a quiet time. Default `per_second`.
    pub burst: Option<NonZeroU32>,
}

impl RateLimitConfig {
    /// How many at once, after a quiet time.
    fn burst(self) -> NonZeroU32 {
        self.burst.unwrap_or(self.per_second)
    }

    /// What is wrong with it by itself.
    pub(crate) fn mistake(self) -> Option<String> {
        let most = self.per_second.max(self.burst()).get();
        (most > MAX_RATE).then(|| format!("{most} is too much: expected at most {MAX_RATE} callouts"))
    }

    /// The member in which it is more than another allows, what it asks for and what there is.
    pub(crate) fn exceeding(self, most: Self) -> Option<(&'static str, NonZeroU32, NonZeroU32)> {
        [
            ("per_second", self.per_second, most.per_second),
            ("burst", self.burst(), most.burst()),
        ]
        .into_iter()
        .find(|(_, asked, most)| asked > most)
    }
}

/// `[rate_limits]`: the most that each tenant and each extension may have, and what one has that says nothing.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitsConfig {
    /// Of all extensions of one tenant together. Default no limit.
    pub tenant: Option<RateLimitConfig>,
    /// Of one extension. Default no limit.
    pub extension: Option<RateLimitConfig>,
}

impl RateLimitsConfig {
    /// The rules, and whether each holds.
    pub(crate) fn rules(&self) -> [(bool, &'static str); 1] {
        let mistakes = |limit: Option<RateLimitConfig>| limit.and_then(RateLimitConfig::mistake);
        [(
            mistakes(self.tenant).or(mistakes(self.extension)).is_none(),
            "rate_limits can be 1000000 callouts at most",
        )]
    }
}

/// A limit, and what has come through it. Outlives reloads that leave the limit as it is: they must not fill it up again.
pub struct RateLimit {
    config: RateLimitConfig,
    limiter: DefaultDirectRateLimiter,
}

impl RateLimit {
    fn new(config: RateLimitConfig) -> Self {
        let quota = Quota::per_second(config.per_second).allow_burst(config.burst());
        Self {
            config,
            limiter: RateLimiter::direct(quota),
        }
    }

    /// The limit that follows `before`.
    pub(crate) fn following(config: Option<RateLimitConfig>, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let config = config?;
        let same = before.filter(|before| before.config == config).map(Arc::clone);
        Some(same.unwrap_or_else(|| Arc::new(Self::new(config))))
    }

    /// Lets a callout through.
    ///
    /// # Errors
    /// How long it is until the next one is let through.
    pub fn admit(&self) -> Result<(), Duration> {
        let refused = |until: governor::NotUntil<_>| until.wait_time_from(DefaultClock::default().now());
        self.limiter.check().map_err(refused)
    }

    /// Callouts in each second.
    #[must_use]
    pub fn per_second(&self) -> u32 {
        self.config.per_second.get()
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(formatter)
    }
}

/// The limits that a callout of an extension meets.
#[derive(Debug, Default)]
pub struct RateLimits {
    /// Of its tenant.
    pub tenant: Option<Arc<RateLimit>>,
    /// Its own.
    pub extension: Option<Arc<RateLimit>>,
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::{RateLimit, RateLimitConfig};

    fn limit(per_second: u32, burst: u32) -> RateLimitConfig {
        RateLimitConfig {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst),
        }
    }

    #[test]
    fn a_burst_is_let_through_and_then_refused_until_a_time() {
        let limit = RateLimit::new(limit(1, 3));
        for _ in 0..3 {
            assert!(limit.admit().is_ok());
        }
        let wait = limit.admit().unwrap_err();
        assert!(wait.as_millis() > 0 && wait.as_secs_f64() <= 1.0, "{wait:?}");
    }

    #[test]
    fn a_reload_that_changes_nothing_fills_nothing_up() {
        let before = RateLimit::following(Some(limit(1, 1)), None).unwrap();
        assert!(before.admit().is_ok());
        let same = RateLimit::following(Some(limit(1, 1)), Some(&before)).unwrap();
        assert!(Arc::ptr_eq(&same, &before) && same.admit().is_err());
        let other = RateLimit::following(Some(limit(1, 2)), Some(&before)).unwrap();
        assert!(other.admit().is_ok());
        assert!(RateLimit::following(None, Some(&before)).is_none());
    }

    #[test]
    fn a_burst_is_as_much_as_a_second_unless_told_otherwise() {
        assert_eq!(
            limit(9, 0).exceeding(limit(9, 8)).map(|(member, ..)| member),
            Some("burst")
        );
        assert_eq!(
            limit(9, 1).exceeding(limit(8, 1)).map(|(member, ..)| member),
            Some("per_second")
        );
        assert_eq!(limit(9, 8).exceeding(limit(9, 8)), None);
        assert!(limit(1, 1_000_001).mistake().is_some());
    }
}
