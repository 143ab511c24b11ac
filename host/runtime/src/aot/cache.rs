//! The directory of entries.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use memmap2::MmapMut;
use metrics::counter;
use sha2::{Digest as _, Sha256};

use super::Origin;
use super::code::CompiledCode;
use super::entry::{self, OVERHEAD_BYTES, Unusable};
use super::key::Key;
use crate::plugin::Digest;

/// How often a use is noted at most: it is a write, and days are precise enough for [`CacheOptions::unused_for`].
const TOUCH_INTERVAL: Duration = Duration::from_hours(24);
/// A file that was being written so long ago is left over from a process that was killed.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);
const EXTENSION: &str = "aot";
const SCRATCH_PREFIX: &str = ".writing-";

/// Where compiled components are kept.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// The directory; made with the mode 0700 if it is absent.
    pub directory: PathBuf,
    /// The file of the key that entries are authenticated with: 32 bytes or more, readable by this user alone. Made if it is
    /// absent.
    pub key: PathBuf,
    /// Entries that nobody used for so long are deleted.
    pub unused_for: Duration,
    /// Bytes of all entries together; the ones that were used longest ago are deleted.
    pub max_bytes: u64,
    /// What tells this build from others besides the versions of its dependencies, for example the commit of a wasmtime with
    /// changes of one's own. Usually empty.
    pub build_tag: String,
}

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The key is known to others, or is none.
    #[error("the key of the cache of compiled components, {path}, is refused: {reason}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Others could put entries there.
    #[error("the cache of compiled components, {path}, is refused: {reason}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The system does not let it be read or made.
    #[error("the cache of compiled components cannot be used: {path}: {reason}", path = path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

impl CacheError {
    pub(super) fn unusable(path: &Path, error: &io::Error) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// An open cache.
pub(crate) struct Cache {
    options: CacheOptions,
    key: Key,
    origin: Origin,
    /// The largest entry that is read.
    max_entry_bytes: usize,
}

/// Whether what is there of a cache would be refused, whoever the service's user is: whoever checks a configuration may be
/// somebody else. Nothing is made.
///
/// # Errors
/// [`CacheError`]
pub fn check_cache(options: &CacheOptions) -> Result<(), CacheError> {
    let directory = options.directory.as_path();
    if let Some(metadata) = existing(directory)? {
        if !metadata.is_dir() {
            return Err(CacheError::unusable(directory, &io::ErrorKind::NotADirectory.into()));
        }
        check_mode(&metadata).map_err(|reason| CacheError::Directory {
            path: directory.to_owned(),
            reason,
        })?;
    }
    super::key::check(&options.key)
}

/// What is at a path; nothing where nothing is yet, or where only another user may look.
pub(super) fn existing(path: &Path) -> Result<Option<fs::Metadata>, CacheError> {
    use io::ErrorKind::{NotFound, PermissionDenied};
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => Ok(None),
        Err(error) => Err(CacheError::unusable(path, &error)),
    }
}

/// What the cache has of a component.
pub(crate) enum Found {
    /// Code that has been verified.
    Hit(CompiledCode),
    /// Nothing, or nothing usable, which is gone now.
    Miss,
}

/// Whether code is in the cache now.
pub(crate) type Kept = io::Result<()>;

impl Cache {
    /// Opens the cache, whose entries hold at most `max_code_bytes` of code of this origin.
    ///
    /// # Errors
    /// [`CacheError`]
    pub(crate) fn open(options: CacheOptions, origin: Origin, max_code_bytes: usize) -> Result<Self, CacheError> {
        let directory = options.directory.as_path();
        let unusable = |error| CacheError::unusable(directory, &error);
        make_directory(directory).map_err(unusable)?;
        let metadata = fs::metadata(directory).map_err(unusable)?;
        let checked = check_mode(&metadata).and_then(|()| check_owner(&metadata));
        checked.map_err(|reason| CacheError::Directory {
            path: directory.to_owned(),
            reason,
        })?;
        Ok(Self {
            key: Key::read_or_make(&options.key)?,
            options,
            origin,
            max_entry_bytes: max_code_bytes.saturating_add(OVERHEAD_BYTES),
        })
    }

