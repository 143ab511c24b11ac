//! What the events of a sign-up are given, and the values they answer with.

use crate::bindings::sign_up::NamedValue;
pub use crate::bindings::sign_up::{Attribute, AttributeType, AttributeValue, BlockPage, Identity, SignUp, ValueType};
use crate::conversions::from_texts;

impl SignUp {
    /// An attribute by its name; upper and lower case differ.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The text of an attribute that has one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            AttributeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer of an attribute that has one.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            AttributeValue::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// Whether an attribute is true; none when it has no such value.
    #[must_use]
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.value(name)? {
            AttributeValue::Boolean(boolean) => Some(*boolean),
            _ => None,
        }
    }

    /// The texts of an attribute that has several: those of a collection, or what is between the commas of a text,
    /// which is how Entra usually sends them. Empty ones are left out.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<&str> {
        let texts: Vec<_> = match self.value(name) {
            Some(AttributeValue::Text(text)) => text.split(',').collect(),
            Some(AttributeValue::Texts(texts)) => texts.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        texts
            .into_iter()
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect()
    }

    /// The attributes that have a value, as name and value, in the request's order. All of them are in
    /// [`attributes`](Self::attributes).
    pub fn values(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.attributes
            .iter()
            .filter_map(|attribute| Some((attribute.name.as_str(), attribute.value.as_ref()?)))
    }

    /// The mail address of the person who signs up.
    ///
    /// Entra does not always send it in the same place: it is the text of the attribute `email`, else of
    /// `EmailAddress`, else the id of an identity that is a mail address (its sign-in type is `emailAddress` or
    /// `email`, or its issuer `mail`).
    #[must_use]
    pub fn mail(&self) -> Option<&str> {
        let attribute = |name| self.text(name).filter(|mail| !mail.is_empty());
        attribute("email")
            .or_else(|| attribute("EmailAddress"))
            .or_else(|| self.identities.iter().find_map(Identity::mail))
    }

    fn value(&self, name: &str) -> Option<&AttributeValue> {
        self.attribute(name)?.value.as_ref()
    }
}

impl Identity {
    fn mail(&self) -> Option<&str> {
        let is = |member: &Option<String>, names: &[&str]| {
            let member = member.as_deref().unwrap_or_default();
            names.iter().any(|name| name.eq_ignore_ascii_case(member))
        };
        (is(&self.sign_in_type, &["emailAddress", "email"]) || is(&self.issuer, &["mail"]))
            .then_some(self.issuer_assigned_id.as_deref()?)
            .filter(|mail| mail.contains('@'))
    }
}

impl Attribute {
    /// A built-in attribute with this value, of the value's type: for tests.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        let value = value.into();
        Self {
            name: name.into(),
            value_type: value.value_type(),
            value: Some(value),
            attribute_type: AttributeType::BuiltIn,
        }
    }
}

/// A built-in attribute of texts, without name and value.
impl Default for Attribute {
    fn default() -> Self {
        Self {
            name: String::new(),
            value: None,
            value_type: ValueType::Text,
            attribute_type: AttributeType::BuiltIn,
        }
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the type is generated, beside others that have no default"
)]
impl Default for SignUp {
    fn default() -> Self {
        Self {
            attributes: Vec::new(),
            identities: Vec::new(),
        }
    }
}

#[expect(
    clippy::derivable_impls,
    reason = "the type is generated, beside others that have no default"
)]
impl Default for Identity {
    fn default() -> Self {
        Self {
            sign_in_type: None,
            issuer: None,
            issuer_assigned_id: None,
        }
    }
}

impl AttributeValue {
    /// The type this value has.
    #[must_use]
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::Text(_) => ValueType::Text,
            Self::Integer(_) => ValueType::Integer,
            Self::Boolean(_) => ValueType::Boolean,
            Self::Texts(_) => ValueType::Texts,
        }
    }
}

from_texts!(AttributeValue);

