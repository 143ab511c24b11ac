//! Tables that read well on a terminal and are Markdown.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use crate::statistics::Summary;

/// A table whose columns after the first are numbers, or as `text` says.
pub(super) fn table<H: Into<String>>(header: impl IntoIterator<Item = H>, rows: &[Vec<String>], text: usize) -> String {
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.into_iter().map(Into::into).collect::<Vec<String>>());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(text) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// A number with as many digits as say something.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 0.1 || small == 0.0 => 2,
        _ => 4,
    };
    thousands(&format!("{value:.decimals$}"))
}

/// A median with its spread, or a dash for what was not measured.
pub(super) fn spread(summary: Option<Summary>) -> String {
    match summary {
        None => "–".to_owned(),
        Some(Summary { median, min, max }) => {
            format!("{} ({} to {})", number(median), number(min), number(max))
        }
    }
}

/// A median alone, or a dash.
pub(super) fn median(summary: Option<Summary>) -> String {
    summary.map_or_else(|| "–".to_owned(), |summary| number(summary.median))
}

/// Commas between groups of three digits before the point.
fn thousands(number: &str) -> String {
    let (whole, rest) = number.find('.').map_or((number, ""), |point| number.split_at(point));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_say_something() {
        let shown = [12_345.6, 123.4, 12.34, 1.234, 0.0123, -4567.8, 0.0].map(number);
        assert_eq!(shown, ["12,346", "123", "12.3", "1.23", "0.0123", "-4,568", "0.00"]);
    }

    #[test]
    fn a_table_is_markdown() {
        let table = table(["a", "b"], &[vec!["x".to_owned(), "10".to_owned()]], 1);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(lines[1].starts_with("|--") || lines[1].starts_with("| -"), "{table}");
    }
}
