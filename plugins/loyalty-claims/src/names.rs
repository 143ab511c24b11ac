//! What members and domains are named by, so that spellings that mean the same are equal.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

/// A user's object id: a GUID, whatever its letters' case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId(u128);

impl FromStr for ObjectId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HYPHENS: [usize; 4] = [8, 13, 18, 23];
        let wrong = "expected a user's object id, a GUID such as 00000000-0000-0000-0000-000000000000";
        if text.len() != 36 {
            return Err(wrong);
        }
        let mut id = 0;
        for (place, character) in text.chars().enumerate() {
            if HYPHENS.contains(&place) {
                if character != '-' {
                    return Err(wrong);
                }
            } else {
                let digit = character.to_digit(16).ok_or(wrong)?;
                id = id << 4 | u128::from(digit);
            }
        }
        Ok(Self(id))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32, mask: u128| self.0 >> shift & mask;
        write!(
            formatter,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 0xffff_ffff),
            part(80, 0xffff),
            part(64, 0xffff),
            part(48, 0xffff),
            part(0, 0xffff_ffff_ffff),
        )
    }
}

/// A mail domain, whatever the case of ASCII's letters. Others are compared as they are: the lower case of U+212A, the sign
/// of kelvin, is `k`, and the domain with it is another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MailDomain(String);

impl MailDomain {
    /// The domain of a mail address; `None` when it has none.
    pub(crate) fn of(mail: &str) -> Option<Self> {
        mail.rsplit_once('@')
            .map(|(_, domain)| Self(domain.to_ascii_lowercase()))
    }
}

impl FromStr for MailDomain {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_label = |label: &str| {
            !(label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-'))
                && label
                    .chars()
                    .all(|character| character.is_alphanumeric() || character == '-')
        };
        if text.len() <= 253 && text.contains('.') && text.split('.').all(is_label) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("expected a mail domain such as example.org")
        }
    }
}

impl fmt::Display for MailDomain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Reads a name from text that is borrowed, so that a large table costs no copy of its keys.
macro_rules! deserialize_from_str {
    ($($name:ident: $what:literal)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Parse;

                impl Visitor<'_> for Parse {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($what)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(|expected| E::custom(format_args!("`{text}`: {expected}")))
                    }
                }

                deserializer.deserialize_str(Parse)
            }
        }
    )*};
}

deserialize_from_str! {
    ObjectId: "a user's object id"
    MailDomain: "a mail domain"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_id_is_a_guid_of_any_case() {
        let lower: ObjectId = "a1b2c3d4-0000-4000-8000-0000000000f1".parse().unwrap();
        assert_eq!("A1B2C3D4-0000-4000-8000-0000000000F1".parse(), Ok(lower));
        assert_eq!(lower, ObjectId(0xa1b2_c3d4_0000_4000_8000_0000_0000_00f1));
        assert_eq!(lower.to_string(), "a1b2c3d4-0000-4000-8000-0000000000f1");
        for wrong in [
            "",
            "ada",
            "a1b2c3d40000400080000000000000f1",
            "{a1b2c3d4-0000-4000-8000-0000000000f1}",
            "a1b2c3d4-0000-4000-80000-000000000f1",
            "g1b2c3d4-0000-4000-8000-0000000000f1",
            "é1b2c3d4-0000-4000-8000-000000000f1",
        ] {
            assert!(wrong.parse::<ObjectId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_domain_has_labels_and_a_dot() {
        assert_eq!("Example.ORG".parse(), Ok(MailDomain("example.org".into())));
        assert!("bücher.example".parse::<MailDomain>().is_ok());
        for wrong in [
            "",
            "example",
            "ada@example.org",
            ".org",
            "example.",
            "a..b",
            "-a.org",
            "a b.org",
            "*.org",
        ] {
            assert!(wrong.parse::<MailDomain>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_domain_follows_the_last_at_sign() {
        let domain = |mail| MailDomain::of(mail).map(|domain| domain.0);
        // The sign of kelvin, whose lower case is `k`.
        assert_eq!(
            domain("ada@\u{212a}ontoso.example").as_deref(),
            Some("\u{212a}ontoso.example")
        );
        assert_eq!(domain("Ada@Example.org").as_deref(), Some("example.org"));
        assert_eq!(domain("\"a@b\"@example.org").as_deref(), Some("example.org"));
        assert_eq!(domain("ada"), None);
    }
}
