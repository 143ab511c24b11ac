//! What a binding may use, and `claimsmith:plugin/grants`, which tells plugins.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cache, DirectoryUpstream, HttpUpstream, MailUpstream, SqlUpstream};
use crate::bindings::grants::{self, Kind};
use crate::guest_text::clean;
use crate::state::CallState;

/// An upstream of any kind.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// `claimsmith:plugin/http`
    Http(Arc<dyn HttpUpstream>),
    /// `claimsmith:plugin/sql`
    Sql(Arc<dyn SqlUpstream>),
    /// `claimsmith:plugin/directory`
    Directory(Arc<dyn DirectoryUpstream>),
    /// `claimsmith:plugin/mail`
    Mail(Arc<dyn MailUpstream>),
}

/// An upstream, and what metrics name it.
#[derive(Clone, Debug)]
struct Granted {
    upstream: Upstream,
    label: Arc<str>,
}

/// The upstreams a binding was granted, by the names of the tenant's configuration, and its cache.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    pub(super) tenant: Arc<str>,
    upstreams: BTreeMap<Arc<str>, Granted>,
    cache: Option<Arc<dyn Cache>>,
    /// Whether they are only named, and cannot be used.
    are_only_named: bool,
}

impl Grants {
    /// Nothing, of a tenant.
    #[must_use]
    pub fn of(tenant: Arc<str>) -> Self {
        Self {
            tenant,
            ..Self::default()
        }
    }

    /// Grants an upstream, which metrics name `label`.
    pub fn grant(&mut self, name: Arc<str>, label: Arc<str>, upstream: Upstream) {
        self.upstreams.insert(name, Granted { upstream, label });
    }

    /// Grants a cache.
    pub fn grant_cache(&mut self, cache: Arc<dyn Cache>) {
        self.cache = Some(cache);
    }

    /// Grants the cache that others grant, if they do.
    pub(crate) fn grant_cache_of(&mut self, others: &Self) {
        self.cache.clone_from(&others.cache);
    }

    /// The same, for a plugin that checks settings: a tenant's configuration loads whether upstreams answer or not.
    pub(crate) fn only_named(&self) -> Self {
        Self {
            are_only_named: true,
            ..self.clone()
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.upstreams.keys().map(AsRef::as_ref)
    }

    /// What metrics name an upstream; `None` of one that was not granted.
    pub(super) fn label(&self, name: &str) -> Option<Arc<str>> {
        self.upstreams.get(name).map(|granted| Arc::clone(&granted.label))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.upstreams.is_empty() && self.cache.is_none()
    }

    pub(super) fn http(&self, name: &str) -> Result<&dyn HttpUpstream, String> {
        match self.find(name)? {
            Upstream::Http(upstream) => Ok(upstream.as_ref()),
            other => Err(of_another_kind(name, other)),
        }
    }

    pub(super) fn sql(&self, name: &str) -> Result<&dyn SqlUpstream, String> {
        match self.find(name)? {
            Upstream::Sql(upstream) => Ok(upstream.as_ref()),
            other => Err(of_another_kind(name, other)),
        }
    }

    pub(super) fn directory(&self, name: &str) -> Result<&dyn DirectoryUpstream, String> {
        match self.find(name)? {
            Upstream::Directory(upstream) => Ok(upstream.as_ref()),
            other => Err(of_another_kind(name, other)),
        }
    }

    pub(super) fn mail(&self, name: &str) -> Result<&dyn MailUpstream, String> {
        match self.find(name)? {
            Upstream::Mail(upstream) => Ok(upstream.as_ref()),
            other => Err(of_another_kind(name, other)),
        }
    }

    pub(super) fn cache(&self) -> Result<Arc<dyn Cache>, String> {
        self.can_be_used()?;
        let cache = self.cache.clone();
        cache.ok_or_else(|| "the binding has no cache: give it one with `cache`".to_owned())
    }

    fn find(&self, name: &str) -> Result<&Upstream, String> {
        self.can_be_used()?;
        let found = self.upstreams.get(name);
        let found = found.map(|granted| &granted.upstream);
        found.ok_or_else(|| format!("upstream `{}` is not among the binding's `upstreams`", clean(name)))
    }

    fn can_be_used(&self) -> Result<(), String> {
        if self.are_only_named {
            return Err("settings are checked without asking upstreams or the cache".to_owned());
        }
        Ok(())
    }
}

impl grants::Host for CallState {
    fn upstreams(&mut self) -> wasmtime::Result<Vec<grants::Upstream>> {
        self.budget.check()?;
        let upstreams = self.grants.upstreams.iter().map(|(name, granted)| grants::Upstream {
            name: name.as_ref().to_owned(),
            kind: granted.upstream.kind(),
        });
        Ok(upstreams.collect())
    }

    fn has_cache(&mut self) -> wasmtime::Result<bool> {
        self.budget.check()?;
        Ok(self.grants.cache.is_some())
    }
}

impl Upstream {
    fn kind(&self) -> Kind {
        match self {
            Self::Http(_) => Kind::Http,
            Self::Sql(_) => Kind::Sql,
            Self::Directory(_) => Kind::Directory,
            Self::Mail(_) => Kind::Mail,
        }
    }
}

/// What a plugin is told that uses an upstream by another interface than its own.
fn of_another_kind(name: &str, found: &Upstream) -> String {
    let kind = match found.kind() {
        Kind::Http => "http",
        Kind::Sql => "sql",
        Kind::Directory => "directory",
        Kind::Mail => "mail",
    };
    format!("upstream `{}` is of another kind: `{kind}`", clean(name))
}
