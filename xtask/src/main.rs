//! Claimsmith's developer commands. `cargo xtask --help` lists them.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line program")]

mod bench;
mod cargo;
mod demo;
mod fuzz;
mod instructions;
mod native_twin;
mod packages;
mod schemas;
mod schemathesis;
mod soak;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Claimsmith's developer commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build everything, start the host and a local Entra, and sign three people in.
    Demo(demo::Arguments),
    /// Run every check and test; what CI runs.
    Test(test::Arguments),
    /// Run every fuzz target for some time. Installs cargo-fuzz into the target directory.
    Fuzz(fuzz::Arguments),
    /// Count the instructions of each step of a callout, and compare them with what is recorded.
    Instructions(instructions::Arguments),
    /// Write the JSON Schemas and the OpenAPI document in `docs`.
    Schemas,
    /// Run the host under good and hostile callouts, reloads and restarts, and see that it keeps nothing.
    Soak(soak::Arguments),
    /// Measure Claimsmith beside its native twin, a floor and what one would use instead, and write docs/benchmarks.md.
    Bench(bench::Arguments),
    /// Build the plugins that ship with the project.
    BuildPlugins,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Instructions(arguments) => instructions::run(&arguments),
        Command::Schemas => schemas::write(),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::BuildPlugins => cargo::build_plugins().map(|directory| {
            println!("{}", directory.display());
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
