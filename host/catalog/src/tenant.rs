//! `tenant.toml`: what a tenant team writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use claimsmith_audit::Privacy;
use claimsmith_contract::token_issuance_start::{ClaimValue, DEFAULT_MAX_CLAIM_BYTES};
use claimsmith_contract::{DEFAULT_MAX_RESPONSE_BYTES, Event};
use claimsmith_runtime::Isolation;
use claimsmith_token::ENTRA_CALLER;
use claimsmith_upstreams::cache::CacheConfig;
use claimsmith_upstreams::secret::SecretRef;
use serde::{Deserialize, Deserializer};
use url::Url;
use uuid::Uuid;

use crate::config::LimitsConfig;
use crate::failure_policy::{Merge, OnFailureConfig, Order, RepeatsConfig};
use crate::plugins::PluginsConfig;
use crate::rate_limit::RateLimitConfig;
use crate::source::nearest;

/// A tenant: its directories and its extensions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantConfig {
    /// The Entra directories whose sign-ins call this tenant's extensions.
    pub(crate) directories: Vec<DirectoryConfig>,
    /// The systems that bindings can be granted, by name; what is in one depends on its `kind`.
    #[serde(default)]
    pub(crate) upstreams: BTreeMap<String, toml::Table>,
    /// How personal data is recorded of its callouts.
    #[serde(default)]
    pub(crate) audit: Privacy,
    /// How many callouts all extensions together may be sent; the operator's limit when absent.
    pub(crate) rate_limit: Option<RateLimitConfig>,
    /// Where its plugins come from, and who must have signed them.
    #[serde(default)]
    pub(crate) plugins: PluginsConfig,
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
    /// Bytes of the whole answer. Default 65536, at most 1048576.
    #[serde(default = "default_max_response_bytes")]
    pub(crate) max_response_bytes: usize,
    /// The ids of the claims that may be answered, whatever the plugins answer; all when absent.
    pub(crate) claims: Option<BTreeSet<String>>,
    /// What Entra's claims mapping policies make of the claims: by the claim's id, the name in the token. Declared here,
    /// it is checked.
    pub(crate) mapping: Option<BTreeMap<String, String>>,
    /// What differs for some of the applications that people sign in to.
    #[serde(default)]
    pub(crate) applications: Vec<ApplicationConfig>,
    /// passwordSubmit: the keys that Entra encrypts passwords for.
    #[serde(default)]
    pub(crate) decryption_keys: Vec<DecryptionKeyConfig>,
    /// How many callouts it may be sent; the operator's limit when absent.
    pub(crate) rate_limit: Option<RateLimitConfig>,
    /// What becomes of callouts that repeat. Default: they join where plugins do something, which is emailOtpSend,
    /// passwordSubmit and attributeCollectionSubmit.
    pub(crate) repeated_callouts: Option<RepeatsConfig>,
    /// Whether several plugins are invoked one after another or at the same time. Default `in_order`.
    pub(crate) invoke: Option<Order>,
    /// What becomes of a claim that several plugins answer. Default `error`.
    pub(crate) merge: Option<Merge>,
    /// The same for single claims, by their ids.
    #[serde(default)]
    pub(crate) merge_claims: BTreeMap<String, Merge>,
    /// The ids of the claims without which a callout fails. Default none.
    #[serde(default)]
    pub(crate) required_claims: BTreeSet<String>,
    /// Entra is expected to call at least so often: an alarm tells when it does not. Default no alarm.
    #[serde(default, with = "humantime_serde")]
    pub(crate) expect_callouts_within: Option<Duration>,
    /// Whether the service calls the extension itself at each `probe.interval` of the host. Default not.
    #[serde(default)]
    pub(crate) probe: Option<ProbeConfig>,
    /// The plugins, in the order they are invoked.
    pub(crate) bindings: Vec<BindingConfig>,
}

/// How the service calls an extension itself.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProbeConfig {
    /// Whether plugins may call upstreams then. Default false: as if the bindings were granted none.
    pub(crate) upstreams: bool,
}

