//! `[server.tls]`: the callout listener's certificate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// `[server.tls]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those between it and its authority, in PEM; relative to the configuration file.
    pub certificate: PathBuf,
    /// Its private key, in PEM; relative to the configuration file.
    pub key: PathBuf,
    /// How long a client may take for the handshake. Default 5 s.
    #[serde(with = "humantime_serde", default = "default_handshake_timeout")]
    pub handshake_timeout: Duration,
    /// How often the files are read, so that new ones are used without a restart. Default 10 s.
    #[serde(with = "humantime_serde", default = "default_reload_interval")]
    pub reload_interval: Duration,
}

fn default_handshake_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_reload_interval() -> Duration {
    Duration::from_secs(10)
}

impl TlsConfig {
    /// Takes relative paths as of this directory.
    pub(super) fn resolve(&mut self, directory: &Path) {
        self.certificate = directory.join(&self.certificate);
        self.key = directory.join(&self.key);
    }

    /// The rules, and whether each holds.
    pub(super) fn rules(&self) -> [(bool, &'static str); 2] {
        [
            (
                !self.handshake_timeout.is_zero(),
                "server.tls.handshake_timeout must not be zero",
            ),
            (
                self.reload_interval >= Duration::from_millis(100),
                "server.tls.reload_interval must be at least 100 ms",
            ),
        ]
    }
}
