//! `[audit]`: the records of callouts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use claimsmith_audit::{Mode, Options};
use serde::Deserialize;

/// Shorter queues would refuse callouts that come together; longer ones are memory that nobody gets to read.
const QUEUE_LENGTHS: std::ops::RangeInclusive<usize> = 16..=1_000_000;

/// `[audit]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Whether callouts wait for their records. Default `required`.
    pub mode: AuditMode,
    /// The store's file; relative to the configuration file. Its key is beside it. Default `audit/audit.db`.
    pub path: PathBuf,
    /// How long records are kept. Default 90 d.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How many records can wait to be written. Default 16384.
    pub queue_length: usize,
}

/// `audit.mode`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AuditMode {
    /// An answer leaves when its record is durable.
    #[default]
    Required,
    /// An answer never waits for its record.
    BestEffort,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            mode: AuditMode::Required,
            path: PathBuf::from("audit/audit.db"),
            retention: Duration::from_hours(90 * 24),
            queue_length: 16_384,
        }
    }
}

impl AuditConfig {
    /// Takes a relative path as of this directory.
    pub(super) fn resolve(&mut self, directory: &Path) {
        self.path = directory.join(&self.path);
    }

    /// The rules, and whether each holds.
    pub(super) fn rules(&self) -> [(bool, &'static str); 2] {
        [
            (
                QUEUE_LENGTHS.contains(&self.queue_length),
                "audit.queue_length must be between 16 and 1000000",
            ),
            (
                self.retention >= Duration::from_secs(1),
                "audit.retention must be at least 1 s: what is deleted sooner was never there",
            ),
        ]
    }

    /// What the audit is started with.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            mode: match self.mode {
                AuditMode::Required => Mode::Required,
                AuditMode::BestEffort => Mode::BestEffort,
            },
            path: self.path.clone(),
            queue_length: self.queue_length,
            retention: self.retention,
        }
    }
}
