//! Text that a plugin wrote, made fit for log lines and errors.

/// Longer texts are cut: one must not take a log's whole budget by accident.
const MAX_TEXT_BYTES: usize = 1 << 10;

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
