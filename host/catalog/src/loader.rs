//! Making a catalog of the tenants' files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use claimsmith_runtime::{BreakerOptions, Digest, Limits, Runtime, TenantShare};
use claimsmith_token::MetadataStore;
use claimsmith_upstreams::cache::Caches;
use claimsmith_upstreams::vault::{self, Vault, VaultSecrets};
use claimsmith_upstreams::{Lookup, SystemLookup};
use tokio::sync::Semaphore;
use tokio::task::{self, JoinError, JoinSet};

use crate::catalog::{Alive, Catalog, Tenant, TenantSlot};
use crate::config::{DEFAULT_MAX_CACHE_BYTES, EgressConfig};
use crate::error::{ConfigError, ConfigErrors};
use crate::extension::ExtensionLoader;
use crate::files::{DigestCache, TenantFiles, read_regular, scan};
use crate::rules;
use crate::source::Source;
use crate::tenant::TenantConfig;
use crate::upstreams::UpstreamLoader;

/// Tenants that are loaded at the same time. Most of the time one takes is that of waiting for its turn to compile, so these
/// are more than there are cores: a few whose components compile slowly do not keep others from being loaded.
const MAX_LOADING: usize = 64;

/// Loads tenants, several at a time. Keeps what it has read, so that loading again costs only what has changed.
#[derive(Debug)]
pub struct Loader {
    tenants: PathBuf,
    tools: Tools,
    /// Every tenant has to be loaded anew, although its files are the same.
    limits_changed: bool,
    digests: DigestCache,
    /// Invocations of one tenant at once.
    tenant_concurrency: usize,
    /// Each tenant's share, which outlives its reloads: a reload must not give it more.
    shares: HashMap<String, Arc<TenantShare>>,
    /// What resolves names for each tenant, as long: lookups that hang count on after a reload.
    lookups: HashMap<String, Arc<dyn Lookup>>,
    /// The tenants that there were at the last look.
    names: BTreeSet<String>,
    loading: JoinSet<Loaded>,
    /// What is being loaded.
    busy: HashMap<task::Id, Busy>,
    /// Whether something changed that was being loaded.
    look_again: bool,
}

/// What loading a tenant needs besides its files.
#[derive(Clone, Debug)]
struct Tools {
    limits: Limits,
    breaker: BreakerOptions,
    egress: EgressConfig,
    /// What plugins keep, which outlives reloads.
    caches: Caches,
    /// Bytes of one tenant's caches together.
    max_cache_bytes: u64,
    vault: Option<Arc<Vault>>,
    /// Whether upstreams are left alone.
    is_offline: bool,
    runtime: Arc<Runtime>,
    metadata: Arc<MetadataStore>,
    places: Arc<Semaphore>,
}

/// A tenant that is being loaded.
#[derive(Debug)]
struct Busy {
    name: String,
    fingerprint: Digest,
    for_limits: bool,
}

/// What came of loading a tenant.
#[derive(Debug)]
struct Loaded {
    files: Arc<TenantFiles>,
    result: Result<Tenant, ConfigErrors>,
}

