//! Configuration files to the catalog that callouts are served from.
//!
//! `claimsmith.toml` ([`HostConfig`]) is the operator's. Each directory below `tenants` is a tenant: a `tenant.toml` and
//! its plugins in `plugins/*.wasm`. A [`Loader`] reads them all and makes a [`Catalog`]: immutable, every plugin
//! compiled, every binding's settings accepted by its plugin. [`watch()`] makes a new one whenever the files change and
//! publishes it through a [`CurrentCatalog`].
//!
//! A tenant is replaced as a whole or not at all: what is wrong in its files leaves it as it was, with the reason in
//! the log and in [`Catalog::problems`], and never touches another tenant.

mod catalog;
mod config;
mod error;
mod extension;
mod files;
mod loader;
mod policy;
mod rules;
mod settings;
mod source;
mod tenant;
mod upstreams;
mod watch;

pub use catalog::{
    BindingMeters, BoundPlugin, Catalog, Choice, CurrentCatalog, Extension, ExtensionMeters, Lookup, OnFailure,
    Passwords, Tenant,
};
pub use config::{
    AuditConfig, AuditMode, CacheConfig, EgressConfig, HostConfig, InstanceReuseConfig, ServerConfig, TlsConfig,
    WatchConfig,
};
pub use error::{ConfigError, ConfigErrors};
pub use files::plugin_files;
pub use loader::Loader;
pub use policy::token_policy;
pub use watch::{WatchError, watch};
