//! The soak, as `cargo xtask soak` starts it: `soak SECONDS [--json]`. Ends with failure when the host leaks or fails.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line program")]

use std::process::ExitCode;
use std::time::Duration;

use claimsmith_tests::soak;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok());
    let Some(seconds) = seconds else {
        eprintln!("error: expected how many seconds to run: soak SECONDS [--json]");
        return ExitCode::FAILURE;
    };
    let json = arguments.next().is_some_and(|argument| argument == "--json");
    let report = soak::run(Duration::from_secs(seconds), |line| eprintln!("soak: {line}")).await;
    if json {
        println!("{:#}", report.json());
    } else {
        println!("{}", report.table());
    }
    if report.problems().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
