//! LDAP directories: the capability `claimsmith:plugin/directory`.
//!
//! `request` makes of a plugin's search what is sent, `connection` and `relay` are the way to the directory, `idle` keeps
//! connections, and `client` makes a call.

mod client;
mod config;
mod connection;
mod idle;
mod load;
mod message;
mod name;
mod relay;
mod request;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::interface::directory::{AuthenticateRequest, Entry, Error, Scope, SearchRequest};
use claimsmith_runtime::{Breaker, CallContext, CapabilityFuture, DirectoryUpstream as Capability};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

pub use self::config::{BindConfig, DirectoryConfig};
use self::connection::Connector;
use self::idle::Idle;
use self::request::Rules;

/// Bytes of a password: longer ones are none.
const MAX_PASSWORD_BYTES: usize = 1_024;

/// A directory whose configuration has been checked, with its connections.
pub struct DirectoryUpstream {
    /// The tenant's and its own name, for the log.
    tenant: String,
    name: String,
    rules: Rules,
    allow_authenticate: bool,
    connector: Connector,
    /// Who the host is, and its password.
    bind: Option<(String, Zeroizing<String>)>,
    idle: Idle,
    places: Semaphore,
    breaker: Arc<Breaker>,
    limits: Limits,
}

/// What one call may use.
#[derive(Clone, Copy, Debug)]
struct Limits {
    timeout: Duration,
    page_size: usize,
    max_entries: usize,
    max_bytes: usize,
}

impl Capability for DirectoryUpstream {
    fn search(&self, request: SearchRequest, context: CallContext) -> CapabilityFuture<'_, Vec<Entry>, Error> {
        Box::pin(async move {
            let scope = match request.scope {
                Scope::Base => ldap3::Scope::Base,
                Scope::OneLevel => ldap3::Scope::OneLevel,
                Scope::Subtree => ldap3::Scope::Subtree,
            };
            let search = self.rules.search(request, scope)?;
            self.call(context, self.find(&search)).await
        })
    }

    fn authenticate(&self, request: AuthenticateRequest, context: CallContext) -> CapabilityFuture<'_, bool, Error> {
        let password = Zeroizing::new(request.password);
        let dn = request.dn;
        Box::pin(async move {
            if !self.allow_authenticate {
                let why = format!("upstream `{}` does not have `allow_authenticate = true`", self.name);
                return Err(Error::NotAllowed(why));
            }
            self.rules.check_name("distinguished name", &dn)?;
            if password.len() > MAX_PASSWORD_BYTES {
                let why = format!("the password has more than {MAX_PASSWORD_BYTES} bytes");
                return Err(Error::Invalid(why));
            }
            if password.is_empty() {
                return Ok(false);
            }
            self.call(context, self.check_credentials(&dn, password)).await
        })
    }
}

impl fmt::Debug for DirectoryUpstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DirectoryUpstream")
            .field("tenant", &self.tenant)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
