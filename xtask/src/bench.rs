//! `cargo xtask bench`: Claimsmith beside its native twin, a floor, and what one would use instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, PLUGIN_TARGET, cargo, root, target_directory};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A short run of about five minutes, whose numbers are rough and which leaves the documentation as it is.
    #[arg(long)]
    quick: bool,
    /// Also write the figures as one JSON array to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure these subjects and parts alone; a wrong name lists them.
    #[arg(long, value_name = "SUBJECT", num_args = 1..)]
    only: Vec<String>,
    /// How often everything is measured: 5 times, or 2 in a short run.
    #[arg(long)]
    rounds: Option<usize>,
    /// Measure nothing; write the report of the last run again.
    #[arg(long, conflicts_with_all = ["quick", "only", "rounds"])]
    report: bool,
}

const TWIN: &str = "claimsmith-native-twin";
/// The two builds of the plugin that answers which one it is, for reloads.
const BUILDS: [&str; 2] = ["a", "b"];

/// Builds everything in release and runs the harness.
///
/// # Errors
/// When something does not build, a subject does not start, or answers wrongly.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let scratch = target_directory().join("bench");
    fs::create_dir_all(scratch.join("plugins"))?;
    eprintln!("bench: building everything in release (many minutes the first time, seconds later) ...");
    build_programs()?;
    if !arguments.report {
        build_plugins(&scratch.join("plugins"))?;
    }
    let programs = target_directory().join("release");
    let mut command = Command::new(programs.join("claimsmith-bench"));
    command.arg(if arguments.report { "report" } else { "run" });
    for (option, path) in [("--root", root()), ("--programs", programs), ("--scratch", scratch)] {
        command.arg(option).arg(path);
    }
    if let Some(file) = &arguments.json {
        command.arg("--json").arg(std::path::absolute(file)?);
    }
    command.args(arguments.quick.then_some("--quick"));
    if let Some(rounds) = arguments.rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    if !arguments.only.is_empty() {
        command.arg("--only").args(&arguments.only);
    }
    // Backtraces make every error that is handled slower.
    command.current_dir(root()).env_remove("RUST_BACKTRACE");
    let status = command.status().context("the harness cannot be started")?;
    if !status.success() {
        bail!("the benchmark did not end well; why is above");
    }
    Ok(())
}

/// Builds the programs. The twin is built apart: what lets it leave the sandbox out must not be in what is measured.
fn build_programs() -> Result<()> {
    // Not `--package`: with another selection of packages, dependencies have other features and are compiled again.
    let build = ["build", "--release", "--workspace"];
    cargo::run(cargo(&build).args(["--bin", "claimsmith", "--bin", "claimsmith-bench"]))?;
    cargo::run(cargo(&build).args(["--bin", TWIN, "--features", "claimsmith-native-twin/native-plugins"]))
}

/// Builds what is measured, as it ships, the plugin of the reloads, and the one that calls an upstream.
fn build_plugins(plugins: &Path) -> Result<()> {
    let shipped = cargo::build_plugins()?;
    copy(&shipped.join("attribute_map.wasm"), &plugins.join("attribute_map.wasm"))?;
    let build = |package| {
        let arguments = ["build", "--profile", "plugin", "--target", PLUGIN_TARGET, "--package"];
        let mut command = cargo(&arguments);
        command.arg(package);
        command
    };
    cargo::run(&mut build("http-caller"))?;
    copy(&shipped.join("http_caller.wasm"), &plugins.join("http_caller.wasm"))?;
    for name in BUILDS {
        let mut command = build("misbehaving");
        cargo::run(command.env("MISBEHAVING_BUILD", name))?;
        copy(
            &shipped.join("misbehaving.wasm"),
            &plugins.join(format!("misbehaving-{name}.wasm")),
        )?;
    }
    Ok(())
}

/// A copy under a new inode: hosts that still run may have the old one linked.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let scratch = to.with_extension("next");
    fs::copy(from, &scratch).with_context(|| format!("{} cannot be copied", from.display()))?;
    fs::rename(&scratch, to).with_context(|| format!("{} cannot be written", to.display()))
}
