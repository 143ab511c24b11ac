//! A tenant's upstreams, and which of them a binding may use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use claimsmith_runtime::{Breaker, Digest, Grants, Upstream};
use claimsmith_upstreams::directory::{DirectoryConfig, DirectoryUpstream};
use claimsmith_upstreams::http::{HttpConfig, HttpUpstream};
use claimsmith_upstreams::mail::{MailConfig, MailUpstream};
use claimsmith_upstreams::redis::{RedisConfig, RedisUpstream};
use claimsmith_upstreams::secret::SecretScope;
use claimsmith_upstreams::sql::{Database, SqlConfig};
use claimsmith_upstreams::vault::VaultSecrets;
use claimsmith_upstreams::{Egress, Lookup, Network, Problem};
use futures::future::join_all;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::EgressConfig;
use crate::error::ConfigError;
use crate::meters::upstream_label;
use crate::rules::check_name;
use crate::source::{Source, Step, nearest, steps, with_nearest_key};
use crate::tenant::{BindingConfig, ExtensionConfig};

/// Of one tenant: each has connections of its own.
const MAX_UPSTREAMS: usize = 64;

/// Bindings that a message names.
const MAX_USERS: usize = 3;

/// What `kind` can be.
const KINDS: &[&str] = &["directory", "http", "mail", "redis", "sql"];

/// A tenant's upstreams by name.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    granted: BTreeMap<String, Upstream>,
    /// Those of them that are databases, of which each binding is granted its statements.
    databases: BTreeMap<String, Arc<Database>>,
    /// Those that bindings are not granted: their caches use them.
    pub(crate) redis: BTreeMap<String, Arc<RedisUpstream>>,
    /// Of all of them.
    pub(crate) breakers: BTreeMap<String, Arc<Breaker>>,
    /// Those that are not valid.
    broken: BTreeSet<String>,
    /// Of the configuration of each, where secrets are references.
    digests: BTreeMap<String, Digest>,
}

/// What loading a tenant's upstreams needs.
#[derive(Clone)]
pub(crate) struct UpstreamLoader<'l> {
    pub(crate) tenant: &'l str,
    /// The tenant's directory.
    pub(crate) directory: &'l Path,
    pub(crate) source: &'l Source,
    /// What the operator allows.
    pub(crate) egress: &'l EgressConfig,
    /// What resolves the names of all of them.
    pub(crate) lookup: Arc<dyn Lookup>,
    /// What was read for the tenant from Vault.
    pub(crate) vault: Option<&'l VaultSecrets>,
    /// Whose bindings use them.
    pub(crate) extensions: &'l BTreeMap<String, ExtensionConfig>,
}

