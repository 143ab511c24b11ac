//! `kind = "mail"` in `tenant.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::egress::Network;
use crate::secret::SecretRef;

/// A mail server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// `smtps://` (TLS from the start, port 465 unless it names another) or `smtp://` (STARTTLS, port 587), and the server's
    /// name.
    pub url: Url,
    /// Whether `smtp://` goes without STARTTLS: everybody on the way reads along, codes too. Default false.
    #[serde(default)]
    pub plain_smtp: bool,
    /// Who sends: `Contoso <no-reply@contoso.example>`. Plugins cannot choose another.
    pub from: String,
    /// Who gets the answers. Default: `from`.
    pub reply_to: Option<String>,
    /// To whom it may be sent: domains (`contoso.example`), everything below one (`*.contoso.example`), addresses. Default:
    /// everybody.
    pub recipients: Option<Vec<String>>,
    /// Header fields of every message, such as those by which a relay tells streams apart. No secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How the host says who it is (RFC 4954, PLAIN or LOGIN). Default: it does not.
    pub authentication: Option<MailAuthentication>,
    /// Networks that are not of the public internet and that this upstream is in. The operator must allow them.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// Certificates of authorities (PEM) that are trusted in place of the system's.
    pub ca: Option<SecretRef>,
    /// What the host calls itself (EHLO). Default: the domain of `from`.
    pub hello_name: Option<String>,
    /// How long a connection may take to be made, with TLS and authentication. Default 1 s.
    #[serde(default = "default_connect_timeout", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a call may take; the callout's remaining time is the most. Default 2 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// Connections, and calls at once; further calls wait. Default 8.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Bytes of a message's subject and texts. Default 65536.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: usize,
}

/// The host's credentials.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailAuthentication {
    /// The name.
    pub username: String,
    /// The password.
    pub password: SecretRef,
}

const fn default_connect_timeout() -> Duration {
    Duration::from_secs(1)
}

const fn default_timeout() -> Duration {
    Duration::from_secs(2)
}

const fn default_concurrency() -> usize {
    8
}

const fn default_max_bytes() -> usize {
    64 << 10
}
