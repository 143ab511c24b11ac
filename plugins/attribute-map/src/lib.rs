//! Makes claims of what Entra knows of the sign-in, by rules.
//!
//! See the README for the settings.

mod extract;
mod rule;
mod settings;

use claimsmith_plugin::{Callout, Claims, Result};

pub use crate::settings::Settings;

/// The claims of the rules that have a value for this callout.
///
/// # Errors
/// When a pattern does not compile: settings that were not checked.
#[claimsmith_plugin::token_issuance_start]
pub fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    let mut claims = Claims::new();
    for rule in &settings.rules {
        if let Some(value) = rule.value(callout)? {
            claims.insert(&rule.claim, value);
        }
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::{ServicePrincipal, User, settings};

    use super::*;

    fn callout() -> Callout {
        Callout {
            user: Some(User {
                mail: Some("Ada.Lovelace@Example.org".into()),
                company_name: Some("sales; ops;; unknown".into()),
                display_name: Some(String::new()),
                ..User::default()
            }),
            client_service_principal: Some(ServicePrincipal {
                app_id: Some("a1b2c3d4-0000-4000-8000-0000000000a1".into()),
                ..ServicePrincipal::default()
            }),
            additional: vec![("user.employeeId".into(), "E-0042".into())],
            ..Callout::default()
        }
    }

    /// The claims of rules, each written as JSON without its `claim`, which is `c`.
    #[track_caller]
    fn claims(rules: &[&str]) -> Claims {
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| format!(r#"{{ "claim": "c", {rule} }}"#))
            .collect();
        let settings = settings::read(&format!(r#"{{ "rules": [{}] }}"#, rules.join(","))).unwrap();
        provide_claims(&callout(), &settings).unwrap()
    }

    #[track_caller]
    fn assert_text(rule: &str, expected: &str) {
        assert_eq!(claims(&[rule]), Claims::new().with("c", expected), "{rule}");
    }

    #[track_caller]
    fn assert_texts<const N: usize>(rule: &str, expected: [&str; N]) {
        assert_eq!(claims(&[rule]), Claims::new().with("c", expected), "{rule}");
    }

    #[track_caller]
    fn assert_none(rule: &str) {
        assert_eq!(claims(&[rule]), Claims::new(), "{rule}");
    }

    #[test]
    fn a_member_is_copied_under_the_name_of_the_claim() {
        assert_text(r#""from": "user.mail""#, "Ada.Lovelace@Example.org");
        assert_text(
            r#""from": "clientServicePrincipal.appId""#,
            "a1b2c3d4-0000-4000-8000-0000000000a1",
        );
        assert_text(r#""from": "user.employeeId""#, "E-0042");
        assert_text(r#""value": "constant""#, "constant");
    }

    #[test]
    fn a_missing_or_empty_member_adds_nothing() {
        assert_none(r#""from": "user.surname""#);
        assert_none(r#""from": "user.displayName""#);
        assert_none(r#""from": "user.groups""#);
    }

    #[test]
    fn a_default_stands_in_for_a_value() {
        assert_text(r#""from": "user.surname", "default": "none""#, "none");
        assert_text(r#""from": "user.mail", "pattern": "^x", "default": "none""#, "none");
        assert_texts(r#""from": "user.surname", "split": ";", "default": "none""#, ["none"]);
    }

    #[test]
    fn a_pattern_takes_its_first_group_or_the_whole_match() {
        assert_text(r#""from": "user.mail", "pattern": "@(.+)$""#, "Example.org");
        assert_text(r#""from": "user.mail", "pattern": "^[^@]+""#, "Ada.Lovelace");
        assert_none(r#""from": "user.mail", "pattern": "^\\d+$""#);
    }

    #[test]
    fn a_replacement_is_made_of_the_groups() {
        let pattern = r#""from": "user.mail", "pattern": "^(?<given>\\w+)\\.(\\w+)@""#;
        assert_text(&format!(r#"{pattern}, "replace": "$2, ${{given}}""#), "Lovelace, Ada");
        assert_text(&format!(r#"{pattern}, "replace": "$$$1""#), "$Ada");
        assert_text(&format!(r#"{pattern}, "replace": "person""#), "person");
    }

    #[test]
    fn the_case_is_chosen_before_the_lookup() {
        assert_text(r#""from": "user.mail", "case": "lower""#, "ada.lovelace@example.org");
        assert_text(r#""from": "user.employeeId", "case": "upper""#, "E-0042");
        assert_text(
            r#""from": "user.mail", "pattern": "@(.+)$", "case": "lower", "lookup": { "example.org": "Example" }"#,
            "Example",
        );
    }

    #[test]
    fn a_split_value_is_an_array_without_blanks() {
        assert_texts(
            r#""from": "user.companyName", "split": ";""#,
            ["sales", "ops", "unknown"],
        );
        assert_texts(r#""from": "user.employeeId", "split": ";""#, ["E-0042"]);
        assert_none(r#""value": " ; ", "split": ";""#);
    }

    #[test]
    fn a_lookup_drops_what_its_table_lacks_unless_told_to_keep_it() {
        let lookup = r#""from": "user.companyName", "split": ";", "lookup": { "sales": "S", "ops": "O" }"#;
        assert_texts(lookup, ["S", "O"]);
        assert_texts(&format!(r#"{lookup}, "lookup_else": "keep""#), ["S", "O", "unknown"]);
        assert_none(r#""from": "user.mail", "lookup": {}"#);
        assert_text(
            r#""from": "user.employeeId", "lookup": {}, "lookup_else": "keep""#,
            "E-0042",
        );
    }

    #[test]
    fn the_last_rule_with_a_value_names_the_claim() {
        let replaced = claims(&[r#""value": "first""#, r#""from": "user.employeeId""#]);
        assert_eq!(replaced, Claims::new().with("c", "E-0042"));
        let kept = claims(&[r#""value": "first""#, r#""from": "user.surname""#]);
        assert_eq!(kept, Claims::new().with("c", "first"));
    }

    #[test]
    fn a_callout_without_user_has_the_claims_that_need_none() {
        let settings =
            settings::read(r#"{ "rules": [{ "claim": "a", "from": "user.mail" }, { "claim": "b", "value": "x" }] }"#)
                .unwrap();
        let claims = provide_claims(&Callout::default(), &settings).unwrap();
        assert_eq!(claims, Claims::new().with("b", "x"));
    }
}
