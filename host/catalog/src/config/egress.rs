//! What upstreams may connect to.

use std::collections::{BTreeMap, BTreeSet};

use claimsmith_upstreams::Network;
use serde::Deserialize;

/// `[egress]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct EgressConfig {
    /// Networks that are not of the public internet and that tenants' upstreams may open, by the tenant's name. Default
    /// none.
    pub networks: BTreeMap<String, Vec<Network>>,
    /// Tenants whose databases may take any statement of a plugin. Default none.
    pub any_statement: BTreeSet<String>,
    /// Tenants that may have SQLite files for upstreams, whose statements run in this process. Default none.
    pub sqlite: BTreeSet<String>,
}

impl EgressConfig {
    /// What a tenant's upstreams may open.
    pub(crate) fn of(&self, tenant: &str) -> &[Network] {
        self.networks.get(tenant).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a tenant's databases may take any statement.
    pub(crate) fn allows_any_statement(&self, tenant: &str) -> bool {
        self.any_statement.contains(tenant)
    }

    /// Whether a tenant may have SQLite files for upstreams.
    pub(crate) fn allows_sqlite(&self, tenant: &str) -> bool {
        self.sqlite.contains(tenant)
    }
}
