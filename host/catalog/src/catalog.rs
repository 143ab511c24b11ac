//! The catalog: an immutable, validated snapshot of everything that callouts are served from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use claimsmith_audit::Privacy;
use claimsmith_contract::Event;
use claimsmith_password::{Accepted, DecryptionKey};
use claimsmith_runtime::{Binding, Breaker, BreakerState, Digest, Plugin};
use claimsmith_token::TokenPolicy;
use uuid::Uuid;

use crate::error::{ConfigError, ConfigErrors};
use crate::failure_policy::{Composition, OnFailure};
use crate::meters::{BindingMeters, ExtensionMeters};
use crate::plugins::{Managed, PluginFile};
use crate::rate_limit::RateLimits;

/// All tenants at one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    pub(crate) generation: u64,
    pub(crate) tenants: BTreeMap<String, TenantSlot>,
    #[expect(dead_code, reason = "it counts while it is there")]
    pub(crate) alive: Alive,
}

/// How many catalogs there are in this process: the one that serves, and those that callouts still end on.
static GENERATIONS_ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts a catalog while it exists.
#[derive(Debug)]
pub(crate) struct Alive(());

impl Default for Alive {
    fn default() -> Self {
        GENERATIONS_ALIVE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        GENERATIONS_ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A tenant's place in the catalog.
#[derive(Clone, Debug)]
pub(crate) struct TenantSlot {
    /// What serves: the last state that was valid.
    pub(crate) serving: Option<Arc<Tenant>>,
    /// What the files were when they were last read.
    pub(crate) fingerprint: Digest,
    /// The same, also when they are to be loaded again whatever they are.
    pub(crate) found: Digest,
    /// What was wrong with them then.
    pub(crate) errors: Option<ConfigErrors>,
    /// Since when they have been wrong.
    pub(crate) wrong_since: Option<SystemTime>,
}

impl TenantSlot {
    /// Whether files as they were found had these errors before.
    pub(crate) fn repeats(&self, found: Digest, errors: Option<&ConfigErrors>) -> bool {
        self.found == found && self.errors.as_ref() == errors && errors.is_some()
    }
}

/// A tenant whose files are valid.
#[derive(Debug)]
pub struct Tenant {
    pub(crate) extensions: BTreeMap<String, Arc<Extension>>,
    /// What is valid in its files, and most probably not meant.
    pub(crate) warnings: Vec<ConfigError>,
    /// Who decides which versions of its plugins serve.
    pub(crate) managed: Managed,
    /// The circuit breakers of its upstreams, by their names.
    pub(crate) upstream_breakers: BTreeMap<String, Arc<Breaker>>,
    /// The files of its plugins, by name.
    pub(crate) plugins: BTreeMap<String, PluginFile>,
    /// Versions that were replaced last, kept so that going back to them compiles nothing.
    pub(crate) kept: Vec<Arc<Plugin>>,
}

impl Tenant {
    /// Its extensions, by name.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, &Extension)> {
        let extensions = self.extensions.iter();
        extensions.map(|(name, extension)| (name.as_str(), extension.as_ref()))
    }

    /// What the circuit breakers of its upstreams do at the moment, by the upstreams' names.
    pub fn upstream_breakers(&self) -> impl Iterator<Item = (&str, BreakerState)> {
        let breakers = self.upstream_breakers.iter();
        breakers.map(|(upstream, breaker)| (upstream.as_str(), breaker.state()))
    }

    /// Who decides which versions of its plugins serve.
    #[must_use]
    pub fn managed(&self) -> Managed {
        self.managed
    }

    /// The file of one of its plugins.
    #[must_use]
    pub fn plugin_file(&self, plugin: &str) -> Option<&PluginFile> {
        self.plugins.get(plugin)
    }
}

/// One endpoint that Entra calls.
#[derive(Debug)]
pub struct Extension {
    /// The tenant's name.
    pub tenant: Arc<str>,
    /// Its own name, which its URL ends with.
    pub name: Arc<str>,
    /// The event it answers.
    pub event: Event,
    /// Who may call, and the tokens already accepted.
    pub token_policy: TokenPolicy,
    /// From the request's arrival until the answer leaves.
    pub deadline: Duration,
    /// Bytes of all claim ids and values.
    pub max_claim_bytes: usize,
    /// Bytes of the whole answer.
    pub max_response_bytes: usize,
    /// How personal data is recorded.
    pub privacy: Privacy,
    /// The claims that Entra's claims mapping policies name, as far as the tenant has declared them.
    pub mapped_claims: Option<BTreeSet<String>>,
    /// What opens passwordSubmit's encrypted contexts; absent for other events.
    pub passwords: Option<Arc<Passwords>>,
    /// How the answers of its bindings become one.
    pub composition: Composition,
    /// How many callouts it may be sent.
    pub rate_limits: RateLimits,
    /// Entra is expected to call at least so often; absent when nobody minds.
    pub expect_callouts_within: Option<Duration>,
    /// Whether the service calls it itself now and then.
    pub probe: Option<Probe>,
    /// What is counted of its callouts. Outlives its reloads.
    pub meters: Arc<ExtensionMeters>,
    /// What callouts of an application that no entry names are answered with.
    pub(crate) otherwise: Choice,
    /// What callouts of some applications are answered with, by their (client) id.
    pub(crate) applications: HashMap<Uuid, Arc<Choice>>,
}

impl Extension {
    /// What a callout is answered with when a person signs in to the application with this (client) id.
    #[must_use]
    pub fn choice(&self, client_id: Option<&str>) -> &Choice {
        if self.applications.is_empty() {
            return &self.otherwise;
        }
        let client_id = client_id.and_then(|id| Uuid::try_parse(id).ok());
        client_id
            .and_then(|id| self.applications.get(&id))
            .map_or(&self.otherwise, AsRef::as_ref)
    }

