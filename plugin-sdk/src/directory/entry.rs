//! Entries.

use std::fmt;

use crate::bindings::directory as wit;

/// An entry: its name, and the attributes it has of those that were wanted. Attributes' names are compared without regard to
/// case, as directories do.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Entry {
    dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// An entry without attributes: for tests.
    #[must_use]
    pub fn new(dn: impl Into<String>) -> Self {
        Self {
            dn: dn.into(),
            attributes: Vec::new(),
        }
    }

    /// With one more attribute: for tests.
    #[must_use]
    pub fn with<V: Into<Vec<u8>>>(mut self, attribute: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.attributes.push((attribute.into(), values));
        self
    }

    /// The distinguished name (RFC 4514).
    #[must_use]
    pub fn dn(&self) -> &str {
        &self.dn
    }

    /// The values of an attribute: none if the entry does not have it.
    pub fn values(&self, attribute: &str) -> impl Iterator<Item = &[u8]> {
        let of_name = self
            .attributes
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        of_name.into_iter().flat_map(|(_, values)| values).map(Vec::as_slice)
    }

    /// The values of an attribute that are text.
    pub fn texts(&self, attribute: &str) -> impl Iterator<Item = &str> {
        self.values(attribute)
            .filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The first value of an attribute that is text.
    #[must_use]
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.texts(attribute).next()
    }

    /// The attributes' names, in the directory's letters.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|(name, _)| name.as_str())
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values are what is known of people, and so are names.
        let names: Vec<_> = self.attributes().collect();
        formatter
            .debug_struct("Entry")
            .field("attributes", &names)
            .finish_non_exhaustive()
    }
}

impl From<wit::Entry> for Entry {
    fn from(entry: wit::Entry) -> Self {
        let attributes = entry.attributes.into_iter();
        Self {
            dn: entry.dn,
            attributes: attributes.map(|attribute| (attribute.name, attribute.values)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Entry;

    #[test]
    fn attributes_are_found_in_any_letters() {
        let entry = Entry::new("uid=ada")
            .with("memberOf", ["a", "b"])
            .with("photo", [vec![0xff, 0xd8]]);
        assert_eq!(entry.texts("MEMBEROF").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(entry.text("memberof"), Some("a"));
        assert_eq!((entry.text("photo"), entry.text("mail")), (None, None));
        assert_eq!(entry.values("photo").collect::<Vec<_>>(), [[0xff, 0xd8]]);
    }

    #[test]
    fn debug_tells_nothing_of_people() {
        let entry = Entry::new("uid=ada").with("mail", ["ada@contoso.example"]);
        assert_eq!(format!("{entry:?}"), r#"Entry { attributes: ["mail"], .. }"#);
    }
}
