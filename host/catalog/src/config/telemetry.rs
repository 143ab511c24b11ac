//! `[telemetry]`, `[log]` and `[probe]`: what the service tells of itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use claimsmith_upstreams::secret::SecretRef;
use serde::Deserialize;
use url::Url;

/// Fewer would not hold the spans of one second; more are memory for a collector that is not there.
const QUEUE_LENGTHS: std::ops::RangeInclusive<usize> = 512..=1_000_000;

/// `[telemetry]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// OpenTelemetry traces.
    pub traces: TracesConfig,
}

/// `[telemetry.traces]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// Where spans are posted to by OTLP (`http/protobuf`), with the path: `http://collector:4318/v1/traces`. Default
    /// none: no traces are made.
    pub otlp_endpoint: Option<Url>,
    /// Header fields of these requests, such as `authorization`, each a reference to a secret.
    pub headers: BTreeMap<String, SecretRef>,
    /// The share of callouts that are traced, 0 to 1. Default 0.1. Can be changed without a restart.
    pub sample_ratio: f64,
    /// Whether a `traceparent` of a request with a valid token is taken: its trace instead of the correlation id's, and
    /// its decision to sample. Default false.
    pub accept_traceparent: bool,
    /// Spans that can wait to be sent; those of further callouts are dropped and counted. Default 8192.
    pub queue_length: usize,
    /// Further resource attributes, such as `"deployment.environment.name" = "production"`.
    pub resource: BTreeMap<String, String>,
    /// Where relative names of secrets are looked for: beside the configuration file.
    #[serde(skip)]
    pub directory: PathBuf,
}

impl Eq for TracesConfig {}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            headers: BTreeMap::new(),
            sample_ratio: 0.1,
            accept_traceparent: false,
            queue_length: 8192,
            resource: BTreeMap::new(),
            directory: PathBuf::new(),
        }
    }
}

impl TracesConfig {
    /// Takes relative paths as of this directory.
    pub(super) fn resolve(&mut self, directory: &Path) {
        directory.clone_into(&mut self.directory);
    }

    /// The rules, and whether each holds.
    pub(super) fn rules(&self) -> [(bool, &'static str); 3] {
        let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        [
            (
                self.otlp_endpoint.as_ref().is_none_or(is_http),
                "telemetry.traces.otlp_endpoint must be an http or https URL, with its path, such as \
                 http://127.0.0.1:4318/v1/traces",
            ),
            (
                (0.0..=1.0).contains(&self.sample_ratio),
                "telemetry.traces.sample_ratio must be between 0 and 1",
            ),
            (
                QUEUE_LENGTHS.contains(&self.queue_length),
                "telemetry.traces.queue_length must be between 512 and 1000000",
            ),
        ]
    }
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Which log lines are written, as `--log`, which wins at the start. Default `info`. Can be changed without a restart.
    pub filter: Option<String>,
}

/// `[probe]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ProbesConfig {
    /// How often the extensions that want it are called by the service itself. Default 1 min.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
}

impl Default for ProbesConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(1),
        }
    }
}

impl ProbesConfig {
    /// The rules, and whether each holds.
    pub(super) fn rules(&self) -> [(bool, &'static str); 1] {
        [(
            self.interval >= Duration::from_secs(1),
            "probe.interval must be at least 1 s",
        )]
    }
}
