//! Installing: what is there already is left alone, what fails says what to do.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a command; what it prints goes to standard error. `hint` is what to do if the program is missing.
///
/// # Errors
/// When it cannot be started or fails.
pub(super) fn run(command: &mut Command, hint: &str) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("{shown} cannot be started: {hint}"))?;
    if !status.success() {
        bail!("{shown} failed ({status}): {hint}");
    }
    Ok(())
}

/// The first line that a command prints, or `None` if it cannot be started or fails.
pub(super) fn first_line(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    output.status.success().then_some(line)
}

/// Copies the files of a directory, without those of its directories, so that nothing is ever written beside sources.
///
/// # Errors
/// When one cannot be read or written.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{} cannot be made", to.display()))?;
    for file in fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let file = file?;
        if file.file_type()?.is_file() {
            let copy = to.join(file.file_name());
            fs::copy(file.path(), &copy).with_context(|| format!("{} cannot be written", copy.display()))?;
        }
    }
    Ok(())
}

/// Installs what a lock file says, unless that has been done. Which lock file was installed is written down last, so
/// that what was cut off is installed again.
///
/// # Errors
/// When the lock file cannot be read, or installing fails.
pub(super) fn once(lock: &Path, to: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read_to_string(lock).with_context(|| format!("{} cannot be read", lock.display()))?;
    let installed = to.join(".installed");
    if fs::read_to_string(&installed).is_ok_and(|has| has == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(&installed, wanted).with_context(|| format!("{} cannot be written", installed.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lock_file_says_is_installed_once() {
        let home = std::env::temp_dir().join(format!("claimsmith-bench-once-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        let lock = home.join("lock");
        let mut installs = 0;
        let mut at = |content: &str, fails: bool| {
            fs::write(&lock, content).unwrap();
            let done = once(&lock, &home, || {
                installs += 1;
                anyhow::ensure!(!fails, "cut off");
                Ok(())
            });
            assert_eq!(done.is_err(), fails);
            installs
        };
        assert_eq!(at("1", true), 1);
        assert_eq!(at("1", false), 2);
        assert_eq!(at("1", false), 2);
        assert_eq!(at("2", false), 3);
        fs::remove_dir_all(&home).unwrap();
    }
}
