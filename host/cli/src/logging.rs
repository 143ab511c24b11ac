//! Log lines: text for people, JSON for machines, on standard error.
//!
//! They are written by a thread of their own from a bounded queue: a reader of standard error that does not read must not
//! hold callouts up. Lines that do not fit the queue are lost.

use std::io::{IsTerminal as _, stderr};
use std::panic::PanicHookInfo;

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// One readable line.
    Text,
    /// One JSON object a line.
    Json,
}

/// Installs the process's logger; dropping the guard writes what is still queued.
///
/// # Errors
/// When `filter` is no filter.
pub(crate) fn start(format: Format, filter: &str) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("`{filter}` is no log filter; expected a level or `target=level` pairs"))?;
    let (writer, guard) = tracing_appender::non_blocking(stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        Format::Text => builder.with_ansi(stderr().is_terminal()).init(),
        Format::Json => builder.json().flatten_event(true).with_span_list(false).init(),
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(guard)
}

/// A panic is a defect of the host: a record like any other, so that machines that read the log see it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(tracing::field::display);
    let message = panic.payload_as_str().unwrap_or("no message");
    tracing::error!(location, panic = message, "the host panicked");
}
