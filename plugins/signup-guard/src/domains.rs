//! Mail domains and lists of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

/// The domain of a mail address as lists have it: in lower case, and without the dot that DNS allows at the end.
pub(crate) fn domain(mail: &str) -> Option<String> {
    let (_, domain) = mail.trim().rsplit_once('@')?;
    let domain = lower_case(domain.trim_end_matches('.'));
    (!domain.is_empty()).then_some(domain)
}

/// A domain in lower case. U+212A, the sign of kelvin, and what else has a lower case in ASCII stays as it is: with `k` in its
/// place the domain is another, which may be allowed where this one is not.
pub(crate) fn lower_case(domain: &str) -> String {
    let mut lower = String::with_capacity(domain.len());
    for character in domain.chars() {
        if character.is_ascii() || !character.to_lowercase().any(|lower| lower.is_ascii()) {
            lower.extend(character.to_lowercase());
        } else {
            lower.push(character);
        }
    }
    lower
}

/// Domains (`contoso.com`), and everything below some (`*.contoso.com`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Domains {
    exact: BTreeSet<String>,
    below: BTreeSet<String>,
}

impl Domains {
    /// Whether a domain is among them.
    pub(crate) fn have(&self, domain: &str) -> bool {
        let mut above = domain;
        while let Some((_, rest)) = above.split_once('.') {
            if self.below.contains(rest) {
                return true;
            }
            above = rest;
        }
        self.exact.contains(domain)
    }

    /// Whether a domain is among them, or may be read as one that is: mail is sent to the domain that the sign of kelvin
    /// stands for a `k` in.
    pub(crate) fn may_have(&self, domain: &str) -> bool {
        self.have(domain) || self.have(&domain.to_lowercase())
    }
}

impl<'de> Deserialize<'de> for Domains {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut domains = Self::default();
        for text in Vec::<String>::deserialize(deserializer)? {
            let (list, name) = match text.strip_prefix("*.") {
                Some(name) => (&mut domains.below, name),
                None => (&mut domains.exact, text.as_str()),
            };
            let name = check(name).map_err(serde::de::Error::custom)?;
            list.insert(name);
        }
        Ok(domains)
    }
}

/// A domain as lists have it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(text: &str) -> Result<String, String> {
    let is_label =
        |label: &str| (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    if text.contains('.') && text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(lower_case(text));
    }
    Err(format!(
        "`{text}`: expected a domain such as `contoso.com`, or `*.contoso.com` for those below it"
    ))
}