    /// Every binding, with its place among them and the application that it is for, if not for all.
    pub fn bindings(&self) -> impl Iterator<Item = ((Option<Uuid>, usize), &BoundPlugin)> {
        let everyone = self.otherwise.bindings.iter().enumerate();
        let special = self.applications.iter().flat_map(|(id, choice)| {
            let differs = |(index, bound): &(usize, &BoundPlugin)| {
                let usual = self.otherwise.bindings.get(*index);
                usual.is_none_or(|usual| !Arc::ptr_eq(&usual.binding, &bound.binding))
            };
            let bindings = choice.bindings.iter().enumerate().filter(differs);
            bindings.map(move |(index, bound)| ((Some(*id), index), bound))
        });
        everyone.map(|(index, bound)| ((None, index), bound)).chain(special)
    }
}

/// What callouts of some applications are answered with.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The plugins, in the order they are invoked.
    pub bindings: Vec<BoundPlugin>,
    /// The ids of the claims that may be answered; all when absent.
    pub claims: Option<Arc<BTreeSet<String>>>,
    /// The ids of the claims without which a callout fails.
    pub required_claims: Arc<BTreeSet<String>>,
}

/// What opens the encrypted contexts of passwordSubmit.
#[derive(Debug)]
pub struct Passwords {
    /// The keys that Entra encrypts for.
    pub keys: Vec<DecryptionKey>,
    /// What the token inside must say.
    pub accepted: Accepted,
}

/// A plugin in an extension.
#[derive(Clone, Debug)]
pub struct BoundPlugin {
    /// The plugin's name in the configuration.
    pub name: Arc<str>,
    /// The plugin with its settings and limits.
    pub binding: Arc<Binding>,
    /// Whether it may be invoked, by how it has fared. Outlives reloads that change neither the version nor its settings.
    pub breaker: Arc<Breaker>,
    /// The version before, invoked while the breaker is open; absent unless the tenant wants that.
    pub previous: Option<Previous>,
    /// The key that the version is signed with, where the tenant asks for signatures.
    pub(crate) signed_by: Option<Arc<str>>,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// Stands for the upstreams and statements that its answers come from.
    pub(crate) learns_from: Digest,
    /// Since when this version has served in this place, without a break.
    pub since: SystemTime,
    /// What is counted of its invocations.
    pub meters: Arc<BindingMeters>,
}

