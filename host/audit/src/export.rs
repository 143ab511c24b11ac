//! Records as JSON Lines or CSV, one after another.

use std::io::Write;

use serde_json::{Map, Value};

use crate::read::{Entry, Reader};
use crate::store::StoreError;

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
}

/// The columns of CSV. Lists and objects are JSON in their cells.
const COLUMNS: [&str; 29] = [
    "seq",
    "time",
    "outcome",
    "status",
    "duration_us",
    "action",
    "tenant",
    "extension",
    "event",
    "correlation_id",
    "directory",
    "application",
    "user",
    "user_pseudonym",
    "entra_error",
    "listener",
    "custom_extension",
    "caller",
    "key_id",
    "token_id",
    "repeat",
    "generation",
    "plugins",
    "invocations",
    "calls",
    "unlisted_calls",
    "claims",
    "claim_values",
    "hash",
];

/// Writes all that a reader reads; how many records.
///
/// # Errors
/// The store cannot be read, or the output cannot be written.
pub async fn export(reader: &mut Reader, format: Format, output: impl Write) -> Result<u64, StoreError> {
    match format {
        Format::JsonLines => json_lines(reader, output).await,
        Format::Csv => csv(reader, output).await,
    }
}

async fn json_lines(reader: &mut Reader, mut output: impl Write) -> Result<u64, StoreError> {
    let mut records = 0;
    while let Some(entry) = reader.next().await? {
        serde_json::to_writer(&mut output, &entry).map_err(|error| StoreError::Export(error.into()))?;
        output.write_all(b"\n").map_err(StoreError::Export)?;
        records += 1;
    }
    output.flush().map_err(StoreError::Export)?;
    Ok(records)
}

async fn csv(reader: &mut Reader, output: impl Write) -> Result<u64, StoreError> {
    let failed = |error: csv::Error| StoreError::Export(error.into());
    let mut writer = csv::Writer::from_writer(output);
    writer.write_record(COLUMNS).map_err(failed)?;
    let mut records = 0;
    while let Some(entry) = reader.next().await? {
        writer.write_record(cells(&entry)?).map_err(failed)?;
        records += 1;
    }
    writer.flush().map_err(StoreError::Export)?;
    Ok(records)
}

fn cells(entry: &Entry) -> Result<Vec<String>, StoreError> {
    let value = serde_json::to_value(entry)?;
    let none = Map::new();
    let members = value.as_object().unwrap_or(&none);
    let cell = |column: &&str| match members.get(*column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => inert(text),
        Some(other) => inert(&other.to_string()),
    };
    Ok(COLUMNS.iter().map(cell).collect())
}

/// A cell that no spreadsheet takes for a formula: those begin with one of these
/// (<https://owasp.org/www-community/attacks/CSV_Injection>), and an apostrophe makes text of them.
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        return format!("'{text}");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::inert;

    #[test]
    fn formulas_become_text() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"] {
            assert_eq!(inert(formula), format!("'{formula}"));
        }
        assert_eq!(inert("a=b"), "a=b");
    }
}
