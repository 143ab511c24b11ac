//! `cargo xtask soak`: a host under everything that can happen to it, for a while.

use anyhow::{Context as _, Result, bail};
use std::process::Command;

use crate::cargo::{self, cargo, target_directory};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long it runs.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Print the result as one JSON object to standard output.
    #[arg(long)]
    json: bool,
}

/// How long the soak of `cargo xtask test` takes.
const SHORT_SECONDS: u32 = 24;

/// Runs the soak; its progress goes to standard error, its result to standard output.
///
/// # Errors
/// When a good callout failed, the host kept what it should have given back, or did not stop.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    soak(arguments.minutes.saturating_mul(60), arguments.json)
}

/// The same, as a step of `cargo xtask test`.
///
/// # Errors
/// As [`run`].
pub(crate) fn short() -> Result<()> {
    soak(SHORT_SECONDS, false)
}

fn soak(seconds: u32, json: bool) -> Result<()> {
    cargo::run(&mut cargo(&["build", "--workspace", "--bin", "soak"]))?;
    let program = target_directory().join("debug/soak");
    let mut command = Command::new(program);
    command.arg(seconds.to_string()).args(json.then_some("--json"));
    command.current_dir(cargo::root()).env_remove("RUST_BACKTRACE");
    let status = command.status().context("the soak cannot be started")?;
    if !status.success() {
        bail!("the soak found problems; they are at its end, above");
    }
    Ok(())
}
