//! What a statement gives, counted while it is read.

use claimsmith_runtime::interface::sql::{Error, Rows, Value};

use super::Limits;

/// What a statement has given so far.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) rows: Rows,
    /// Rows that it concerned.
    pub(super) affected: u64,
    bytes: usize,
}

impl Collected {
    /// Nothing yet, in these columns.
    pub(super) fn new<'n>(columns: impl Iterator<Item = &'n str>) -> Self {
        let columns: Vec<_> = columns.map(str::to_owned).collect();
        Self {
            affected: 0,
            bytes: columns.iter().map(String::len).sum(),
            rows: Rows {
                columns,
                rows: Vec::new(),
            },
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// `too-large`, when there are more rows or bytes than may be.
    pub(super) fn push(&mut self, row: Vec<Value>, limits: &Limits) -> Result<(), Error> {
        self.make_room(row.iter().map(size).sum(), limits)?;
        self.rows.rows.push(row);
        Ok(())
    }

    /// Counts a row of so many bytes, which is to be added.
    ///
    /// # Errors
    /// `too-large`, when there are more rows or bytes than may be.
    pub(super) fn make_room(&mut self, bytes: usize, limits: &Limits) -> Result<(), Error> {
        if self.rows.rows.len() == limits.max_rows {
            let most = limits.max_rows;
            return Err(Error::TooLarge(format!("the result has more than {most} rows")));
        }
        self.bytes += bytes;
        if self.bytes > limits.max_bytes {
            return Err(too_many_bytes(limits));
        }
        Ok(())
    }
}

pub(super) fn too_many_bytes(limits: &Limits) -> Error {
    Error::TooLarge(format!("the result has more than {} bytes", limits.max_bytes))
}

/// What a value takes in a guest, at least.
pub(super) fn size(value: &Value) -> usize {
    let owned = match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Real(_) => 0,
    };
    owned + size_of::<u64>()
}
