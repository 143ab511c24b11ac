//! The catalog: an immutable, validated snapshot of everything that callouts are served from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use claimsmith_contract::Event;
use claimsmith_runtime::{Binding, Digest};
use claimsmith_token::TokenPolicy;

use crate::error::{ConfigError, ConfigErrors};

/// All tenants at one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    pub(crate) generation: u64,
    pub(crate) tenants: BTreeMap<String, TenantSlot>,
}

/// A tenant's place in the catalog.
#[derive(Clone, Debug)]
pub(crate) struct TenantSlot {
    /// What serves: the last state that was valid.
    pub(crate) serving: Option<Arc<Tenant>>,
    /// What the files were when they were last read.
    pub(crate) fingerprint: Digest,
    /// What was wrong with them then.
    pub(crate) errors: Option<ConfigErrors>,
}

/// A tenant whose files are valid.
#[derive(Debug)]
pub struct Tenant {
    pub(crate) extensions: BTreeMap<String, Arc<Extension>>,
}

/// One endpoint that Entra calls.
#[derive(Debug)]
pub struct Extension {
    /// The event it answers.
    pub event: Event,
    /// Who may call, and the tokens already accepted.
    pub token_policy: TokenPolicy,
    /// From the request's arrival until the answer leaves.
    pub deadline: Duration,
    /// Bytes of all claim ids and values.
    pub max_claim_bytes: usize,
    /// The plugins, in the order they are invoked.
    pub bindings: Vec<BoundPlugin>,
}

/// A plugin in an extension.
#[derive(Debug)]
pub struct BoundPlugin {
    /// The plugin's name in the configuration.
    pub name: String,
    /// The plugin with its settings and limits.
    pub binding: Binding,
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

    /// Whether any tenant serves.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.tenants.values().any(|slot| slot.serving.is_some())
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
}

/// The catalog that new callouts are served from. A callout takes it once and keeps it to its end.
#[derive(Debug)]
pub struct CurrentCatalog(ArcSwap<Catalog>);

impl CurrentCatalog {
    /// Starts with `catalog`.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self(ArcSwap::from_pointee(catalog))
    }

    /// The catalog as it is now.
    #[must_use]
    pub fn get(&self) -> Arc<Catalog> {
        self.0.load_full()
    }

    pub(crate) fn publish(&self, catalog: Catalog) {
        self.0.store(Arc::new(catalog));
    }
}
