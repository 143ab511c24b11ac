//! What a query gives.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::{Error, Value};
use crate::bindings::sql as wit;

/// The rows of a query.
#[derive(Clone, Default, PartialEq)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Rows {
    /// No rows of these columns: for tests.
    #[must_use]
    pub fn new<C: Into<String>>(columns: impl IntoIterator<Item = C>) -> Self {
        Self {
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// With one more row, of one value for each column: for tests.
    #[must_use]
    pub fn with(mut self, row: impl IntoIterator<Item = Value>) -> Self {
        self.rows.push(row.into_iter().collect());
        self
    }

    /// How many rows there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The columns' names, in order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The first row.
    #[must_use]
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// The rows in order.
    #[must_use = "iterators are lazy"]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        let columns = self.columns.as_slice();
        self.rows.iter().map(move |values| Row { columns, values })
    }

    /// Reads each row into a `T`, by the columns' names.
    ///
    /// # Errors
    /// When a row is not what `T` wants.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, Error> {
        self.iter().map(Row::read).collect()
    }
}

/// One row.
#[derive(Clone, Copy)]
pub struct Row<'r> {
    columns: &'r [String],
    values: &'r [Value],
}

impl<'r> Row<'r> {
    /// The value of a column, if there is one of this name.
    #[must_use]
    pub fn get(self, column: &str) -> Option<&'r Value> {
        self.iter().find_map(|(name, value)| (name == column).then_some(value))
    }

    /// The columns' names and values, in order.
    #[must_use = "iterators are lazy"]
    pub fn iter(self) -> impl Iterator<Item = (&'r str, &'r Value)> {
        self.columns.iter().map(String::as_str).zip(self.values)
    }

    /// Reads the row into a `T`, by the columns' names.
    ///
    /// # Errors
    /// When it is not what `T` wants.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        let members = self.iter().map(|(name, value)| (name.to_owned(), value.to_json()));
        let row: Map<String, Json> = members.collect();
        serde_path_to_error::deserialize(Json::Object(row)).map_err(|error| {
            let is_whole = error.path().iter().len() == 0;
            let path = error.path().to_string();
            match expected(error.inner()) {
                why if is_whole => Error::Row(why),
                why => Error::Row(format!("column `{path}`: {why}")),
            }
        })
    }
}

/// What was expected, without the value that was found: it may be personal, and errors are logged.
fn expected(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None if message.starts_with("missing field") => message,
        None => "expected another value".to_owned(),
    }
}

impl From<wit::Rows> for Rows {
    fn from(rows: wit::Rows) -> Self {
        let row = |row: Vec<wit::Value>| row.into_iter().map(Into::into).collect();
        Self {
            columns: rows.columns,
            rows: rows.rows.into_iter().map(row).collect(),
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values are what a database knows of a person.
        formatter
            .debug_struct("Rows")
            .field("columns", &self.columns)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Row")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Employee {
        name: String,
        manager: Option<String>,
        level: i64,
        active: bool,
        share: f64,
        picture: Vec<u8>,
    }

    fn rows(level: Value) -> Rows {
        let columns = ["name", "manager", "level", "active", "share", "picture", "unused"];
        Rows::new(columns).with([
            "Ada".into(),
            Value::Null,
            level,
            true.into(),
            0.5.into(),
            vec![1, 255].into(),
            7.into(),
        ])
    }

    #[test]
    fn rows_are_read_by_their_columns_names() {
        let ada = Employee {
            name: "Ada".into(),
            manager: None,
            level: 7,
            active: true,
            share: 0.5,
            picture: vec![1, 255],
        };
        assert_eq!(rows(7.into()).read::<Employee>().unwrap(), [ada]);
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_column_and_not_repeated() {
        let error = rows("seven".into()).read::<Employee>().unwrap_err();
        assert_eq!(error, Error::Row("column `level`: expected i64".into()));
        let error = Rows::new(["name"]).with(["Ada".into()]).read::<Employee>().unwrap_err();
        assert_eq!(error, Error::Row("missing field `level`".into()));
    }

    #[test]
    fn a_value_is_found_by_its_column() {
        let rows = rows(7.into());
        let row = rows.first().unwrap();
        assert_eq!(row.get("name").and_then(Value::as_text), Some("Ada"));
        assert!(row.get("manager").is_some_and(Value::is_null));
        assert_eq!(row.get("none"), None);
        assert_eq!((rows.len(), rows.columns().len()), (1, 7));
    }

    #[test]
    fn debug_tells_no_values() {
        assert!(!format!("{:?}{:?}", rows(7.into()), rows(7.into()).first()).contains("Ada"));
    }
}