impl From<ProbeConfig> for crate::Probe {
    fn from(config: ProbeConfig) -> Self {
        let ProbeConfig { upstreams } = config;
        Self { upstreams }
    }
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
    /// The tenant's upstreams that the plugin may use. Default none.
    #[serde(default)]
    pub(crate) upstreams: BTreeSet<String>,
    /// The statements that the plugin may execute, by the database's name and their own. Default none.
    #[serde(default)]
    pub(crate) statements: BTreeMap<String, BTreeMap<String, String>>,
    /// What the plugin keeps from one callout to another. Default nothing.
    pub(crate) cache: Option<CacheConfig>,
    /// Lower limits than the operator's.
    #[serde(default)]
    pub(crate) limits: LimitsConfig,
    /// Whether each callout has an instance of its own. Default `fresh`.
    #[serde(default)]
    pub(crate) isolation: IsolationConfig,
    /// What happens when the plugin fails, or is not invoked because it failed too often. Default `fail`.
    #[serde(default)]
    pub(crate) on_failure: OnFailureConfig,
    /// The claims of `on_failure = "default"`, and of `"last_known_good"` where none are known: each a string or an array of
    /// strings.
    pub(crate) default_claims: Option<BTreeMap<String, ClaimValueConfig>>,
    /// How old the claims of `on_failure = "last_known_good"` may be. Default 1 h.
    #[serde(default, with = "humantime_serde::option")]
    pub(crate) last_known_good_max_age: Option<Duration>,
    /// Whether the version before is invoked while this one is not, because it failed too often. Default false.
    #[serde(default)]
    pub(crate) fallback_to_previous: bool,
}

/// What an invocation may find of the ones before it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IsolationConfig {
    /// Nothing.
    #[default]
    Fresh,
    /// What the plugin has left in its memory, in this binding. The operator must allow it.
    Reuse,
}

impl From<IsolationConfig> for Isolation {
    fn from(config: IsolationConfig) -> Self {
        match config {
            IsolationConfig::Fresh => Self::Fresh,
            IsolationConfig::Reuse => Self::Reuse,
        }
    }
}

/// A claim's value in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(crate) enum ClaimValueConfig {
    /// A string.
    Text(String),
    /// An array of strings.
    Texts(Vec<String>),
}

impl From<ClaimValueConfig> for ClaimValue {
    fn from(value: ClaimValueConfig) -> Self {
        match value {
            ClaimValueConfig::Text(text) => Self::Text(text),
            ClaimValueConfig::Texts(texts) => Self::Texts(texts),
        }
    }
}

/// What differs for some applications.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplicationConfig {
    /// The applications that people sign in to, by their (client) id: `appId` of `clientServicePrincipal`.
    pub(crate) client_ids: Vec<Uuid>,
    /// In place of the extension's `claims`.
    pub(crate) claims: Option<BTreeSet<String>>,
    /// In place of the bindings' settings, by the plugin's name.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, toml::Table>,
}

/// A private key that Entra encrypts passwords for, in PEM or in a PKCS#12 file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecryptionKeyConfig {
    /// PEM: PKCS#8 or PKCS#1.
    pub(crate) private_key: Option<SecretRef>,
    /// PEM: its certificate, whose thumbprint Entra names as `x5t`.
    pub(crate) certificate: Option<SecretRef>,
    /// Key and certificate in one file.
    pub(crate) pkcs12: Option<SecretRef>,
    /// Of the PKCS#12 file, or of an encrypted private key.
    pub(crate) password: Option<SecretRef>,
    /// The `kid` that Entra names the key by, if it does.
    pub(crate) key_id: Option<String>,
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
    text.parse().map_err(|unknown| {
        let nearest = nearest(&text, Event::ALL.iter().map(|event| event.name()));
        let meant = nearest.map_or_else(String::new, |event| format!("; did you mean `{event}`?"));
        serde::de::Error::custom(format!("{unknown}{meant}"))
    })
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

fn default_max_response_bytes() -> usize {
    DEFAULT_MAX_RESPONSE_BYTES
}
