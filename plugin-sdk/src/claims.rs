//! What a tokenIssuanceStart plugin answers with.

use crate::conversions::from_texts;
pub use crate::events::token_issuance_start::ClaimValue;
use crate::events::token_issuance_start::{Answer, Claim};

/// Claims for a token, in the order they were added.
///
/// Entra adds a claim to the token only when the application's claims mapping policy names its id; upper and lower case
/// differ. All ids and values together are limited to 3,000 bytes of UTF-8 text.
///
/// ```
/// use claimsmith_plugin::Claims;
///
/// let claims = Claims::new()
///     .with("tier", "gold")
///     .with("benefits", ["lounge", "wifi"])
///     .with_optional("manager", None::<String>);
/// assert_eq!(claims.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Vec<Claim>);

impl Claims {
    /// No claims: a valid answer.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a claim, or replaces the value of the one that has this id.
    #[must_use]
    pub fn with(mut self, id: impl Into<String>, value: impl Into<ClaimValue>) -> Self {
        self.insert(id, value);
        self
    }

    /// Adds a claim if it has a value.
    #[must_use]
    pub fn with_optional(self, id: impl Into<String>, value: Option<impl Into<ClaimValue>>) -> Self {
        match value {
            Some(value) => self.with(id, value),
            None => self,
        }
    }

    /// Adds a claim, or replaces the value of the one that has this id.
    pub fn insert(&mut self, id: impl Into<String>, value: impl Into<ClaimValue>) {
        let id = id.into();
        let value = value.into();
        // An answer of 3,000 bytes holds so few claims that looking at each is the fastest.
        match self.0.iter_mut().find(|claim| claim.id == id) {
            Some(claim) => claim.value = value,
            None => self.0.push(Claim { id, value }),
        }
    }

    /// The value of a claim.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&ClaimValue> {
        self.iter().find_map(|(name, value)| (name == id).then_some(value))
    }

    /// How many claims there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The claims, as id and value.
    #[must_use = "iterators are lazy"]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &ClaimValue)> {
        self.0.iter().map(|claim| (claim.id.as_str(), &claim.value))
    }

    /// Claims that nothing has checked: for plugins that test a host's reaction to a wrong answer.
    #[doc(hidden)]
    #[must_use]
    pub fn unchecked(claims: impl IntoIterator<Item = (String, ClaimValue)>) -> Self {
        let claims = claims.into_iter().map(|(id, value)| Claim { id, value });
        Self(claims.collect())
    }
}

impl From<Claims> for Answer {
    fn from(claims: Claims) -> Self {
        claims.0
    }
}

impl<I: Into<String>, V: Into<ClaimValue>> Extend<(I, V)> for Claims {
    fn extend<T: IntoIterator<Item = (I, V)>>(&mut self, claims: T) {
        for (id, value) in claims {
            self.insert(id, value);
        }
    }
}

impl<I: Into<String>, V: Into<ClaimValue>> FromIterator<(I, V)> for Claims {
    fn from_iter<T: IntoIterator<Item = (I, V)>>(claims: T) -> Self {
        let mut all = Self::new();
        all.extend(claims);
        all
    }
}

from_texts!(ClaimValue);

/// Entra accepts text only, so these become what they are written as.
macro_rules! from_as_text {
    ($($type:ty)*) => {$(
        impl From<$type> for ClaimValue {
            fn from(value: $type) -> Self {
                Self::Text(value.to_string())
            }
        }
    )*};
}

from_as_text!(bool i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn text(text: &str) -> ClaimValue {
        ClaimValue::Text(text.into())
    }

    fn texts(texts: &[&str]) -> ClaimValue {
        ClaimValue::Texts(texts.iter().map(|&text| text.into()).collect())
    }

    #[test]
    fn a_value_is_text_or_an_array_of_texts() {
        let owned = vec!["a".to_owned(), "b".to_owned()];
        let both = texts(&["a", "b"]);
        assert_eq!(ClaimValue::from("a"), text("a"));
        assert_eq!(ClaimValue::from(String::from("a")), text("a"));
        assert_eq!(ClaimValue::from(&String::from("a")), text("a"));
        assert_eq!(ClaimValue::from(Cow::from("a")), text("a"));
        assert_eq!(ClaimValue::from(["a", "b"]), both);
        assert_eq!(ClaimValue::from(vec!["a", "b"]), both);
        assert_eq!(ClaimValue::from(owned.as_slice()), both);
        assert_eq!(ClaimValue::from(&owned), both);
        assert_eq!(ClaimValue::from(owned), both);
        assert_eq!(ClaimValue::from(true), text("true"));
        assert_eq!(ClaimValue::from(-7_i64), text("-7"));
        assert_eq!(ClaimValue::from(u128::MAX), text(&u128::MAX.to_string()));
    }

    #[test]
    fn an_id_that_comes_again_replaces_the_value_and_keeps_the_place() {
        let claims = Claims::new().with("a", 1).with("b", 2).with("a", "x");
        let all: Vec<_> = claims.iter().collect();
        assert_eq!(all, [("a", &text("x")), ("b", &text("2"))]);
    }

    #[test]
    fn ids_that_differ_in_case_are_two_claims() {
        assert_eq!(Claims::new().with("tier", 1).with("Tier", 2).len(), 2);
    }

    #[test]
    fn only_an_optional_claim_with_a_value_is_added() {
        let claims = Claims::new()
            .with_optional("a", Some("x"))
            .with_optional("b", None::<&str>);
        assert_eq!(claims.get("a"), Some(&text("x")));
        assert_eq!(claims.get("b"), None);
        assert!(Claims::new().is_empty());
    }

    #[test]
    fn claims_collect_from_pairs() {
        let claims: Claims = [("a", 1), ("b", 2), ("a", 3)].into_iter().collect();
        assert_eq!(claims, Claims::new().with("a", 3).with("b", 2));
    }
}
