//! `[runtime.breaker]`: when a plugin that fails is no longer invoked.

use std::time::Duration;

use claimsmith_runtime::BreakerOptions;
use serde::Deserialize;

/// `[runtime.breaker]`: the circuit breaker that each version has in each binding.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// So many failures in a row open it. Default 10.
    pub consecutive_failures: u32,
    /// A larger share of failures than this opens it, over a whole `window`; 0 to 1. Default 0.5.
    pub failure_rate: f64,
    /// Over which time the share is taken. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How many invocations there must have been in the window. Default 20.
    pub min_invocations: u32,
    /// How long it is open at first, then twice as long each time that the attempt after it fails. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub open_for: Duration,
    /// How long it is open at most. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub max_open_for: Duration,
}

impl Eq for BreakerConfig {}

impl Default for BreakerConfig {
    fn default() -> Self {
        let options = BreakerOptions::default();
        Self {
            consecutive_failures: options.consecutive_failures,
            failure_rate: options.failure_rate,
            window: options.window,
            min_invocations: options.min_invocations,
            open_for: options.open_for,
            max_open_for: options.max_open_for,
        }
    }
}

impl BreakerConfig {
    /// The rules, and whether each holds.
    pub(super) fn rules(&self) -> [(bool, &'static str); 4] {
        [
            (
                (0.0..=1.0).contains(&self.failure_rate),
                "runtime.breaker.failure_rate must be between 0 and 1",
            ),
            (
                self.consecutive_failures > 0,
                "runtime.breaker.consecutive_failures must be at least 1",
            ),
            (
                [self.window, self.open_for]
                    .iter()
                    .all(|time| *time >= Duration::from_secs(1)),
                "runtime.breaker.window and open_for must be at least 1 s",
            ),
            (
                self.max_open_for >= self.open_for,
                "runtime.breaker.max_open_for must be at least open_for",
            ),
        ]
    }

    pub(super) fn options(&self) -> BreakerOptions {
        BreakerOptions {
            consecutive_failures: self.consecutive_failures,
            failure_rate: self.failure_rate,
            window: self.window,
            min_invocations: self.min_invocations,
            open_for: self.open_for,
            max_open_for: self.max_open_for,
        }
    }
}
