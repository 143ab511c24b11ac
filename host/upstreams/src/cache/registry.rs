//! The caches that there are: found again by a reload, and bounded for each tenant.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aws_lc_rs::digest::{Context, SHA256};
use claimsmith_runtime::{Cache, Digest};
use metrics::Label;

use super::level::Level;
use super::meters::Meters;
use super::shared::Shared;
use super::{BindingCache, CacheConfig};
use crate::problem::{Problem, Problems};
use crate::redis::RedisUpstream;

/// Whose cache it is.
#[derive(Clone, Copy, Debug)]
pub struct CacheOf<'c> {
    /// The extension's name.
    pub extension: &'c str,
    /// The binding's place in the extension.
    pub place: usize,
    /// The plugin's name.
    pub plugin: &'c str,
    /// The plugin's version.
    pub version: Digest,
    /// The binding's settings, as JSON text.
    pub settings: &'c str,
    /// What metrics name the extension and the plugin.
    pub labels: &'c [Arc<str>; 2],
}

/// The first levels of all caches of a host, as long as something uses them.
#[derive(Clone, Debug, Default)]
pub struct Caches(Arc<Mutex<Known>>);

/// By what they are of, and with what configuration: another bound begins anew.
type Known = HashMap<String, (CacheConfig, Weak<Level>)>;

/// One tenant's caches while it is loaded.
#[derive(Debug)]
pub struct TenantCaches<'c> {
    caches: Caches,
    tenant: &'c str,
    redis: &'c BTreeMap<String, Arc<RedisUpstream>>,
    max_bytes: u64,
    taken_bytes: Mutex<u64>,
}

impl Caches {
    /// The caches of a tenant that is loaded, whose sum of `max_bytes` is at most `max_bytes`, with its upstreams of kind
    /// `redis`.
    #[must_use]
    pub fn of_tenant<'c>(
        &self,
        tenant: &'c str,
        redis: &'c BTreeMap<String, Arc<RedisUpstream>>,
        max_bytes: u64,
    ) -> TenantCaches<'c> {
        TenantCaches {
            caches: self.clone(),
            tenant,
            redis,
            max_bytes,
            taken_bytes: Mutex::default(),
        }
    }

    /// The first level as it was, or a new one.
    fn level(&self, name: &str, config: &CacheConfig, meters: impl FnOnce() -> Meters) -> Arc<Level> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, level)| level.strong_count() > 0);
        let same = known.get(name).filter(|(known, _)| known == config);
        if let Some(level) = same.and_then(|(_, level)| level.upgrade()) {
            return level;
        }
        let level = Arc::new(Level::new(config, meters()));
        known.insert(name.to_owned(), (config.clone(), Arc::downgrade(&level)));
        level
    }
}

impl TenantCaches<'_> {
    /// The cache of a binding.
    ///
    /// # Errors
    /// Everything that is wrong with its configuration.
    pub fn cache(&self, of: CacheOf<'_>, config: &CacheConfig) -> Result<Arc<dyn Cache>, Problems> {
        let mut problems = config.check();
        let redis = config.redis.as_ref().map(|name| self.redis(name)).transpose();
        let redis = redis.map_err(|problem| problems.push(problem)).ok().flatten();
        if let Err(problem) = self.take(config.max_bytes) {
            problems.push(problem);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let name = self.name(of);
        let [extension, plugin] = of.labels;
        let labels = [
            Label::new("tenant", self.tenant.to_owned()),
            Label::new("extension", Arc::clone(extension)),
            Label::new("plugin", Arc::clone(plugin)),
        ];
        let level = self.caches.level(&name, config, || Meters::new(labels));
        let shared = redis.map(|redis| Arc::new(Shared::new(redis, &name, config, &level)));
        Ok(Arc::new(BindingCache {
            level,
            shared,
            max_ttl: config.max_ttl,
            max_value_bytes: config.max_value_bytes,
        }))
    }

    fn redis(&self, name: &str) -> Result<Arc<RedisUpstream>, Problem> {
        let found = self.redis.get(name).map(Arc::clone);
        found.ok_or_else(|| {
            let known: Vec<_> = self.redis.keys().map(String::as_str).collect();
            let hint = if known.is_empty() {
                format!(
                    "declare it as [upstreams.{}] with kind = \"redis\"",
                    name.escape_debug()
                )
            } else {
                format!("there is: {}", known.join(", "))
            };
            Problem::at(
                "redis",
                format!("there is no upstream `{}` of kind `redis`; {hint}", name.escape_debug()),
            )
        })
    }

    /// Takes a part of what the tenant's caches may have together.
    fn take(&self, bytes: u64) -> Result<(), Problem> {
        let mut taken = self.taken_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = taken.saturating_add(bytes);
        if sum > self.max_bytes {
            let message = format!(
                "the tenant's caches would have {sum} bytes together, and the operator allows {} (claimsmith.toml, \
                 runtime.max_binding_cache_bytes_per_tenant); give this one or others less. Each application with settings of its own \
                 has a cache of its own",
                self.max_bytes
            );
            return Err(Problem::at("max_bytes", message));
        }
        *taken = sum;
        Ok(())
    }

    /// What the cache's entries belong to.
    fn name(&self, of: CacheOf<'_>) -> String {
        let mut hash = Context::new(&SHA256);
        hash.update(of.version.as_bytes());
        hash.update(of.settings.as_bytes());
        let digest = hex::encode(hash.finish());
        format!("{}/{}/{}/{}/{digest}", self.tenant, of.extension, of.place, of.plugin)
    }
}
