//! `kind = "http"` in `tenant.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::egress::Network;
use crate::secret::SecretRef;

/// An HTTP upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// What paths are below: https, or http where `plain_http` says so.
    pub url: Url,
    /// What may be asked: `METHOD /path`, where `{name}` stands for one segment and a last `**` for one or more.
    pub allow: Vec<String>,
    /// Whether `url` may be http: nobody is known by name then, and everybody on the way reads along. Default false.
    #[serde(default)]
    pub plain_http: bool,
    /// Networks that are not of the public internet and that this upstream is in. The operator must allow them.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// Header fields of every request. No secrets: those are `authentication`'s.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How the host says who asks. Default: it does not.
    #[serde(default)]
    pub authentication: AuthenticationConfig,
    /// Certificates of authorities (PEM) that are trusted in place of the system's.
    pub ca: Option<SecretRef>,
    /// How long a connection may take to be made. Default 1 s.
    #[serde(default = "default_connect_timeout", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a call may take; the callout's remaining time is the most. Default 2 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// Calls at once; further ones wait. Default 32.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Bytes of a request's body. Default 65536.
    #[serde(default = "default_max_request_bytes")]
    pub max_request_bytes: usize,
    /// Bytes of a response, its header fields included. Default 262144.
    #[serde(default = "default_max_response_bytes")]
    pub max_response_bytes: usize,
}

/// How the host says who asks: at most one way.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum AuthenticationConfig {
    /// Not at all.
    #[default]
    None,
    /// A header field with a secret.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretRef,
    },
    /// A name and a password (RFC 7617).
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: SecretRef,
    },
    /// A bearer token (RFC 6750).
    Bearer {
        /// The token.
        token: SecretRef,
    },
}

const fn default_connect_timeout() -> Duration {
    Duration::from_secs(1)
}

const fn default_timeout() -> Duration {
    Duration::from_secs(2)
}

const fn default_concurrency() -> usize {
    32
}

const fn default_max_request_bytes() -> usize {
    64 << 10
}

const fn default_max_response_bytes() -> usize {
    256 << 10
}
