//! The wire form of a response: `data` with its type, and exactly one action (contract.md, section 0.3).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::event::Event;

/// Room for an answer as most are, so that it does not grow step by step.
const USUAL_BYTES: usize = 512;

/// A response's body. `action` serialises to an object with its own `@odata.type`.
pub(crate) fn response<A: Serialize>(event: Event, action: &A, nonce: Option<&str>) -> Vec<u8> {
    let response = Response {
        data: Data {
            odata_type: event.response_data_type(),
            actions: [action],
            nonce,
        },
    };
    let mut body = Vec::with_capacity(USUAL_BYTES);
    // Serialising text to memory cannot fail; the empty vector would be refused by Entra (1003009).
    let written = serde_json::to_writer(&mut body, &response);
    written.map(|()| body).unwrap_or_default()
}

/// A whole response.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Response<'a, A> {
    /// The answer.
    data: Data<'a, A>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Data<'a, A> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    /// Exactly one action.
    actions: [&'a A; 1],
    /// Only passwordSubmit: the nonce of the encrypted context.
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// Pairs as a JSON object, in their order.
pub(crate) struct Pairs<'a, V>(pub(crate) &'a [(&'a str, V)]);

impl<V: Serialize> Serialize for Pairs<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<V: JsonSchema> JsonSchema for Pairs<'_, V> {
    fn schema_name() -> Cow<'static, str> {
        format!("Pairs_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<V>() })
    }
}
