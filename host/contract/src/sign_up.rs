//! What Entra sends of a sign-up (`userSignUpInfo`), and the values that an answer may give its attributes
//! (contract.md, sections 1.2 and 1.3).

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::guard::GuardError;
use crate::json::Value;
use crate::reader::{ObjectReader, Problems};
use crate::schema::attribute::{AnyAttribute, Int64};

/// The attributes and identities of a sign-up.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct SignUp<'a> {
    /// The attributes, in the request's order.
    #[schemars(with = "Option<BTreeMap<String, Option<AnyAttribute>>>")]
    pub attributes: Vec<Attribute<'a>>,
    /// The identities; Entra leaves them out of some requests.
    #[schemars(with = "Option<Vec<Identity<'_>>>")]
    pub identities: Vec<Identity<'a>>,
}

/// One attribute of the sign-up page.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute<'a> {
    /// Its name. Names are not the same in both events.
    pub name: Cow<'a, str>,
    /// Its value; none when there is none, or the type is not known.
    pub value: Option<AttributeValue>,
    /// The type that values of it have.
    pub value_type: ValueType,
    /// `builtIn`, `directorySchemaExtension`, or something newer.
    pub attribute_type: Option<Cow<'a, str>>,
}

/// One way the person will sign in.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Identity<'a> {
    /// `signInType`
    pub sign_in_type: Option<Cow<'a, str>>,
    /// `issuer`
    pub issuer: Option<Cow<'a, str>>,
    /// `issuerAssignedId`
    pub issuer_assigned_id: Option<Cow<'a, str>>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A string.
    Text(String),
    /// A 64-bit integer.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// Several strings.
    Texts(Vec<String>),
}

/// The type of an attribute's values, from its `@odata.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `microsoft.graph.stringDirectoryAttributeValue`
    Text,
    /// `microsoft.graph.int64DirectoryAttributeValue`
    Integer,
    /// `microsoft.graph.booleanDirectoryAttributeValue`
    Boolean,
    /// `microsoft.graph.stringCollectionDirectoryAttributeValue`
    Texts,
    /// Another one.
    Other,
}

impl ValueType {
    /// The types that are known, by name.
    pub(crate) const NAMED: [(&str, Self); 4] = [
        ("microsoft.graph.stringDirectoryAttributeValue", Self::Text),
        ("microsoft.graph.int64DirectoryAttributeValue", Self::Integer),
        ("microsoft.graph.booleanDirectoryAttributeValue", Self::Boolean),
        ("microsoft.graph.stringCollectionDirectoryAttributeValue", Self::Texts),
    ];

    fn from_odata_type(text: &str) -> Self {
        Self::NAMED
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map_or(Self::Other, |(_, value_type)| value_type)
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "a 64-bit integer",
            Self::Boolean => "a boolean",
            Self::Texts => "an array of strings or one string with commas",
            Self::Other => "a type this version does not know",
        }
    }
}

/// Reads `data.userSignUpInfo`.
pub(crate) fn read<'a>(data: &mut ObjectReader<'a>, problems: &mut Problems) -> SignUp<'a> {
    let Some(mut info) = data.required_object("userSignUpInfo", problems) else {
        return SignUp::default();
    };
    let attributes = info.object("attributes", problems).map(ObjectReader::into_members);
    let attributes = attributes.unwrap_or_default().into_iter();
    SignUp {
        attributes: attributes
            // Null is absent here, too (contract.md, section 0.4).
            .filter(|(_, _, value)| *value != Value::Null)
            .filter_map(|(name, place, value)| read_attribute(name, &place, value, problems))
            .collect(),
        identities: read_identities(&mut info, problems),
    }
}

fn read_attribute<'a>(
    name: Cow<'a, str>,
    place: &str,
    value: Value<'a>,
    problems: &mut Problems,
) -> Option<Attribute<'a>> {
    let mut reader = ObjectReader::new(place, value, problems)?;
    // The type may come after the value (contract.md, section 0.4), so it is taken first.
    let odata_type = reader.take_odata_type(problems);
    let value_type = odata_type
        .as_deref()
        .map_or(ValueType::Other, ValueType::from_odata_type);
    let value = reader.take("value").and_then(|value| {
        let read = read_value(value, value_type);
        if read.is_none() && value_type != ValueType::Other {
            problems.add(
                reader.pointer_to("value"),
                format!("expected {}", value_type.expected()),
            );
        }
        read
    });
    Some(Attribute {
        name,
        value,
        value_type,
        attribute_type: reader.text("attributeType", problems),
    })
}

