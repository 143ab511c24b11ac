//! Who asks, and what they may do: one table of roles and operations, and one question about tenants.

use std::collections::BTreeSet;

use claimsmith_catalog::AdminRole;

/// What can be asked of the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Looking at what serves, at versions and at the log.
    Read,
    /// Pushing versions.
    Push,
    /// Signing them.
    Sign,
    /// Asking for an activation or a rollback, of which a plan is the least.
    Plan,
    /// Activating versions and rolling back.
    Activate,
    /// Forgetting a tenant that was deleted.
    Forget,
}

impl Operation {
    /// For the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Push => "push",
            Self::Sign => "sign",
            // Which of them is in the body, which is not read for whoever may do none.
            Self::Plan => "plan or activate",
            Self::Activate => "activate",
            Self::Forget => "forget",
        }
    }
}

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// For the log: `uid:0`, or `app:<client id>` and `oid:<object id>`.
    pub(crate) actor: String,
    pub(crate) roles: BTreeSet<AdminRole>,
    /// Of owners and developers.
    pub(crate) tenants: BTreeSet<String>,
}

/// What a role allows.
const fn allows(role: AdminRole, operation: Operation) -> bool {
    match operation {
        Operation::Read => true,
        Operation::Push | Operation::Sign | Operation::Plan => !matches!(role, AdminRole::Auditor),
        Operation::Activate => matches!(role, AdminRole::Operator | AdminRole::TenantOwner),
        // Whoever has the name next may be its owner already.
        Operation::Forget => matches!(role, AdminRole::Operator),
    }
}

/// Whether a role is for every tenant, or for those alone that the token names.
const fn is_for_every_tenant(role: AdminRole) -> bool {
    matches!(role, AdminRole::Operator | AdminRole::Auditor)
}

impl Identity {
    /// The machine's owner.
    pub(crate) fn owner(uid: u32) -> Self {
        Self {
            actor: format!("uid:{uid}"),
            roles: BTreeSet::from([AdminRole::Operator]),
            tenants: BTreeSet::new(),
        }
    }

    /// Whether this may be done for a tenant, which need not exist: nobody learns the names of others' tenants.
    pub(crate) fn may(&self, operation: Operation, tenant: &str) -> bool {
        let is_theirs = self.tenants.contains(tenant);
        let mut roles = self.roles.iter();
        roles.any(|role| allows(*role, operation) && (is_theirs || is_for_every_tenant(*role)))
    }

    /// Whether every tenant may be looked at.
    pub(crate) fn sees_all(&self) -> bool {
        self.roles.iter().any(|role| is_for_every_tenant(*role))
    }
}
