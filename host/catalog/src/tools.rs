//! From one tenant's files to what answers its callouts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use claimsmith_runtime::{BreakerOptions, Limits, Runtime, TenantShare};
use claimsmith_token::MetadataStore;
use claimsmith_upstreams::Lookup;
use claimsmith_upstreams::cache::Caches;
use claimsmith_upstreams::vault::{self, Vault, VaultSecrets};
use tokio::sync::Semaphore;
use tokio::task;

use crate::catalog::Tenant;
use crate::config::EgressConfig;
use crate::error::{ConfigError, ConfigErrors};
use crate::extension::ExtensionLoader;
use crate::files::{TenantFiles, read_regular};
use crate::last_known_good::Memory;
use crate::plugins::PluginFiles;
use crate::rate_limit::{RateLimit, RateLimitsConfig};
use crate::rules;
use crate::source::Source;
use crate::tenant::TenantConfig;
use crate::upstreams::UpstreamLoader;
use crate::warnings::warnings;

/// What a tenant has of its own, however often it is loaded.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// Its share of what tenants share: a reload must not give it more.
    pub(crate) places: Arc<TenantShare>,
    /// What resolves its names: lookups that hang count on after a reload.
    pub(crate) lookup: Arc<dyn Lookup>,
    /// Its last known good claims.
    pub(crate) last_known_good: Memory,
}

/// Each tenant's share.
pub(crate) type Shares = Arc<Mutex<HashMap<String, Share>>>;

/// What loading a tenant needs besides its files.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) limits: Limits,
    pub(crate) breaker: BreakerOptions,
    pub(crate) egress: EgressConfig,
    /// What plugins keep, which outlives reloads.
    pub(crate) caches: Caches,
    /// Bytes of one tenant's caches together.
    pub(crate) max_cache_bytes: u64,
    pub(crate) vault: Option<Arc<Vault>>,
    /// Whether upstreams are left alone.
    pub(crate) is_offline: bool,
    pub(crate) rate_limits: RateLimitsConfig,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) metadata: Arc<MetadataStore>,
    pub(crate) places: Arc<Semaphore>,
}

impl Tools {
    pub(crate) async fn load_tenant(
        &self,
        name: &str,
        files: &Arc<TenantFiles>,
        share: &Share,
        before: Option<&Tenant>,
    ) -> Result<Tenant, ConfigErrors> {
        rules::check_name("tenant", name).map_err(|message| ConfigError::in_file(&files.directory, message))?;
        let toml = files.toml();
        let read = {
            let toml = toml.clone();
            task::spawn_blocking(move || read_regular(&toml)).await
        };
        let read = read.map_err(|_| ConfigError::in_file(&toml, "reading was interrupted"))?;
        let source = Source::of(&toml, files.as_found(&toml, read))?;
        let config: TenantConfig = source.parse()?;
        let mut errors = rules::check_tenant(&config, &source, &self.metadata);
        let secrets = self.fetch_secrets(name, &source).await;
        errors.extend(rules::check_rate_limits(&config, &self.rate_limits, &source));
        let rate_before = before.and_then(|tenant| tenant.extensions.values().next());
        let rate_limit = RateLimit::following(
            config.rate_limit.or(self.rate_limits.tenant),
            rate_before.and_then(|extension| extension.rate_limits.tenant.as_ref()),
        );
        let (config, keys, plugins) = {
            let (keys, files) = (config.plugins.keys(&source, &mut errors), Arc::clone(files));
            let find = move || {
                let plugins = PluginFiles::find(&config, &keys, &files);
                (config, keys, plugins)
            };
            let found = task::spawn_blocking(find).await;
            found.map_err(|_| ConfigError::in_file(&toml, "reading was interrupted"))?
        };
        let upstreams = UpstreamLoader {
            tenant: name,
            directory: &files.directory,
            source: &source,
            egress: &self.egress,
            lookup: Arc::clone(&share.lookup),
            vault: secrets.as_ref(),
            extensions: &config.extensions,
        };
        let upstreams = upstreams.load(&config.upstreams, &mut errors);
        if self.is_offline {
            upstreams.leave();
        } else {
            upstreams.reach().await;
        }
        let caches = self.caches.of_tenant(name, &upstreams.redis, self.max_cache_bytes);
        let mut extensions = BTreeMap::new();
        for (extension_name, extension) in &config.extensions {
            let loader = ExtensionLoader {
                runtime: &self.runtime,
                metadata: &self.metadata,
                limits: &self.limits,
                breaker: &self.breaker,
                before: before
                    .and_then(|tenant| tenant.extensions.get(extension_name))
                    .map(AsRef::as_ref),
                share: &share.places,
                last_known_good: &share.last_known_good,
                rate_limit: rate_limit.as_ref(),
                most_rate: self.rate_limits.extension,
                upstreams: &upstreams,
                caches: &caches,
                vault: secrets.as_ref(),
                files,
                plugins: &plugins,
                keys: &keys,
                source: &source,
                directories: &config.directories,
                privacy: config.audit,
                tenant: name,
                name: extension_name,
                config: extension,
            };
            match loader.load().await {
                Ok(extension) => {
                    extensions.insert(extension_name.clone(), Arc::new(extension));
                }
                Err(more) => errors.extend(more.0),
            }
        }
        if !errors.is_empty() {
            if secrets.is_some_and(|secrets| secrets.has_failures()) {
                files.note_failed_for_now();
            }
            return Err(ConfigErrors(errors));
        }
        let warnings = warnings(&config, &source);
        for warning in &warnings {
            tracing::warn!(tenant = name, "{warning}");
        }
        Ok(Tenant {
            extensions,
            warnings,
            managed: config.plugins.managed,
            upstream_breakers: upstreams.breakers,
            plugins: plugins.found(),
            kept: before.map(|tenant| tenant.kept.clone()).unwrap_or_default(),
        })
    }

    /// What the tenant refers to in Vault.
    async fn fetch_secrets(&self, name: &str, source: &Source) -> Option<VaultSecrets> {
        let vault = self.vault.as_ref()?;
        let references = vault::references(&source.text.parse().unwrap_or_default());
        Some(vault.fetch(name, &references).await)
    }
}

/// Counts a tenant's load and what was wrong with its files.
pub(crate) fn count_load(name: &str, result: &'static str, mistakes: usize) {
    metrics::counter!("claimsmith_tenant_loads_total", "tenant" => name.to_owned(), "result" => result).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "nobody makes 2^52 mistakes")]
    metrics::gauge!("claimsmith_tenant_mistakes", "tenant" => name.to_owned()).set(mistakes as f64);
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn log_loaded(name: &str, before: Option<&Tenant>, now: &Tenant, generation: u64) {
    for (extension_name, extension) in &now.extensions {
        let before = before.and_then(|tenant| tenant.extensions.get(extension_name));
        for (place, bound) in extension.bindings() {
            let plugin = bound.binding.plugin();
            let mut bindings = before.into_iter().flat_map(|extension| extension.bindings());
            let before = bindings
                .find(|(other, _)| *other == place)
                .map(|(_, bound)| &bound.binding);
            if before.is_some_and(|before| {
                before.plugin().digest() == plugin.digest() && before.settings() == bound.binding.settings()
            }) {
                continue;
            }
            tracing::info!(
                tenant = name,
                extension = extension_name,
                application = place.0.map(tracing::field::display),
                plugin = &*bound.name,
                version = &**bound.binding.version(),
                digest = %plugin.digest(),
                replaced = before.map(|before| before.plugin().digest().to_string()),
                generation,
                "binding loaded"
            );
        }
    }
}