fn read_value(value: Value<'_>, value_type: ValueType) -> Option<AttributeValue> {
    Some(match (value_type, value) {
        (ValueType::Text | ValueType::Texts, Value::String(text)) => AttributeValue::Text(text.into_owned()),
        (ValueType::Integer, Value::Number(number)) => AttributeValue::Integer(whole(&number)?),
        (ValueType::Boolean, Value::Bool(value)) => AttributeValue::Boolean(value),
        (ValueType::Texts, Value::Array(items)) => {
            let text = |item| match item {
                Value::String(text) => Some(text.into_owned()),
                _ => None,
            };
            AttributeValue::Texts(items.into_iter().map(text).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// Up to which whole number a fraction or an exponent may be written: 2^50. Such numbers are read as doubles, which
/// `serde_json` rounds twice; from 2^52 on, another whole number could come of it.
const MAX_EXACT: f64 = 1_125_899_906_842_624.0;

/// A whole number, also when it is written as `1.0` or `1e0`: JSON has no integers of their own (RFC 8259, section 6), and
/// JSON Schema's `integer` is any number without a fraction.
pub(crate) fn whole(number: &serde_json::Number) -> Option<i64> {
    let exact = |double: &f64| double.fract() == 0.0 && double.abs() <= MAX_EXACT;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and far within the range")]
    let from_double = || number.as_f64().filter(exact).map(|double| double as i64);
    number.as_i64().or_else(from_double)
}

/// Reads `identities` of `userSignUpInfo` or of a Verified ID's context.
pub(crate) fn read_identities<'a>(parent: &mut ObjectReader<'a>, problems: &mut Problems) -> Vec<Identity<'a>> {
    let place = parent.pointer_to("identities");
    let items = match parent.take("identities") {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => {
            problems.add(place, format!("expected an array, found {}", other.kind()));
            return Vec::new();
        }
    };
    let identity = |(index, item)| {
        let mut reader = ObjectReader::new(format!("{place}/{index}"), item, problems)?;
        Some(Identity {
            sign_in_type: reader.text("signInType", problems),
            issuer: reader.text("issuer", problems),
            issuer_assigned_id: reader.text("issuerAssignedId", problems),
        })
    };
    items.into_iter().enumerate().filter_map(identity).collect()
}

/// An attribute and the value that an answer gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedValue {
    /// The attribute's name.
    pub name: String,
    /// The value.
    pub value: AttributeValue,
}

/// A value as the wire has it: what has several values is one string with commas.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum WireValue {
    Text(String),
    Integer(#[schemars(with = "Int64")] i64),
    Boolean(bool),
}

/// Checks values against the request's attributes, and gives them their wire form.
///
/// # Errors
/// The first value that names no attribute of the request, names one twice, or has another type than it.
pub(crate) fn guard_values<'v>(
    values: &'v [NamedValue],
    sign_up: &SignUp<'_>,
) -> Result<Vec<(&'v str, WireValue)>, GuardError> {
    let mut guarded: Vec<(&str, WireValue)> = Vec::with_capacity(values.len());
    for NamedValue { name, value } in values {
        let Some(attribute) = sign_up.attributes.iter().find(|attribute| attribute.name == *name) else {
            return Err(GuardError::unknown_attribute(name));
        };
        if guarded.iter().any(|(known, _)| known == name) {
            return Err(GuardError::duplicate_attribute(name));
        }
        let Some(value) = wire_value(value, attribute.value_type) else {
            return Err(GuardError::attribute_type(name, attribute.value_type.expected()));
        };
        guarded.push((name, value));
    }
    Ok(guarded)
}

fn wire_value(value: &AttributeValue, value_type: ValueType) -> Option<WireValue> {
    match (value, value_type) {
        (AttributeValue::Text(text), ValueType::Text | ValueType::Texts) => Some(WireValue::Text(text.clone())),
        (AttributeValue::Integer(number), ValueType::Integer) => Some(WireValue::Integer(*number)),
        (AttributeValue::Boolean(value), ValueType::Boolean) => Some(WireValue::Boolean(*value)),
        // A value with a comma in it would become two.
        (AttributeValue::Texts(texts), ValueType::Text | ValueType::Texts)
            if !texts.iter().any(|text| text.contains(',')) =>
        {
            Some(WireValue::Text(texts.join(",")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn whole_numbers_are_read_exactly_or_not_at_all() {
        for (text, expected) in [
            ("1", Some(1)),
            ("1.0", Some(1)),
            ("-0", Some(0)),
            ("-1.5e1", Some(-15)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("1125899906842624.0", Some(1 << 50)),
            ("1.5", None),
            ("1e-1", None),
            ("9223372036854775808", None),
            // Another one would be read.
            ("9007199254740991.0", None),
            ("9007199254740993e0", None),
            ("1e300", None),
        ] {
            let number = serde_json::from_str(text).expect("a number");
            assert_eq!(whole(&number), expected, "{text}");
        }
    }
}
