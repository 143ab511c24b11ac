//! A JSON document from an untrusted sender, borrowed from its text.
//!
//! Stricter than `serde_json::Value`: a member that occurs twice is refused (two readers could otherwise disagree
//! about what was checked), and depth, members, items and string lengths are bounded. Order is kept.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// How deep objects and arrays may nest. Entra's deepest documented request has 5 levels.
pub const MAX_DEPTH: usize = 16;
/// How many members one object, or items one array, may have.
pub const MAX_CHILDREN: usize = 1_000;
/// How many bytes of UTF-8 one string or member name may have.
pub const MAX_STRING_BYTES: usize = 32 * 1024;

/// Room for the members that are open at once in what Entra mostly sends.
const USUAL_MEMBERS: usize = 32;

/// A JSON value. Strings borrow from the document where it has no escape in them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object, in the document's order.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// Parses a whole document.
    ///
    /// # Errors
    /// Text that is not one JSON document (RFC 8259), repeats a member or exceeds a limit of this module. The error
    /// names line and column.
    pub fn parse(document: &'a [u8]) -> Result<Self, serde_json::Error> {
        // Text that is known to be UTF-8 is not checked again string by string; what is wrong elsewhere is told with its
        // place.
        match std::str::from_utf8(document) {
            Ok(text) => Self::read(serde_json::Deserializer::from_str(text)),
            Err(_) => Self::read(serde_json::Deserializer::from_slice(document)),
        }
    }

    fn read<R: serde_json::de::Read<'a>>(
        mut deserializer: serde_json::Deserializer<R>,
    ) -> Result<Self, serde_json::Error> {
        let mut open = Vec::with_capacity(USUAL_MEMBERS);
        let whole = Nested {
            depth: 0,
            open: &mut open,
        };
        let value = whole.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    /// What kind of value this is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// A member's name and value.
type Member<'a> = (Cow<'a, str>, Value<'a>);

/// A value at a depth: carries the depth into the visitor.
struct Nested<'o, 'de> {
    depth: usize,
    /// The members of the objects around this value that have been read so far, so that each object is allocated once and
    /// has no more room than it needs.
    open: &'o mut Vec<Member<'de>>,
}

impl<'de> DeserializeSeed<'de> for Nested<'_, 'de> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Nested<'_, 'de> {
    fn check_depth<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!(
                "more than {MAX_DEPTH} levels of objects and arrays"
            )));
        }
        Ok(())
    }

    fn inner(&mut self) -> Nested<'_, 'de> {
        Nested {
            depth: self.depth + 1,
            open: self.open,
        }
    }
}

fn bounded<E: serde::de::Error>(text: Cow<'_, str>) -> Result<Cow<'_, str>, E> {
    if text.len() > MAX_STRING_BYTES {
        return Err(E::custom(format_args!(
            "a string of more than {MAX_STRING_BYTES} bytes"
        )));
    }
    Ok(text)
}

impl<'de> Visitor<'de> for Nested<'_, 'de> {
    type Value = Value<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value<'de>, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        bounded(Cow::Borrowed(text)).map(Value::String)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value<'de>, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Value<'de>, E> {
        bounded(Cow::Owned(text)).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<Value<'de>, A::Error> {
        self.check_depth()?;
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(self.inner())? {
            if items.len() == MAX_CHILDREN {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_CHILDREN} items in an array"
                )));
            }
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value<'de>, A::Error> {
        self.check_depth()?;
        let first = self.open.len();
        while let Some(name) = map.next_key_seed(MemberName)? {
            let members = self.open.get(first..).unwrap_or_default();
            if members.len() == MAX_CHILDREN {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_CHILDREN} members in an object"
                )));
            }
            // A linear search: real objects have a dozen members, and `MAX_CHILDREN` bounds hostile ones.
            if members.iter().any(|(known, _)| *known == name) {
                let shown: String = name.chars().take(128).flat_map(char::escape_debug).collect();
                return Err(A::Error::custom(format_args!("member `{shown}` occurs twice")));
            }
            let value = map.next_value_seed(self.inner())?;
            self.open.push((name, value));
        }
        Ok(Value::Object(self.open.drain(first..).collect()))
    }
}

struct MemberName;

impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member name")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        bounded(Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        bounded(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{MAX_CHILDREN, MAX_DEPTH, MAX_STRING_BYTES, Value};

    fn refused(document: &str) -> String {
        Value::parse(document.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let value = Value::parse(br#"{"a":"plain","b":"\u0041"}"#).expect("valid");
        let Value::Object(members) = value else {
            panic!("not an object")
        };
        assert!(matches!(members[0].1, Value::String(Cow::Borrowed("plain"))));
        assert_eq!(members[1].1, Value::String(Cow::Owned("A".to_owned())));
    }

    #[test]
    fn a_repeated_member_is_refused_also_when_escaped() {
        assert!(refused(r#"{"tenantId":1,"tenantId":2}"#).contains("member `tenantId` occurs twice"));
        assert!(refused(r#"{"a":{"b":1,"\u0062":2}}"#).contains("member `b` occurs twice"));
    }

    #[test]
    fn each_limit_accepts_its_value_and_refuses_one_more() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Value::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(refused(&nested(MAX_DEPTH + 1)).contains("levels"));

        let items = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(Value::parse(items(MAX_CHILDREN).as_bytes()).is_ok());
        assert!(refused(&items(MAX_CHILDREN + 1)).contains("items"));

        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|index| format!("\"m{index}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Value::parse(members(MAX_CHILDREN).as_bytes()).is_ok());
        assert!(refused(&members(MAX_CHILDREN + 1)).contains("members"));

        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
        assert!(Value::parse(text(MAX_STRING_BYTES).as_bytes()).is_ok());
        assert!(refused(&text(MAX_STRING_BYTES + 1)).contains("bytes"));
    }

    #[test]
    fn what_follows_the_document_is_refused() {
        assert!(refused("{} {}").contains("trailing"));
        assert!(Value::parse(b"").is_err());
        assert!(Value::parse(b"\xef\xbb\xbf{}").is_err());
        assert!(Value::parse(b"\"\xff\"").is_err());
    }
}
