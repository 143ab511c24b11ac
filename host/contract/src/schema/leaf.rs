//! The smallest parts of schemas: what a GUID is, what text is, and names in any case.
//!
//! Patterns instead of `format`: validators disagree about formats, and few check them. No class such as `\s` or `\d`:
//! regular expressions of different languages disagree about those.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::reader::Guid;

/// A GUID in the hyphenated form, not all zeros.
pub(crate) const GUID: &str = concat!(
    "(?!00000000-0000-0000-0000-000000000000)",
    "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
);
/// A character that is no white space (Unicode's `White_Space`, which `str::trim` takes away).
const FILLED: &str = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";

impl JsonSchema for Guid<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Guid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": format!("^{GUID}$") })
    }
}

/// A string with text in it.
pub(crate) struct Filled;

impl JsonSchema for Filled {
    fn schema_name() -> Cow<'static, str> {
        "Filled".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": FILLED })
    }
}

/// The names of an object's members when each must have text in it.
pub(crate) fn filled() -> Value {
    json!({ "pattern": FILLED })
}

/// Any string.
pub(crate) fn text() -> Value {
    json!({ "type": "string" })
}

/// Text that must be this one, in upper or lower case.
pub(crate) fn in_any_case(text: &str) -> Value {
    json!({ "type": "string", "pattern": any_case(text), "examples": [text] })
}

/// The pattern of a text in upper or lower case.
pub(crate) fn any_case(text: &str) -> String {
    let character = |character: char| match character {
        letter if letter.is_ascii_alphabetic() => {
            format!("[{}{}]", letter.to_ascii_lowercase(), letter.to_ascii_uppercase())
        }
        '.' => "[.]".to_owned(),
        other => other.to_string(),
    };
    let pattern: String = text.chars().map(character).collect();
    format!("^{pattern}$")
}

/// Sets a member of the object at a JSON Pointer.
pub(crate) fn set(schema: &mut Value, pointer: &str, member: &str, value: Value) {
    if let Some(object) = schema.pointer_mut(pointer).and_then(Value::as_object_mut) {
        object.insert(member.to_owned(), value);
    }
}

/// Takes `null` from what a member can be: it is left out instead.
pub fn without_null(schema: &mut Schema) {
    let types = schema.get_mut("type").and_then(Value::as_array_mut);
    let first = types.and_then(|types| types.iter().find(|name| *name != "null").cloned());
    if let Some(first) = first {
        schema.insert("type".to_owned(), first);
    }
}

/// Requires a member, which is text, under its name in upper or lower case.
pub(crate) fn required_in_any_case(schema: &mut Schema, member: &str) {
    let object = schema.ensure_object();
    if let Some(required) = object.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != member);
    }
    let properties = object.get_mut("properties").and_then(Value::as_object_mut);
    let described = properties.and_then(|properties| properties.get_mut(member));
    let Some(described) = described.and_then(Value::as_object_mut) else {
        return;
    };
    // In one of several spellings it may be null.
    described.insert("type".to_owned(), json!(["string", "null"]));
    let described = Value::Object(described.clone());
    let pattern = any_case(member);
    let usual = json!({ "required": [member], "properties": { member: { "type": "string" } } });
    // "Some member of that name is not null" is said as "not all of them are null".
    let other = json!({ "not": { "patternProperties": { &pattern: { "type": "null" } } } });
    object.insert("anyOf".to_owned(), json!([usual, other]));
    object.insert("patternProperties".to_owned(), json!({ pattern: described }));
}
