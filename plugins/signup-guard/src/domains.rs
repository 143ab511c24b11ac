//! Mail domains and lists of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

/// The domain of a mail address as lists have it: in lower case, and without the dot that DNS allows at the end.
pub(crate) fn domain(mail: &str) -> Option<String> {
    let (_, domain) = mail.trim().rsplit_once('@')?;
    let domain = domain.trim_end_matches('.').to_lowercase();
    (!domain.is_empty()).then_some(domain)
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
        return Ok(text.to_lowercase());
    }
    Err(format!(
        "`{text}`: expected a domain such as `contoso.com`, or `*.contoso.com` for those below it"
    ))
}
