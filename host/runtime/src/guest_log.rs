//! The plugin's log: bounded, cleaned and written under the callout's span.

use std::time::SystemTime;

use crate::bindings::log::{Field, Level};
use crate::guest_text::clean;
use crate::kept_out::{KeptOut, LEFT_OUT};
use crate::limits::Limits;

/// Further fields of a record are dropped.
const MAX_FIELDS: usize = 16;

/// What an invocation may still log. It has no `Debug`, because it knows a secret.
pub(crate) struct GuestLog {
    records_left: usize,
    bytes_left: usize,
    suppressed: usize,
    /// The one-time code or password that the invocation was given.
    secret: Option<KeptOut>,
    /// What was written, if somebody wants it for a trace.
    kept: Option<Vec<LogRecord>>,
}

/// A log record that a guest wrote, as it was logged: cleaned, within the limits, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// When.
    pub at: SystemTime,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// What it says.
    pub message: String,
    /// Its fields, `key=value` each.
    pub fields: String,
}

impl GuestLog {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            records_left: limits.log_records,
            bytes_left: limits.log_bytes,
            suppressed: 0,
            secret: None,
            kept: None,
        }
    }

    /// Of a guest that does not run.
    pub(crate) fn silent() -> Self {
        Self {
            records_left: 0,
            bytes_left: 0,
            suppressed: 0,
            secret: None,
            kept: None,
        }
    }

    /// Keeps what is written from now on for [`Self::take`]. The limits of the log are its bounds.
    pub(crate) fn keep(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// What was kept.
    pub(crate) fn take(&mut self) -> Vec<LogRecord> {
        self.kept.take().unwrap_or_default()
    }

    /// Keeps a one-time code or password out of what is logged from now on.
    pub(crate) fn keep_out(&mut self, secret: &str) {
        self.secret = Some(KeptOut::new(secret));
    }

    /// The one-time code or password that is kept out.
    pub(crate) fn secret(&self) -> Option<&KeptOut> {
        self.secret.as_ref()
    }

    fn holds_secret(&self, message: &str, fields: &[Field]) -> bool {
        let Some(secret) = &self.secret else { return false };
        let holds = |text: &str| secret.is_in(text);
        holds(message) || fields.iter().any(|field| holds(&field.key) || holds(&field.value))
    }

    /// Writes a record within the budget. `plugin` is `name@version`.
    pub(crate) fn write(&mut self, plugin: &str, level: Level, message: &str, fields: &[Field]) {
        let (message, fields) = if self.holds_secret(message, fields) {
            (LEFT_OUT, [].as_slice())
        } else {
            (message, fields)
        };
        let fields: Vec<String> = fields
            .iter()
            .take(MAX_FIELDS)
            .map(|field| format!("{}={}", clean(&field.key), clean(&field.value)))
            .collect();
        let (message, fields) = (clean(message), fields.join(" "));
        let bytes = message.len() + fields.len();
        if self.records_left == 0 || bytes > self.bytes_left {
            self.records_left = 0;
            self.suppressed += 1;
            return;
        }
        self.records_left -= 1;
        self.bytes_left -= bytes;
        emit(plugin, level, &message, &fields);
        if let Some(kept) = &mut self.kept {
            kept.push(LogRecord {
                at: SystemTime::now(),
                level: level_name(level),
                message,
                fields,
            });
        }
    }

    /// How many records were dropped.
    pub(crate) fn suppressed(&self) -> usize {
        self.suppressed
    }

    /// Says how many records were dropped, if any.
    pub(crate) fn finish(&self, plugin: &str) {
        if self.suppressed > 0 {
            let message = format!("{} further log records were suppressed", self.suppressed);
            emit(plugin, Level::Warn, &message, "");
        }
    }
}

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn emit(plugin: &str, level: Level, message: &str, fields: &str) {
    // tracing's levels are part of the call site, so each has its own.
    macro_rules! at {
        ($level:ident) => {
            tracing::$level!(target: "claimsmith::plugin", plugin, fields, "{message}")
        };
    }
    match level {
        Level::Trace => at!(trace),
        Level::Debug => at!(debug),
        Level::Info => at!(info),
        Level::Warn => at!(warn),
        Level::Error => at!(error),
    }
}
