//! Reading the tenants' directories, and seeing whether anything in them has changed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use claimsmith_runtime::Digest;
pub(crate) use claimsmith_upstreams::read_regular;
use claimsmith_upstreams::secret::secret_files;
use claimsmith_upstreams::{open_regular, too_large};

use crate::error::ConfigError;
use crate::versions::{ActiveVersion, ActiveVersions, PluginVersions, VersionFiles, signature_file};

/// A tenant's files as they were found.
#[derive(Debug)]
pub(crate) struct TenantFiles {
    /// `tenants/<tenant>`
    pub(crate) directory: PathBuf,
    /// Of `tenant.toml`, of every plugin and of every secret.
    pub(crate) fingerprint: Digest,
    /// The active versions of its plugins and their files; absent where there is no admin API.
    pub(crate) versions: Option<VersionFiles>,
    /// Those that could be read.
    found: HashMap<PathBuf, Found>,
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

    /// The versions that were active when it was looked.
    pub(crate) fn active(&self) -> PluginVersions {
        let versions = self.versions.iter().flatten();
        versions
            .map(|(name, (version, _))| (name.clone(), version.clone()))
            .collect()
    }

    /// Takes what was read of a file, unless it is not what was found: files of two moments together would make a
    /// tenant that nobody has written.
    pub(crate) fn as_found(&self, file: &Path, read: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        let digest = read.as_ref().ok().map(|bytes| Digest::of(bytes));
        if digest == self.found.get(file).map(|found| found.digest) {
            return read;
        }
        self.changed.store(true, Ordering::Relaxed);
        Err(io::Error::other("it changed while it was read"))
    }

    /// What a file was found to be: its digest and how many bytes it has.
    pub(crate) fn found(&self, file: &Path) -> Option<(Digest, u64)> {
        let found = self.found.get(file)?;
        Some((found.digest, found.stamp.bytes))
    }

    /// Looks whether every file is still what was found, which it must be after everything was loaded: what was taken by its
    /// digest has not been read again.
    pub(crate) fn compare(&self) {
        let same = |(path, found): (&PathBuf, &Found)| {
            let stamped = fs::metadata(path).is_ok_and(|metadata| Stamp::of(path, &metadata) == found.stamp);
            stamped && (found.is_settled || digest_regular(path).is_ok_and(|digest| digest == found.digest))
        };
        if !self.found.iter().all(same) {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// Makes the tenant's secrets in Vault a part of what it is: another revision is a change.
    pub(crate) fn add_secrets(&mut self, revision: u64) {
        if revision > 0 {
            let whole = [self.fingerprint.as_bytes().as_slice(), &revision.to_le_bytes()].concat();
            self.fingerprint = Digest::of(&whole);
        }
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

/// The digest of what [`read_regular`] reads.
fn digest_regular(path: &Path) -> io::Result<Digest> {
    let mut file = open_regular(path)?;
    let digest = Digest::of_reader(&mut file)?;
    if file.limit() == 0 {
        return Err(too_large());
    }
    Ok(digest)
}

/// A file may be written again, in place and to the same length, so long after it was written without its times telling:
/// clocks of file systems are as coarse as this.
const CLOCK_GRAIN: Duration = Duration::from_secs(2);

/// A file as it was found.
#[derive(Clone, Debug)]
struct Found {
    stamp: Stamp,
    digest: Digest,
    /// Whether its stamp tells of every change since then.
    is_settled: bool,
}

/// Digests of files that have not changed since they were read. A file with many names is read once.
#[derive(Debug, Default)]
pub(crate) struct DigestCache {
    known: HashMap<Stamp, Digest>,
    /// Those that there still are, as far as has been looked.
    seen: HashMap<Stamp, Digest>,
}

/// What tells a file from what it was, and from others: replacing it, also through a symbolic link, changes at least one of
/// these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    file: Identity,
}

impl Stamp {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            file: Identity::of(path, metadata),
        }
    }

    /// Whether whatever changes the file from `now` on will change its stamp.
    fn is_settled(&self, now: SystemTime) -> bool {
        let since = |time: SystemTime| now.duration_since(time).ok();
        let settled = |time| since(time).is_some_and(|since| since > CLOCK_GRAIN);
        self.modified.is_some_and(settled) && self.file.changed().is_none_or(settled)
    }
}

/// Which file it is, and when anything of it changed: unlike the time of modification, nobody can set that back.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

#[cfg(unix)]
impl Identity {
    fn of(_path: &Path, metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn changed(&self) -> Option<SystemTime> {
        let (seconds, nanoseconds) = self.changed;
        let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }
}

#[cfg(not(unix))]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity(PathBuf);

#[cfg(not(unix))]
impl Identity {
    fn of(path: &Path, _metadata: &Metadata) -> Self {
        Self(path.to_owned())
    }

    fn changed(&self) -> Option<SystemTime> {
        None
    }
}

impl DigestCache {
    /// Forgets a tenant's files, so that they are read again whatever their stamps say.
    pub(crate) fn forget(&mut self, files: &TenantFiles) {
        for found in files.found.values() {
            self.known.remove(&found.stamp);
        }
    }