impl UpstreamLoader<'_> {
    /// Makes the upstreams; those that are not valid are left out.
    pub(crate) fn load(&self, configs: &BTreeMap<String, Table>, errors: &mut Vec<ConfigError>) -> Upstreams {
        if configs.len() > MAX_UPSTREAMS {
            let message = format!(
                "`upstreams` has {} entries: expected at most {MAX_UPSTREAMS}",
                configs.len()
            );
            errors.push(self.source.error_at_path(&[Step::Key("upstreams")], message));
            return Upstreams::default();
        }
        let mut upstreams = Upstreams::default();
        for (name, config) in configs {
            let digest = Digest::of(format!("{config:?}").as_bytes());
            upstreams.digests.insert(name.clone(), digest);
            if let Err(problems) = self.load_one(name, config, &mut upstreams) {
                errors.extend(problems.iter().map(|problem| self.error(name, problem)));
                upstreams.broken.insert(name.clone());
            }
        }
        upstreams
    }

    fn error(&self, name: &str, problem: &Problem) -> ConfigError {
        let mut way = vec![Step::Key("upstreams"), Step::Key(name)];
        way.extend(steps(&problem.path));
        let message = format!("upstream `{name}`{}: {}", self.users(name), problem.message);
        self.source.error_at_path(&way, message)
    }

    /// Which bindings use an upstream, for messages: ` (used by extension `claims`, binding 1)`, the first few of them.
    fn users(&self, name: &str) -> String {
        let names_it = |binding: &BindingConfig| {
            let cache = binding.cache.as_ref().and_then(|cache| cache.redis.as_deref());
            binding.upstreams.contains(name) || cache == Some(name)
        };
        let bindings = self.extensions.iter().flat_map(|(extension, config)| {
            let bindings = config.bindings.iter().enumerate();
            let granted = bindings.filter(|(_, binding)| names_it(binding));
            granted.map(move |(index, _)| format!("extension `{extension}`, binding {}", index + 1))
        });
        let mut users: Vec<_> = bindings.take(MAX_USERS + 1).collect();
        if users.is_empty() {
            return String::new();
        }
        if users.len() > MAX_USERS {
            users.truncate(MAX_USERS);
            users.push("others".to_owned());
        }
        format!(" (used by {})", users.join("; "))
    }

    fn load_one(&self, name: &str, config: &Table, upstreams: &mut Upstreams) -> Result<(), Vec<Problem>> {
        let at = |path: &str, message: String| {
            vec![Problem {
                path: path.to_owned(),
                message,
            }]
        };
        check_name("upstream", name).map_err(|message| at("", message))?;
        let mut members = config.clone();
        let kind = match members.remove("kind") {
            Some(Value::String(kind)) => kind,
            Some(_) => return Err(at("kind", format!("expected one of: {}", KINDS.join(", ")))),
            None => {
                let message = format!("`kind` is missing: expected one of: {}", KINDS.join(", "));
                return Err(at("", message));
            }
        };
        let scope = SecretScope {
            tenant: self.tenant,
            directory: self.directory,
            vault: self.vault,
        };
        let (granted, breaker) = match kind.as_str() {
            "http" => {
                let config: HttpConfig = read(members)?;
                let egress = self.egress(&config.networks)?;
                let upstream = HttpUpstream::load(name, &config, scope, egress)?;
                let breaker = Arc::clone(upstream.breaker());
                (Some(Upstream::Http(Arc::new(upstream))), breaker)
            }
            "mail" => {
                let config: MailConfig = read(members)?;
                let egress = self.egress(&config.networks)?;
                let upstream = MailUpstream::load(name, &config, scope, egress)?;
                let breaker = Arc::clone(upstream.breaker());
                (Some(Upstream::Mail(Arc::new(upstream))), breaker)
            }
            "sql" => {
                let config: SqlConfig = read(members)?;
                if config.any_statement && !self.egress.allows_any_statement(self.tenant) {
                    let message = format!(
                        "the operator does not allow it; to allow it, claimsmith.toml needs: [egress] any_statement = \
                         [\"{}\"]",
                        self.tenant
                    );
                    return Err(at("any_statement", message));
                }
                if config.is_sqlite() && !self.egress.allows_sqlite(self.tenant) {
                    let message = format!(
                        "the operator does not allow SQLite, whose statements run in the service's own process; to allow it, \
                         claimsmith.toml needs: [egress] sqlite = [\"{}\"]. PostgreSQL needs no leave",
                        self.tenant
                    );
                    return Err(at("url", message));
                }
                let egress = self.egress(&config.networks)?;
                let database = Arc::new(Database::load(name, &config, scope, egress)?);
                upstreams.databases.insert(name.to_owned(), Arc::clone(&database));
                let granted = database.grant(&BTreeMap::new());
                (Some(Upstream::Sql(Arc::new(granted))), Arc::clone(database.breaker()))
            }
            "directory" => {
                let config: DirectoryConfig = read(members)?;
                let egress = self.egress(&config.networks)?;
                let upstream = DirectoryUpstream::load(name, &config, scope, egress)?;
                let breaker = Arc::clone(upstream.breaker());
                (Some(Upstream::Directory(Arc::new(upstream))), breaker)
            }
            "redis" => {
                let config: RedisConfig = read(members)?;
                let egress = self.egress(&config.networks)?;
                let redis = RedisUpstream::load(name, &config, scope, egress)?;
                let breaker = Arc::clone(redis.breaker());
                upstreams.redis.insert(name.to_owned(), Arc::new(redis));
                (None, breaker)
            }
            _ => return Err(at("kind", format!("expected one of: {}", KINDS.join(", ")))),
        };
        upstreams.breakers.insert(name.to_owned(), breaker);
        if let Some(granted) = granted {
            upstreams.granted.insert(name.to_owned(), granted);
        }
        Ok(())
    }

    /// What an upstream may connect to: what it opens, as far as the operator allows the tenant.
    fn egress(&self, networks: &[Network]) -> Result<Egress, Vec<Problem>> {
        let allowed = self.egress.of(self.tenant);
        let is_allowed = |network: &Network| allowed.iter().any(|allowed| allowed.contains(network));
        let refused = networks.iter().enumerate().filter(|(_, network)| !is_allowed(network));
        let problems: Vec<_> = refused
            .map(|(index, network)| Problem {
                path: format!("networks[{index}]"),
                message: format!(
                    "the operator does not allow the tenant {network}; to allow it, claimsmith.toml needs: \
                     [egress.networks] {} = [\"{network}\"]",
                    self.tenant
                ),
            })
            .collect();
        if problems.is_empty() {
            return Ok(Egress::new(networks).with_lookup(Arc::clone(&self.lookup)));
        }
        Err(problems)
    }
}

