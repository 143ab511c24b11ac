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
    // Opening a device can have effects of its own.
    check_regular(&fs::metadata(path)?)?;
    regular(without_waiting().open(path)?)
}

/// What was opened, if it is a regular file: what a name led to before may have been something else.
pub(crate) fn regular(file: fs::File) -> io::Result<io::Take<fs::File>> {
    check_regular(&file.metadata()?)?;
    Ok(file.take(MAX_FILE_BYTES + 1))
}

fn check_regular(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(io::Error::other("it is no regular file"))
}

/// Opens what may have become a pipe since it was looked at, whose writer never comes.
fn without_waiting() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        use rustix::fs::OFlags;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    options
}

/// The error of a file that is too large.
#[must_use]
pub fn too_large() -> io::Error {
    io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;
    use std::{fs, thread};

    use tempfile::TempDir;

    use super::{read_regular, regular, without_waiting};

    fn make_pipe(path: &std::path::Path) {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.is_ok_and(|status| status.success()));
    }

    #[test]
    fn a_pipe_is_neither_read_nor_waited_for() {
        let directory = TempDir::new().unwrap();
        let (pipe, (told, done)) = (directory.path().join("pipe"), mpsc::channel());
        make_pipe(&pipe);
        // What waits for a pipe cannot be called back: the thread is left to itself.
        thread::spawn(move || {
            let by_name = read_regular(&pipe).unwrap_err();
            let opened = without_waiting().open(&pipe).unwrap();
            told.send((by_name, regular(opened).unwrap_err())).unwrap();
        });
        let (by_name, opened) = done.recv_timeout(Duration::from_secs(30)).expect("it waits");
        for error in [by_name, opened] {
            assert!(error.to_string().contains("no regular file"), "{error}");
        }
    }

    #[test]
    fn a_file_that_becomes_a_pipe_is_not_waited_for() {
        let directory = TempDir::new().unwrap();
        let place = |name: &str| directory.path().join(name);
        make_pipe(&place("pipe"));
        fs::write(place("file"), "text").unwrap();
        symlink("file", place("read")).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (told, done) = mpsc::channel();
        let (stopped, path) = (Arc::clone(&stop), place("read"));
        thread::spawn(move || {
            let mut refused = 0;
            while !stopped.load(Ordering::Relaxed) {
                match read_regular(&path) {
                    Ok(text) => assert_eq!(text, b"text"),
                    Err(_) => refused += 1,
                }
            }
            told.send(refused).unwrap();
        });
        for turn in 0..20_000 {
            symlink(if turn % 2 == 0 { "pipe" } else { "file" }, place("next")).unwrap();
            fs::rename(place("next"), place("read")).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let refused = done
            .recv_timeout(Duration::from_secs(30))
            .expect("it waits for the pipe");
        assert!(refused > 0);
    }
}