/// What has been loaded since the catalog was made that serves.
#[derive(Debug, Default)]
pub(crate) struct News(BTreeMap<String, (Busy, Option<Loaded>)>);

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
            tools: Tools {
                limits,
                breaker,
                egress,
                caches: Caches::default(),
                max_cache_bytes: DEFAULT_MAX_CACHE_BYTES,
                vault: None,
                is_offline: false,
                runtime,
                metadata,
                places: Arc::new(Semaphore::new(MAX_LOADING)),
            },
            limits_changed: false,
            digests: DigestCache::default(),
            tenant_concurrency,
            shares: HashMap::new(),
            lookups: HashMap::new(),
            names: BTreeSet::new(),
            loading: JoinSet::new(),
            busy: HashMap::new(),
            look_again: false,
        }
    }

    /// Bounds the bytes of one tenant's caches together.
    #[must_use]
    pub fn with_max_cache_bytes(mut self, max_cache_bytes: u64) -> Self {
        self.tools.max_cache_bytes = max_cache_bytes;
        self
    }

    /// Asks no upstream: what only a database can tell of its statements is not found.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.tools.is_offline = true;
        self
    }

    /// Reads secrets from Vault too.
    #[must_use]
    pub fn with_vault(mut self, vault: Option<Arc<Vault>>) -> Self {
        self.tools.vault = vault;
        self
    }

    /// Where secrets are read from that are in no file.
    pub(crate) fn vault(&self) -> Option<Arc<Vault>> {
        self.tools.vault.clone()
    }

    /// Changes the most that bindings can have. What serves is held to lower limits at once; higher ones, and errors of
    /// bindings that ask for more, come with the next [`Self::load`].
    pub fn set_limits(&mut self, limits: Limits) {
        self.tools.runtime.set_most(limits);
        self.limits_changed |= self.tools.limits != limits;
        self.tools.limits = limits;
    }

    /// Reads the files and makes the catalog that follows `previous`, with all tenants; `None` when nothing has changed.
    ///
    /// A tenant whose files are not valid keeps serving as in `previous`; its errors are logged once and kept in the
    /// catalog.
    ///
    /// # Errors
    /// When the directory of tenants cannot be read.
    pub async fn load(&mut self, previous: &Catalog) -> Result<Option<Catalog>, ConfigError> {
        self.look(previous).await?;
        let mut news = News::default();
        while self.is_loading() {
            news.0.extend(self.news().await.0);
        }
        Ok(self.catalog(previous, news))
    }

    /// Reads what files there are and begins to load the tenants of which some have changed since `previous`.
    ///
    /// # Errors
    /// When the directory of tenants cannot be read.
    pub(crate) async fn look(&mut self, previous: &Catalog) -> Result<(), ConfigError> {
        self.look_again = false;
        let found = self.scan().await?;
        let for_limits = std::mem::take(&mut self.limits_changed);
        self.names = found.keys().cloned().collect();
        self.shares.retain(|name, _| found.contains_key(name));
        self.lookups.retain(|name, _| found.contains_key(name));
        if let Some(vault) = &self.tools.vault {
            vault.retain(|name| found.contains_key(name));
        }
        for (name, files) in found {
            if let Some(busy) = self.busy.values().find(|busy| busy.name == name) {
                // It is loaded again when that is done, whatever comes of it.
                self.look_again |= for_limits || busy.fingerprint != files.fingerprint;
                self.limits_changed |= for_limits;
                continue;
            }
            let before = previous.tenants.get(&name);
            if for_limits || before.is_none_or(|slot| slot.fingerprint != files.fingerprint) {
                let serving = before.and_then(|slot| slot.serving.clone());
                self.begin(name, files, serving, for_limits);
            }
        }
        Ok(())
    }

    fn begin(&mut self, name: String, files: TenantFiles, serving: Option<Arc<Tenant>>, for_limits: bool) {
        let share = self.shares.entry(name.clone());
        let share = Arc::clone(share.or_insert_with(|| Arc::new(TenantShare::new(self.tenant_concurrency))));
        let lookup = self.lookups.entry(name.clone());
        let lookup = Arc::clone(lookup.or_insert_with(|| Arc::new(SystemLookup::default())));
        let busy = Busy {
            name: name.clone(),
            fingerprint: files.fingerprint,
            for_limits,
        };
        let tools = self.tools.clone();
        let loading = self.loading.spawn(async move {
            let _place = tools.places.acquire().await.ok();
            let result = tools
                .load_tenant(&name, &files, (&share, lookup), serving.as_deref())
                .await;
            let files = Arc::new(files);
            let compared = Arc::clone(&files);
            let _the_process_ends = task::spawn_blocking(move || compared.compare()).await.is_err();
            Loaded { files, result }
        });
        self.busy.insert(loading.id(), busy);
    }

    pub(crate) fn is_loading(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Whether something changed while it was loaded.
    pub(crate) fn must_look_again(&self) -> bool {
        self.look_again && !self.is_loading()
    }

    /// Waits until a tenant is loaded; takes the others that are loaded then. Nothing is lost if this is not waited for.
    pub(crate) async fn news(&mut self) -> News {
        let mut news = News::default();
        let mut next = self.loading.join_next_with_id().await;
        while let Some(ended) = next {
            self.note(&mut news, ended);
            next = self.loading.try_join_next_with_id();
        }
        news
    }

    fn note(&mut self, news: &mut News, ended: Result<(task::Id, Loaded), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(busy) = self.busy.remove(&id) else { return };
        let loaded = match ended {
            Ok((_, loaded)) => Some(loaded),
            Err(error) => {
                tracing::error!(tenant = busy.name, %error, "loading has ended too early: a defect of the service");
                None
            }
        };
        news.0.insert(busy.name.clone(), (busy, loaded));
    }

    /// The catalog that follows `previous`: with what has been loaded, and without tenants that there are no more. `None` when
    /// that changes nothing.
    pub(crate) fn catalog(&mut self, previous: &Catalog, news: News) -> Option<Catalog> {
        let generation = previous.generation + 1;
        let mut tenants = previous.tenants.clone();
        tenants.retain(|name, _| self.names.contains(name));
        let mut changed = tenants.len() != previous.tenants.len();
        for (name, (busy, loaded)) in news.0 {
            let before = previous.tenants.get(&name);
            let loaded = loaded.filter(|_| self.names.contains(&name));
            let Some(slot) = loaded.and_then(|loaded| self.slot(&busy, loaded, before, generation)) else {
                continue;
            };
            changed |= !before.is_some_and(|before| before.repeats(slot.found, slot.errors.as_ref()));
            tenants.insert(name, slot);
        }
        for name in previous.tenants.keys().filter(|name| !tenants.contains_key(*name)) {
            tracing::info!(tenant = name, generation, "tenant removed");
        }
        let alive = Alive::default();
        changed.then_some(Catalog {
            generation,
            tenants,
            alive,
        })
    }

    /// The slot of a tenant that has been loaded; `None` if its files changed meanwhile.
    fn slot(
        &mut self,
        busy: &Busy,
        loaded: Loaded,
        before: Option<&TenantSlot>,
        generation: u64,
    ) -> Option<TenantSlot> {
        let Loaded { files, result } = loaded;
        let name = busy.name.as_str();
        if files.have_changed() {
            tracing::debug!(tenant = name, "files changed while they were read");
            // Stays as it was until the next look, which what has just changed brings about. A file that was written
            // in place within its clock's grain looks unchanged and is not what was found: it must be read again.
            self.digests.forget(&files);
            self.limits_changed |= busy.for_limits;
            return None;
        }
        let serving = before.and_then(|slot| slot.serving.clone());
        let (serving, errors) = match result {
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

    async fn scan(&mut self) -> Result<BTreeMap<String, TenantFiles>, ConfigError> {
        let (directory, mut digests) = (self.tenants.clone(), std::mem::take(&mut self.digests));
        let scanned = task::spawn_blocking(move || (scan(&directory, &mut digests), digests)).await;
        let interrupted = |_| ConfigError::in_file(&self.tenants, "reading was interrupted");
        let (found, digests) = scanned.map_err(interrupted)?;
        self.digests = digests;
        let mut found = found?;
        if let Some(vault) = &self.tools.vault {
            for (name, files) in &mut found {
                files.add_secrets(vault.revision(name));
            }
        }
        Ok(found)
    }
}

impl Tools {
    async fn load_tenant(
        &self,
        name: &str,
        files: &TenantFiles,
        (share, lookup): (&Arc<TenantShare>, Arc<dyn Lookup>),
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
        let upstreams = UpstreamLoader {
            tenant: name,
            directory: &files.directory,
            source: &source,
            egress: &self.egress,
            lookup,
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
                share,
                upstreams: &upstreams,
                caches: &caches,
                vault: secrets.as_ref(),
                files,
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
        for warning in rules::warnings(&config, &source) {
            tracing::warn!(tenant = name, "{warning}");
        }
        Ok(Tenant { extensions })
    }

    /// What the tenant refers to in Vault.
    async fn fetch_secrets(&self, name: &str, source: &Source) -> Option<VaultSecrets> {
        let vault = self.vault.as_ref()?;
        let references = vault::references(&source.text.parse().unwrap_or_default());
        Some(vault.fetch(name, &references).await)
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

#[cfg(test)]
mod tests;
