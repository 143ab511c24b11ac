//! `[admin]`: the admin API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;
use uuid::Uuid;

/// Fewer versions would leave nothing to go back to.
const MIN_KEPT: usize = 2;

/// `[admin]`. Where it is absent, there is no admin API.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// The directory of pushed versions and of the admin log; relative to the configuration file. Default `state`.
    pub state: PathBuf,
    /// The unix socket for the machine's owner; relative to the configuration file. Default `admin.sock` in `state`.
    pub socket: Option<PathBuf>,
    /// The address and port for everybody else. Default none.
    pub listen: Option<SocketAddr>,
    /// Whether `listen` may be another address than this machine's own, although tokens come over it unencrypted.
    /// Default false.
    pub allow_plain_http: bool,
    /// Versions of one plugin that are kept; older ones that neither serve nor did before are deleted. Default 50.
    pub keep_versions: usize,
    /// Bytes of all versions of one tenant together. Default 1 GiB.
    pub max_bytes_per_tenant: u64,
    /// Who may use `listen`.
    pub token: Option<AdminTokenConfig>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            state: PathBuf::from("state"),
            socket: None,
            listen: None,
            allow_plain_http: false,
            keep_versions: 50,
            max_bytes_per_tenant: 1 << 30,
            token: None,
        }
    }
}

/// `[admin.token]`: the tokens that people and pipelines show.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct AdminTokenConfig {
    /// The Entra directory that issues them.
    pub directory: Uuid,
    /// Its metadata documents (`…/.well-known/openid-configuration`).
    pub metadata: Vec<Url>,
    /// Accepted `aud`: the application that stands for the admin API.
    pub audiences: Vec<String>,
    /// The applications that may ask for them (`azp` or `appid`).
    pub clients: Vec<Uuid>,
    /// The claim that names roles. Default `roles`.
    #[serde(default = "default_roles_claim")]
    pub roles_claim: String,
    /// What a value of that claim allows. Default `Claimsmith.Operator`, `Claimsmith.TenantOwner`,
    /// `Claimsmith.TenantDeveloper` and `Claimsmith.Auditor`.
    #[serde(default = "default_roles")]
    pub roles: BTreeMap<String, AdminRole>,
    /// The claim that names the tenants of owners and developers. Default `tenants`.
    #[serde(default = "default_tenants_claim")]
    pub tenants_claim: String,
    /// The tenant that a value of that claim means. When this is empty, a value is a tenant's name.
    #[serde(default)]
    pub tenants: BTreeMap<String, String>,
    /// How far clocks may differ. Default 1 min.
    #[serde(default = "default_clock_leeway", with = "humantime_serde")]
    pub clock_leeway: Duration,
}

/// What somebody may do through the admin API.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum AdminRole {
    /// Everything, for every tenant.
    Operator,
    /// Everything, for some tenants.
    TenantOwner,
    /// Pushing, planning and looking, for some tenants.
    TenantDeveloper,
    /// Looking, at every tenant.
    Auditor,
}

fn default_roles_claim() -> String {
    "roles".to_owned()
}

fn default_tenants_claim() -> String {
    "tenants".to_owned()
}

fn default_clock_leeway() -> Duration {
    Duration::from_mins(1)
}

fn default_roles() -> BTreeMap<String, AdminRole> {
    let roles = [
        ("Claimsmith.Operator", AdminRole::Operator),
        ("Claimsmith.TenantOwner", AdminRole::TenantOwner),
        ("Claimsmith.TenantDeveloper", AdminRole::TenantDeveloper),
        ("Claimsmith.Auditor", AdminRole::Auditor),
    ];
    roles.map(|(value, role)| (value.to_owned(), role)).into()
}

impl AdminConfig {
    /// Takes relative paths as of this directory.
    pub(super) fn resolve(&mut self, directory: &Path) {
        self.state = directory.join(&self.state);
        if let Some(socket) = &mut self.socket {
            *socket = directory.join(&*socket);
        }
    }

    /// Where the unix socket is.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.state.join("admin.sock"))
    }

    /// The rules, and whether each holds.
    pub(super) fn rules(&self) -> [(bool, &'static str); 5] {
        let token = self.token.as_ref();
        [
            (
                self.listen.is_none() || token.is_some(),
                "admin.listen needs [admin.token], which says whose tokens are accepted there",
            ),
            (
                self.listen.is_none_or(|address| address.ip().is_loopback()) || self.allow_plain_http,
                "admin.listen must be an address of this machine alone, such as 127.0.0.1:8081: tokens come over it \
                 unencrypted. Put a proxy with TLS before it, or set admin.allow_plain_http = true where the network \
                 between is trusted",
            ),
            (
                token.is_none_or(|token| !token.metadata.is_empty() && !token.audiences.is_empty()),
                "admin.token.metadata and admin.token.audiences must not be empty",
            ),
            (
                token.is_none_or(|token| !token.clients.is_empty()),
                "admin.token.clients must name at least one application: the one that people or pipelines sign in with",
            ),
            (
                self.keep_versions >= MIN_KEPT,
                "admin.keep_versions must be at least 2: the version that serves and the one before",
            ),
        ]
    }
}