/// The version that served before in a binding's place.
#[derive(Clone, Debug)]
pub struct Previous {
    /// The version with the settings that it had, and the upstreams that the binding may use now.
    pub binding: Arc<Binding>,
    /// What is counted of its invocations.
    pub meters: Arc<BindingMeters>,
    /// The key that it was signed with when it was loaded, where the tenant asked for signatures.
    pub(crate) signed_by: Option<Arc<str>>,
}

/// How the service calls an extension itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether plugins may call upstreams then.
    pub upstreams: bool,
}

/// What a request's path leads to.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// An extension that serves.
    Found(Arc<Extension>),
    /// No tenant of that name.
    UnknownTenant,
    /// The tenant has no extension of that name.
    UnknownExtension,
    /// The tenant's files have not been valid since the start.
    TenantUnavailable,
}

impl Catalog {
    /// Which catalog this is: counts up with every change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many catalogs this process has: one, and more while callouts end on older ones.
    #[must_use]
    pub fn generations_alive() -> usize {
        GENERATIONS_ALIVE.load(Ordering::Relaxed)
    }

    /// The extension at a path.
    #[must_use]
    pub fn find(&self, tenant: &str, extension: &str) -> Lookup {
        let Some(slot) = self.tenants.get(tenant) else {
            return Lookup::UnknownTenant;
        };
        let Some(tenant) = &slot.serving else {
            return Lookup::TenantUnavailable;
        };
        match tenant.extensions.get(extension) {
            Some(extension) => Lookup::Found(Arc::clone(extension)),
            None => Lookup::UnknownExtension,
        }
    }

    /// Whether it serves the same as another.
    pub(crate) fn serves_as(&self, other: &Self) -> bool {
        let same = |name: &String, slot: &TenantSlot| {
            let others = other.tenants.get(name).and_then(|slot| slot.serving.as_ref());
            slot.serving.as_ref().map(Arc::as_ptr) == others.map(Arc::as_ptr)
        };
        self.tenants.len() == other.tenants.len() && self.tenants.iter().all(|(name, slot)| same(name, slot))
    }

    /// Whether any tenant serves.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.tenants.values().any(|slot| slot.serving.is_some())
    }

    /// The names of all tenants, also of those that have not been valid since the start.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(String::as_str)
    }

    /// A tenant that serves.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.get(name)?.serving.as_deref()
    }

    /// Every extension that serves, with its tenant's and its own name.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, &str, &Arc<Extension>)> {
        self.tenants.iter().flat_map(|(tenant_name, slot)| {
            let extensions = slot.serving.iter().flat_map(|tenant| &tenant.extensions);
            extensions.map(move |(name, extension)| (tenant_name.as_str(), name.as_str(), extension))
        })
    }

    /// What is wrong in the files of each tenant that has errors.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &[ConfigError])> {
        self.tenants
            .iter()
            .filter_map(|(name, slot)| Some((name.as_str(), slot.errors.as_ref()?.0.as_slice())))
    }

    /// What each tenant that serves was warned of when it was loaded.
    pub fn warnings(&self) -> impl Iterator<Item = (&str, &[ConfigError])> {
        self.tenants
            .iter()
            .filter_map(|(name, slot)| Some((name.as_str(), slot.serving.as_ref()?.warnings.as_slice())))
    }

    /// Since when the tenant's files have been wrong; `None` while they are valid.
    #[must_use]
    pub fn wrong_since(&self, tenant: &str) -> Option<SystemTime> {
        self.tenants.get(tenant)?.wrong_since
    }
}

/// The catalog that new callouts are served from. A callout takes it once and keeps it to its end.
#[derive(Debug)]
pub struct CurrentCatalog {
    catalog: ArcSwap<Catalog>,
    publishing: Mutex<()>,
}

impl CurrentCatalog {
    /// Starts with `catalog`.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self {
            catalog: ArcSwap::from_pointee(catalog),
            publishing: Mutex::new(()),
        }
    }

    /// The catalog as it is now.
    #[must_use]
    pub fn get(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Keeps others from publishing: held from looking at the catalog to publishing the one that follows it.
    pub(crate) fn publishing(&self) -> MutexGuard<'_, ()> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, catalog: Catalog) {
        self.catalog.store(Arc::new(catalog));
    }
}
