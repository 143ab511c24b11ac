//! Calling cargo and rustup, and where they put things.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The target that plugins are built for.
pub(crate) const PLUGIN_TARGET: &str = "wasm32-wasip2";

/// The plugins that ship with the project, by crate and file name.
pub(crate) const PLUGINS: &[&str] = &[
    "attribute-map",
    "crm-claims",
    "hr-database-claims",
    "ldap-groups",
    "legacy-password",
    "loyalty-claims",
    "otp-mailer",
    "signup-guard",
];

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |set| root().join(set))
}

/// A cargo command in the repository's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        // Backtraces make every error that is handled slower, and every duration that is printed wrong.
        .env_remove("RUST_BACKTRACE");
    command
}

/// Runs a command whose output the user sees.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("{shown} cannot be started"))?;
    if !status.success() {
        bail!("{shown} failed ({status})");
    }
    Ok(())
}

/// A tool from crates.io in this version, installed into the target directory unless it is there; its path.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn install(tool: &str, version: &str) -> Result<PathBuf> {
    let home = target_directory().join("tools");
    let path = home.join("bin").join(tool);
    let installed = Command::new(&path).arg("--version").output();
    if installed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version)) {
        return Ok(path);
    }
    let home = home.to_str().context("the target directory's path is not UTF-8")?;
    run(&mut cargo(&[
        "install",
        tool,
        "--locked",
        "--version",
        version,
        "--root",
        home,
    ]))?;
    Ok(path)
}

/// A command as a user would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

/// Installs the target that plugins are built for, unless it is there.
///
/// # Errors
/// When it can neither be found nor installed.
pub(crate) fn ensure_plugin_target() -> Result<()> {
    let installed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .current_dir(root())
        .output()
        .context("rustup cannot be started; install it from https://rustup.rs")?;
    let installed = String::from_utf8_lossy(&installed.stdout).into_owned();
    if installed.lines().any(|target| target == PLUGIN_TARGET) {
        return Ok(());
    }
    // Standard output is for results: `demo --json` is read by programs.
    let added = Command::new("rustup")
        .args(["target", "add", PLUGIN_TARGET])
        .current_dir(root())
        .stdout(Stdio::null())
        .status()
        .context("rustup cannot be started")?;
    if !added.success() {
        bail!("the target {PLUGIN_TARGET} cannot be installed; run `rustup target add {PLUGIN_TARGET}`");
    }
    Ok(())
}

/// Builds the plugins; the directory that their `.wasm` files are in.
///
/// # Errors
/// When they do not build.
pub(crate) fn build_plugins() -> Result<PathBuf> {
    ensure_plugin_target()?;
    let mut command = cargo(&["build", "--profile", "plugin", "--target", PLUGIN_TARGET]);
    for plugin in PLUGINS {
        command.args(["--package", plugin]);
    }
    run(&mut command)?;
    Ok(target_directory().join(PLUGIN_TARGET).join("plugin"))
}

/// Builds the `claimsmith` command; its path.
///
/// # Errors
/// When it does not build.
pub(crate) fn build_host() -> Result<PathBuf> {
    // Not `--package`: with another selection of packages, dependencies have other features and are compiled again.
    run(&mut cargo(&["build", "--workspace", "--bin", "claimsmith"]))?;
    let name = format!("claimsmith{}", env::consts::EXE_SUFFIX);
    Ok(target_directory().join("debug").join(name))
}
