//! `cargo xtask fuzz`: every fuzz target, for some time each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, cargo, root, target_directory};

/// The version that is installed. It comes from crates.io, into the target directory.
const CARGO_FUZZ: &str = "0.13.1";

/// The targets, in `tests/fuzz/targets`.
const TARGETS: &[&str] = &[
    "request_body",
    "bearer_header",
    "password_context",
    "response_guard",
    "response_check",
];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Run only these targets.
    #[arg(long, value_delimiter = ',', value_name = "TARGET")]
    only: Vec<String>,
}

/// Installs what is needed, writes the seeds, and runs the targets, all of them even if one finds something.
///
/// # Errors
/// When a target finds something, or nothing can be run.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(unknown) = arguments.only.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        bail!("there is no target `{unknown}`; the targets are {TARGETS:?}");
    }
    let tool = cargo::install("cargo-fuzz", CARGO_FUZZ)?;
    let wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let targets: Vec<_> = TARGETS.iter().filter(|name| wanted(name)).collect();
    eprintln!("=== seeds, from the cases of the tests");
    let seeds = seeds()?;
    let mut found = Vec::new();
    for target in targets {
        eprintln!("\n=== {target}");
        if let Err(error) = fuzz(&tool, target, &seeds, arguments.seconds) {
            eprintln!("{error:#}");
            found.push(*target);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    bail!("found something: {found:?}; the inputs are in tests/fuzz/artifacts")
}

/// Writes the seeds that come from the tests' cases; the directory, with one directory for each target.
fn seeds() -> Result<PathBuf> {
    let seeds = target_directory().join("fuzz-seeds");
    for target in TARGETS {
        fs::create_dir_all(seeds.join(target))?;
    }
    // The conformance cases: what they send, and what is answered.
    let mut cases = cargo(&["test", "--quiet", "--workspace", "--test", "conformance"]);
    cargo::run(cases.env("CONFORMANCE_SEEDS", &seeds))?;
    let vectors = fs::read_to_string(root().join("host/password/tests/vectors.json"))?;
    let vectors: serde_json::Value = serde_json::from_str(&vectors)?;
    let contexts = vectors.get("contexts").and_then(|contexts| contexts.as_array());
    for (number, context) in contexts.context("the vectors have no contexts")?.iter().enumerate() {
        let file = seeds.join("password_context").join(number.to_string());
        let jwe = context.get("jwe").and_then(|jwe| jwe.as_str());
        fs::write(file, jwe.context("a vector has no jwe")?)?;
    }
    Ok(seeds)
}

fn fuzz(tool: &Path, target: &str, seeds: &Path, seconds: u32) -> Result<()> {
    let home = root().join("tests/fuzz");
    let corpus = target_directory().join("fuzz-corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let mut command = Command::new(tool);
    command.args(["run", "--fuzz-dir"]).arg(&home).arg(target).arg(corpus);
    command.arg(seeds.join(target));
    let written = home.join("seeds").join(target);
    if written.is_dir() {
        command.arg(written);
    }
    let limits = [format!("-max_total_time={seconds}"), "-timeout=10".to_owned()];
    // Sanitizers and coverage are unstable options of the compiler; this allows them with the toolchain that all else is
    // built with, so that no second one has to be installed.
    command
        .args(["--", "-print_final_stats=1"])
        .args(limits)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target_directory().join("fuzz"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUST_BACKTRACE");
    cargo::run(&mut command)
}
