//! `[runtime.cache]`: where compiled components are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use claimsmith_runtime::CacheOptions;
use serde::Deserialize;

/// An entry that is in use is noted once a day, so a shorter time would delete what is in use.
const MIN_UNUSED_FOR: Duration = Duration::from_hours(48);

/// `[runtime.cache]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// The directory; relative to the configuration file. Nobody else may be able to write there. Default none: components
    /// are compiled at every start.
    pub directory: Option<PathBuf>,
    /// The file of the key that entries are authenticated with, which nobody else may be able to read; relative to the
    /// configuration file. Made if it is absent.
    pub key: Option<PathBuf>,
    /// Entries that nobody used for so long are deleted. Default 30 d.
    #[serde(with = "humantime_serde")]
    pub unused_for: Duration,
    /// Bytes of all entries; the ones that were used longest ago are deleted. Default 4294967296.
    pub max_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            directory: None,
            key: None,
            unused_for: Duration::from_hours(30 * 24),
            max_bytes: 4 << 30,
        }
    }
}

impl CacheConfig {
    /// Takes relative paths as of this directory.
    pub(super) fn resolve(&mut self, directory: &Path) {
        for path in [&mut self.directory, &mut self.key].into_iter().flatten() {
            *path = directory.join(&*path);
        }
    }

    /// The rules, and whether each holds.
    pub(super) fn rules(&self) -> [(bool, &'static str); 2] {
        [
            (
                self.directory.is_some() == self.key.is_some(),
                "runtime.cache.directory and runtime.cache.key belong together: entries of the directory are only believed if \
                 they were authenticated with the key",
            ),
            (
                self.unused_for >= MIN_UNUSED_FOR,
                "runtime.cache.unused_for must be at least 2 d: a use is noted once a day",
            ),
        ]
    }

    /// What the runtime's cache is opened with, if there is to be one.
    #[must_use]
    pub fn options(&self) -> Option<CacheOptions> {
        Some(CacheOptions {
            directory: self.directory.clone()?,
            key: self.key.clone()?,
            unused_for: self.unused_for,
            max_bytes: self.max_bytes,
            build_tag: String::new(),
        })
    }
}
