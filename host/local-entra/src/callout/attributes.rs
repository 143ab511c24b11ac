//! What the two attribute collection events share: `userSignUpInfo`, and values that an answer gives to attributes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::verdict::{Action, invalid};
use super::{Event, Failure, Oddity};

/// What custom attributes' names begin with.
const EXTENSION_PREFIX: &str = "extension_";
/// The name of `email` in recorded attributeCollectionStart requests.
const EMAIL_ADDRESS: &str = "EmailAddress";

/// The type of an attribute's values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeType {
    /// A text.
    #[default]
    String,
    /// An integer of 64 bits.
    Int64,
    /// True or false.
    Boolean,
    /// Several texts, as one text with commas between them.
    StringCollection,
}

/// An attribute on the page on which a new user fills in attributes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CollectedAttribute {
    /// Its name: a built-in one such as `city`, or `extension_{app id without hyphens}_{name}`.
    pub(crate) name: String,
    /// The type of its values.
    pub(crate) value_type: AttributeType,
    /// What it has now; null when nothing.
    pub(crate) value: Value,
}

/// An identity of a new user: `{ signInType, issuer, issuerAssignedId }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// `email`, or `federated` as recorded.
    pub sign_in_type: String,
    /// The directory's domain; as recorded `mail`, or a social provider such as `google.com`.
    pub issuer: String,
    /// The address, or the provider's id of the user.
    pub issuer_assigned_id: String,
}

/// A page that ends what the user was doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockPage {
    /// Its title; older versions of the contract have none.
    pub title: Option<String>,
    /// Its text.
    pub message: String,
}

// === impl AttributeType ===

impl AttributeType {
    /// Whether a value, which is not null, is of this type.
    pub(crate) fn accepts(self, value: &Value) -> bool {
        match self {
            Self::String | Self::StringCollection => value.is_string(),
            Self::Int64 => value.is_i64(),
            Self::Boolean => value.is_boolean(),
        }
    }

    /// What a value of this type looks like.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Int64 => "an integer",
            Self::Boolean => "true or false",
            Self::StringCollection => "one string with commas between the values",
        }
    }
}

// === impl CollectedAttribute ===

impl CollectedAttribute {
    fn to_json(&self, oddities: &[Oddity]) -> Value {
        let as_array =
            self.value_type == AttributeType::StringCollection && oddities.contains(&Oddity::CollectionAsArray);
        let type_name = match self.value_type {
            AttributeType::StringCollection if as_array => "microsoft.graph.stringCollectionDirectoryAttributeValue",
            AttributeType::String | AttributeType::StringCollection => "microsoft.graph.stringDirectoryAttributeValue",
            AttributeType::Int64 => "microsoft.graph.int64DirectoryAttributeValue",
            AttributeType::Boolean => "microsoft.graph.booleanDirectoryAttributeValue",
        };
        let value = match &self.value {
            Value::String(text) if as_array => text.split(',').map(|part| json!(part.trim())).collect(),
            value => value.clone(),
        };
        let attribute_type = if self.name.starts_with(EXTENSION_PREFIX) {
            "directorySchemaExtension"
        } else {
            "builtIn"
        };
        let type_member = if oddities.contains(&Oddity::TypeWithCapital) {
            "@odata.Type"
        } else {
            "@odata.type"
        };
        if oddities.contains(&Oddity::TypeAfterValue) {
            json!({ "value": value, type_member: type_name, "attributeType": attribute_type })
        } else {
            json!({ type_member: type_name, "value": value, "attributeType": attribute_type })
        }
    }
}

/// `userSignUpInfo` of an event.
pub(crate) fn user_sign_up_info(
    event: Event,
    page: &[CollectedAttribute],
    identities: &[Identity],
    oddities: &[Oddity],
) -> Map<String, Value> {
    let attributes: Map<String, Value> = page
        .iter()
        .map(|attribute| (attribute.name.clone(), attribute.to_json(oddities)))
        .collect();
    let mut info = json!({ "attributes": attributes });
    let omitted = event == Event::AttributeCollectionSubmit && oddities.contains(&Oddity::IdentitiesOmitted);
    if let (Value::Object(info), false) = (&mut info, omitted || identities.is_empty()) {
        info.insert("identities".to_owned(), json!(identities));
    }
    Map::from_iter([("userSignUpInfo".to_owned(), info)])
}

/// The name that an attribute has in a request of the event.
pub(crate) fn name_on_wire(name: &str, event: Event, oddities: &[Oddity]) -> String {
    let renamed = event == Event::AttributeCollectionStart && oddities.contains(&Oddity::EmailAddressName);
    if renamed && name == "email" {
        EMAIL_ADDRESS
    } else {
        name
    }
    .to_owned()
}

/// The name that an attribute of a request has on the page.
pub(crate) fn name_on_page(name: &str) -> &str {
    if name == EMAIL_ADDRESS { "email" } else { name }
}

/// The values that an answer gives to attributes of the request.
///
/// Attributes that are not in the request are ignored, as documented, with a warning. Assumed, because Entra does not say:
/// a value of another type, `null` included, is an error, and names are compared with letter case.
pub(super) fn values(
    action: &mut Action,
    member: &str,
    page: &[CollectedAttribute],
) -> Result<Map<String, Value>, Failure> {
    let mut accepted = Map::new();
    for (name, value) in action.object(member)? {
        let Some(attribute) = page.iter().find(|attribute| attribute.name == name) else {
            action
                .warnings
                .push(format!("the attribute `{name}` is not in the request: ignored"));
            continue;
        };
        if !attribute.value_type.accepts(&value) {
            return Err(invalid(format!(
                "the value of `{name}` is not {}",
                attribute.value_type.expected()
            )));
        }
        accepted.insert(name, value);
    }
    Ok(accepted)
}

/// Reads `showBlockPage` of either event.
pub(super) fn block_page(action: &Action) -> Result<BlockPage, Failure> {
    Ok(BlockPage {
        title: action.optional_text("title")?,
        message: action.text("message")?,
    })
}
