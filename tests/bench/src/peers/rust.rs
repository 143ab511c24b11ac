//! The peers in Rust: a hand-written service, and a component for `wasmtime serve`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::install::{first_line, run};
use super::{Paths, Peer};

const HINT: &str =
    "the toolchain of rust-toolchain.toml with the target wasm32-wasip2 is needed, which rustup installs";
const WASMTIME: &str = "48.0.8";
/// What `serve` needs (it does not compile without `run`), and what makes it fast.
const WASMTIME_FEATURES: &str =
    "run,serve,compile,cranelift,component-model-async,pooling-allocator,memory-protection-keys,parallel-compilation";

pub(super) const AXUM: Peer = Peer {
    name: "axum",
    title: "hand-written axum without token cache",
    versions: &[("axum", "0.8.9"), ("jsonwebtoken", "11.1.0")],
    token_cache: Some(false),
    install: |paths| cargo_build(paths, &["--package", "bench-peer-axum"]),
    command: |paths| Command::new(target(paths).join("release/bench-peer-axum")),
};

pub(super) const WASMTIME_SERVE: Peer = Peer {
    name: "wasmtime-serve",
    title: "`wasmtime serve`, a wasi:http component",
    versions: &[
        ("wasmtime-cli", WASMTIME),
        ("wstd", "0.6.8"),
        ("jsonwebtoken", "11.1.0"),
    ],
    token_cache: Some(false),
    install: |paths| {
        install_wasmtime(&paths.target)?;
        cargo_build(
            paths,
            &["--package", "bench-peer-wasi-http", "--target", "wasm32-wasip2"],
        )
    },
    command: |paths| {
        let mut start = Command::new("python3");
        start
            .arg(paths.sources.join("wasmtime-serve/start.py"))
            .arg(wasmtime(&paths.target))
            .arg(target(paths).join("wasm32-wasip2/release/bench-peer-wasi-http.wasm"));
        start
    },
};

/// Where the workspace of these peers is built.
fn target(paths: &Paths) -> PathBuf {
    paths.target.join("build/rust")
}

fn cargo_build(paths: &Paths, what: &[&str]) -> Result<()> {
    let mut cargo = cargo(&target(paths));
    cargo
        .args(["build", "--release", "--locked"])
        .args(what)
        .current_dir(paths.sources.join("rust"));
    run(&mut cargo, HINT)
}

/// As the team's other programs are built: optimised as a whole.
fn install_wasmtime(target: &Path) -> Result<()> {
    let installed = first_line(Command::new(wasmtime(target)).arg("--version"));
    if installed.is_some_and(|line| line.split(' ').nth(1) == Some(WASMTIME)) {
        return Ok(());
    }
    let mut cargo = cargo(&target.join("build/wasmtime"));
    cargo
        .args(["install", "wasmtime-cli", "--version", WASMTIME, "--locked"])
        .args(["--no-default-features", "--features", WASMTIME_FEATURES, "--root"])
        .arg(target.join("tools"))
        .env("CARGO_PROFILE_RELEASE_LTO", "thin")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "4");
    run(&mut cargo, HINT)
}

fn wasmtime(target: &Path) -> PathBuf {
    target.join("tools/bin/wasmtime")
}

fn cargo(target: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.env("CARGO_TARGET_DIR", target);
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_that_are_built() {
        let lock = include_str!("../../peers/rust/Cargo.lock");
        for (name, version) in [AXUM.versions, WASMTIME_SERVE.versions].concat() {
            let locked = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&locked) || version == WASMTIME, "{name}");
        }
    }

    #[test]
    fn the_served_wasmtime_is_the_one_that_claimsmith_has() {
        let workspace = include_str!("../../../../Cargo.toml");
        assert!(workspace.contains(&format!("wasmtime = {{ version = \"={WASMTIME}\"")));
    }
}
