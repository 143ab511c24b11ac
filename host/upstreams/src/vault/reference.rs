//! References to secrets of Vault.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use toml::{Table, Value};

use crate::secret::SecretRef;

/// Longer ones are no paths.
const MAX_BYTES: usize = 256;

/// `PATH#FIELD`: a field of a secret below the tenant's prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultRef {
    /// The path, without the mount and the prefix.
    pub path: String,
    /// The field.
    pub field: String,
}

impl FromStr for VaultRef {
    type Err = String;

    /// The text may be a secret that somebody wrote here by mistake: no message repeats it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_segment = |segment: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !segment.is_empty() && !segment.bytes().all(|byte| byte == b'.') && segment.bytes().all(is_plain)
        };
        let parts = text.split_once('#').filter(|_| text.len() <= MAX_BYTES);
        let parts = parts.filter(|(path, field)| path.split('/').all(is_segment) && is_segment(field));
        let (path, field) = parts.ok_or(
            "expected `vault:PATH#FIELD`: segments of letters, digits, `-`, `_` and `.` between single slashes, and the name \
             of a field",
        )?;
        Ok(Self {
            path: path.to_owned(),
            field: field.to_owned(),
        })
    }
}

impl fmt::Display for VaultRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}#{}", self.path, self.field)
    }
}

/// What a tenant's configuration refers to, wherever it does: texts that are such references.
#[must_use]
pub fn references(configuration: &Table) -> BTreeSet<VaultRef> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&Value> = configuration.values().collect();
    while let Some(value) = left.pop() {
        match value {
            Value::Table(table) => left.extend(table.values()),
            Value::Array(array) => left.extend(array),
            Value::String(text) => {
                if let Ok(SecretRef::Vault(reference)) = text.parse() {
                    found.insert(reference);
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{VaultRef, references};

    #[test]
    fn a_reference_stays_below_the_tenants_prefix() {
        let good: VaultRef = "crm/oauth#client_secret".parse().unwrap();
        assert_eq!(
            (good.path.as_str(), good.field.as_str()),
            ("crm/oauth", "client_secret")
        );
        for wrong in [
            "",
            "crm",
            "#f",
            "crm#",
            "/crm#f",
            "crm/#f",
            "crm//x#f",
            "../other#f",
            "crm/../../other#f",
            "./crm#f",
            "crm/...#f",
            "crm/%2e%2e#f",
            "crm\\x#f",
            "crm?version=1#f",
            "crm#a/b",
            "crm#a#b",
            "crm x#f",
            "crm\n#f",
            "crm#..",
            &format!("{}#f", "a".repeat(256)),
        ] {
            let error = wrong.parse::<VaultRef>().unwrap_err();
            assert!(error.contains("vault:PATH#FIELD"), "{wrong}: {error}");
        }
    }

    #[test]
    fn references_are_found_wherever_they_are() {
        let toml = "a = 'vault:a#x'\nb = ['vault:b#x', { c = 'vault:b#y' }]\n[d.e]\nf = 'vault:a#x'\ng = 'file:vault'\nh = 'vault:'";
        let found: Vec<_> = references(&toml.parse().unwrap())
            .iter()
            .map(VaultRef::to_string)
            .collect();
        assert_eq!(found, ["a#x", "b#x", "b#y"]);
    }
}
