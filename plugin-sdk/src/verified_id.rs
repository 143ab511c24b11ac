//! What a verifiedIdClaimValidation plugin is given and answers with.

use crate::events::verified_id_claim_validation::Answer;
pub use crate::events::verified_id_claim_validation::{Input as VerifiedId, NamedText};

impl VerifiedId {
    /// A claim of the Verified ID, for example `firstName`; upper and lower case differ.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        find(&self.claims, name)
    }

    /// What Entra knows of the account besides, for example `employeeId`; upper and lower case differ.
    #[must_use]
    pub fn additional_info(&self, name: &str) -> Option<&str> {
        find(&self.additional_info, name)
    }
}

fn find<'t>(texts: &'t [NamedText], name: &str) -> Option<&'t str> {
    texts
        .iter()
        .find_map(|text| (text.name == name).then_some(text.value.as_str()))
}

impl NamedText {
    /// A text and its name: for tests.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// Whether the Verified ID is the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is (`pass`): the user gets the account back.
    Pass,
    /// It is not (`failed`): the names of the claims that do not fit.
    Failed(Vec<String>),
}

impl Verdict {
    /// It is not: these claims do not fit.
    #[must_use]
    pub fn failed(claims: impl IntoIterator<Item: Into<String>>) -> Self {
        Self::Failed(claims.into_iter().map(Into::into).collect())
    }
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Failed(claims) => Self::Failed(claims),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_and_additional_info_are_found_by_name() {
        let verified_id = VerifiedId {
            claims: vec![NamedText::new("firstName", "Ada"), NamedText::new("lastName", "")],
            additional_info: vec![NamedText::new("employeeId", "E77")],
            ..VerifiedId::default()
        };
        assert_eq!(verified_id.claim("firstName"), Some("Ada"));
        assert_eq!(verified_id.claim("lastName"), Some(""));
        assert_eq!(verified_id.additional_info("employeeId"), Some("E77"));
        for name in ["firstname", "employeeId", ""] {
            assert_eq!(verified_id.claim(name), None, "{name}");
        }
        assert_eq!(verified_id.additional_info("firstName"), None);
    }

    #[test]
    fn each_verdict_is_lowered_to_its_case() {
        assert!(matches!(Verdict::Pass.into(), Answer::Pass));
        let failed = Verdict::failed(["a", "b"]);
        assert_eq!(failed, Verdict::Failed(vec!["a".into(), "b".into()]));
        assert!(matches!(failed.into(), Answer::Failed(claims) if claims == ["a", "b"]));
    }
}
