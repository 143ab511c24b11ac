//! PostgreSQL's types and those of the interface.
//!
//! What has no type in the interface is text, as the database writes it: dates and times as ISO 8601, decimal numbers,
//! UUIDs, JSON. What is not known here is refused by name; casting it to text in the statement helps.

use std::fmt;
use std::str::FromStr;

use claimsmith_runtime::interface::sql::{Error, Value};
use serde_json::value::RawValue;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArguments, PgColumn, PgRow, PgStatement, PgTypeInfo, PgTypeKind, PgValueFormat};
use sqlx::types::chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use sqlx::types::{Decimal, Json, Uuid};
use sqlx::{
    Arguments as _, Column as _, Decode, Either, Encode, Postgres, Row as _, Statement as _, Type, TypeInfo as _,
    ValueRef as _,
};

use super::moments;

/// A type that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Text,
    Bytes,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Numeric,
    Json,
    /// What a function gives that gives nothing.
    Void,
}

fn known(info: &PgTypeInfo) -> Option<Known> {
    match info.kind() {
        PgTypeKind::Domain(base) => return known(base),
        PgTypeKind::Enum(_) => return Some(Known::Text),
        _ => {}
    }
    Some(match info.name() {
        "BOOL" => Known::Bool,
        "INT2" => Known::Int2,
        "INT4" => Known::Int4,
        "INT8" => Known::Int8,
        "OID" => Known::Oid,
        "FLOAT4" => Known::Float4,
        "FLOAT8" => Known::Float8,
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "citext" => Known::Text,
        "BYTEA" => Known::Bytes,
        "UUID" => Known::Uuid,
        "DATE" => Known::Date,
        "TIME" => Known::Time,
        "TIMESTAMP" => Known::Timestamp,
        "TIMESTAMPTZ" => Known::Timestamptz,
        "NUMERIC" => Known::Numeric,
        "JSON" | "JSONB" => Known::Json,
        "VOID" => Known::Void,
        _ => return None,
    })
}

fn unknown(column: &PgColumn) -> String {
    let (name, info) = (column.name(), column.type_info());
    let hint = if info.name().ends_with("[]") {
        "to_json"
    } else {
        "::text"
    };
    format!("column `{name}` is of the type {info}, which has no form here: expected another, such as by {hint}")
}

/// Whether all that a statement takes and gives has a form here.
pub(super) fn check(statement: &PgStatement) -> Result<(), String> {
    let columns = statement.columns().iter();
    if let Some(column) = columns.into_iter().find(|column| known(column.type_info()).is_none()) {
        return Err(unknown(column));
    }
    let parameters = parameters(statement).iter();
    let unknown = parameters.enumerate().find(|(_, info)| known(info).is_none());
    match unknown {
        Some((index, info)) => Err(format!(
            "parameter ${} is of the type {info}, which has no form here: expected another, such as by ${}::text::{info}",
            index + 1,
            index + 1
        )),
        None => Ok(()),
    }
}

fn parameters(statement: &PgStatement) -> &[PgTypeInfo] {
    match statement.parameters() {
        Some(Either::Left(types)) => types,
        _ => &[],
    }
}

/// The parameters, in the types that the statement takes.
pub(super) fn arguments(statement: &PgStatement, values: &[Value]) -> Result<PgArguments, Error> {
    let types = parameters(statement);
    if types.len() != values.len() {
        let (takes, given) = (types.len(), values.len());
        return Err(Error::Invalid(format!(
            "the statement takes {takes} parameters: {given} are given"
        )));
    }
    let mut arguments = PgArguments::default();
    for (index, (info, value)) in types.iter().zip(values).enumerate() {
        add(&mut arguments, info, value).map_err(|why| Error::Invalid(format!("parameter ${}: {why}", index + 1)))?;
    }
    Ok(arguments)
}

fn add(arguments: &mut PgArguments, info: &PgTypeInfo, value: &Value) -> Result<(), String> {
    let Some(known) = known(info) else {
        return Err(format!("the type {info} has no form here"));
    };
    match (known, value) {
        (_, Value::Null) => put(arguments, None::<String>),
        (Known::Bool, Value::Boolean(value)) => put(arguments, *value),
        (Known::Int8, Value::Integer(value)) => put(arguments, *value),
        (Known::Int4, Value::Integer(value)) => put(arguments, narrow::<i32>(*value, info)?),
        (Known::Int2, Value::Integer(value)) => put(arguments, narrow::<i16>(*value, info)?),
        (Known::Oid, Value::Integer(value)) => put(arguments, Oid(narrow(*value, info)?)),
        (Known::Numeric, Value::Integer(value)) => put(arguments, Decimal::from(*value)),
        (Known::Float8, Value::Integer(value)) => put(arguments, widen(*value)),
        (Known::Float8, Value::Real(value)) => put(arguments, *value),
        (Known::Float4, Value::Real(value)) => put(arguments, single(*value)),
        (Known::Text, Value::Text(value)) => put(arguments, value.as_str()),
        (Known::Bytes, Value::Bytes(value)) => put(arguments, value.as_slice()),
        (Known::Uuid, Value::Text(value)) => put(arguments, parse::<Uuid>(value, info)?),
        (Known::Date, Value::Text(value)) => put(arguments, parse::<NaiveDate>(value, info)?),
        (Known::Time, Value::Text(value)) => put(arguments, parse::<NaiveTime>(value, info)?),
        (Known::Timestamp, Value::Text(value)) => put(arguments, parse::<NaiveDateTime>(value, info)?),
        (Known::Timestamptz, Value::Text(value)) => put(arguments, parse::<DateTime<Utc>>(value, info)?),
        (Known::Numeric, Value::Text(value)) => put(arguments, parse::<Decimal>(value, info)?),
        (Known::Json, Value::Text(value)) => {
            let json: Box<RawValue> = serde_json::from_str(value).map_err(|_| not_of(info))?;
            put(arguments, Json(json))
        }
        _ => Err(not_of(info)),
    }
}

