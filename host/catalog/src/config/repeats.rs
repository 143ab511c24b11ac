//! `[repeated_callouts]`: for how long a callout that repeats is answered as the first one.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

/// From the longest deadline, within which the first one may still run, to what is no retry of Entra's any more.
const TIMES: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_mins(5);

/// `[repeated_callouts]`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RepeatsConfig {
    /// How long an answer is kept: Entra tries again at once after its time limit, which is 2 s at most. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub keep_for: Duration,
    /// Callouts of one tenant that are remembered at once; the oldest go first. Default 10000.
    pub max_entries: u32,
    /// Bytes of their answers. Default 8388608.
    pub max_bytes: u32,
}

impl Default for RepeatsConfig {
    fn default() -> Self {
        Self {
            keep_for: Duration::from_secs(10),
            max_entries: 10_000,
            max_bytes: 8 << 20,
        }
    }
}

impl RepeatsConfig {
    /// The rules, and whether each holds.
    pub(super) fn rules(&self) -> [(bool, &'static str); 2] {
        [
            (
                TIMES.contains(&self.keep_for),
                "repeated_callouts.keep_for must be between 2 s and 5 min",
            ),
            (
                self.max_entries > 0 && self.max_bytes >= 1 << 20,
                "repeated_callouts.max_entries must be at least 1, and max_bytes at least 1048576: one answer must fit",
            ),
        ]
    }
}
