//! `[vault]` in `claimsmith.toml`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::egress::Network;
use crate::secret::SecretRef;

/// Where Vault is, and who the service is there.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// Its URL, such as `https://vault.corp.example:8200`.
    pub address: Url,
    /// Whether `address` may be http: everybody on the way reads along. Default false.
    #[serde(default)]
    pub plain_http: bool,
    /// Certificates of authorities (a PEM file) that are trusted in place of the system's. Relative to `claimsmith.toml`.
    pub ca: Option<PathBuf>,
    /// Networks that are not of the public internet and that Vault is in.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// The namespace (Vault Enterprise, `OpenBao`).
    pub namespace: Option<String>,
    /// Where the key/value engine is mounted. Default `secret`.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// The version of the key/value engine, 1 or 2. Default 2.
    #[serde(default = "default_kv_version")]
    pub kv_version: u8,
    /// What a tenant's paths are below: one segment is `{tenant}`. Default `claimsmith/{tenant}`.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// How often secrets are read again. Default 1 min.
    #[serde(default = "default_refresh_interval", with = "humantime_serde")]
    pub refresh_interval: Duration,
    /// How long reading one secret may take, with the login that it may need. Default 3 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// Who the service is.
    pub authentication: VaultAuthentication,
    /// What paths here are relative to.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// Who the service is for Vault. `env:` can be any variable and `file:` any file here, relative to `claimsmith.toml`: they are
/// the operator's.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum VaultAuthentication {
    /// A token, which somebody else renews (Vault's agent, for one). Read again each time.
    Token(SecretRef),
    /// An `AppRole`: the service logs in, and again before its token ends.
    AppRole {
        /// The role.
        role_id: String,
        /// Its secret.
        secret_id: SecretRef,
        /// Where the method is mounted. Default `approle`.
        #[serde(default = "default_app_role_mount")]
        mount: String,
    },
}

impl VaultConfig {
    /// Says what paths are relative to.
    pub fn resolve(&mut self, directory: &Path) {
        directory.clone_into(&mut self.directory);
    }
}

fn default_mount() -> String {
    "secret".to_owned()
}

const fn default_kv_version() -> u8 {
    2
}

fn default_prefix() -> String {
    "claimsmith/{tenant}".to_owned()
}

const fn default_refresh_interval() -> Duration {
    Duration::from_mins(1)
}

const fn default_timeout() -> Duration {
    Duration::from_secs(3)
}

fn default_app_role_mount() -> String {
    "approle".to_owned()
}
