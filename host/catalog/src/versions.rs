//! The versions of plugins that the admin API has activated, of tenants whose plugins it manages.
//!
//! What is pushed is kept below one directory as `<tenant>/<plugin>/<digest>.wasm`, with its signature beside it. Which of
//! them are active is told by [`ActiveVersions`]: it is what a loader loads, and what [`crate::Activator`] changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use claimsmith_runtime::Digest;

/// A version that is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveVersion {
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// The version that it was pushed as.
    pub version: Arc<str>,
}

/// The active version of each plugin of a tenant.
pub type PluginVersions = BTreeMap<String, ActiveVersion>;

/// The same, each with its file.
pub(crate) type VersionFiles = BTreeMap<String, (ActiveVersion, PathBuf)>;

/// Which versions are active, and where versions are kept.
#[derive(Debug)]
pub struct ActiveVersions {
    directory: PathBuf,
    active: Mutex<BTreeMap<String, PluginVersions>>,
}

impl ActiveVersions {
    /// These versions are active, by tenant, and kept below `directory`.
    #[must_use]
    pub fn new(directory: PathBuf, active: BTreeMap<String, PluginVersions>) -> Self {
        Self {
            directory,
            active: Mutex::new(active),
        }
    }

    /// Where a version is kept.
    #[must_use]
    pub fn file(&self, tenant: &str, plugin: &str, digest: Digest) -> PathBuf {
        let file = self.directory.join(tenant).join(plugin);
        file.join(format!("{digest}.wasm"))
    }

    /// These versions of a tenant with their files.
    pub(crate) fn files(&self, tenant: &str, versions: &PluginVersions) -> VersionFiles {
        let file = |(plugin, version): (&String, &ActiveVersion)| {
            let file = self.file(tenant, plugin, version.digest);
            (plugin.clone(), (version.clone(), file))
        };
        versions.iter().map(file).collect()
    }

    /// The active versions of a tenant.
    #[must_use]
    pub fn of(&self, tenant: &str) -> PluginVersions {
        self.lock().get(tenant).cloned().unwrap_or_default()
    }

    pub(crate) fn set(&self, tenant: &str, versions: PluginVersions) {
        self.lock().insert(tenant.to_owned(), versions);
    }

    /// Nothing of a tenant is active any more: what was.
    pub(crate) fn remove(&self, tenant: &str) -> PluginVersions {
        self.lock().remove(tenant).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PluginVersions>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the signature of a component's file is: beside it.
#[must_use]
pub fn signature_file(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}
