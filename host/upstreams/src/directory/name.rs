//! Distinguished names (RFC 4514), as far as it matters whether one is below another.

/// A name in parts that can be compared. What has two readings is refused: quotes and `;`, which RFC 2253 had, are not
/// understood by everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<String>);

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = vec![String::new()];
        let mut escaped = false;
        for character in text.chars() {
            if !escaped && matches!(character, '"' | ';' | '<' | '>' | '\0') {
                return Err("has one of `\"` `;` `<` `>` without `\\` before it");
            }
            match parts.last_mut() {
                _ if !escaped && character == ',' => parts.push(String::new()),
                Some(part) => part.push(character),
                None => {}
            }
            escaped = !escaped && character == '\\';
        }
        if escaped {
            return Err("ends with a `\\` that escapes nothing");
        }
        let parts: Option<Vec<_>> = parts.iter().map(|part| comparable(part)).collect();
        parts.map(Self).ok_or("has a part that is not `attribute=value`")
    }

    /// Whether this is the other or below it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.ends_with(&other.0)
    }
}

/// One part without regard to case and to spaces around it.
fn comparable(part: &str) -> Option<String> {
    let (attribute, value) = part.split_once('=')?;
    let (attribute, value) = (attribute.trim(), value.trim_start());
    let is_attribute = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if attribute.is_empty() || !attribute.bytes().all(is_attribute) || value.is_empty() {
        return None;
    }
    // A space at the end belongs to the value if it is escaped.
    let value = match value.trim_end() {
        trimmed if trimmed.ends_with('\\') => value,
        trimmed => trimmed,
    };
    Some(format!("{attribute}={value}").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn what_is_below_the_base_is_found_in_any_spelling() {
        let base = Name::parse("ou=People, DC=contoso,dc=Example").unwrap();
        for (name, expected) in [
            ("ou=people,dc=contoso,dc=example", true),
            ("UID=ada , OU=people,dc=CONTOSO, dc=example ", true),
            (r"cn=Byron\, Ada,ou=people,dc=contoso,dc=example", true),
            ("dc=contoso,dc=example", false),
            ("ou=groups,dc=contoso,dc=example", false),
            // The comma is part of the value, and the name is at the top of the tree.
            (r"cn=x\,ou=people,dc=contoso,dc=example", false),
            (r"cn=x\\,ou=people,dc=contoso,dc=example", true),
            ("xou=people,dc=contoso,dc=example", false),
        ] {
            assert_eq!(Name::parse(name).unwrap().is_within(&base), expected, "{name}");
        }
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for name in [
            "",
            "ada",
            "uid=",
            "=ada",
            "uid=ada,",
            ",uid=ada",
            r#"cn="a,ou=people",dc=example"#,
            "cn=a;dc=example",
            r"dc=example\",
            "u id=ada",
            "cn=a\0,dc=example",
        ] {
            assert!(Name::parse(name).is_err(), "{name}");
        }
    }
}
