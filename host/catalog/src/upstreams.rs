//! A tenant's upstreams, and which of them a binding may use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use claimsmith_runtime::{Grants, Upstream};
use claimsmith_upstreams::http::{HttpConfig, HttpUpstream};
use claimsmith_upstreams::secret::SecretScope;
use claimsmith_upstreams::vault::VaultSecrets;
use claimsmith_upstreams::{Egress, Network, Problem, SystemLookup};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::EgressConfig;
use crate::error::ConfigError;
use crate::rules::check_name;
use crate::source::{Source, Step, nearest, steps, with_nearest_key};

/// Of one tenant: each has connections of its own.
const MAX_UPSTREAMS: usize = 64;

/// What `kind` can be.
const KINDS: &[&str] = &["http"];

/// A tenant's upstreams by name.
#[derive(Debug, Default)]
pub(crate) struct Upstreams(BTreeMap<String, Upstream>);

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
    pub(crate) lookup: SystemLookup,
    /// What was read for the tenant from Vault.
    pub(crate) vault: Option<&'l VaultSecrets>,
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
        let mut upstreams = BTreeMap::new();
        for (name, config) in configs {
            match self.load_one(name, config) {
                Ok(upstream) => {
                    upstreams.insert(name.clone(), upstream);
                }
                Err(problems) => errors.extend(problems.iter().map(|problem| self.error(name, problem))),
            }
        }
        Upstreams(upstreams)
    }

    fn error(&self, name: &str, problem: &Problem) -> ConfigError {
        let mut way = vec![Step::Key("upstreams"), Step::Key(name)];
        way.extend(steps(&problem.path));
        let message = format!("upstream `{name}`: {}", problem.message);
        self.source.error_at_path(&way, message)
    }

    fn load_one(&self, name: &str, config: &Table) -> Result<Upstream, Vec<Problem>> {
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
        match kind.as_str() {
            "http" => {
                let config: HttpConfig = read(members)?;
                let egress = self.egress(&config.networks)?;
                let upstream = HttpUpstream::load(name, &config, scope, egress)?;
                Ok(Upstream::Http(Arc::new(upstream)))
            }
            _ => Err(at("kind", format!("expected one of: {}", KINDS.join(", ")))),
        }
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
            return Ok(Egress::new(networks).with_lookup(Arc::new(self.lookup.clone())));
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
    /// What a binding is granted.
    ///
    /// # Errors
    /// A name that no upstream has, with what there is.
    pub(crate) fn grants(&self, tenant: &str, names: &BTreeSet<String>) -> Result<Arc<Grants>, String> {
        if names.is_empty() {
            return Ok(Arc::default());
        }
        let mut grants = Grants::of(tenant.into());
        for name in names {
            match self.0.get(name) {
                Some(upstream) => grants.grant(name.as_str().into(), upstream.clone()),
                None => return Err(self.unknown(name)),
            }
        }
        Ok(Arc::new(grants))
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<_> = self.0.keys().map(String::as_str).collect();
        let shown = name.escape_debug();
        match nearest(name, known.iter().copied()) {
            _ if known.is_empty() => {
                format!("there is no upstream `{shown}`; declare it as [upstreams.{shown}] with its `kind`")
            }
            Some(nearest) => format!("there is no upstream `{shown}`; did you mean `{nearest}`?"),
            None => format!("there is no upstream `{shown}`; there is: {}", known.join(", ")),
        }
    }
}
