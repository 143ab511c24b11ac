//! The store's key: makes pseudonyms of users and claim values, and authenticates the chain's marks.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;

/// Bytes of a pseudonym: an HMAC-SHA-256 cut in half.
pub(crate) const PSEUDONYM_BYTES: usize = 16;

/// What is between the name of a store that was set aside and the time.
pub(crate) const SET_ASIDE: &str = ".damaged-";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error(
        "the audit store's key {path} cannot be used: {source}; the service must be able to read it, or to make it"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is none.
    #[error(
        "the audit store's key {0} is missing: put it back from a backup; without it neither can users be found nor the chain \
         be verified. If there is none, move the store away, with its -wal and -shm, and a new one is begun"
    )]
    Missing(PathBuf),
    /// It is another store's.
    #[error(
        "{0} is not the key that the audit store was made with: put that one back from a backup, or move the store away, with \
         its -wal and -shm, and a new one is begun (if it is that key, somebody has changed the store's marks)"
    )]
    Foreign(PathBuf),
    /// Others than the service can read it.
    #[error(
        "the audit store's key {path} has the mode {mode:04o}, so others can read it, and whoever has it can find the records of \
         people they know; run `chmod 600` on it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{0} is no key of an audit store: expected 64 hexadecimal digits; restore the file from a backup")]
    Malformed(PathBuf),
}

/// The key of one store.
pub(crate) struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key")
    }
}

impl Key {
    /// Where the key of a store is: beside it. A store that was set aside has the one that it had.
    pub(crate) fn path(store: &Path) -> PathBuf {
        let name = store.file_name().and_then(OsStr::to_str).unwrap_or_default();
        match name.rsplit_once(SET_ASIDE) {
            Some((before, _)) if !before.is_empty() => store.with_file_name(before).with_extension("key"),
            _ => store.with_extension("key"),
        }
    }

    /// Reads the key of a store.
    ///
    /// # Errors
    /// [`KeyError`]
    pub(crate) fn read(store: &Path) -> Result<Self, KeyError> {
        let path = Self::path(store);
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing(path.clone()),
            _ => KeyError::File {
                path: path.clone(),
                source,
            },
        })?;
        let bytes: Option<Vec<u8>> = hex::decode(text.trim()).ok().filter(|bytes| bytes.len() == 32);
        let bytes = bytes.ok_or(KeyError::Malformed(path))?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Whether nobody but the service can read the key of a store.
    ///
    /// # Errors
    /// [`KeyError`]
    pub(crate) fn check_mode(store: &Path) -> Result<(), KeyError> {
        let path = Self::path(store);
        match mode(&path) {
            Ok(mode) if mode & OF_OTHERS != 0 => Err(KeyError::Exposed { path, mode }),
            Ok(_) => Ok(()),
            Err(source) => Err(KeyError::File { path, source }),
        }
    }

    /// Makes the key of a new store.
    ///
    /// # Errors
    /// [`KeyError`]
    pub(crate) fn make(store: &Path) -> Result<Self, KeyError> {
        let path = Self::path(store);
        let made = make(&path);
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(KeyError::File { path, source }),
        }
        Self::read(store)
    }

    /// A pseudonym of a value of a kind: of a user of a tenant, or of a claim's value.
    pub(crate) fn pseudonym(&self, kind: &str, tenant: &str, value: &str) -> [u8; PSEUDONYM_BYTES] {
        let tag = self.tag(&[kind.as_bytes(), tenant.as_bytes(), value.as_bytes()]);
        let mut pseudonym = [0; PSEUDONYM_BYTES];
        pseudonym
            .iter_mut()
            .zip(tag.as_ref())
            .for_each(|(to, from)| *to = *from);
        pseudonym
    }

    /// An HMAC over parts, each with its length, so that no other parts have the same.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

/// The bits of a mode that are about others than the owner.
pub(crate) const OF_OTHERS: u32 = 0o077;

/// The mode of a file; 0 where there is none such.
pub(crate) fn mode(path: &Path) -> io::Result<u32> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Ok(metadata.mode() & 0o7777)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        Ok(0)
    }
}

/// Begins a file that nobody else can read, with these options.
pub(crate) fn open_private(path: &Path, mut options: OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Makes a key file that nobody else can read, if there is none: written aside and linked into place, so that it is
/// whole when it is there.
fn make(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(io::Error::other)?;
    let scratch = path.with_extension(format!("key.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = open_private(&scratch, options)?;
    file.write_all(hex::encode(bytes).as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&scratch, path);
    fs::remove_file(&scratch)?;
    linked
}
