//! The plugin's log: bounded, cleaned and written under the callout's span.

use crate::bindings::log::{Field, Level};
use crate::guest_text::clean;
use crate::limits::Limits;

/// Further fields of a record are dropped.
const MAX_FIELDS: usize = 16;

/// What an invocation may still log.
#[derive(Debug)]
pub(crate) struct GuestLog {
    records_left: usize,
    bytes_left: usize,
    suppressed: usize,
}

impl GuestLog {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            records_left: limits.log_records,
            bytes_left: limits.log_bytes,
            suppressed: 0,
        }
    }

    /// Writes a record within the budget. `plugin` is `name@version`.
    pub(crate) fn write(&mut self, plugin: &str, level: Level, message: &str, fields: &[Field]) {
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
