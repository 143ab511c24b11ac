//! Configuration files to the catalog that callouts are served from.
//!
//! `claimsmith.toml` ([`HostConfig`]) is the operator's. Each directory below `tenants` is a tenant: a `tenant.toml` and
//! its plugins in `plugins/*.wasm`. A [`Loader`] reads them all and makes a [`Catalog`]: immutable, every plugin
//! compiled, every binding's settings accepted by its plugin. [`watch()`] makes a new one whenever the files change and
//! publishes it through a [`CurrentCatalog`].
//!
//! A tenant is replaced as a whole or not at all: what is wrong in its files leaves it as it was, with the reason in
//! the log and in [`Catalog::problems`], and never touches another tenant.

mod activation;
mod catalog;
mod config;
mod error;
mod extension;
mod failure_policy;
mod fared;
mod files;
mod history;
mod last_known_good;
mod loader;
mod meters;
mod plugins;
mod policy;
mod rate_limit;
mod rules;
mod settings;
mod signature;
mod source;
mod tenant;
mod tools;
mod upstreams;
mod versions;
mod warnings;
mod watch;

pub use activation::{ActivationError, Activator, Published, Restored, Stale, Trial};
pub use catalog::{
    BoundPlugin, Catalog, Choice, CurrentCatalog, Extension, Lookup, Passwords, Previous, Probe, Tenant,
};
pub use config::{
    AdminConfig, AdminRole, AdminTokenConfig, AuditConfig, AuditMode, CacheConfig, EgressConfig, HostConfig,
    InstanceReuseConfig, LogConfig, ProbesConfig, RepeatsConfig, ServerConfig, TelemetryConfig, TlsConfig,
    TracesConfig, WatchConfig,
};
pub use error::{ConfigError, ConfigErrors};
pub use failure_policy::{Composition, Merge, OnFailure, Order};
pub use fared::{Fared, Quantiles, Seen};
pub use files::plugin_files;
pub use last_known_good::{LastKnownGood, LastKnownGoodConfig, Recalled, Subject};
pub use loader::Loader;
pub use meters::{BindingMeters, ByOutcome, ExtensionMeters, OTHER, Stage};
pub use plugins::{Managed, PluginFile};
pub use policy::token_policy;
pub use rate_limit::{RateLimit, RateLimitConfig, RateLimits, RateLimitsConfig};
pub use rules::check_name;
pub use signature::{SignatureError, Signed, TrustedKeys};
pub use versions::{ActiveVersion, ActiveVersions, PluginVersions, signature_file};
pub use watch::{WatchError, watch};
