//! Building what the tests run, once in a test process; cargo finds quickly that nothing has changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Where cargo puts what it builds.
fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |set| root().join(set))
}

fn cargo(arguments: &[&str], build: &str) {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .env("MISBEHAVING_BUILD", build)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?} failed:\n{errors}");
}

/// The `claimsmith` command.
#[must_use]
pub fn host() -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    // Selected as `cargo xtask` does, or dependencies would be compiled again with other features.
    BUILT.get_or_init(|| cargo(&["build", "--workspace", "--bin", "claimsmith"], "default"));
    target_directory().join("debug/claimsmith")
}

/// A plugin that ships with the project.
#[must_use]
pub fn plugin(name: &str) -> PathBuf {
    wasm(name, "default")
}

/// The test plugin that breaks every rule; its claim `build` tells which build answered.
#[must_use]
pub fn misbehaving(build: &str) -> PathBuf {
    wasm("misbehaving", build)
}

/// The test plugin that writes to all memory it can get, or looks for what was written.
#[must_use]
pub fn canary() -> PathBuf {
    wasm("canary", "default")
}

/// The test plugin that calls an HTTP upstream.
#[must_use]
pub fn http_caller() -> PathBuf {
    wasm("http-caller", "default")
}

/// The test plugin that uses its cache.
#[must_use]
pub fn cache_caller() -> PathBuf {
    wasm("cache-caller", "default")
}

/// The test plugin that asks a directory.
#[must_use]
pub fn directory_caller() -> PathBuf {
    wasm("directory-caller", "default")
}

/// The test plugin that sends mail.
#[must_use]
pub fn mail_caller() -> PathBuf {
    wasm("mail-caller", "default")
}

/// The test plugin that asks a database.
#[must_use]
pub fn sql_caller() -> PathBuf {
    wasm("sql-caller", "default")
}

/// The test plugin that answers with what it learns from every source. Its builds `other-path`, `eager` and `silent` ask for
/// other things.
#[must_use]
pub fn witness(build: &str) -> PathBuf {
    wasm("witness", build)
}

fn wasm(package: &str, build: &str) -> PathBuf {
    static FILES: Mutex<Option<HashMap<(String, String), PathBuf>>> = Mutex::new(None);
    let mut files = FILES.lock().unwrap();
    let files = files.get_or_insert_default();
    let key = (package.to_owned(), build.to_owned());
    if let Some(path) = files.get(&key) {
        return path.clone();
    }
    let profile = ["build", "--profile", "plugin", "--target", "wasm32-wasip2"];
    cargo(&[&profile[..], &["--package", package]].concat(), build);
    let file = format!("{}.wasm", package.replace('-', "_"));
    let fresh = target_directory().join("wasm32-wasip2/plugin").join(&file);
    // Another build of the same package takes the same name: each is kept under its own. Test processes that run at the
    // same time may write the same bytes, so they are renamed into place.
    let kept = target_directory().join("test-plugins").join(build).join(&file);
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    let scratch = kept.with_extension(std::process::id().to_string());
    std::fs::copy(fresh, &scratch).unwrap();
    std::fs::rename(scratch, &kept).unwrap();
    files.insert(key, kept.clone());
    kept
}
