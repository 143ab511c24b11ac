//! Text that a plugin or an upstream wrote, made fit for log lines and errors.

/// Longer texts are cut: one must not take a log's whole budget by accident.
const MAX_TEXT_BYTES: usize = 1 << 10;

/// Text of a guest, cut and without control characters: a newline or an escape sequence could forge log lines.
pub(crate) fn clean(text: &str) -> String {
    clean_to(text, MAX_TEXT_BYTES)
}

/// Text of a stranger, cut to `max_bytes` and without control characters.
#[must_use]
pub fn clean_to(text: &str, max_bytes: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(max_bytes));
    for character in text.chars() {
        if cleaned.len() + character.len_utf8() > max_bytes {
            cleaned.push('…');
            break;
        }
        cleaned.push(harmless(character));
    }
    cleaned
}

/// Bytes of a guest as text whose lines are kept: whoever logs them must quote them.
pub(crate) fn clean_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let keep_line = |character| {
        if character == '\n' {
            character
        } else {
            harmless(character)
        }
    };
    text.chars().map(keep_line).collect()
}

fn harmless(character: char) -> char {
    // Line and paragraph separators are line breaks to some viewers; bidirectional controls reorder text.
    let forges = character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if forges { '\u{fffd}' } else { character }
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
