//! A binding's cache in `tenant.toml`.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use crate::problem::{Problem, Problems};

const MAX_ENTRIES: u64 = 1_000_000;
const BYTES: RangeInclusive<u64> = 64 << 10..=1 << 30;
const MAX_TTL: Duration = Duration::from_hours(30 * 24);
/// What a plugin gets in one answer of an upstream, and no callout wants more.
pub(crate) const MAX_VALUE_BYTES: usize = 256 << 10;

/// `extensions.<name>.bindings[].cache`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Entries in memory; those that were used longest ago go. Default 10,000.
    pub max_entries: u64,
    /// Bytes in memory, of keys, values and what an entry takes besides. Default 4194304.
    pub max_bytes: u64,
    /// How long an entry is kept at most, fresh and stale together. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub max_ttl: Duration,
    /// Bytes of one value. Default 16384.
    pub max_value_bytes: usize,
    /// The tenant's upstream of kind `redis` that several hosts share. Default none.
    pub redis: Option<String>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_entries: 10_000,
            max_bytes: 4 << 20,
            max_ttl: Duration::from_hours(1),
            max_value_bytes: 16 << 10,
            redis: None,
        }
    }
}

impl CacheConfig {
    /// Everything that is wrong.
    pub(super) fn check(&self) -> Problems {
        let rules = [
            (
                "max_entries",
                (1..=MAX_ENTRIES).contains(&self.max_entries),
                "expected 1 to 1000000",
            ),
            (
                "max_bytes",
                BYTES.contains(&self.max_bytes),
                "expected 65536 to 1073741824",
            ),
            (
                "max_ttl",
                !self.max_ttl.is_zero() && self.max_ttl <= MAX_TTL,
                "expected more than nothing and at most 30d",
            ),
            (
                "max_value_bytes",
                (1..=MAX_VALUE_BYTES).contains(&self.max_value_bytes),
                "expected 1 to 262144",
            ),
            (
                "max_value_bytes",
                (self.max_value_bytes as u64).saturating_mul(2) <= self.max_bytes,
                "expected at most half of `max_bytes`, or one value would put out all others",
            ),
        ];
        let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
        broken
            .map(|(member, _, message)| Problem::at(member, message))
            .collect()
    }
}