impl From<bool> for AttributeValue {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

macro_rules! from_integer {
    ($($type:ty)*) => {$(
        impl From<$type> for AttributeValue {
            fn from(integer: $type) -> Self {
                Self::Integer(integer.into())
            }
        }
    )*};
}

from_integer!(i8 i16 i32 i64 u8 u16 u32);

/// Attributes and the values they get, in the order they were added.
///
/// Only attributes of the request can be named, under the name and with a value of the type they have there; the host
/// refuses others. Where the directory has several values, Entra keeps them as one text with commas: an array of texts
/// becomes that, so that none of them can have a comma.
///
/// ```
/// use claimsmith_plugin::AttributeValues;
///
/// let values = AttributeValues::new()
///     .with("country", "es")
///     .with("extension_0123456789abcdef0123456789abcdef_Year", 2011)
///     .with_optional("city", None::<&str>);
/// assert_eq!(values.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeValues(Vec<NamedValue>);

impl AttributeValues {
    /// No values.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a value, or replaces that of the attribute with this name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        self.insert(name, value);
        self
    }

    /// Adds a value if there is one.
    #[must_use]
    pub fn with_optional(self, name: impl Into<String>, value: Option<impl Into<AttributeValue>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a value, or replaces that of the attribute with this name.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<AttributeValue>) {
        let name = name.into();
        let value = value.into();
        match self.0.iter_mut().find(|named| named.name == name) {
            Some(named) => named.value = value,
            None => self.0.push(NamedValue { name, value }),
        }
    }

    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// How many values there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values, as name and value.
    #[must_use = "iterators are lazy"]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &AttributeValue)> {
        self.0.iter().map(|named| (named.name.as_str(), &named.value))
    }

    /// Values that nothing has checked: for plugins that test a host's reaction to a wrong answer.
    #[doc(hidden)]
    #[must_use]
    pub fn unchecked(values: impl IntoIterator<Item = (String, AttributeValue)>) -> Self {
        let values = values.into_iter().map(|(name, value)| NamedValue { name, value });
        Self(values.collect())
    }
}

impl From<AttributeValues> for Vec<NamedValue> {
    fn from(values: AttributeValues) -> Self {
        values.0
    }
}

impl<N: Into<String>, V: Into<AttributeValue>> Extend<(N, V)> for AttributeValues {
    fn extend<T: IntoIterator<Item = (N, V)>>(&mut self, values: T) {
        for (name, value) in values {
            self.insert(name, value);
        }
    }
}

impl<N: Into<String>, V: Into<AttributeValue>> FromIterator<(N, V)> for AttributeValues {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(values: T) -> Self {
        let mut all = Self::new();
        all.extend(values);
        all
    }
}

