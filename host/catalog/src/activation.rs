//! Changing which versions of a tenant's plugins serve: tried on the tenant's files first, then published with them.
//!
//! An [`Activator`] works beside the loader that watches the files. What both publish is put in order by the catalog's
//! lock, and neither undoes the other: a tenant that was tried on other files than those that serve now is tried again,
//! and a loader throws away what it has loaded with other versions than those that are active now.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use claimsmith_runtime::{BreakerState, Digest, Limits, LoadError, Plugin};
use serde::Deserialize;
use tokio::task;

use crate::catalog::{Alive, BoundPlugin, Catalog, CurrentCatalog, Tenant, TenantSlot};
use crate::error::{ConfigError, ConfigErrors};
use crate::files::{DigestCache, TenantFiles, find_tenant, is_there};
use crate::plugins::{Managed, PluginsConfig};
use crate::rules::check_name;
use crate::signature::TrustedKeys;
use crate::source::Source;
use crate::tools::{Shares, Tools, count_load, lock, log_loaded};
use crate::versions::{ActiveVersion, ActiveVersions, PluginVersions};

/// How often a tenant is tried again because its files changed meanwhile.
const TRIES: usize = 5;

/// Why versions cannot be activated.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// There is no directory of that name.
    #[error("there is no tenant `{0}`")]
    UnknownTenant(String),
    /// The tenant's files say which versions serve.
    #[error(
        "the plugins of tenant `{0}` are files: they change with the files plugins/*.wasm, or are managed here once its \
         tenant.toml says plugins.managed = \"api\""
    )]
    ManagedByFiles(String),
    /// What is only done for a tenant that was deleted.
    #[error(
        "tenant `{0}` has a directory: only a tenant without one is forgotten, once the service has seen that it was deleted"
    )]
    TenantExists(String),
    /// Whether there is a directory of that name cannot be seen.
    #[error(
        "whether tenant `{0}` has a directory cannot be seen: {1}; only a tenant without one is forgotten, so nothing was"
    )]
    TenantUnseen(String, String),
    /// The tenant would not be valid.
    #[error("{0}")]
    Invalid(ConfigErrors),
    /// Somebody writes the tenant's files all the time.
    #[error("the files of tenant `{0}` change all the time; try again when they are quiet")]
    Unsettled(String),
}

/// A tenant as it would be with other versions.
#[derive(Debug)]
pub struct Trial {
    name: String,
    files: Arc<TenantFiles>,
    tenant: Tenant,
    before: Option<TenantSlot>,
}

impl Trial {
    /// The tenant as it would be.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The tenant as it serves, if it does.
    #[must_use]
    pub fn before(&self) -> Option<&Arc<Tenant>> {
        self.before.as_ref()?.serving.as_ref()
    }
}

/// A tenant that was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// The catalog's generation that has it first.
    pub generation: u64,
    serving: Arc<Tenant>,
}

/// What came of going back to what a tenant was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It serves as before.
    AsBefore,
    /// It was loaded anew since: what its files say now must not be undone, so nothing has changed.
    LoadedSince,
    /// There is no such tenant any more, and there will be none by this.
    Gone,
}

/// Changes which versions serve.
#[derive(Clone, Debug)]
pub struct Activator {
    pub(crate) tools: Tools,
    pub(crate) limits: Arc<ArcSwap<Limits>>,
    pub(crate) tenants: PathBuf,
    pub(crate) shares: Shares,
    pub(crate) versions: Arc<ActiveVersions>,
    pub(crate) current: Arc<CurrentCatalog>,
}

/// The part of `tenant.toml` that the admin API asks for, whatever else is wrong with it.
#[derive(Deserialize)]
struct OnlyPlugins {
    #[serde(default)]
    plugins: PluginsConfig,
}

