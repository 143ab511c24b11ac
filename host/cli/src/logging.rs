//! Log lines: text for people, JSON for machines, on standard error.

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// One readable line.
    Text,
    /// One JSON object a line.
    Json,
}

/// Installs the process's logger.
///
/// # Errors
/// When `filter` is no filter.
pub(crate) fn start(format: Format, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("`{filter}` is no log filter; expected a level or `target=level` pairs"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        Format::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        Format::Json => builder.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}
