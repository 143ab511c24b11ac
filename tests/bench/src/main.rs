//! The benchmark's programs: the harness, which `cargo xtask bench` starts, and the processes that it starts.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line program")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use claimsmith_bench::peers::Paths;
use claimsmith_bench::results::Results;
use claimsmith_bench::run::Plan;
use claimsmith_bench::subjects::Built;
use claimsmith_bench::{figures, floor, host_calls, load, report, run};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
#[command(name = "claimsmith-bench", about = "The harness of `cargo xtask bench`")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and write the report.
    Run(RunArguments),
    /// Start one subject and wait to be stopped, for profilers. Prints where `job.json` is: a closed loop for `load`.
    Hold {
        #[command(flatten)]
        place: Place,
        /// The subject.
        subject: String,
    },
    /// Write the report of the last run again.
    Report(Place),
    /// Generate load as standard input says, and print what was measured.
    Load,
    /// Serve the constant answer.
    Floor {
        /// The port to listen on.
        port: u16,
    },
    /// Serve what plugins call.
    Upstream {
        /// The port to listen on.
        port: u16,
    },
}

/// Where everything is.
#[derive(Debug, clap::Args)]
struct Place {
    /// The repository's root.
    #[arg(long)]
    root: PathBuf,
    /// The directory of what was built in release.
    #[arg(long)]
    programs: PathBuf,
    /// The directory for what is written while measuring.
    #[arg(long)]
    scratch: PathBuf,
    /// Also write the figures as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    #[command(flatten)]
    place: Place,
    /// A short run.
    #[arg(long)]
    quick: bool,
    /// How many rounds; 5, or 2 of a short run.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these subjects and parts.
    #[arg(long, num_args = 1..)]
    only: Vec<String>,
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    match Cli::parse().command {
        Command::Load => {
            let job = serde_json::from_reader(std::io::stdin().lock()).context("the job on standard input")?;
            println!("{}", serde_json::to_string(&load::run(&job)?)?);
            Ok(())
        }
        Command::Floor { port } => runtime()?.block_on(floor::serve(port)),
        Command::Upstream { port } => runtime()?.block_on(host_calls::serve(port)),
        Command::Hold { place, subject } => runtime()?.block_on(until_told_to_stop(run::hold(built(&place), &subject))),
        Command::Report(place) => {
            let text = std::fs::read(place.scratch.join("results.json")).context("there is no run to report")?;
            finish(&place, &serde_json::from_slice(&text)?)
        }
        Command::Run(arguments) => {
            let plan = match (arguments.quick, arguments.rounds) {
                (true, rounds) => Plan::quick(rounds.unwrap_or(2)),
                (false, rounds) => Plan::full(rounds.unwrap_or(5)),
            };
            let results = runtime()?.block_on(until_told_to_stop(run::run(
                built(&arguments.place),
                plan,
                &arguments.only,
            )))?;
            std::fs::write(
                arguments.place.scratch.join("results.json"),
                serde_json::to_vec_pretty(&results)?,
            )?;
            finish(&arguments.place, &results)
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Ends at Ctrl-C and SIGTERM as well, so that whatever was started is dropped, and with it stopped.
async fn until_told_to_stop<T>(run: impl Future<Output = Result<T>>) -> Result<T> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        results = run => results,
        _ = terminated.recv() => anyhow::bail!("told to stop"),
        _ = interrupted.recv() => anyhow::bail!("told to stop"),
    }
}

fn built(place: &Place) -> Built {
    Built {
        programs: place.programs.clone(),
        plugins: place.scratch.join("plugins"),
        scratch: place.scratch.clone(),
        peers: Paths {
            sources: place.root.join("tests/bench/peers"),
            target: place.scratch.clone(),
        },
    }
}

/// Prints the tables; writes the figures, and the documents if the run was a whole one.
fn finish(place: &Place, results: &Results) -> Result<()> {
    let figures = figures::of(results);
    println!("{}", report::terminal(results, &figures));
    if let Some(file) = &place.json {
        let json = serde_json::to_vec_pretty(&figures)?;
        std::fs::write(file, json).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let documents = if results.is_whole() {
        place.root.join("docs")
    } else {
        place.scratch.join("docs")
    };
    report::write(results, &figures, &documents)?;
    eprintln!("bench: the report is {}", documents.join("benchmarks.md").display());
    Ok(())
}
