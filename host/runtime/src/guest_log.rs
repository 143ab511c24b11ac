//! The plugin's log: bounded, cleaned and written under the callout's span.

use crate::bindings::log::{Field, Level};
use crate::limits::Limits;

/// Longer texts are cut; one record must not take the whole budget by accident.
const MAX_TEXT_BYTES: usize = 4 << 10;
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

/// Text of a guest, cut and without control characters: a newline or an escape sequence could forge log lines.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len().min(MAX_TEXT_BYTES));
    for character in text.chars() {
        if cleaned.len() + character.len_utf8() > MAX_TEXT_BYTES {
            cleaned.push('…');
            break;
        }
        // Line and paragraph separators are line breaks to some viewers; bidirectional controls reorder text.
        let forges = character.is_control()
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        cleaned.push(if forges { '\u{fffd}' } else { character });
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::{MAX_TEXT_BYTES, clean};

    #[test]
    fn nothing_of_a_guest_can_begin_a_line_or_colour_it() {
        assert_eq!(clean("a\nb\r\u{1b}[31mc\u{2028}d\u{202e}e"), "a�b��[31mc�d�e");
        assert_eq!(clean("größer"), "größer");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let cut = clean(&"é".repeat(MAX_TEXT_BYTES));
        assert_eq!(cut.len(), MAX_TEXT_BYTES + '…'.len_utf8());
        assert!(cut.ends_with("é…"));
    }
}
