//! Secrets that Vault keeps, or what speaks its API (`OpenBao`): `vault:PATH#FIELD`.
//!
//! The operator says where Vault is and who the service is there; a tenant's paths are below a prefix with its name, so that
//! it reads no other tenant's. Secrets are read when a tenant is loaded, each path once, whoever asks for it, and again at
//! intervals: a tenant whose secrets have changed is loaded anew, as when a file changes. While Vault does not answer, what
//! it has said before is kept.

mod client;
mod config;
mod document;
mod reference;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;
use zeroize::Zeroizing;

pub use self::config::{VaultAuthentication, VaultConfig};
pub use self::reference::{VaultRef, references};

use self::client::Client;
use self::document::Document;
use crate::problem::Problems;
use crate::secret::SecretProvider;

/// Paths that are remembered: more than the upstreams of some hundred tenants have.
const MAX_PATHS: u64 = 10_000;
/// Of one tenant; further ones are not read.
const MAX_PATHS_OF_TENANT: usize = 256;

/// Vault, and what it has said.
pub struct Vault {
    client: Client,
    prefix: String,
    refresh_interval: Duration,
    /// By their whole paths.
    documents: moka::future::Cache<String, Arc<Document>>,
    tenants: Mutex<HashMap<String, Tenant>>,
    /// Paths that could not be read when they were read last.
    failing: Mutex<HashSet<String>>,
    changed: Notify,
}

#[derive(Default)]
struct Tenant {
    /// What it was loaded with.
    paths: BTreeSet<String>,
    revision: u64,
}

/// What a tenant that is being loaded has in Vault.
pub struct VaultSecrets {
    /// By their paths below the tenant's prefix.
    documents: BTreeMap<String, Result<Arc<Document>, Arc<String>>>,
}

impl Vault {
    /// Prepares to ask Vault, and does not ask it yet.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, with paths below `vault`.
    pub fn load(config: &VaultConfig) -> Result<Self, Problems> {
        Ok(Self {
            client: Client::load(config)?,
            prefix: config.prefix.clone(),
            refresh_interval: config.refresh_interval,
            documents: moka::future::Cache::new(MAX_PATHS),
            tenants: Mutex::default(),
            failing: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Reads what a tenant refers to, as far as it is not known.
    pub async fn fetch(&self, tenant: &str, references: &BTreeSet<VaultRef>) -> VaultSecrets {
        let paths: BTreeSet<_> = references.iter().map(|reference| reference.path.as_str()).collect();
        let reading = paths.into_iter().take(MAX_PATHS_OF_TENANT).map(|path| async move {
            let whole = self.whole_path(tenant, path);
            let read = async { self.client.read(&whole).await.map(Arc::new) };
            (path.to_owned(), self.documents.try_get_with(whole.clone(), read).await)
        });
        let documents: BTreeMap<_, _> = join_all(reading).await.into_iter().collect();
        let paths = documents.keys().map(|path| self.whole_path(tenant, path)).collect();
        lock(&self.tenants).entry(tenant.to_owned()).or_default().paths = paths;
        VaultSecrets { documents }
    }

    /// A number that changes with the tenant's secrets; 0 until they have changed.
    #[must_use]
    pub fn revision(&self, tenant: &str) -> u64 {
        lock(&self.tenants).get(tenant).map_or(0, |tenant| tenant.revision)
    }

    /// Forgets the tenants that there are no more.
    pub fn retain(&self, is_left: impl Fn(&str) -> bool) {
        lock(&self.tenants).retain(|name, _| is_left(name));
    }

    /// Waits until some tenant's secrets have changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Reads again at intervals, for as long as it is polled.
    pub async fn keep_fresh(&self) {
        loop {
            tokio::time::sleep(self.refresh_interval).await;
            let used: BTreeSet<_> = {
                let tenants = lock(&self.tenants);
                tenants
                    .values()
                    .flat_map(|tenant| tenant.paths.iter().cloned())
                    .collect()
            };
            // What nobody refers to any more is not kept in memory.
            let unused: Vec<_> = self
                .documents
                .iter()
                .filter(|(path, _)| !used.contains(&**path))
                .collect();
            for (path, _) in unused {
                self.documents.invalidate(&*path).await;
            }
            for path in used {
                self.refresh(path).await;
            }
        }
    }

    async fn refresh(&self, path: String) {
        match self.client.read(&path).await {
            Ok(document) => {
                if lock(&self.failing).remove(&path) {
                    tracing::info!(path, "secrets are read from Vault again");
                }
                let known = self.documents.get(&path).await;
                if known.is_none_or(|known| *known != document) {
                    self.documents.insert(path.clone(), Arc::new(document)).await;
                    self.note_changed(&path);
                }
            }
            Err(error) => {
                if lock(&self.failing).insert(path.clone()) {
                    tracing::warn!(
                        path,
                        error,
                        "secrets cannot be read from Vault; those that are known are kept"
                    );
                }
            }
        }
    }

    fn note_changed(&self, path: &str) {
        let mut tenants = lock(&self.tenants);
        for tenant in tenants.values_mut().filter(|tenant| tenant.paths.contains(path)) {
            tenant.revision += 1;
        }
        drop(tenants);
        self.changed.notify_one();
    }

    fn whole_path(&self, tenant: &str, path: &str) -> String {
        format!("{}/{path}", self.prefix.replace("{tenant}", tenant))
    }
}

impl VaultSecrets {
    /// Whether something could not be read, which may be otherwise later.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.documents.values().any(Result::is_err)
    }
}

impl SecretProvider for VaultSecrets {
    fn secret(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let reference: VaultRef = name.parse()?;
        let known = self.documents.get(&reference.path);
        let document = known.ok_or_else(|| format!("vault:{name} is one of more than {MAX_PATHS_OF_TENANT} paths"))?;
        let document = document
            .as_ref()
            .map_err(|error| format!("vault:{name} cannot be read: {error}"))?;
        let field = document.field(&reference.field);
        let text = field.ok_or_else(|| format!("vault:{name}: the secret has no text field of this name"))?;
        Ok(Zeroizing::new(text.as_bytes().to_owned()))
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Vault(..)")
    }
}

impl fmt::Debug for VaultSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VaultSecrets(..)")
    }
}
