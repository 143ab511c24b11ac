//! The key that entries are authenticated with: a file of this host's user and of nobody else.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use aws_lc_rs::{hmac, rand};
use sha2::{Digest as _, Sha256};

use super::cache::CacheError;

/// Keys are at least as long as the MAC; a longer one adds nothing, but a text that somebody generated is welcome.
const MIN_BYTES: usize = 32;
const MAX_BYTES: u64 = 4096;

/// The key, and what it is known by.
pub(super) struct Key {
    hmac: hmac::Key,
    id: [u8; 16],
}

impl Key {
    /// Reads the key, which is made first if there is none.
    ///
    /// # Errors
    /// [`CacheError::Key`] when others could know it or it is too short; [`CacheError::Unusable`] when it can be neither read
    /// nor made.
    pub(super) fn read_or_make(path: &Path) -> Result<Self, CacheError> {
        let unusable = |error| CacheError::unusable(path, &error);
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(path).map_err(unusable)?;
                File::open(path)
            }
            opened => opened,
        };
        let file = file.map_err(unusable)?;
        let metadata = file.metadata().map_err(unusable)?;
        let checked = check_mode(&metadata).and_then(|()| super::cache::check_owner(&metadata));
        checked.map_err(|reason| refused(path, reason))?;
        let mut secret = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut secret).map_err(unusable)?;
        check_length(path, secret.len() as u64)?;
        Ok(Self::of(&secret))
    }

    fn of(secret: &[u8]) -> Self {
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, secret);
        // Of its MAC of a text that begins as no entry does, so that it tells nothing that forges one.
        let tag = hmac::sign(&hmac, b"the id of a key of claimsmith's compiled components");
        let mut id = [0; 16];
        for (byte, from) in id.iter_mut().zip(Sha256::digest(tag.as_ref())) {
            *byte = from;
        }
        Self { hmac, id }
    }

    pub(super) fn hmac(&self) -> &hmac::Key {
        &self.hmac
    }

    pub(super) fn id(&self) -> &[u8; 16] {
        &self.id
    }
}

/// Whether a key that is there would be refused whoever the service's user is. Nothing is read of it, or made.
///
/// # Errors
/// As [`Key::read_or_make`].
pub(super) fn check(path: &Path) -> Result<(), CacheError> {
    let Some(metadata) = super::cache::existing(path)? else {
        return Ok(());
    };
    check_mode(&metadata).map_err(|reason| refused(path, reason))?;
    check_length(path, metadata.len())
}

fn refused(path: &Path, reason: String) -> CacheError {
    CacheError::Key {
        path: path.to_owned(),
        reason,
    }
}

fn check_length(path: &Path, bytes: u64) -> Result<(), CacheError> {
    if bytes >= MIN_BYTES as u64 {
        return Ok(());
    }
    let reason = format!("it has {bytes} bytes, expected at least {MIN_BYTES} random ones; delete it to have one made");
    Err(refused(path, reason))
}

/// Makes a key file: whole and with its mode, or not at all. Another process may have been faster, and then its key stands.
fn make(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let mut secret = [0; MIN_BYTES];
    rand::fill(&mut secret).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    // The mode is 0600 from the beginning.
    let mut file = tempfile::Builder::new()
        .prefix(".claimsmith-key-")
        .tempfile_in(directory)?;
    file.write_all(&secret)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            tracing::info!(key = %path.display(), "made a key for the cache of compiled components");
            Ok(())
        }
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

/// Whether nobody but its owner can read it.
#[cfg(unix)]
fn check_mode(metadata: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "its mode is {:04o}, so others can read it, and whoever knows it can have this host run any machine code; run \
             `chmod 600` on it, or delete it if somebody may have read it",
            metadata.mode() & 0o7777
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_metadata: &fs::Metadata) -> Result<(), String> {
    Ok(())
}
