//! Groups' names.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A group's distinguished name, or its value of an attribute, as it is compared: without regard to the case of ASCII's
/// letters and to spaces around a name's commas. Other letters are compared as they are: the lower case of U+212A, the sign
/// of kelvin, is `k`, and a role must not be given for a group that looks like the one that was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group(String);

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        let mut comparable = String::with_capacity(name.len());
        let mut is_escaped = false;
        let mut is_begin = true;
        for character in name.trim().chars() {
            let is_separator = character == ',' && !is_escaped;
            if is_separator {
                comparable.truncate(comparable.trim_end().len());
            }
            if !(is_begin && character == ' ') {
                comparable.push(character.to_ascii_lowercase());
            }
            is_begin = is_separator || (is_begin && character == ' ');
            is_escaped = character == '\\' && !is_escaped;
        }
        Self(comparable)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name.trim().is_empty() {
            return Err(serde::de::Error::custom(
                "expected a group, such as cn=admins,ou=groups,dc=contoso,dc=example",
            ));
        }
        Ok(Self::new(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::Group;

    #[test]
    fn spellings_of_one_name_are_the_same_and_other_names_are_not() {
        let group = Group::new("cn=Admins,ou=groups,dc=contoso");
        for same in ["CN=admins,OU=Groups,DC=Contoso", " cn=Admins , ou=groups,  dc=contoso "] {
            assert_eq!(Group::new(same), group, "{same}");
        }
        for other in [
            "cn=Admins,ou=other,dc=contoso",
            "Admins",
            r"cn=Admins\,ou=groups,dc=contoso",
        ] {
            assert_ne!(Group::new(other), group, "{other}");
        }
        // The sign of kelvin, whose lower case is `k`.
        assert_ne!(Group::new("cn=\u{212a}eys,dc=c"), Group::new("cn=keys,dc=c"));
        assert_ne!(
            Group::new(r"cn=a\, b,dc=c"),
            Group::new(r"cn=a\,b,dc=c"),
            "part of the name"
        );
    }
}