    fn find(&mut self, path: &Path) -> io::Result<Found> {
        let now = SystemTime::now();
        let stamp = Stamp::of(path, &fs::metadata(path)?);
        let known = self.seen.get(&stamp).or_else(|| self.known.get(&stamp)).copied();
        let found = Found {
            digest: known.map_or_else(|| digest_regular(path), Ok)?,
            is_settled: stamp.is_settled(now),
            stamp,
        };
        if found.is_settled {
            self.seen.insert(found.stamp.clone(), found.digest);
        }
        Ok(found)
    }

    /// Forgets files that have not been found since this was called last.
    fn forget_unseen(&mut self) {
        self.known = std::mem::take(&mut self.seen);
    }
}

/// Finds the tenants below `directory`: each directory that is not hidden.
///
/// # Errors
/// When `directory` cannot be listed. What is wrong inside a tenant's directory is that tenant's matter.
pub(crate) fn scan(
    directory: &Path,
    versions: Option<&ActiveVersions>,
    cache: &mut DigestCache,
) -> Result<BTreeMap<String, TenantFiles>, ConfigError> {
    let unreadable = |error: io::Error| ConfigError::unreadable(directory, &error);
    let mut tenants = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Kubernetes keeps a mounted volume's real files in hidden directories beside links.
        if !name.is_empty() && !name.starts_with('.') && is_tenant(&entry) {
            let versions = versions.map(|versions| versions.files(name, &versions.of(name)));
            let name = name.to_owned();
            tenants.insert(name, find_tenant(path, versions, cache));
        }
    }
    cache.forget_unseen();
    Ok(tenants)
}

/// Whether an entry of the tenants' directory is a tenant. What cannot be looked at is one whose files cannot be read, and not
/// one that was removed: it keeps serving, and what is wrong is told. So is a link that leads nowhere, perhaps for a moment.
fn is_tenant(entry: &DirEntry) -> bool {
    match fs::metadata(entry.path()) {
        Ok(metadata) => metadata.is_dir(),
        // A link is still there, whatever it leads to; what was listed and is gone is not.
        Err(error) if error.kind() == io::ErrorKind::NotFound => is_there(&entry.path()).unwrap_or(true),
        // What the directory itself says of the entry needs no look at it.
        Err(_) => entry.file_type().map_or(true, |kind| !kind.is_file()),
    }
}

/// Whether there is anything at a path, also a link that leads nowhere.
///
/// # Errors
/// When that cannot be seen, which does not mean that nothing is there.
pub(crate) fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Finds the files of one tenant, with these versions of its plugins active.
pub(crate) fn find_tenant(directory: PathBuf, versions: Option<VersionFiles>, cache: &mut DigestCache) -> TenantFiles {
    let files = find_files(&directory, versions.iter().flatten(), cache);
    TenantFiles {
        fingerprint: fingerprint(&files, versions.iter().flatten()),
        directory,
        versions,
        found: files
            .into_iter()
            .filter_map(|(file, found)| Some((file, found?)))
            .collect(),
        changed: AtomicBool::new(false),
        failed_for_now: AtomicBool::new(false),
        met_compile_limit: AtomicBool::new(false),
    }
}

/// The files of all plugins of all tenants below `tenants`, bound or not, in the order of their paths.
///
/// # Errors
/// When `tenants` cannot be listed.
pub fn plugin_files(tenants: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let found = scan(tenants, None, &mut DigestCache::default())?;
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
fn find_files<'v>(
    directory: &Path,
    versions: impl Iterator<Item = (&'v String, &'v (ActiveVersion, PathBuf))>,
    cache: &mut DigestCache,
) -> BTreeMap<PathBuf, Option<Found>> {
    // Whatever is there counts, so that a key that is replaced is used without a restart.
    let secrets = secret_files(directory);
    let versions = versions.map(|(_, (_, file))| file.clone());
    let plugins: Vec<_> = plugins(directory).chain(versions).collect();
    let signatures = plugins.iter().map(|plugin| signature_file(plugin));
    let signatures: Vec<_> = signatures.filter(|signature| signature.exists()).collect();
    let files = plugins.into_iter().chain(signatures).chain(secrets);
    let files = files.chain([directory.join("tenant.toml")]);
    files
        .map(|file| {
            let found = cache.find(&file).ok();
            (file, found)
        })
        .collect()
}

/// A digest over all of it. The versions' own digests are those of their files; the same file can serve as another version.
fn fingerprint<'v>(
    files: &BTreeMap<PathBuf, Option<Found>>,
    versions: impl Iterator<Item = (&'v String, &'v (ActiveVersion, PathBuf))>,
) -> Digest {
    let part = |(file, found): (&PathBuf, &Option<Found>)| {
        let digest = found.as_ref().map(|found| found.digest.to_string()).unwrap_or_default();
        format!("{}\0{digest}\0", file.display())
    };
    let label =
        |(plugin, (version, _)): (&String, &(ActiveVersion, PathBuf))| format!("{plugin}@{}\0", version.version);
    let whole: String = files.iter().map(part).chain(versions.map(label)).collect();
    Digest::of(whole.as_bytes())
}
