use std::io::Write as _;

use super::*;

const EXAMPLE: &str = include_str!("../../example.toml");

fn error_of(text: &str) -> String {
    Config::parse(text, "local-entra.toml").unwrap_err().to_string()
}

/// The line of the example (counted from 1) that contains a text.
fn line_of(text: &str) -> usize {
    1 + EXAMPLE.lines().position(|line| line.contains(text)).unwrap()
}

#[test]
fn the_example_is_valid_and_has_the_documented_defaults() {
    let config = Config::parse(EXAMPLE, "example.toml").unwrap();
    assert_eq!(config.caller_app_id.to_string(), "99045fe1-7639-4a75-9d4a-577b6ca3810f");
    assert_eq!(config.max_response_bytes, 65536);
    assert_eq!(config.directories[0].kind, DirectoryKind::External);
    assert!(config.directories[0].users[1].user_principal_name.is_none());
}

#[test]
fn extension_defaults_are_one_second_one_retry_and_version_2() {
    let without = ["token_version = 2\n", "timeout = 2000\n", "maximum_retries = 1\n"]
        .iter()
        .fold(EXAMPLE.to_owned(), |text, line| text.replace(line, ""));
    let config = Config::parse(&without, "example.toml").unwrap();
    let extension = &config.directories[0].extensions[0];
    assert_eq!((extension.timeout, extension.maximum_retries), (1000, 1));
    assert_eq!(extension.token_version, TokenVersion::V2);
}

#[test]
fn an_unknown_member_names_file_line_and_the_nearest_member() {
    let error = error_of(&EXAMPLE.replace("target_url", "target_uri"));
    assert!(
        error.starts_with(&format!("local-entra.toml:{}: ", line_of("target_url"))),
        "{error}"
    );
    assert!(error.contains("unknown field `target_uri`"), "{error}");
    assert!(error.ends_with("did you mean `target_url`?"), "{error}");
}

#[test]
fn a_missing_member_and_broken_toml_name_a_line() {
    let error = error_of(&EXAMPLE.replace("domain = \"contoso.onmicrosoft.com\"", ""));
    assert!(error.contains("missing field `domain`"), "{error}");
    assert_eq!(error_of("listen = [").split(':').nth(1), Some("1"));
}

#[test]
fn all_contradictions_are_reported_at_once_each_with_its_line() {
    let text = EXAMPLE
        .replace("timeout = 2000", "timeout = 2001")
        .replace("maximum_retries = 1", "maximum_retries = 2")
        .replace("127.0.0.1:8401", "0.0.0.0:8401");
    let error = error_of(&text);
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines[0].starts_with("local-entra.toml:2: listen: "), "{error}");
    let expected = format!(
        "local-entra.toml:{}: directories[0].extensions[0].timeout: ",
        line_of("timeout = 2000")
    );
    assert!(lines[1].starts_with(&expected), "{error}");
    assert!(lines[2].contains("Entra allows 0 or 1"), "{error}");
}

