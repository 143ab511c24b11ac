//! Making a catalog of the tenants' files.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use claimsmith_runtime::{BreakerOptions, Limits, Runtime, TenantShare};
use claimsmith_token::MetadataStore;

use crate::catalog::{Alive, Catalog, Tenant, TenantSlot};
use crate::config::EgressConfig;
use crate::error::{ConfigError, ConfigErrors};
use crate::extension::ExtensionLoader;
use crate::files::{DigestCache, TenantFiles, read_regular, scan};
use crate::rules;
use crate::source::Source;
use crate::tenant::TenantConfig;
use crate::upstreams::UpstreamLoader;

/// Loads tenants. Keeps what it has read, so that loading again costs only what has changed.
#[derive(Debug)]
pub struct Loader {
    tenants: PathBuf,
    limits: Limits,
    breaker: BreakerOptions,
    egress: EgressConfig,
    /// Every tenant has to be loaded anew, although its files are the same.
    limits_changed: bool,
    runtime: Arc<Runtime>,
    metadata: Arc<MetadataStore>,
    digests: DigestCache,
    /// Invocations of one tenant at once.
    tenant_concurrency: usize,
    /// Each tenant's share, which outlives its reloads: a reload must not give it more.
    shares: HashMap<String, Arc<TenantShare>>,
}

impl Loader {
    /// A loader of the tenants below `tenants`, whose bindings have `limits` at most, and which each run
    /// `tenant_concurrency` invocations at once at most.
    #[must_use]
    pub fn new(
        tenants: PathBuf,
        limits: Limits,
        breaker: BreakerOptions,
        egress: EgressConfig,
        tenant_concurrency: usize,
        runtime: Arc<Runtime>,
        metadata: Arc<MetadataStore>,
    ) -> Self {
        runtime.set_most(limits);
        Self {
            tenants,
            limits,
            breaker,
            egress,
            limits_changed: false,
            runtime,
            metadata,
            digests: DigestCache::default(),
            tenant_concurrency,
            shares: HashMap::new(),
        }
    }

    /// Changes the most that bindings can have. What serves is held to lower limits at once; higher ones, and errors of
    /// bindings that ask for more, come with the next [`Self::load`].
    pub fn set_limits(&mut self, limits: Limits) {
        self.runtime.set_most(limits);
        self.limits_changed |= self.limits != limits;
        self.limits = limits;
    }

    /// Reads the files and makes the catalog that follows `previous`; `None` when nothing has changed.
    ///
    /// A tenant whose files are not valid keeps serving as in `previous`; its errors are logged once and kept in the
    /// catalog.
    ///
    /// # Errors
    /// When the directory of tenants cannot be read.
    pub async fn load(&mut self, previous: &Catalog) -> Result<Option<Catalog>, ConfigError> {
        let found = self.scan().await?;
        let limits_changed = std::mem::take(&mut self.limits_changed);
        let generation = previous.generation + 1;
        let mut changed = previous.tenants.keys().any(|name| !found.contains_key(name));
        let mut tenants = BTreeMap::new();
        for name in found.keys() {
            let share = self.shares.entry(name.clone());
            share.or_insert_with(|| Arc::new(TenantShare::new(self.tenant_concurrency)));
        }
        self.shares.retain(|name, _| found.contains_key(name));
        for (name, files) in found {
            let before = previous.tenants.get(&name);
            let unchanged = before.filter(|slot| !limits_changed && slot.fingerprint == files.fingerprint);
            if let Some(slot) = unchanged {
                tenants.insert(name, slot.clone());
            } else if let Some(slot) = self
                .replace(&name, &files, &self.share_of(&name), before, generation)
                .await
            {
                changed |= !before.is_some_and(|before| before.repeats(slot.found, slot.errors.as_ref()));
                tenants.insert(name, slot);
            } else {
                // Stays as it was until the next look, which what has just changed brings about. A file that was written
                // in place within its clock's grain looks unchanged and is not what was found: it must be read again.
                self.digests.forget(&files.directory);
                self.limits_changed |= limits_changed;
                tenants.extend(before.map(|slot| (name, slot.clone())));
            }
        }
        for name in previous.tenants.keys().filter(|name| !tenants.contains_key(*name)) {
            tracing::info!(tenant = name, generation, "tenant removed");
        }
        let alive = Alive::default();
        Ok(changed.then_some(Catalog {
            generation,
            tenants,
            alive,
        }))
    }

