//! Values of parameters and columns.

use serde_json::Value as Json;

use crate::bindings::sql as wit;

/// A value of a parameter or a column. What has no type of its own here, such as dates, decimal numbers, UUIDs and JSON,
/// is text.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `NULL`
    #[default]
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// Whether it is `NULL`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Its text, if it is text.
    #[must_use]
    pub const fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The number, if it is a whole one.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether it is true, if it is a boolean.
    #[must_use]
    pub const fn as_boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// As what a type of the plugin is read from.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Boolean(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            Self::Real(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
            Self::Bytes(value) => value.as_slice().into(),
        }
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

macro_rules! from {
    ($($type:ty => $case:ident)*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$case(value.into())
            }
        }
    )*};
}

from! {
    bool => Boolean
    i64 => Integer
    i32 => Integer
    u32 => Integer
    f64 => Real
    String => Text
    &String => Text
    Vec<u8> => Bytes
    &[u8] => Bytes
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Value> for wit::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Boolean(value) => Self::Boolean(value),
            Value::Integer(value) => Self::Integer(value),
            Value::Real(value) => Self::Real(value),
            Value::Text(value) => Self::Text(value),
            Value::Bytes(value) => Self::Bytes(value),
        }
    }
}

impl From<wit::Value> for Value {
    fn from(value: wit::Value) -> Self {
        match value {
            wit::Value::Null => Self::Null,
            wit::Value::Boolean(value) => Self::Boolean(value),
            wit::Value::Integer(value) => Self::Integer(value),
            wit::Value::Real(value) => Self::Real(value),
            wit::Value::Text(value) => Self::Text(value),
            wit::Value::Bytes(value) => Self::Bytes(value),
        }
    }
}
