//! What changes versions: push, sign, forget, and `activation` as validate -> plan -> apply -> verify.
//!
//! Each change runs in a task of its own: a client that goes away in the middle must not leave half of it.

mod activation;
mod refused;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use claimsmith_catalog::{ActivationError, Activator, Managed, SignatureError, Signed};
use claimsmith_runtime::{Digest, Plugin};
use tokio::sync::OwnedMutexGuard;

pub(crate) use self::activation::{Activated, Manner};
use self::refused::Refused;
use crate::problem::{Code, Refusal};
use crate::store::{Action, Done, MAX_PLUGINS, Of, Pushed, Room, Store, VersionRow};

/// Changes versions, one change of a tenant at a time.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) store: Store,
    pub(crate) activator: Activator,
    room: Room,
    /// Whose turn it is to change what a tenant has.
    changing: Turns,
    /// Whose turn it is to push. Another turn than that to change: nobody who rolls back waits until a component is compiled.
    pushing: Turns,
    /// What was refused, so that it does not fill the log.
    refused: Refused,
}

/// One for each tenant that there is.
#[derive(Debug, Default)]
struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    async fn of(&self, tenant: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(tenant.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

/// Who asks, for which tenant, and why.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) actor: String,
    pub(crate) tenant: String,
    pub(crate) reason: String,
}

impl Asked {
    fn done(&self, action: Action) -> Done<'_> {
        Done {
            actor: &self.actor,
            reason: &self.reason,
            action,
            tenant: &self.tenant,
        }
    }
}

/// A version that was pushed.
#[derive(Debug)]
pub(crate) struct PushedVersion {
    pub(crate) row: VersionRow,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) is_new: bool,
    /// Whether the tenant trusts keys.
    pub(crate) needs_signature: bool,
}

impl Manager {
    pub(crate) fn new(store: Store, activator: Activator, room: Room) -> Self {
        Self {
            store,
            activator,
            room,
            changing: Turns::default(),
            pushing: Turns::default(),
            refused: Refused::default(),
        }
    }

    /// Waits until nobody else changes a tenant that there is.
    async fn alone_with(&self, tenant: &str) -> OwnedMutexGuard<()> {
        self.changing.of(tenant).await
    }

    /// Waits until nothing else is pushed for a tenant that there is.
    pub(crate) async fn turn_to_push(&self, tenant: &str) -> OwnedMutexGuard<()> {
        self.pushing.of(tenant).await
    }

    /// Where a tenant's file says that its plugins come from, if it can be read.
    pub(crate) async fn managed(&self, tenant: &str) -> Option<Managed> {
        match self.activator.managed_keys(tenant).await {
            Ok(_) => Some(Managed::Api),
            Err(ActivationError::ManagedByFiles(_)) => Some(Managed::Files),
            Err(_) => None,
        }
    }

    /// Keeps a version, after it was compiled as a plugin.
    pub(crate) async fn push(
        &self,
        asked: &Asked,
        plugin: &str,
        version: &str,
        component: Vec<u8>,
    ) -> Result<PushedVersion, Refusal> {
        let digest = Digest::of(&component).to_string();
        let pushed = self.keep(asked, plugin, version, component).await;
        let of = Of {
            plugin,
            version,
            digest: Some(&digest),
        };
        self.told(asked, Action::Push, &[of], pushed).await
    }

