//! The schema of a sign-up's attribute, whose value has the type that its `@odata.type` names.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::leaf::{any_case, in_any_case};
use crate::sign_up::ValueType;

/// Any attribute.
pub(crate) struct AnyAttribute;

impl JsonSchema for AnyAttribute {
    fn schema_name() -> Cow<'static, str> {
        "Attribute".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let known = ValueType::NAMED.map(|(name, value_type)| {
            json!({
                "properties": { "@odata.type": in_any_case(name), "value": value(value_type) },
                "required": ["@odata.type"],
            })
        });
        let patterns = ValueType::NAMED.map(|(name, _)| json!({ "pattern": any_case(name) }));
        let other = json!({
            "description": "A type that this version does not know, or none: the value is not read.",
            "properties": { "@odata.type": { "type": ["string", "null"], "not": { "type": "string", "anyOf": patterns } } },
        });
        let of_types: Vec<_> = known.into_iter().chain([other]).collect();
        json_schema!({
            "type": "object",
            "properties": {
                "attributeType": {
                    "type": ["string", "null"],
                    "description": "`builtIn`, `directorySchemaExtension`, or something newer",
                },
            },
            "anyOf": of_types,
        })
    }
}

fn value(value_type: ValueType) -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    match value_type {
        ValueType::Text => json!({ "type": ["string", "null"] }),
        ValueType::Integer => json!({ "anyOf": [int64(), { "type": "null" }] }),
        ValueType::Boolean => json!({ "type": ["boolean", "null"] }),
        ValueType::Texts => json!({ "anyOf": [texts, { "type": ["string", "null"] }] }),
        ValueType::Other => json!(true),
    }
}

/// A 64-bit integer. A `format` would say the same, and be checked by few.
fn int64() -> Value {
    json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX })
}

/// A 64-bit integer.
pub(crate) struct Int64;

impl JsonSchema for Int64 {
    fn schema_name() -> Cow<'static, str> {
        "Int64".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::try_from(int64()).unwrap_or_default()
    }
}
