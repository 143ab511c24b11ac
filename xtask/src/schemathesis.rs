//! The step `schemathesis`: calls the host as its OpenAPI document says, with bodies that fit it and bodies that do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, cargo, root, target_directory};

/// Installs schemathesis into the target directory, unless it is there, and runs the test that uses it.
///
/// # Errors
/// When it cannot be installed, or finds something.
pub(crate) fn run(seed: Option<u64>) -> Result<()> {
    let tool = install()?;
    let mut test = cargo(&["test", "--workspace", "--test", "schemathesis"]);
    test.args(["--", "--ignored", "--nocapture"]).env("SCHEMATHESIS", tool);
    if let Some(seed) = seed {
        test.env("SCHEMATHESIS_SEED", seed.to_string());
    }
    cargo::run(&mut test)
}

/// The schemathesis of this repository, with everything that it needs in the versions of the tests.
fn install() -> Result<PathBuf> {
    let home = target_directory().join("tools/schemathesis");
    let tool = home.join("bin/schemathesis");
    let requirements = root().join("tests/schemathesis/requirements.txt");
    let wanted = fs::read_to_string(&requirements)?;
    // Written last: what was cut off is installed again.
    let installed = home.join("requirements.txt");
    if tool.is_file() && fs::read_to_string(&installed).is_ok_and(|has| has == wanted) {
        return Ok(tool);
    }
    make_environment(&home)?;
    let mut pip = Command::new(home.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&requirements);
    cargo::run(&mut pip)?;
    fs::write(installed, wanted)?;
    Ok(tool)
}

/// An environment of Python that only this repository has.
fn make_environment(home: &Path) -> Result<()> {
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(home)
        .status()
        .context("python3 cannot be started; schemathesis needs Python 3.10 or later")?;
    if !made.success() {
        bail!("`python3 -m venv` failed ({made}); on Debian and Ubuntu, install the package python3-venv");
    }
    Ok(())
}
