//! Reading the tenants' directories, and seeing whether anything in them has changed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use claimsmith_runtime::Digest;
pub(crate) use claimsmith_upstreams::read_regular;
use claimsmith_upstreams::secret::SECRETS_DIRECTORY;

use crate::error::ConfigError;

/// A tenant's files as they were found.
#[derive(Debug)]
pub(crate) struct TenantFiles {
    /// `tenants/<tenant>`
    pub(crate) directory: PathBuf,
    /// Of `tenant.toml`, of every plugin and of every secret.
    pub(crate) fingerprint: Digest,
    /// Those that could be read.
    digests: HashMap<PathBuf, Digest>,
    changed: AtomicBool,
    failed_for_now: AtomicBool,
    met_compile_limit: AtomicBool,
}

impl TenantFiles {
    pub(crate) fn toml(&self) -> PathBuf {
        self.directory.join("tenant.toml")
    }

    /// The file of a plugin.
    pub(crate) fn plugin(&self, name: &str) -> PathBuf {
        self.directory.join("plugins").join(format!("{name}.wasm"))
    }

    /// Takes what was read of a file, unless it is not what was found: files of two moments together would make a
    /// tenant that nobody has written.
    pub(crate) fn as_found(&self, file: &Path, read: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        let digest = read.as_ref().ok().map(|bytes| Digest::of(bytes));
        if digest.as_ref() == self.digests.get(file) {
            return read;
        }
        self.changed.store(true, Ordering::Relaxed);
        Err(io::Error::other("it changed while it was read"))
    }

    /// Notes that loading failed for a reason that is not in the files: they are to be loaded again.
    pub(crate) fn note_failed_for_now(&self) {
        self.failed_for_now.store(true, Ordering::Relaxed);
    }

    /// Notes that compiling one of the plugins used all that it may. The tenant is not going to serve, so its other plugins
    /// are not compiled: each could hold up all tenants for as long.
    pub(crate) fn note_compile_limit(&self) {
        self.met_compile_limit.store(true, Ordering::Relaxed);
    }

    /// Whether compiling used all that it may.
    pub(crate) fn has_met_compile_limit(&self) -> bool {
        self.met_compile_limit.load(Ordering::Relaxed)
    }

    /// What the slot remembers the files by; nothing that they ever are when they have to be loaded again.
    pub(crate) fn remembered(&self) -> Digest {
        if self.failed_for_now.load(Ordering::Relaxed) {
            return Digest::of(b"");
        }
        self.fingerprint
    }

    /// Whether a file was not what had been found.
    pub(crate) fn have_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
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
    /// Forgets what is below `directory`, so that it is read again whatever its stamps say.
    pub(crate) fn forget(&mut self, directory: &Path) {
        self.0.retain(|path, _| !path.starts_with(directory));
    }

    fn digest(&mut self, path: &Path) -> io::Result<Digest> {
        let stamp = Stamp::of(&fs::metadata(path)?);
        if let Some((known, digest)) = self.0.get(path)
            && *known == stamp
        {
            return Ok(*digest);
        }
        let digest = Digest::of(&read_regular(path)?);
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
        // A link that leads nowhere, perhaps for a moment, is a tenant whose files cannot be read, and not one that was
        // removed: it keeps serving. Kubernetes keeps a mounted volume's real files in hidden directories beside links.
        let is_tenant = path.is_dir() || (path.is_symlink() && !path.exists());
        if is_tenant && !name.is_empty() && !name.starts_with('.') {
            let digests = digests(&path, cache);
            tenants.insert(
                name.to_owned(),
                TenantFiles {
                    fingerprint: fingerprint(&digests),
                    directory: path,
                    digests: digests
                        .into_iter()
                        .filter_map(|(file, digest)| Some((file, digest?)))
                        .collect(),
                    changed: AtomicBool::new(false),
                    failed_for_now: AtomicBool::new(false),
                    met_compile_limit: AtomicBool::new(false),
                },
            );
        }
    }
    cache.0.retain(|path, _| path.exists());
    Ok(tenants)
}

/// The files of all plugins of all tenants below `tenants`, bound or not, in the order of their paths.
///
/// # Errors
/// When `tenants` cannot be listed.
pub fn plugin_files(tenants: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let found = scan(tenants, &mut DigestCache::default())?;
    let directories = found.values().map(|files| files.directory.as_path());
    let mut plugins: Vec<_> = directories.flat_map(plugins).collect();
    plugins.sort();
    Ok(plugins)
}

/// The plugins of a tenant.
fn plugins(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let files = fs::read_dir(directory.join("plugins")).into_iter().flatten().flatten();
    files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
}

/// What a tenant consists of. Files that cannot be read count as absent: the loader says why.
fn digests(directory: &Path, cache: &mut DigestCache) -> BTreeMap<PathBuf, Option<Digest>> {
    // Whatever is there counts, so that a key that is replaced is used without a restart.
    let secrets = fs::read_dir(directory.join(SECRETS_DIRECTORY))
        .into_iter()
        .flatten()
        .flatten();
    let secrets = secrets.map(|entry| entry.path()).filter(|path| path.is_file());
    let files = plugins(directory).chain(secrets).chain([directory.join("tenant.toml")]);
    files
        .map(|file| {
            let digest = cache.digest(&file).ok();
            (file, digest)
        })
        .collect()
}

/// A digest over all of it.
fn fingerprint(digests: &BTreeMap<PathBuf, Option<Digest>>) -> Digest {
    let part = |(file, digest): (&PathBuf, &Option<Digest>)| {
        let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
        format!("{}\0{digest}\0", file.display())
    };
    Digest::of(digests.iter().map(part).collect::<String>().as_bytes())
}
