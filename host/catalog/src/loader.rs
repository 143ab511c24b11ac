//! Making a catalog of the tenants' files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use claimsmith_runtime::{BreakerOptions, Digest, Limits, Runtime, TenantShare};
use claimsmith_token::MetadataStore;
use claimsmith_upstreams::SystemLookup;
use claimsmith_upstreams::cache::Caches;
use claimsmith_upstreams::vault::Vault;
use tokio::sync::Semaphore;
use tokio::task::{self, JoinError, JoinSet};

use crate::activation::Activator;
use crate::catalog::{Alive, Catalog, CurrentCatalog, Tenant, TenantSlot};
use crate::config::{DEFAULT_MAX_CACHE_BYTES, EgressConfig};
use crate::error::{ConfigError, ConfigErrors};
use crate::files::{DigestCache, TenantFiles, scan};
use crate::last_known_good::{LastKnownGoodConfig, Memory};
use crate::rate_limit::RateLimitsConfig;
use crate::tools::{Share, Shares, Tools, count_load, lock, log_loaded};
use crate::versions::ActiveVersions;

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
    shares: Shares,
    last_known_good: LastKnownGoodConfig,
    /// What was activated through the admin API, if there is one.
    versions: Option<Arc<ActiveVersions>>,
    /// The limits as they are now, for activations.
    limits_now: Arc<ArcSwap<Limits>>,
    /// The tenants that there were at the last look.
    names: BTreeSet<String>,
    loading: JoinSet<Loaded>,
    /// What is being loaded.
    busy: HashMap<task::Id, Busy>,
    /// Whether something changed that was being loaded.
    look_again: bool,
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
                rate_limits: RateLimitsConfig::default(),
                runtime,
                metadata,
                places: Arc::new(Semaphore::new(MAX_LOADING)),
            },
            limits_changed: false,
            digests: DigestCache::default(),
            tenant_concurrency,
            shares: Shares::default(),
            last_known_good: LastKnownGoodConfig::default(),
            versions: None,
            limits_now: Arc::new(ArcSwap::from_pointee(limits)),
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

    /// The same with other rate limits, and another memory of last known good claims for each tenant.
    #[must_use]
    pub fn with(mut self, rate_limits: RateLimitsConfig, last_known_good: LastKnownGoodConfig) -> Self {
        self.tools.rate_limits = rate_limits;
        self.last_known_good = last_known_good;
        self
    }

    /// The same for a host with an admin API, which has activated these versions.
    #[must_use]
    pub fn with_versions(mut self, versions: Arc<ActiveVersions>) -> Self {
        self.versions = Some(versions);
        self
    }

    /// What changes which versions are active in the catalogs that this loader makes; absent without
    /// [`Self::with_versions`].
    #[must_use]
    pub fn activator(&self, current: Arc<CurrentCatalog>) -> Option<Activator> {
        Some(Activator {
            tools: self.tools.clone(),
            limits: Arc::clone(&self.limits_now),
            tenants: self.tenants.clone(),
            shares: Arc::clone(&self.shares),
            versions: Arc::clone(self.versions.as_ref()?),
            current,
        })
    }

    /// Changes the most that bindings can have. What serves is held to lower limits at once; higher ones, and errors of
    /// bindings that ask for more, come with the next [`Self::load`].
    pub fn set_limits(&mut self, limits: Limits) {
        self.tools.runtime.set_most(limits);
        self.limits_changed |= self.tools.limits != limits;
        self.tools.limits = limits;
        self.limits_now.store(Arc::new(limits));
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
        lock(&self.shares).retain(|name, _| found.contains_key(name));
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
        let share = {
            let mut shares = lock(&self.shares);
            let share = shares.entry(name.clone());
            let new = || Share {
                places: Arc::new(TenantShare::new(self.tenant_concurrency)),
                lookup: Arc::new(SystemLookup::default()),
                last_known_good: Memory::new(self.last_known_good),
            };
            share.or_insert_with(new).clone()
        };
        let busy = Busy {
            name: name.clone(),
            fingerprint: files.fingerprint,
            for_limits,
        };
        let tools = self.tools.clone();
        let loading = self.loading.spawn(async move {
            let _place = tools.places.acquire().await.ok();
            let files = Arc::new(files);
            let result = tools.load_tenant(&name, &files, &share, serving.as_deref()).await;
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
            metrics::gauge!("claimsmith_tenant_mistakes", "tenant" => name.clone()).set(0.0);
            let served = previous.tenants.get(name).is_some_and(|slot| slot.serving.is_some());
            if served {
                tracing::warn!(
                    tenant = name,
                    generation,
                    "tenant removed: its directory is gone, and its callouts are refused (unknown_tenant)"
                );
            } else {
                tracing::info!(tenant = name, generation, "tenant removed");
            }
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
        if self
            .versions
            .as_ref()
            .is_some_and(|versions| versions.of(name) != files.active())
        {
            tracing::debug!(tenant = name, "other versions were activated while files were read");
            self.look_again = true;
            return None;
        }
        let serving = before.and_then(|slot| slot.serving.clone());
        let (serving, errors) = match result {
            Ok(tenant) => {
                count_load(name, "loaded", 0);
                log_loaded(name, serving.as_deref(), &tenant, generation);
                (Some(Arc::new(tenant)), None)
            }
            Err(errors) => {
                // What may pass by itself is tried again and again, and told once.
                let repeated = before.is_some_and(|slot| slot.repeats(files.fingerprint, Some(&errors)));
                if !repeated {
                    count_load(name, "refused", errors.0.len());
                }
                for error in errors.0.iter().filter(|_| !repeated) {
                    tracing::error!(tenant = name, keeps_serving = serving.is_some(), "{error}");
                }
                (serving, Some(errors))
            }
        };
        let wrong_since = before.and_then(|slot| slot.wrong_since);
        Some(TenantSlot {
            serving,
            fingerprint: files.remembered(),
            found: files.fingerprint,
            wrong_since: errors.is_some().then(|| wrong_since.unwrap_or_else(SystemTime::now)),
            errors,
        })
    }

    async fn scan(&mut self) -> Result<BTreeMap<String, TenantFiles>, ConfigError> {
        let (directory, mut digests) = (self.tenants.clone(), std::mem::take(&mut self.digests));
        let versions = self.versions.clone();
        let scan = move || (scan(&directory, versions.as_deref(), &mut digests), digests);
        let scanned = task::spawn_blocking(scan).await;
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

#[cfg(test)]
mod tests;