/// Reads the members of an upstream. What is wrong is told with its path, which leads to its line.
fn read<T: DeserializeOwned>(members: Table) -> Result<T, Vec<Problem>> {
    serde_path_to_error::deserialize(Value::Table(members)).map_err(|error| {
        let is_whole = error.path().iter().len() == 0;
        let path = if is_whole {
            String::new()
        } else {
            error.path().to_string()
        };
        let message = with_nearest_key(error.inner().message());
        vec![Problem { path, message }]
    })
}

impl Upstreams {
    /// Leaves all databases alone.
    pub(crate) fn leave(&self) {
        for database in self.databases.values() {
            database.leave();
        }
    }

    /// Connects to all databases at once, so that statements can be checked. Takes a bounded time, whatever they do.
    pub(crate) async fn reach(&self) {
        join_all(self.databases.values().map(|database| database.reach())).await;
    }

    /// What is wrong with the statements that a binding names, each with its path below the binding.
    pub(crate) async fn check_statements(
        &self,
        names: &BTreeSet<String>,
        statements: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Vec<Problem> {
        let at = |path: String, message: String| Problem { path, message };
        let mut problems = Vec::new();
        for (upstream, statements) in statements {
            let place = format!("statements.{upstream}");
            let Some(database) = self.databases.get(upstream).filter(|_| names.contains(upstream)) else {
                let shown = upstream.escape_debug();
                let message =
                    format!("`{shown}` is no database among the binding's `upstreams`: expected one of kind `sql`");
                problems.push(at(place, message));
                continue;
            };
            let badly_named = statements.keys().filter_map(|name| check_name("statement", name).err());
            problems.extend(badly_named.map(|message| at(place.clone(), message)));
            let found = database.check(statements).await.into_iter();
            problems.extend(found.map(|problem| match problem.path.as_str() {
                "" => at(place.clone(), problem.message),
                name => {
                    let message = format!("statement `{name}` of `{upstream}`: {}", problem.message);
                    at(format!("{place}.{name}"), message)
                }
            }));
        }
        problems
    }

    /// What a binding is granted that names these statements.
    ///
    /// # Errors
    /// A name that no upstream has, with what there is.
    pub(crate) fn grants(
        &self,
        tenant: &str,
        names: &BTreeSet<String>,
        statements: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<Grants, String> {
        let mut grants = Grants::of(tenant.into());
        for name in names {
            match self.granted.get(name) {
                Some(upstream) => {
                    let label = upstream_label(tenant, name);
                    grants.grant(name.as_str().into(), label, upstream.clone());
                }
                None => return Err(self.unknown(name)),
            }
        }
        for (name, statements) in statements {
            if let Some(database) = self.databases.get(name) {
                grants.grant(
                    name.as_str().into(),
                    upstream_label(tenant, name),
                    Upstream::Sql(Arc::new(database.grant(statements))),
                );
            }
        }
        Ok(grants)
    }

    /// Stands for what a binding learns from: the upstreams that it names, as they are configured, and its statements.
    pub(crate) fn digest(&self, binding: &BindingConfig) -> Digest {
        let names = binding.upstreams.iter();
        let upstreams: Vec<_> = names.map(|name| (name, self.digests.get(name))).collect();
        Digest::of(format!("{upstreams:?} {:?}", binding.statements).as_bytes())
    }

    fn unknown(&self, name: &str) -> String {
        let shown = name.escape_debug();
        if self.redis.contains_key(name) {
            return format!(
                "upstream `{shown}` is of kind `redis`, which plugins do not call; use `cache.redis = \"{shown}\"`"
            );
        }
        if self.broken.contains(name) {
            return format!("upstream `{shown}` is not valid; its own line says why");
        }
        let known: Vec<_> = self.granted.keys().map(String::as_str).collect();
        match nearest(name, known.iter().copied()) {
            _ if known.is_empty() => {
                format!("there is no upstream `{shown}`; declare it as [upstreams.{shown}] with its `kind`")
            }
            Some(nearest) => format!("there is no upstream `{shown}`; did you mean `{nearest}`?"),
            None => format!("there is no upstream `{shown}`; there is: {}", known.join(", ")),
        }
    }
}
