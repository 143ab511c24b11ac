//! Reading the tenants' directories, and seeing whether anything in them has changed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use claimsmith_runtime::Digest;

use crate::error::ConfigError;

/// A tenant's files as they were found.
#[derive(Clone, Debug)]
pub(crate) struct TenantFiles {
    /// `tenants/<tenant>`
    pub(crate) directory: PathBuf,
    /// Of `tenant.toml` and of every plugin.
    pub(crate) fingerprint: Digest,
}

impl TenantFiles {
    pub(crate) fn toml(&self) -> PathBuf {
        self.directory.join("tenant.toml")
    }

    /// The file of a plugin.
    pub(crate) fn plugin(&self, name: &str) -> PathBuf {
        self.directory.join("plugins").join(format!("{name}.wasm"))
    }
}

/// Digests of files that have not changed since they were read.
#[derive(Debug, Default)]
pub(crate) struct DigestCache(HashMap<PathBuf, (Stamp, Digest)>);

/// What tells a file from what it was: replacing it, also through a symbolic link, changes at least one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    file: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            file: identity(metadata),
        }
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> (u64, u64) {
    (0, 0)
}

impl DigestCache {
    fn digest(&mut self, path: &Path) -> io::Result<Digest> {
        let stamp = Stamp::of(&fs::metadata(path)?);
        if let Some((known, digest)) = self.0.get(path)
            && *known == stamp
        {
            return Ok(*digest);
        }
        let digest = Digest::of(&fs::read(path)?);
        self.0.insert(path.to_owned(), (stamp, digest));
        Ok(digest)
    }
}

/// Finds the tenants below `directory`: each directory that is not hidden.
///
/// # Errors
/// When `directory` cannot be listed. What is wrong inside a tenant's directory is that tenant's matter.
pub(crate) fn scan(directory: &Path, cache: &mut DigestCache) -> Result<BTreeMap<String, TenantFiles>, ConfigError> {
    let unreadable = |error: io::Error| ConfigError::unreadable(directory, &error);
    let mut tenants = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Kubernetes keeps a mounted volume's real files in hidden directories beside the links to them.
        if path.is_dir() && !name.is_empty() && !name.starts_with('.') {
            let fingerprint = fingerprint(&path, cache);
            tenants.insert(
                name.to_owned(),
                TenantFiles {
                    directory: path,
                    fingerprint,
                },
            );
        }
    }
    cache.0.retain(|path, _| path.exists());
    Ok(tenants)
}

/// A digest over what a tenant consists of. Files that cannot be read count as absent: the loader says why.
fn fingerprint(directory: &Path, cache: &mut DigestCache) -> Digest {
    let mut parts = Vec::new();
    let plugins = fs::read_dir(directory.join("plugins")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = plugins
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    files.push(directory.join("tenant.toml"));
    files.sort();
    for file in files {
        let digest = cache.digest(&file).map(|digest| digest.to_string()).unwrap_or_default();
        parts.extend_from_slice(format!("{}\0{digest}\0", file.display()).as_bytes());
    }
    Digest::of(&parts)
}