    fn share_of(&self, tenant: &str) -> Arc<TenantShare> {
        let none = || Arc::new(TenantShare::new(self.tenant_concurrency));
        self.shares.get(tenant).map_or_else(none, Arc::clone)
    }

    async fn scan(&mut self) -> Result<BTreeMap<String, TenantFiles>, ConfigError> {
        let (directory, mut digests) = (self.tenants.clone(), std::mem::take(&mut self.digests));
        let scanned = tokio::task::spawn_blocking(move || (scan(&directory, &mut digests), digests)).await;
        let interrupted = |_| ConfigError::in_file(&self.tenants, "reading was interrupted");
        let (found, digests) = scanned.map_err(interrupted)?;
        self.digests = digests;
        found
    }

    /// The slot of a tenant whose files have changed; `None` if they changed again while they were read.
    async fn replace(
        &self,
        name: &str,
        files: &TenantFiles,
        share: &Arc<TenantShare>,
        before: Option<&TenantSlot>,
        generation: u64,
    ) -> Option<TenantSlot> {
        let serving = before.and_then(|slot| slot.serving.clone());
        let loaded = self.load_tenant(name, files, share, serving.as_deref()).await;
        if files.have_changed() {
            tracing::debug!(tenant = name, "files changed while they were read");
            return None;
        }
        let (serving, errors) = match loaded {
            Ok(tenant) => {
                log_loaded(name, serving.as_deref(), &tenant, generation);
                (Some(Arc::new(tenant)), None)
            }
            Err(errors) => {
                // What may pass by itself is tried again and again, and told once.
                let repeated = before.is_some_and(|slot| slot.repeats(files.fingerprint, Some(&errors)));
                for error in errors.0.iter().filter(|_| !repeated) {
                    tracing::error!(tenant = name, keeps_serving = serving.is_some(), "{error}");
                }
                (serving, Some(errors))
            }
        };
        Some(TenantSlot {
            serving,
            fingerprint: files.remembered(),
            found: files.fingerprint,
            errors,
        })
    }

    async fn load_tenant(
        &self,
        name: &str,
        files: &TenantFiles,
        share: &Arc<TenantShare>,
        before: Option<&Tenant>,
    ) -> Result<Tenant, ConfigErrors> {
        rules::check_name("tenant", name).map_err(|message| ConfigError::in_file(&files.directory, message))?;
        let toml = files.toml();
        let source = Source::of(&toml, files.as_found(&toml, read_regular(&toml)))?;
        let config: TenantConfig = source.parse()?;
        let mut errors = rules::check_tenant(&config, &source, &self.metadata);
        let upstreams = UpstreamLoader {
            tenant: name,
            directory: &files.directory,
            source: &source,
            egress: &self.egress,
        };
        let upstreams = upstreams.load(&config.upstreams, &mut errors);
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
                share,
                upstreams: &upstreams,
                files,
                source: &source,
                directories: &config.directories,
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
            return Err(ConfigErrors(errors));
        }
        for warning in rules::warnings(&config, &source) {
            tracing::warn!(tenant = name, "{warning}");
        }
        Ok(Tenant { extensions })
    }
}

fn log_loaded(name: &str, before: Option<&Tenant>, now: &Tenant, generation: u64) {
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
                version = %plugin.version(),
                digest = %plugin.digest(),
                replaced = before.map(|before| before.plugin().digest().to_string()),
                generation,
                "binding loaded"
            );
        }
    }
}
