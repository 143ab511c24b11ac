//! A redis upstream in `tenant.toml`.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::egress::Network;
use crate::secret::SecretRef;

/// An upstream of `kind = "redis"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `rediss://host:port`: TLS; the port is 6379 where there is none.
    pub url: Url,
    /// Whether `url` may be `redis://`, without TLS: everybody on the way reads along. Default false.
    #[serde(default)]
    pub plain_tcp: bool,
    /// Networks outside the public internet that it is in; the operator must allow them. Default none.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// The user (ACL). Default the server's default user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<SecretRef>,
    /// PEM: the authorities that are trusted in place of the system's.
    pub ca: Option<SecretRef>,
    /// The database's number. Default 0.
    #[serde(default)]
    pub database: u32,
    /// How long a connection may take to be made; no callout waits for longer than `timeout`. Default 1 s.
    #[serde(default = "default_connect_timeout", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long an answer may take; callouts wait for it before they ask further. Default 50 ms.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
}

const fn default_connect_timeout() -> Duration {
    Duration::from_secs(1)
}

const fn default_timeout() -> Duration {
    Duration::from_millis(50)
}