#[test]
fn references_to_nothing_and_duplicates_are_refused() {
    let unknown = "ffffffff-0000-4000-8000-0000000000ff";
    for (from, to, expected) in [
        (
            "extension = \"a1b2c3d4-0000-4000-8000-0000000000c1\"",
            "extension = \"a1b2c3d4-0000-4000-8000-0000000000c1\"\ntimeout = 100",
            "listeners[0].timeout",
        ),
        (
            "event = \"tokenIssuanceStart\"\napplications = [\"a1b2c3d4-0000-4000-8000-0000000000a1\"]",
            &format!("event = \"tokenIssuanceStart\"\napplications = [\"{unknown}\"]"),
            "no application with the app_id",
        ),
        (
            "app_id = \"a1b2c3d4-0000-4000-8000-0000000000a2\"",
            "app_id = \"a1b2c3d4-0000-4000-8000-0000000000a1\"",
            "another entry of `applications` has the same `app_id`",
        ),
        (
            "secret = \"local-only\"",
            "client_secret = \"local-only\"",
            "`env:NAME` or `file:path`",
        ),
        ("token_version = 2", "token_version = 3", "a token version is 1 or 2"),
        (
            "token_version = 2",
            "refused_with = 1003002",
            "1003002 CustomExtensionInvalidHTTPStatus is not one of",
        ),
        (
            "{ value = \"emea\", jwt_claim_type = \"region\" }",
            "{ value = \"emea\" }",
            "needs a `jwt_claim_type`",
        ),
        (
            "event = \"tokenIssuanceStart\"",
            "event = \"tokenIssuance\"",
            "did you mean `tokenIssuanceStart`?",
        ),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        let error = error_of(&EXAMPLE.replacen(from, to, 1));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn user_flows_handlers_and_encryption_are_checked() {
    for (from, to, expected) in [
        (
            "event = \"tokenIssuanceStart\"",
            "event = \"verifiedIdClaimValidation\"",
            "does not happen in a directory",
        ),
        (
            "default = false",
            "default = \"no\"",
            "user_flows[0].attributes[4].default: is not true or false",
        ),
        (
            "{ name = \"city\" }",
            "{ name = \"email\" }",
            "is empty, or another attribute has it",
        ),
        (
            "directory = \"a1b2c3d4-0000-4000-8000-000000000001\"",
            "directory = \"a1b2c3d4-0000-4000-8000-000000000002\"",
            "only external directories",
        ),
        (
            "listener = \"a1b2c3d4-0000-4000-8000-0000000000b4\"",
            "listener = \"a1b2c3d4-0000-4000-8000-0000000000b1\"",
            "only emailOtpSend has a fallback",
        ),
        (
            "listener = \"a1b2c3d4-0000-4000-8000-0000000000b6\"",
            "listener = \"a1b2c3d4-0000-4000-8000-0000000000b9\"",
            "there is no listener with this id",
        ),
        (
            "[[encryption]]\nextension = \"a1b2c3d4-0000-4000-8000-0000000000c5\"",
            "[[encryption]]\nextension = \"a1b2c3d4-0000-4000-8000-0000000000c9\"",
            "no directory has an extension",
        ),
        ("\"ids_absent\"", "\"ids_absence\"", "did you mean `ids_absent`?"),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        let error = error_of(&EXAMPLE.replacen(from, to, 1));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_listener_may_name_an_extension_that_does_not_exist() {
    let text = EXAMPLE.replace(
        "extension = \"a1b2c3d4-0000-4000-8000-0000000000c1\"",
        "extension = \"a1b2c3d4-0000-4000-8000-0000000000c9\"",
    );
    Config::parse(&text, "local-entra.toml").unwrap();
}

#[test]
fn a_pasted_definition_that_is_not_entras_is_refused_with_the_reason() {
    for (definition, expected) in [
        ("['{}', '{}']", "exactly one string"),
        ("'nonsense'", "does not hold JSON"),
        ("'{\"Version\":1}'", "`ClaimsMappingPolicy`"),
        (
            "'{\"ClaimsMappingPolicy\":{\"ClaimsSchema\":[{\"Source\":\"CustomClaimsProvider\"}]}}'",
            "needs its `id`",
        ),
    ] {
        let head = EXAMPLE.split("schema = [").next().unwrap();
        let error = error_of(&format!("{head}definition = {definition}\n"));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn secrets_are_references_and_are_not_printed() {
    assert!(
        Secret::resolve("plain")
            .unwrap_err()
            .contains("`env:NAME` or `file:path`")
    );
    assert!(
        Secret::resolve("env:CLAIMSMITH_NO_SUCH_VARIABLE")
            .unwrap_err()
            .contains("is not set")
    );
    assert!(
        Secret::resolve("file:/nonexistent/secret")
            .unwrap_err()
            .contains("/nonexistent/secret")
    );
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "from a file").unwrap();
    let secret = Secret::resolve(&format!("file:{}", file.path().display())).unwrap();
    assert!(secret.matches("from a file"));
    assert_eq!(format!("{:?}", Secret::new("x")), "Secret(..)");
    assert!(Secret::new("x").matches("x") && !Secret::new("x").matches("y"));
}