impl Activator {
    /// The catalog that serves now.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.current.get()
    }

    /// The keys that sign the plugins of a tenant, which must be managed through the admin API.
    ///
    /// # Errors
    /// [`ActivationError`]
    pub async fn managed_keys(&self, tenant: &str) -> Result<TrustedKeys, ActivationError> {
        let directory = self.directory(tenant)?;
        let read = task::spawn_blocking(move || {
            let source = Source::read(&directory.join("tenant.toml"))?;
            let found: OnlyPlugins = source.parse()?;
            let mut errors = Vec::new();
            let keys = found.plugins.keys(&source, &mut errors);
            if errors.is_empty() {
                Ok((found.plugins.managed, keys))
            } else {
                Err(ConfigErrors(errors))
            }
        });
        match self.joined(read.await).map_err(ActivationError::Invalid)? {
            (Managed::Api, keys) => Ok(keys),
            (Managed::Files, _) => Err(ActivationError::ManagedByFiles(tenant.to_owned())),
        }
    }

    /// Compiles a component as for a binding: what is wrong with it as a plugin is found here.
    ///
    /// # Errors
    /// [`LoadError`]
    pub async fn check_component(&self, bytes: &[u8]) -> Result<Arc<Plugin>, LoadError> {
        let limits = **self.limits.load();
        // The copy is made when it is its turn to be compiled.
        let read = async { Ok::<_, LoadError>(bytes.to_vec()) };
        let loaded = self
            .tools
            .runtime
            .load_found(Digest::of(bytes), bytes.len(), &limits, read);
        loaded.await
    }

    /// Makes a tenant of its files as they are and these versions, and publishes nothing.
    ///
    /// # Errors
    /// [`ActivationError`]: everything for which the tenant would not be valid.
    pub async fn try_versions(&self, name: &str, versions: &PluginVersions) -> Result<Trial, ActivationError> {
        let directory = self.directory(name)?;
        let share = lock(&self.shares).get(name).cloned();
        let share = share.ok_or_else(|| ActivationError::UnknownTenant(name.to_owned()))?;
        let mut tools = self.tools.clone();
        tools.limits = **self.limits.load();
        for _ in 0..TRIES {
            let before = self.current.get().tenants.get(name).cloned();
            let (directory, versions) = (directory.clone(), self.versions.files(name, versions));
            let found =
                task::spawn_blocking(move || Ok(find_tenant(directory, Some(versions), &mut DigestCache::default())));
            let mut files = self.joined(found.await).map_err(ActivationError::Invalid)?;
            if let Some(vault) = &tools.vault {
                files.add_secrets(vault.revision(name));
            }
            let files = Arc::new(files);
            let serving = before.as_ref().and_then(|slot| slot.serving.as_deref());
            let tenant = tools.load_tenant(name, &files, &share, serving).await;
            let compared = Arc::clone(&files);
            let compared = task::spawn_blocking(move || {
                compared.compare();
                Ok(compared.have_changed())
            });
            if self.joined(compared.await).map_err(ActivationError::Invalid)? {
                continue;
            }
            let tenant = tenant.map_err(ActivationError::Invalid)?;
            if tenant.managed == Managed::Files {
                return Err(ActivationError::ManagedByFiles(name.to_owned()));
            }
            return Ok(Trial {
                name: name.to_owned(),
                files,
                tenant,
                before,
            });
        }
        Err(ActivationError::Unsettled(name.to_owned()))
    }

    /// Publishes a tenant as it was tried: callouts that come from now on are answered by it.
    ///
    /// # Errors
    /// The trial has to be made again: the tenant was loaded anew meanwhile.
    pub fn publish(&self, trial: Trial) -> Result<Published, Stale> {
        let Trial {
            name,
            files,
            mut tenant,
            before,
        } = trial;
        let _alone = self.current.publishing();
        let previous = self.current.get();
        let now = previous.tenants.get(&name);
        let serving = |slot: Option<&TenantSlot>| slot.and_then(|slot| slot.serving.as_ref().map(Arc::as_ptr));
        if serving(now) != serving(before.as_ref()) || now.is_none() {
            return Err(Stale);
        }
        let before = before.and_then(|slot| slot.serving);
        tenant.kept = kept(before.as_deref(), &tenant);
        count_load(&name, "loaded", 0);
        log_loaded(&name, before.as_deref(), &tenant, previous.generation + 1);
        self.versions.set(&name, files.active());
        let serving = Arc::new(tenant);
        let slot = TenantSlot {
            serving: Some(Arc::clone(&serving)),
            fingerprint: files.remembered(),
            found: files.fingerprint,
            errors: None,
            wrong_since: None,
        };
        let generation = self.swap(&previous, name, slot);
        Ok(Published { generation, serving })
    }

    /// Goes back to a tenant as it served before `published`, without loading anything: only where that still serves. Its
    /// files may have changed since; what they are now is for another trial to say.
    #[must_use]
    pub fn restore(
        &self,
        name: &str,
        versions: &PluginVersions,
        published: &Published,
        serving: Option<Arc<Tenant>>,
    ) -> Restored {
        let _alone = self.current.publishing();
        let previous = self.current.get();
        let Some(now) = previous.tenants.get(name) else {
            self.versions.set(name, versions.clone());
            return Restored::Gone;
        };
        let is_published = |now: &Arc<Tenant>| Arc::ptr_eq(now, &published.serving);
        if !now.serving.as_ref().is_some_and(is_published) {
            return Restored::LoadedSince;
        }
        self.versions.set(name, versions.clone());
        let slot = TenantSlot {
            serving,
            // What no files are: the next look at them makes sure of the rest.
            fingerprint: Digest::of(b""),
            found: Digest::of(b""),
            errors: None,
            wrong_since: None,
        };
        self.swap(&previous, name.to_owned(), slot);
        Restored::AsBefore
    }

    /// Whether the catalog serves these versions of a tenant.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn verify(&self, name: &str, versions: &PluginVersions) -> Result<(), String> {
        let catalog = self.current.get();
        for bound in bound_plugins(&catalog, name)? {
            let Some(expected) = versions.get(&*bound.name) else {
                continue;
            };
            let found = bound.binding.plugin().digest();
            let (name, version) = (&bound.name, bound.binding.version());
            if found != expected.digest || *version != expected.version {
                let ActiveVersion { digest, version: label } = expected;
                return Err(format!(
                    "plugin `{name}` serves {version} ({found}) instead of {label} ({digest})"
                ));
            }
        }
        Ok(())
    }

    /// Whether no circuit breaker of these plugins of a tenant is open.
    ///
    /// # Errors
    /// Whose is.
    pub fn verify_breakers(&self, name: &str, plugins: &[&str]) -> Result<(), String> {
        let catalog = self.current.get();
        let mut bound = bound_plugins(&catalog, name)?.filter(|bound| plugins.contains(&&*bound.name));
        let open = bound.find(|bound| bound.breaker.state() == BreakerState::Open);
        open.map_or(Ok(()), |bound| {
            Err(format!(
                "plugin `{}` fails so often that its circuit breaker is open",
                bound.name
            ))
        })
    }

    /// Lets nothing be active of a tenant that has no directory: what was, for [`Self::remember`].
    ///
    /// # Errors
    /// [`ActivationError::TenantExists`], [`ActivationError::TenantUnseen`]
    pub fn forget(&self, name: &str) -> Result<PluginVersions, ActivationError> {
        let _alone = self.current.publishing();
        let unseen = |error: io::Error| ActivationError::TenantUnseen(name.to_owned(), error.to_string());
        if self.current.get().tenants.contains_key(name) || is_there(&self.tenants.join(name)).map_err(unseen)? {
            return Err(ActivationError::TenantExists(name.to_owned()));
        }
        Ok(self.versions.remove(name))
    }

    /// The opposite, for what could not be forgotten after all.
    pub fn remember(&self, name: &str, versions: PluginVersions) {
        self.versions.set(name, versions);
    }

    fn swap(&self, previous: &Catalog, name: String, slot: TenantSlot) -> u64 {
        let generation = previous.generation + 1;
        let mut tenants = previous.tenants.clone();
        tenants.insert(name, slot);
        self.current.publish(Catalog {
            generation,
            tenants,
            alive: Alive::default(),
        });
        tracing::info!(generation, "catalog published");
        generation
    }

    /// The directory of a tenant that the loader has found.
    fn directory(&self, tenant: &str) -> Result<PathBuf, ActivationError> {
        let known = check_name("tenant", tenant).is_ok() && self.current.get().tenants.contains_key(tenant);
        let directory = known.then(|| self.tenants.join(tenant));
        directory.ok_or_else(|| ActivationError::UnknownTenant(tenant.to_owned()))
    }

    fn joined<T>(&self, ended: Result<Result<T, ConfigErrors>, task::JoinError>) -> Result<T, ConfigErrors> {
        let interrupted = |_| ConfigErrors::from(ConfigError::in_file(&self.tenants, "reading was interrupted"));
        ended.map_err(interrupted)?
    }
}

