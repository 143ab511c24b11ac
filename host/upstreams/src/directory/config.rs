//! `kind = "directory"` in `tenant.toml`.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::egress::Network;
use crate::secret::SecretRef;

/// An LDAP directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Where it is: `ldaps://host`, or `ldap://host` where `start_tls` or `plain_ldap` says so. Host and port alone.
    pub url: Url,
    /// Whether a connection to an `ldap://` URL is encrypted before anything is said (RFC 4511, section 4.14). Default false.
    #[serde(default)]
    pub start_tls: bool,
    /// Whether a connection to an `ldap://` URL is not encrypted at all: everybody on the way reads passwords along, and
    /// nothing shows who answers. Default false.
    #[serde(default)]
    pub plain_ldap: bool,
    /// Networks that are not of the public internet and that this upstream is in. The operator must allow them.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// Certificates of authorities (PEM) that are trusted in place of the system's.
    pub ca: Option<SecretRef>,
    /// Who the host is to the directory. Default: nobody, an anonymous client.
    pub bind: Option<BindConfig>,
    /// What is asked for is here or below: a distinguished name.
    pub base: String,
    /// The attributes that plugins may read, and search by beside `objectClass`. `["*"]` are all that the directory gives.
    pub attributes: Vec<String>,
    /// Whether plugins may have passwords checked. Default false.
    #[serde(default)]
    pub allow_authenticate: bool,
    /// How long a connection may take to be made and bound. Default 1 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a call may take; the callout's remaining time is the most. Default 1 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// Connections at once; further calls wait. Default 8.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Entries that are asked for at a time (RFC 2696). Default 100.
    #[serde(default = "default_entries")]
    pub page_size: usize,
    /// Entries of a search. Default 100.
    #[serde(default = "default_entries")]
    pub max_entries: usize,
    /// Bytes of a search's names and values. Default 262144.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: usize,
}

/// A simple bind (RFC 4513, section 5.1.3).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindConfig {
    /// The distinguished name; Active Directory takes a user principal name too.
    pub dn: String,
    /// The password.
    pub password: SecretRef,
}

const fn default_timeout() -> Duration {
    Duration::from_secs(1)
}

const fn default_connections() -> usize {
    8
}

const fn default_entries() -> usize {
    100
}

const fn default_max_bytes() -> usize {
    256 << 10
}
