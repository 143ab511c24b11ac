//! What a binding may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cache, DirectoryUpstream, HttpUpstream, MailUpstream, SqlUpstream};
use crate::guest_text::clean;

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

/// The upstreams a binding was granted, by the names of the tenant's configuration, and its cache.
#[derive(Debug, Default)]
pub struct Grants {
    pub(super) tenant: Arc<str>,
    upstreams: BTreeMap<Arc<str>, Upstream>,
    pub(super) cache: Option<Arc<dyn Cache>>,
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

    /// Grants an upstream.
    pub fn grant(&mut self, name: Arc<str>, upstream: Upstream) {
        self.upstreams.insert(name, upstream);
    }

    /// Grants a cache.
    pub fn grant_cache(&mut self, cache: Arc<dyn Cache>) {
        self.cache = Some(cache);
    }

    pub(super) fn is_granted(&self, name: &str) -> bool {
        self.upstreams.contains_key(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.upstreams.is_empty() && self.cache.is_none()
    }

    pub(super) fn http(&self, name: &str) -> Result<&dyn HttpUpstream, String> {
        match self.upstreams.get(name) {
            Some(Upstream::Http(upstream)) => Ok(upstream.as_ref()),
            other => Err(not_granted(name, other)),
        }
    }

    pub(super) fn sql(&self, name: &str) -> Result<&dyn SqlUpstream, String> {
        match self.upstreams.get(name) {
            Some(Upstream::Sql(upstream)) => Ok(upstream.as_ref()),
            other => Err(not_granted(name, other)),
        }
    }

    pub(super) fn directory(&self, name: &str) -> Result<&dyn DirectoryUpstream, String> {
        match self.upstreams.get(name) {
            Some(Upstream::Directory(upstream)) => Ok(upstream.as_ref()),
            other => Err(not_granted(name, other)),
        }
    }

    pub(super) fn mail(&self, name: &str) -> Result<&dyn MailUpstream, String> {
        match self.upstreams.get(name) {
            Some(Upstream::Mail(upstream)) => Ok(upstream.as_ref()),
            other => Err(not_granted(name, other)),
        }
    }
}

/// What a plugin is told that asks for what it has not.
fn not_granted(name: &str, found: Option<&Upstream>) -> String {
    let name = clean(name);
    let kind = match found {
        None => return format!("upstream `{name}` is not among the binding's `upstreams`"),
        Some(Upstream::Http(_)) => "http",
        Some(Upstream::Sql(_)) => "sql",
        Some(Upstream::Directory(_)) => "directory",
        Some(Upstream::Mail(_)) => "mail",
    };
    format!("upstream `{name}` is of another kind: `{kind}`")
}