    async fn keep(
        &self,
        asked: &Asked,
        plugin: &str,
        version: &str,
        component: Vec<u8>,
    ) -> Result<PushedVersion, Refusal> {
        let keys = self.activator.managed_keys(&asked.tenant).await?;
        let compiled = self.activator.check_component(&component).await?;
        let _alone = self.alone_with(&asked.tenant).await;
        let done = asked.done(Action::Push);
        let pushed = self.store.push(done, plugin, version, component, self.room).await?;
        let is_new = match pushed {
            Pushed::New => true,
            Pushed::Known => false,
            Pushed::Taken(digest) => {
                let message = format!(
                    "version {version} of plugin `{plugin}` is {digest}, and versions do not change; push this one as \
                     another version"
                );
                return Err(Refusal::new(Code::VersionExists, message));
            }
            Pushed::TooManyPlugins => {
                let message =
                    format!("versions of {MAX_PLUGINS} plugins were pushed for this tenant, which is the most");
                return Err(Refusal::new(Code::TooManyPlugins, message));
            }
            Pushed::TooManyBytes(bytes) => {
                let message = format!(
                    "with this version the tenant's would have {bytes} bytes, and they may have {}: the operator can raise \
                     admin.max_bytes_per_tenant, or lower admin.keep_versions, which is applied to a plugin when one of its \
                     versions is pushed",
                    self.room.max_bytes
                );
                return Err(Refusal::new(Code::TooManyBytes, message));
            }
        };
        let row = self.find(&asked.tenant, plugin, version).await?;
        Ok(PushedVersion {
            row,
            plugin: compiled,
            is_new,
            needs_signature: keys.are_required(),
        })
    }

    /// Keeps a version's signature. Where the tenant trusts keys, it must be by one of them; `None` where it trusts none.
    pub(crate) async fn sign(
        &self,
        asked: &Asked,
        plugin: &str,
        version: &str,
        signature: Vec<u8>,
    ) -> Result<Option<Signed>, Refusal> {
        let signed = self.check_and_sign(asked, plugin, version, signature).await;
        let of = Of {
            plugin,
            version,
            digest: None,
        };
        self.told(asked, Action::Sign, &[of], signed).await
    }

    async fn check_and_sign(
        &self,
        asked: &Asked,
        plugin: &str,
        version: &str,
        signature: Vec<u8>,
    ) -> Result<Option<Signed>, Refusal> {
        let text = "expected the text of a .minisig file";
        let signature = String::from_utf8(signature).map_err(|_| Refusal::new(Code::Signature, text))?;
        let keys = self.activator.managed_keys(&asked.tenant).await?;
        let _alone = self.alone_with(&asked.tenant).await;
        let row = self.find(&asked.tenant, plugin, version).await?;
        let (component, _) = self.store.read(&asked.tenant, &row).await?;
        let checked = signature.clone();
        let verified = tokio::task::spawn_blocking(move || keys.verify_if_any(&component, &checked)).await;
        let verified = verified.unwrap_or(Err(SignatureError::Malformed));
        let refused =
            |error: SignatureError| Refusal::new(Code::Signature, format!("plugin `{plugin}` {version}: {error}"));
        let signed = verified.map_err(refused)?;
        self.store.sign(asked.done(Action::Sign), &row, signature).await?;
        Ok(signed)
    }

    /// Forgets what was pushed for a tenant that was deleted and what was active of it, so that whoever has its name next
    /// begins with nothing: how many versions it had.
    pub(crate) async fn forget(&self, asked: &Asked) -> Result<u64, Refusal> {
        let tenant = asked.tenant.as_str();
        let _no_push = self.turn_to_push(tenant).await;
        let _alone = self.alone_with(tenant).await;
        let active = self.activator.forget(tenant)?;
        match self.store.forget(asked.done(Action::Forget)).await {
            Ok(Some(versions)) => {
                tracing::info!(
                    tenant,
                    actor = asked.actor,
                    versions,
                    "a tenant that was deleted was forgotten"
                );
                Ok(versions)
            }
            Ok(None) => {
                let message = format!("nothing is known of a tenant `{tenant}`");
                Err(Refusal::new(Code::UnknownTenant, message))
            }
            Err(error) => {
                self.activator.remember(tenant, active);
                Err(error.into())
            }
        }
    }

    async fn find(&self, tenant: &str, plugin: &str, version: &str) -> Result<VersionRow, Refusal> {
        let row = self.store.version(tenant, plugin, version).await?;
        row.ok_or_else(|| {
            let message =
                format!("no version {version} of plugin `{plugin}` was pushed; `claimsmith versions` lists them");
            Refusal::new(Code::UnknownVersion, message)
        })
    }
}
