use serde_json::json;

use super::*;

fn policy(toml: &str) -> ClaimsMappingPolicy {
    toml::from_str(&format!("applications = []\n{toml}")).unwrap()
}

fn from_extension(entries: &[(&str, &str)]) -> ClaimsMappingPolicy {
    let entries: Vec<String> = entries
        .iter()
        .map(|(id, name)| format!(r#"{{ source = "CustomClaimsProvider", id = "{id}", jwt_claim_type = "{name}" }}"#))
        .collect();
    policy(&format!("schema = [{}]", entries.join(", ")))
}

fn returned(claims: &Value) -> Map<String, Value> {
    claims.as_object().unwrap().clone()
}

#[test]
fn mapped_claims_are_added_under_their_names_and_the_others_dropped() {
    let policy = from_extension(&[("tier", "loyalty_tier"), ("roles", "roles_ext"), ("since", "since")]);
    let (added, report) = apply(
        Some(&policy),
        &returned(&json!({"tier": "gold", "roles": ["a", "b"], "secret": "x"})),
    );
    assert_eq!(
        Value::Object(added),
        json!({"loyalty_tier": "gold", "roles_ext": ["a", "b"]})
    );
    assert_eq!(report.mapped.len(), 2);
    assert_eq!(report.dropped, ["secret"]);
    assert_eq!(report.missing, ["since"]);
    assert!(report.hints.is_empty());
}

#[test]
fn a_near_miss_in_letter_case_is_dropped_with_a_hint() {
    let policy = from_extension(&[("dateOfBirth", "birthdate")]);
    let (added, report) = apply(Some(&policy), &returned(&json!({"DateOfBirth": "1815-12-10"})));
    assert!(added.is_empty());
    assert_eq!(report.dropped, ["DateOfBirth"]);
    assert_eq!(report.missing, ["dateOfBirth"]);
    assert_eq!(
        report.hints,
        ["the policy maps `dateOfBirth`, the answer has `DateOfBirth`: ids are case sensitive"]
    );
}

#[test]
fn restricted_names_are_refused_whatever_the_id() {
    for name in [
        "roles",
        "upn",
        "email",
        "oid",
        ".",
        "CloudAssignedMdmId",
        "ztdid",
        "xms_anything",
        "extn.x",
    ] {
        let policy = from_extension(&[("tier", name)]);
        let (added, report) = apply(Some(&policy), &returned(&json!({"tier": "gold"})));
        assert!(added.is_empty(), "{name}");
        assert_eq!(report.refused[0].jwt_claim_type, name);
        assert!(report.dropped.is_empty(), "{name}");
    }
}

#[test]
fn a_restricted_id_may_be_mapped_to_another_name() {
    let (added, _) = apply(
        Some(&from_extension(&[("upn", "upn_ext")])),
        &returned(&json!({"upn": "x"})),
    );
    assert_eq!(Value::Object(added), json!({"upn_ext": "x"}));
}

#[test]
fn without_a_policy_everything_is_dropped() {
    let (added, report) = apply(None, &returned(&json!({"tier": "gold"})));
    assert!(added.is_empty());
    assert_eq!(report.dropped, ["tier"]);
    assert_eq!(report.hints.len(), 1);
}

#[test]
fn fixed_values_saml_only_entries_and_missing_names_follow_entra() {
    let policy = policy(
        r#"schema = [
            { value = "emea", jwt_claim_type = "region" },
            { source = "CustomClaimsProvider", id = "tier" },
            { source = "CustomClaimsProvider", id = "saml", saml_claim_type = "http://schemas.example.org/saml" },
            { source = "user", id = "employeeid", jwt_claim_type = "employee" },
        ]"#,
    );
    let (added, report) = apply(Some(&policy), &returned(&json!({"tier": "gold", "saml": "x"})));
    assert_eq!(Value::Object(added), json!({"region": "emea", "tier": "gold"}));
    assert_eq!(
        report.hints,
        ["claims from the source `user` are not simulated: `employee` is left out"]
    );
}

#[test]
fn entras_own_definition_is_understood() {
    let policy = policy(
        r#"definition = ["{\"ClaimsMappingPolicy\":{\"Version\":1,\"IncludeBasicClaimSet\":\"false\",\"ClaimsSchema\":[{\"Source\":\"CustomClaimsProvider\",\"ID\":\"DateOfBirth\",\"JwtClaimType\":\"birthdate\"},{\"Value\":\"x\",\"JwtClaimType\":\"fixed\"}]}}"]"#,
    );
    assert!(!policy.includes_basic_claim_set());
    let (added, _) = apply(Some(&policy), &returned(&json!({"DateOfBirth": "1815-12-10"})));
    assert_eq!(Value::Object(added), json!({"birthdate": "1815-12-10", "fixed": "x"}));
}