    /// Looks a component up. What is there and cannot be used is deleted, logged and counted.
    pub(crate) fn get(&self, digest: Digest) -> Found {
        let path = self.path(digest);
        match self.read(&path, digest) {
            Ok(Ok(code)) => {
                count("hit");
                Found::Hit(code)
            }
            Ok(Err(unusable)) => {
                let (result, reason) = match unusable {
                    Unusable::Corrupt(reason) => ("corrupt", reason),
                    Unusable::Foreign(reason) => ("foreign", reason),
                };
                count(result);
                tracing::warn!(entry = %path.display(), reason, result, "a compiled component in the cache is not used; it is deleted");
                remove(&path);
                Found::Miss
            }
            Err(error) => {
                count("miss");
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(entry = %path.display(), %error, "a compiled component in the cache cannot be read");
                }
                Found::Miss
            }
        }
    }

    fn read(&self, path: &Path, digest: Digest) -> io::Result<Result<CompiledCode, Unusable>> {
        let file = open_regular(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(Err(Unusable::Corrupt("it is no regular file")));
        }
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        if length > self.max_entry_bytes {
            return Ok(Err(Unusable::Corrupt("it is larger than any entry")));
        }
        // Given back to the system when it has been loaded. What is allocated and freed again the allocator may keep, and
        // one such piece of memory for each component adds up. With one byte more than there are, a file that has grown is
        // not what it says.
        let mut bytes = MmapMut::map_anon(length + 1)?;
        let filled = fill(&file, &mut bytes)?;
        let entry = bytes.get(..filled).unwrap_or_default();
        let code = entry::read(entry, &self.key, digest, self.origin);
        if code.is_ok() {
            touch(&file, metadata.modified().ok());
        }
        Ok(code.map(|code| CompiledCode::vouched_part(bytes, code)))
    }

    /// Keeps a component's code. That it cannot be kept is logged and counted, and no reason not to use the code.
    pub(crate) fn put(&self, digest: Digest, code: &CompiledCode) -> Kept {
        let path = self.path(digest);
        let kept = self.write(&path, digest, code);
        if let Err(error) = &kept {
            count("write_failed");
            tracing::warn!(entry = %path.display(), %error, "a compiled component cannot be kept; it will be compiled again");
        }
        self.tidy(&[]);
        kept
    }

    fn write(&self, path: &Path, digest: Digest, code: &CompiledCode) -> io::Result<()> {
        // Beside its place and renamed into it, so that no reader sees a part of it; the mode is 0600 from the beginning.
        let scratch = tempfile::Builder::new()
            .prefix(SCRATCH_PREFIX)
            .tempfile_in(&self.options.directory)?;
        entry::write(scratch.as_file(), &self.key, digest, self.origin, code)?;
        scratch.as_file().sync_all()?;
        scratch.persist(path).map_err(|error| error.error)?;
        // Without this the name may be lost with the power, which costs one more compilation.
        let _not_every_file_system_can = File::open(&self.options.directory)
            .and_then(|it| it.sync_all())
            .is_err();
        Ok(())
    }

    /// Notes that components are in use, and deletes what is not needed any more: entries that nobody used for long, those
    /// beyond the directory's limit of bytes, and what killed processes left.
    pub(crate) fn tidy(&self, in_use: &[Digest]) {
        for digest in in_use {
            if let Ok(file) = open_regular(&self.path(*digest)) {
                touch(&file, file.metadata().and_then(|metadata| metadata.modified()).ok());
            }
        }
        let mut entries = self.entries();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        let mut bytes = 0_u64;
        let now = SystemTime::now();
        for entry in entries {
            bytes = bytes.saturating_add(entry.bytes);
            let unused = now.duration_since(entry.used).unwrap_or_default();
            let reason = if unused > entry.keeps_for(self.options.unused_for) {
                "nobody has used it for long"
            } else if bytes > self.options.max_bytes {
                "the cache is full"
            } else {
                continue;
            };
            tracing::info!(entry = %entry.path.display(), reason, "deleted from the cache of compiled components");
            remove(&entry.path);
        }
    }

    /// The files of the directory that are the cache's.
    fn entries(&self) -> Vec<Entry> {
        let listed = fs::read_dir(&self.options.directory);
        let files = listed.into_iter().flatten().flatten().filter_map(|file| {
            let path = file.path();
            let metadata = file.metadata().ok()?;
            let scratch = file.file_name().to_str()?.starts_with(SCRATCH_PREFIX);
            let is_ours = scratch || path.extension().is_some_and(|extension| extension == EXTENSION);
            is_ours.then_some(Entry {
                path,
                bytes: metadata.len(),
                used: metadata.modified().ok()?,
                scratch,
            })
        });
        files.collect()
    }

    /// Where a component's entry is. The origin is in the name so that two builds can share a directory while one
    /// replaces the other.
    fn path(&self, digest: Digest) -> PathBuf {
        let origin = Sha256::digest(self.origin.to_bytes());
        let origin: String = hex::encode(origin).chars().take(16).collect();
        self.options.directory.join(format!("{digest}.{origin}.{EXTENSION}"))
    }
}

/// A file of the cache.
struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
    scratch: bool,
}

impl Entry {
    fn keeps_for(&self, unused_for: Duration) -> Duration {
        if self.scratch { ABANDONED_AFTER } else { unused_for }
    }
}

/// Reads until there is no more, or no more space; how many bytes that were.
fn fill(mut file: &File, space: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = space.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn count(result: &'static str) {
    counter!("claimsmith_aot_cache_total", "result" => result).increment(1);
}

/// Notes a use, unless one was noted lately. A cache that is only read is not noted in.
fn touch(file: &File, noted: Option<SystemTime>) {
    let now = SystemTime::now();
    let lately = noted.is_some_and(|noted| now.duration_since(noted).is_ok_and(|since| since < TOUCH_INTERVAL));
    if !lately {
        let _only_readable = file.set_modified(now).is_err();
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(entry = %path.display(), %error, "cannot be deleted from the cache of compiled components");
    }
}

/// Opens a file, and not what a link leads to; a pipe is opened without waiting for its writer.
#[cfg(unix)]
fn open_regular(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open_regular(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Whether nobody else can put files there.
#[cfg(unix)]
fn check_mode(metadata: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    if metadata.mode() & 0o022 != 0 {
        return Err(format!(
            "its mode is {:04o}, so others can write there; run `chmod 700` on it",
            metadata.mode() & 0o7777
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_metadata: &fs::Metadata) -> Result<(), String> {
    Ok(())
}

/// Whether it belongs to this process's user, or to root, who can do everything anyway.
#[cfg(unix)]
pub(super) fn check_owner(metadata: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() == user || metadata.uid() == 0 {
        return Ok(());
    }
    Err(format!(
        "it belongs to the user {}, and this process runs as {user}; change its owner",
        metadata.uid()
    ))
}
