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
    /// The host's certificate for this upstream (PEM, with its chain), for TLS client authentication.
    pub client_certificate: Option<SecretRef>,
    /// Its private key (PEM).
    pub client_key: Option<SecretRef>,
    /// Certificates of authorities (PEM) that are trusted in place of the system's.
    pub ca: Option<SecretRef>,
    /// How long a connection may take to be made. Default 1 s.
    #[serde(default = "default_connect_timeout", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a call may take, with all its attempts; the callout's remaining time is the most. Default 1 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// How often GET, HEAD, PUT and DELETE are tried again within that time, when no connection could be made, it broke off,
    /// or the answer is 502, 503 or 504. Default 1.
    #[serde(default = "default_retries")]
    pub retries: usize,
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
    /// An access token that the host has for its own credentials.
    Oauth2ClientCredentials(OAuthConfig),
}

/// OAuth 2.0 client credentials (RFC 6749, section 4.4).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthConfig {
    /// The token endpoint. What holds for the upstream's `url` holds for it too: `plain_http`, `networks`, `ca`, the client's
    /// certificate.
    pub token_url: Url,
    /// The client's id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretRef,
    /// What the token is for, for example `https://crm.example/.default`.
    pub scope: Option<String>,
    /// Further parameters of the request, for example `audience` or `resource`.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// How the client says who it is. Default `basic`.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
}

/// RFC 6749, section 2.3.1.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// By the header `authorization`, which every server understands.
    #[default]
    Basic,
    /// By `client_id` and `client_secret` in the body.
    Body,
}

const fn default_connect_timeout() -> Duration {
    Duration::from_secs(1)
}

const fn default_timeout() -> Duration {
    Duration::from_secs(1)
}

const fn default_retries() -> usize {
    1
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
