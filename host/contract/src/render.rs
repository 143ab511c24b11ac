//! The wire form of a response: `data` with its type, and exactly one action (contract.md, section 0.3).

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::event::Event;
use crate::guard::BlockPage;

/// A response's body. `action` serialises to an object with its own `@odata.type`.
pub(crate) fn response<A: Serialize>(event: Event, action: &A, nonce: Option<&str>) -> Vec<u8> {
    let response = Response {
        data: Data {
            odata_type: event.response_data_type(),
            actions: [action],
            nonce,
        },
    };
    // Serialising text to memory cannot fail; the empty vector would be refused by Entra (1003009).
    serde_json::to_vec(&response).unwrap_or_default()
}

#[derive(Serialize)]
struct Response<'a, A> {
    data: Data<'a, A>,
}

#[derive(Serialize)]
struct Data<'a, A> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    actions: [&'a A; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// An action that has no members besides its type.
#[derive(Serialize)]
pub(crate) struct Plain {
    #[serde(rename = "@odata.type")]
    pub(crate) odata_type: &'static str,
}

/// An action that shows a block page.
#[derive(Serialize)]
pub(crate) struct Block<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    message: &'a str,
}

impl<'a> Block<'a> {
    pub(crate) fn new(odata_type: &'static str, page: &'a BlockPage) -> Self {
        Self {
            odata_type,
            title: page.title.as_deref(),
            message: &page.message,
        }
    }
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
