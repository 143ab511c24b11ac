//! The native twin, which only benchmarks build: that it compiles, and that what is shipped does not compile with its way
//! around the sandbox.

use anyhow::{Result, bail};

use crate::cargo::{self, cargo};

/// What switches the way around the sandbox on, in a build of the workspace.
const FEATURES: &str = "claimsmith-native-twin/native-plugins";

/// What the `claimsmith` command says when it is built so.
const REFUSAL: &str = "the feature `native-plugins` of claimsmith-runtime is for benchmarks";

/// Checks both.
///
/// # Errors
/// When the twin has warnings, or the shipped command compiles with its feature.
pub(crate) fn check() -> Result<()> {
    let clippy = |bin| cargo(&["clippy", "--workspace", "--features", FEATURES, "--bin", bin]);
    cargo::run(clippy("claimsmith-native-twin").args(["--", "--deny", "warnings"]))?;
    let shipped = clippy("claimsmith").output()?;
    if shipped.status.success() || !String::from_utf8_lossy(&shipped.stderr).contains(REFUSAL) {
        bail!("the claimsmith command must refuse to compile with {FEATURES}, which it does not");
    }
    Ok(())
}
