//! `tenant.toml`: what a tenant team writes.

use std::collections::BTreeMap;
use std::time::Duration;

use claimsmith_contract::Event;
use claimsmith_contract::token_issuance_start::DEFAULT_MAX_CLAIM_BYTES;
use claimsmith_token::ENTRA_CALLER;
use serde::{Deserialize, Deserializer};
use url::Url;
use uuid::Uuid;

use crate::config::LimitsConfig;

/// A tenant: its directories and its extensions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantConfig {
    /// The Entra directories whose sign-ins call this tenant's extensions.
    pub(crate) directories: Vec<DirectoryConfig>,
    /// The extensions, by the name their URL ends with.
    pub(crate) extensions: BTreeMap<String, ExtensionConfig>,
}

/// An Entra directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DirectoryConfig {
    /// Its (tenant) id.
    pub(crate) id: Uuid,
    /// Where its signing keys are published; keys are looked for in all of them.
    pub(crate) metadata: Vec<MetadataConfig>,
}

/// A metadata document (`…/.well-known/openid-configuration`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetadataConfig {
    /// Its URL: https, or http on this machine.
    pub(crate) url: Url,
    /// Issuers its keys may sign for besides the one that it names.
    #[serde(default)]
    pub(crate) issuers: Vec<String>,
}

/// An extension: one endpoint that Entra calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtensionConfig {
    /// The event it answers.
    #[serde(deserialize_with = "from_text")]
    pub(crate) event: Event,
    /// Accepted `aud` values: the application id, and for v1.0 tokens also the identifier URI.
    pub(crate) audiences: Vec<String>,
    /// From the request's arrival until the answer leaves, whatever the plugin does. Entra's own time limit is 200 to
    /// 2,000 ms, by default 1,000 ms, and includes the network. Default 900 ms.
    #[serde(default = "default_deadline", with = "humantime_serde")]
    pub(crate) deadline: Duration,
    /// How far clocks may differ when a token's times are checked. Default 60 s.
    #[serde(default = "default_clock_leeway", with = "humantime_serde")]
    pub(crate) clock_leeway: Duration,
    /// Accepted signature algorithms. Default `["RS256"]`, the only one Entra uses.
    #[serde(default = "default_algorithms")]
    pub(crate) algorithms: Vec<Algorithm>,
    /// The application that must call. Default: Entra's authentication extensions service in the public cloud.
    #[serde(default = "default_caller")]
    pub(crate) caller: Uuid,
    /// Further applications that may call, for diagnosis with a client-credentials token. Default none.
    #[serde(default)]
    pub(crate) accept_callers: Vec<Uuid>,
    /// Bytes of all claim ids and values. Default 3000, at most 3072.
    #[serde(default = "default_max_claim_bytes")]
    pub(crate) max_claim_bytes: usize,
    /// The plugins, in the order they are invoked.
    pub(crate) bindings: Vec<BindingConfig>,
}

/// A plugin in an extension.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BindingConfig {
    /// The plugin: `plugins/<plugin>.wasm` in the tenant's directory.
    pub(crate) plugin: String,
    /// The plugin's settings; checked by the plugin itself.
    #[serde(default)]
    pub(crate) settings: toml::Table,
    /// Lower limits than the operator's.
    #[serde(default)]
    pub(crate) limits: LimitsConfig,
}

/// The asymmetric algorithms that an operator may choose from (RFC 7518, section 3.1). HS256 and `none` are no choice:
/// whoever knows a public key could sign with them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    ES256,
}

impl From<Algorithm> for claimsmith_token::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::RS256 => Self::RS256,
            Algorithm::RS384 => Self::RS384,
            Algorithm::RS512 => Self::RS512,
            Algorithm::PS256 => Self::PS256,
            Algorithm::ES256 => Self::ES256,
        }
    }
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn default_deadline() -> Duration {
    Duration::from_millis(900)
}

fn default_clock_leeway() -> Duration {
    Duration::from_mins(1)
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256]
}

fn default_caller() -> Uuid {
    ENTRA_CALLER
}

fn default_max_claim_bytes() -> usize {
    DEFAULT_MAX_CLAIM_BYTES
}