/// A tenant was loaded anew between a trial and its publication.
#[derive(Clone, Copy, Debug)]
pub struct Stale;

/// The bindings of a tenant that serves.
fn bound_plugins<'c>(catalog: &'c Catalog, tenant: &str) -> Result<impl Iterator<Item = &'c BoundPlugin>, String> {
    let tenant = catalog
        .tenant(tenant)
        .ok_or_else(|| "the tenant does not serve".to_owned())?;
    let bound = tenant.extensions().flat_map(|(_, extension)| extension.bindings());
    Ok(bound.map(|(_, bound)| bound))
}

/// The plugins that a tenant no longer serves, the last first: going back to them shall be instant. As many as it serves.
fn kept(before: Option<&Tenant>, now: &Tenant) -> Vec<Arc<Plugin>> {
    let serving: BTreeMap<_, _> = plugins(now).map(|plugin| (plugin.digest(), plugin)).collect();
    let mut kept: Vec<Arc<Plugin>> = Vec::new();
    let kept_before = before.into_iter().flat_map(|before| &before.kept);
    for plugin in before.into_iter().flat_map(plugins).chain(kept_before) {
        let digest = plugin.digest();
        let is_kept = kept.iter().any(|other| other.digest() == digest);
        if kept.len() < serving.len() && !is_kept && !serving.contains_key(&digest) {
            kept.push(Arc::clone(plugin));
        }
    }
    kept
}

fn plugins(tenant: &Tenant) -> impl Iterator<Item = &Arc<Plugin>> {
    let bound = tenant.extensions.values().flat_map(|extension| extension.bindings());
    bound.map(|(_, bound)| bound.binding.plugin())
}