impl BlockPage {
    /// A page with this message, under a title that Entra chooses.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            title: None,
            message: message.into(),
        }
    }

    /// The same page under this title.
    #[must_use]
    pub fn with_title(self, title: impl Into<String>) -> Self {
        Self {
            title: Some(title.into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn sign_up(attributes: Vec<Attribute>) -> SignUp {
        SignUp {
            attributes,
            ..SignUp::default()
        }
    }

    fn identity(sign_in_type: &str, issuer: &str, id: &str) -> Identity {
        Identity {
            sign_in_type: Some(sign_in_type.into()),
            issuer: Some(issuer.into()),
            issuer_assigned_id: Some(id.into()),
        }
    }

    #[test]
    fn an_attribute_is_read_by_its_name_and_as_its_type() {
        let sign_up = sign_up(vec![
            Attribute::new("city", "Paris"),
            Attribute::new("year", 2011),
            Attribute::new("news", true),
            Attribute::new("teams", "red, blue,,"),
            Attribute::new("roles", ["buyer", "", "admin, site"]),
            Attribute {
                name: "empty".into(),
                ..Attribute::default()
            },
        ]);
        assert_eq!(sign_up.text("city"), Some("Paris"));
        assert_eq!(sign_up.integer("year"), Some(2011));
        assert_eq!(sign_up.boolean("news"), Some(true));
        assert_eq!(sign_up.texts("teams"), ["red", "blue"]);
        assert_eq!(sign_up.texts("roles"), ["buyer", "admin, site"]);
        assert_eq!(sign_up.attribute("year").unwrap().value_type, ValueType::Integer);
        for name in ["City", "empty", "unknown", "year"] {
            assert_eq!(sign_up.text(name), None, "{name}");
        }
        assert_eq!(sign_up.integer("city"), None);
        assert_eq!(sign_up.boolean("city"), None);
        assert_eq!(sign_up.texts("year"), Vec::<&str>::new());
        assert_eq!(sign_up.texts("empty"), Vec::<&str>::new());
        let names: Vec<_> = sign_up.values().map(|(name, _)| name).collect();
        assert_eq!(names, ["city", "year", "news", "teams", "roles"]);
    }

    #[test]
    fn the_mail_address_is_found_where_entra_puts_it() {
        let mut sign_up = SignUp::default();
        assert_eq!(sign_up.mail(), None);
        sign_up.identities = vec![
            identity("federated", "google.com", "social@example.org"),
            identity("federated", "mail", "117"),
            identity("federated", "Mail", "local@example.org"),
        ];
        assert_eq!(sign_up.mail(), Some("local@example.org"));
        for sign_in_type in ["email", "emailAddress"] {
            sign_up.identities = vec![identity(sign_in_type, "contoso.example", "a@example.org")];
            assert_eq!(sign_up.mail(), Some("a@example.org"));
        }
        sign_up
            .attributes
            .push(Attribute::new("EmailAddress", "start@example.org"));
        assert_eq!(sign_up.mail(), Some("start@example.org"));
        sign_up.attributes.push(Attribute::new("email", ""));
        assert_eq!(sign_up.mail(), Some("start@example.org"));
        sign_up.attributes.pop();
        sign_up.attributes.push(Attribute::new("email", "submit@example.org"));
        assert_eq!(sign_up.mail(), Some("submit@example.org"));
        let mail = Identity::default().mail().map(str::to_owned);
        assert_eq!(mail, None);
    }

    #[test]
    fn a_value_keeps_its_type() {
        let text = AttributeValue::Text("a".into());
        let texts = AttributeValue::Texts(vec!["a".into(), "b".into()]);
        assert_eq!(AttributeValue::from("a"), text);
        assert_eq!(AttributeValue::from(String::from("a")), text);
        assert_eq!(AttributeValue::from(&String::from("a")), text);
        assert_eq!(AttributeValue::from(Cow::from("a")), text);
        assert_eq!(AttributeValue::from(["a", "b"]), texts);
        assert_eq!(AttributeValue::from(vec!["a", "b"]), texts);
        assert_eq!(AttributeValue::from(&vec!["a", "b"]), texts);
        assert_eq!(AttributeValue::from(u32::MAX), AttributeValue::Integer(4_294_967_295));
        assert_eq!(AttributeValue::from(i64::MIN), AttributeValue::Integer(i64::MIN));
        assert_eq!(AttributeValue::from(false), AttributeValue::Boolean(false));
        for (value, value_type) in [
            (text, ValueType::Text),
            (texts, ValueType::Texts),
            (1.into(), ValueType::Integer),
            (true.into(), ValueType::Boolean),
        ] {
            assert_eq!(value.value_type(), value_type);
        }
    }

    #[test]
    fn a_name_that_comes_again_replaces_the_value_and_keeps_the_place() {
        let values: AttributeValues = [("a", 1), ("b", 2), ("a", 3)].into_iter().collect();
        assert_eq!(values, AttributeValues::new().with("a", 3).with("b", 2));
        assert_eq!(values.get("a"), Some(&3.into()));
        assert_eq!(values.get("A"), None);
        let optional = AttributeValues::new().with_optional("a", None::<&str>);
        assert!(optional.is_empty());
        assert_eq!(optional.with_optional("a", Some("x")).len(), 1);
    }

    #[test]
    fn a_page_has_a_title_only_when_it_is_given_one() {
        assert_eq!(BlockPage::new("Why").title, None);
        let page = BlockPage::new("Why").with_title("No");
        assert_eq!((page.title.as_deref(), page.message.as_str()), (Some("No"), "Why"));
    }
}
