//! `cargo xtask test`: every check, one summary.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cargo::{self, PLUGIN_TARGET, PLUGINS, cargo};
use crate::instructions;
use crate::native_twin;
use crate::packages;
use crate::schemathesis;
use crate::soak;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run only these steps.
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    only: Vec<String>,
    /// Run also the steps that take minutes or install tools into the target directory.
    #[arg(long)]
    all: bool,
    /// Have apt-get install the Debian packages that are missing, which takes root's rights.
    #[arg(long)]
    install_packages: bool,
    /// The seed of schemathesis, in place of the usual one.
    #[arg(long)]
    seed: Option<u64>,
}

/// A step: its name, and what it runs.
type Step = (&'static str, fn() -> Result<()>);

/// The steps, those that fail fast first.
const STEPS: &[Step] = &[
    ("format", || cargo::run(&mut cargo(&["fmt", "--all", "--check"]))),
    ("clippy", clippy),
    ("clippy-plugins", clippy_plugins),
    ("docs", docs),
    ("plugins", || cargo::build_plugins().map(|_| ())),
    ("tests", tests),
    ("demo", demo),
    ("soak", soak::short),
    ("native-twin", native_twin::check),
    ("instructions", instructions::check),
];

/// A step that what was asked for changes.
type SlowStep = (&'static str, fn(&Arguments) -> Result<()>);

/// The steps that run with `--all`, or when they are named.
const SLOW_STEPS: &[SlowStep] = &[
    ("deny", |_| deny()),
    ("schemathesis", |arguments| schemathesis::run(arguments.seed)),
];

/// The version that is installed. It comes from crates.io, into the target directory.
const CARGO_DENY: &str = "0.20.2";

/// Runs the steps, all of them even if one fails.
///
/// # Errors
/// When any step failed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let known: BTreeSet<_> = STEPS
        .iter()
        .map(|(name, _)| *name)
        .chain(SLOW_STEPS.iter().map(|(name, _)| *name))
        .collect();
    if let Some(unknown) = arguments.only.iter().find(|name| !known.contains(name.as_str())) {
        bail!("there is no step `{unknown}`; the steps are {known:?}");
    }
    let named = |name: &str| arguments.only.iter().any(|only| only == name);
    let wanted = |name: &str| arguments.only.is_empty() || named(name);
    packages::ensure_installed(wanted, arguments.install_packages)?;
    cargo::ensure_plugin_target()?;
    let wanted_slow = |name: &str| named(name) || (arguments.all && arguments.only.is_empty());
    let mut results = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| wanted(name)) {
        eprintln!("\n=== {name}");
        let started = Instant::now();
        results.push((*name, step(), started.elapsed()));
    }
    for (name, step) in SLOW_STEPS.iter().filter(|(name, _)| wanted_slow(name)) {
        eprintln!("\n=== {name}");
        let started = Instant::now();
        results.push((*name, step(arguments), started.elapsed()));
    }
    summarise(&results)
}

fn summarise(results: &[(&str, Result<()>, Duration)]) -> Result<()> {
    println!("\n{:<16} {:>8}  result", "step", "time");
    for (name, result, took) in results {
        let verdict = result
            .as_ref()
            .map_or_else(|error| format!("FAILED: {error:#}"), |()| "passed".to_owned());
        println!("{name:<16} {:>6.1} s  {verdict}", took.as_secs_f64());
    }
    let failed = results.iter().filter(|(_, result, _)| result.is_err()).count();
    println!("\n{} passed, {failed} failed", results.len() - failed);
    if failed > 0 {
        bail!("{failed} of {} steps failed", results.len());
    }
    Ok(())
}

fn clippy() -> Result<()> {
    cargo::run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))
}

fn clippy_plugins() -> Result<()> {
    let mut command = cargo(&["clippy", "--profile", "plugin", "--target", PLUGIN_TARGET]);
    for plugin in PLUGINS {
        command.args(["--package", plugin]);
    }
    command.args(["--", "--deny", "warnings"]);
    cargo::run(&mut command)
}

fn docs() -> Result<()> {
    cargo::run(
        cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "--deny warnings"),
    )
}

fn tests() -> Result<()> {
    cargo::run(&mut cargo(&["test", "--workspace", "--no-fail-fast"]))
}

/// What `deny.toml` says of crates, licences and sources. Advisories need their database from the network:
/// `cargo deny check advisories` has it.
fn deny() -> Result<()> {
    let tool = cargo::install("cargo-deny", CARGO_DENY)?;
    let mut command = Command::new(tool);
    command
        .args(["check", "bans", "licenses", "sources"])
        .current_dir(cargo::root());
    cargo::run(&mut command)
}

/// The demo has to work on every commit, and its output is read by programs.
fn demo() -> Result<()> {
    let executable = std::env::current_exe()?;
    let output = Command::new(executable)
        .args(["demo", "--once", "--json"])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("cargo xtask demo --once --json failed ({})", output.status);
    }
    let people: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    let answered = people.iter().filter(|person| person["outcome"] == "answered").count();
    if (people.len(), answered) != (3, 3) {
        bail!("expected three people whose callouts were answered, found {people:#?}");
    }
    Ok(())
}
