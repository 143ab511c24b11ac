//! Log lines: text for people, JSON for machines, on standard error.
//!
//! They are written by a thread of their own from a bounded queue: a reader of standard error that does not read must not
//! hold callouts up. Lines that do not fit the queue are lost. What an event holds begins no line, whoever has worded it.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write, stderr};
use std::panic::PanicHookInfo;

use claimsmith_server::controls::{ControlError, install_log_filter};
use clap::ValueEnum;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::{Directive, LevelFilter};
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
/// What libraries log of upstreams in the upstreams' own words, or as often as an upstream wants. The host logs by itself what
/// matters of it. A filter that names them has them logged.
const QUIET: [&str; 2] = ["ldap3", "sqlx_core::pool::connection"];

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
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        Format::Text => {
            let is_coloured = stderr().is_terminal();
            let lines = move || OneLine {
                writer: writer.clone(),
                is_coloured,
            };
            let builder = builder
                .with_writer(lines)
                .with_ansi(is_coloured)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            can_be_changed(first, move |filter| handle.reload(filter));
        }
        Format::Json => {
            let builder = builder
                .with_writer(writer)
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
    let mut parsed = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    for target in QUIET.into_iter().filter(|target| !filter.contains(target)) {
        let quiet = format!("{target}=off").parse::<Directive>();
        parsed = parsed.add_directive(quiet.map_err(|error| error.to_string())?);
    }
    Ok(parsed)
}

/// Writes each event, which comes as a whole, as one line.
struct OneLine<W> {
    writer: W,
    /// Whether the formatter's own escape sequences are among what is written.
    is_coloured: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        match one_line(&String::from_utf8_lossy(line), self.is_coloured) {
            Cow::Borrowed(_) => self.writer.write_all(event)?,
            Cow::Owned(line) => self.writer.write_all((line + "\n").as_bytes())?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A text with its control characters, and whatever else begins a line somewhere, escaped.
fn one_line(text: &str, is_coloured: bool) -> Cow<'_, str> {
    let begins = |character: char| {
        let is_colour = is_coloured && character == '\u{1b}';
        (character.is_control() && !is_colour) || matches!(character, '\u{2028}' | '\u{2029}')
    };
    if !text.contains(begins) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if begins(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    Cow::Owned(line)
}

/// A panic is a defect of the host: a record like any other, so that machines that read the log see it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(tracing::field::display);
    let message = panic.payload_as_str().unwrap_or("no message");
    tracing::error!(location, panic = message, "the host panicked");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use std::io::Write as _;

    use super::{OneLine, QUIET, parse};

    fn written(event: &str, is_coloured: bool) -> String {
        let mut lines = OneLine {
            writer: Vec::new(),
            is_coloured,
        };
        lines.write_all(event.as_bytes()).unwrap();
        String::from_utf8(lines.writer).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let usual = "2026-11-22T00:00:00Z  INFO upstream failed why=\"größer\"\n";
        assert_eq!(written(usual, false), usual);
        let forged = "WARN said=x\r\n2026-11-22T00:00:00Z ERROR forged\u{2028}\u{85}\u{1b}[31m\n";
        let line = written(forged, false);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains(r"said=x\r\n2026-11-22T00:00:00Z ERROR"), "{line}");
        assert!(line.ends_with("forged\\u{2028}\\u{85}\\u{1b}[31m\n"), "{line}");
        assert_eq!(written("\u{1b}[31mWARN\u{1b}[0m\n", true), "\u{1b}[31mWARN\u{1b}[0m\n");
    }

    #[test]
    fn libraries_that_log_what_upstreams_say_are_asked_for_by_name() {
        for target in QUIET {
            for filter in ["", "info", "claimsmith=debug"] {
                assert!(
                    parse(filter).unwrap().to_string().contains(&format!("{target}=off")),
                    "{filter}"
                );
            }
            assert!(
                !parse(&format!("info,{target}=debug"))
                    .unwrap()
                    .to_string()
                    .contains(&format!("{target}=off"))
            );
        }
    }
}
