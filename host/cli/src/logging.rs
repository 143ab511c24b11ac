//! Log lines: text for people, JSON for machines, on standard error.
//!
//! They are written by a thread of their own from a bounded queue: a reader of standard error that does not read must not
//! hold callouts up. Lines that do not fit the queue are lost.

use std::io::{IsTerminal as _, stderr};
use std::panic::PanicHookInfo;

use claimsmith_server::controls::{ControlError, install_log_filter};
use clap::ValueEnum;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::{EnvFilter, reload};

/// How log lines are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// One readable line.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged when nobody says what.
const DEFAULT_FILTER: &str = "info";

/// Installs the process's logger, whose filter can be changed while it runs; dropping the guard writes what is still queued.
///
/// # Errors
/// When `filter` is no filter.
pub(crate) fn start(format: Format, filter: Option<&str>) -> anyhow::Result<WorkerGuard> {
    let first = filter.unwrap_or(DEFAULT_FILTER).to_owned();
    let filter = parse(&first).map_err(|why| ControlError::LogFilter {
        filter: first.clone(),
        why,
    })?;
    let (writer, guard) = tracing_appender::non_blocking(stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        Format::Text => {
            let builder = builder.with_ansi(stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            can_be_changed(first, move |filter| handle.reload(filter));
        }
        Format::Json => {
            let builder = builder
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            can_be_changed(first, move |filter| handle.reload(filter));
        }
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(guard)
}

/// Lets the service change the filter; `first` is what it comes back to.
fn can_be_changed(first: String, reload: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) {
    install_log_filter(move |filter| {
        let filter = parse(filter.unwrap_or(&first))?;
        reload(filter).map_err(|error| error.to_string())
    });
}

/// Whether a text is a filter of log lines.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(filter: &str) -> Result<(), ControlError> {
    parse(filter).map(drop).map_err(|why| ControlError::LogFilter {
        filter: filter.to_owned(),
        why,
    })
}

/// Reads a filter. A bare word would be taken as a target of which everything is logged: what is meant as a level and is
/// misspelt would leave the log without a line.
fn parse(filter: &str) -> Result<EnvFilter, String> {
    let words = filter.split(',').map(str::trim).filter(|word| !word.is_empty());
    for word in words {
        if !word.contains(['=', '[']) && word.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "`{word}` is none of the levels error, warn, info, debug, trace and off"
            ));
        }
    }
    EnvFilter::try_new(filter).map_err(|error| error.to_string())
}

/// A panic is a defect of the host: a record like any other, so that machines that read the log see it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(tracing::field::display);
    let message = panic.payload_as_str().unwrap_or("no message");
    tracing::error!(location, panic = message, "the host panicked");
}