fn put<'v, T: Encode<'v, Postgres> + Type<Postgres>>(arguments: &mut PgArguments, value: T) -> Result<(), String> {
    arguments.add(value).map_err(|error| error.to_string())
}

/// Nothing of the value: it may be personal.
fn not_of(info: &PgTypeInfo) -> String {
    format!("expected a value of the type {info}")
}

fn narrow<N: TryFrom<i64>>(value: i64, info: &PgTypeInfo) -> Result<N, String> {
    value.try_into().map_err(|_| not_of(info))
}

fn parse<T: FromStr>(text: &str, info: &PgTypeInfo) -> Result<T, String> {
    text.parse().map_err(|_| not_of(info))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what the database would do with a whole number there"
)]
const fn widen(value: i64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what the database would do with the number there"
)]
const fn single(value: f64) -> f32 {
    value as f32
}

/// A row's values.
pub(super) fn row(row: &PgRow) -> Result<Vec<Value>, Error> {
    let columns = row.columns().iter().enumerate();
    columns.map(|(index, column)| value(row, index, column)).collect()
}

fn value(row: &PgRow, index: usize, column: &PgColumn) -> Result<Value, Error> {
    let cell = Cell { row, index, column };
    match known(column.type_info()) {
        Some(Known::Bool) => cell.get(Value::Boolean),
        Some(Known::Int2) => cell.get(|value: i16| Value::Integer(value.into())),
        Some(Known::Int4) => cell.get(|value: i32| Value::Integer(value.into())),
        Some(Known::Int8) => cell.get(Value::Integer),
        Some(Known::Oid) => cell.get(|value: Oid| Value::Integer(value.0.into())),
        Some(Known::Float4) => cell.get(|value: f32| Value::Real(value.into())),
        Some(Known::Float8) => cell.get(Value::Real),
        Some(Known::Text) => cell.get(Value::Text),
        Some(Known::Bytes) => cell.get(Value::Bytes),
        Some(Known::Uuid) => cell.get(text::<Uuid>),
        Some(Known::Date) => cell.moment(|bytes| moments::date(i32::from_be_bytes(bytes))),
        Some(Known::Time) => cell.get(text::<NaiveTime>),
        Some(Known::Timestamp) => cell.moment(|bytes| moments::timestamp(i64::from_be_bytes(bytes), "")),
        Some(Known::Timestamptz) => cell.moment(|bytes| moments::timestamp(i64::from_be_bytes(bytes), "Z")),
        Some(Known::Numeric) => cell.get(text::<Decimal>),
        Some(Known::Json) => cell.get(|json: Json<Box<RawValue>>| text(json.0)),
        Some(Known::Void) => Ok(Value::Null),
        None => Err(Error::Invalid(unknown(column))),
    }
}

fn text<T: fmt::Display>(value: T) -> Value {
    Value::Text(value.to_string())
}

/// One value of a row.
struct Cell<'r> {
    row: &'r PgRow,
    index: usize,
    column: &'r PgColumn,
}

impl<'r> Cell<'r> {
    /// The value, whose type is known to be this one or to be written like it.
    fn get<T: Decode<'r, Postgres>>(&self, into: impl FnOnce(T) -> Value) -> Result<Value, Error> {
        match self.row.try_get_unchecked::<Option<T>, _>(self.index) {
            Ok(value) => Ok(value.map_or(Value::Null, into)),
            Err(_) => Err(self.has_no_form()),
        }
    }

    /// A date or time, of the number that it is sent as.
    fn moment<const N: usize>(&self, written: impl FnOnce([u8; N]) -> Option<String>) -> Result<Value, Error> {
        let raw = self.row.try_get_raw(self.index).map_err(|_| self.has_no_form())?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let bytes = match raw.format() {
            PgValueFormat::Binary => raw.as_bytes().ok().and_then(|bytes| bytes.try_into().ok()),
            PgValueFormat::Text => None,
        };
        let written = bytes.and_then(written).ok_or_else(|| self.has_no_form())?;
        Ok(Value::Text(written))
    }

    fn has_no_form(&self) -> Error {
        Error::Invalid(format!(
            "column `{}` has a value of the type {} that has no form here: expected another, such as by ::text",
            self.column.name(),
            self.column.type_info()
        ))
    }
}
