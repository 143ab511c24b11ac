//! `kind = "sql"` in `tenant.toml`.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::egress::Network;
use crate::secret::SecretRef;

/// A database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlConfig {
    /// `postgres://host[:port]/database`, or `sqlite:path`, where the path is below the tenant's directory. No credentials.
    pub url: Url,
    /// Who the host is to the database. Required for PostgreSQL.
    pub authentication: Option<SqlAuthentication>,
    /// Whether the connection is encrypted and the server's certificate must be for its name. Default true.
    pub tls: Option<bool>,
    /// Certificates of authorities (PEM) that are trusted in place of the system's.
    pub ca: Option<SecretRef>,
    /// Networks that are not of the public internet and that this database is in. The operator must allow them.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// Whether plugins may write. Default `read-only`, which is all that a SQLite file can be.
    #[serde(default)]
    pub access: Access,
    /// Whether plugins may execute any statement, and not only those that their bindings name. The operator must allow it.
    /// Default false.
    #[serde(default)]
    pub any_statement: bool,
    /// Connections at once, which are calls at once; further ones wait. Default 8.
    #[serde(default = "default_connections")]
    pub connections: u32,
    /// How long a connection may take to be made. Default 1 s.
    #[serde(default = "default_time", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a call may take; the callout's remaining time is the most. Default 1 s.
    #[serde(default = "default_time", with = "humantime_serde")]
    pub timeout: Duration,
    /// Rows of a result. Default 1000.
    #[serde(default = "default_max_rows")]
    pub max_rows: usize,
    /// Bytes of a result. Default 262144.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: usize,
    /// Bytes of a statement's parameters. Default 65536.
    #[serde(default = "default_max_request_bytes")]
    pub max_request_bytes: usize,
}

impl SqlConfig {
    /// Whether it is a SQLite file, whose statements run in this process.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.url.scheme() == "sqlite"
    }
}

/// Who the host is to a database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlAuthentication {
    /// The role.
    pub username: String,
    /// Its password.
    pub password: SecretRef,
}

/// What plugins may do with a database.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read: each statement is executed in a read-only transaction, which is rolled back.
    #[default]
    ReadOnly,
    /// Read and write: each statement is a transaction of its own.
    ReadWrite,
}

const fn default_connections() -> u32 {
    8
}

const fn default_time() -> Duration {
    Duration::from_secs(1)
}

const fn default_max_rows() -> usize {
    1_000
}

const fn default_max_bytes() -> usize {
    256 << 10
}

const fn default_max_request_bytes() -> usize {
    64 << 10
}
