//! Reading what a tenant has written.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

/// Larger files are refused unread; the operator's limit of a component's size comes after it.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Reads a file that a tenant has written: only a regular one, because reading a pipe or a device may never end.
///
/// # Errors
/// What the system says, or that the file is no regular file or too large.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Opens what [`read_regular`] reads. Whoever has read all that may be read has found a file that is too large.
///
/// # Errors
/// What the system says, or that the file is no regular file.
pub fn open_regular(path: &Path) -> io::Result<io::Take<fs::File>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(fs::File::open(path)?.take(MAX_FILE_BYTES + 1))
}

/// The error of a file that is too large.
#[must_use]
pub fn too_large() -> io::Error {
    io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes"))
}
