//! What is wrong with upstreams and grants is found when the tenant is loaded, and told with its line.

use std::fs;

use claimsmith_tests::{Host, Stage, http_caller};
use serde_json::Value;

use super::{add_plugin, start, tenant};

const GOOD: &str = "[upstreams.crm]\nkind = \"http\"\nurl = \"https://crm.example\"\nallow = [\"GET /**\"]";

/// The errors of a tenant with these upstreams and this binding.
async fn errors(host: &str, upstreams: &str, binding: &str) -> (String, String) {
    let stage = Stage::new().await.host_config(host);
    let toml = tenant(&stage, upstreams, binding);
    let stage = stage.tenant("contoso", &toml);
    add_plugin(&stage);
    let platform = stage.listen("json").await;
    let is_error = |line: &Value| line["level"] == "ERROR" && line["message"].to_string().contains("tenant.toml");
    platform.host.log_line("an error", is_error).await;
    let log = platform.host.log();
    let errors = log.iter().filter(|line| is_error(line));
    let errors = errors.map(|line| line["message"].as_str().unwrap().to_owned() + "\n");
    (errors.collect(), toml)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_valid_is_told_with_the_bindings_that_use_it() {
    let secret = "authentication.bearer.token = \"file:missing\"";
    let (errors, toml) = errors("", &format!("{GOOD}\n{secret}"), "upstreams = [\"crm\"]").await;
    let line = |text: &str| toml.lines().position(|line| line == text).unwrap() + 1;
    let at_upstream = errors
        .lines()
        .find(|error| error.contains(&format!("tenant.toml:{}:", line(secret))));
    let at_upstream = at_upstream.unwrap();
    assert!(
        at_upstream.contains("upstream `crm` (used by extension `claims`, binding 1): file:missing cannot be read"),
        "{at_upstream}"
    );
    let place = format!("tenant.toml:{}:", line("upstreams = [\"crm\"]"));
    let at_binding = errors.lines().find(|error| error.contains(&place)).unwrap();
    assert!(
        at_binding.contains("upstream `crm` is not valid; its own line says why"),
        "{at_binding}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_line() {
    let with = |more: &str| format!("{GOOD}\n{more}");
    for (upstreams, binding, line, expected) in [
        (
            GOOD.to_owned(),
            "upstreams = [\"cmr\"]",
            "upstreams = [\"cmr\"]",
            "there is no upstream `cmr`; did you mean `crm`?",
        ),
        (
            String::new(),
            "upstreams = [\"crm\"]",
            "upstreams = [\"crm\"]",
            "declare it as [upstreams.crm]",
        ),
        (
            GOOD.to_owned(),
            "settings.upstream = \"crm\"",
            "settings.upstream = \"crm\"",
            "upstream `crm` is not among the binding's `upstreams` (none)",
        ),
        (
            GOOD.to_owned(),
            "upstreams = [\"crm\"]\nsettings.upstream = \"cmr\"",
            "settings.upstream = \"cmr\"",
            "upstream `cmr` is not among the binding's `upstreams` (crm)",
        ),
        (
            GOOD.replace("kind = \"http\"", "kind = \"htpp\""),
            "",
            "kind = \"htpp\"",
            "expected one of: directory, http",
        ),
        (
            GOOD.replace("kind = \"http\"\n", ""),
            "",
            "[upstreams.crm]",
            "`kind` is missing",
        ),
        (
            with("max_response_byte = 1"),
            "",
            "max_response_byte = 1",
            "did you mean `max_response_bytes`?",
        ),
        (
            GOOD.replace("https", "http"),
            "",
            "url = \"http://crm.example\"",
            "plain_http = true",
        ),
        (
            GOOD.replace("GET /**", "/users"),
            "",
            "allow = [\"/users\"]",
            "GET /users/{id}",
        ),
        (
            GOOD.replace("[\"GET /**\"]", "[]"),
            "",
            "allow = []",
            "expected at least one",
        ),
        (
            with("networks = [\"10.1.0.0/16\"]"),
            "",
            "networks = [\"10.1.0.0/16\"]",
            "[egress.networks] contoso = [\"10.1.0.0/16\"]",
        ),
        (
            with("networks = [\"10.1.0.1/16\"]"),
            "",
            "networks = [\"10.1.0.1/16\"]",
            "expected 10.1.0.0/16",
        ),
        (
            with("authentication.bearer = { token = \"file:missing\" }"),
            "",
            "authentication.bearer = { token = \"file:missing\" }",
            "file:missing cannot be read",
        ),
        (
            with("authentication.bearer = { token = \"planted\" }"),
            "",
            "authentication.bearer = { token = \"planted\" }",
            "expected a reference to a secret",
        ),
        (
            with("authentication.bearer = { token = \"env:PATH\" }"),
            "",
            "authentication.bearer = { token = \"env:PATH\" }",
            "is not this tenant's to read",
        ),
        (
            with("headers = { authorization = \"x\" }"),
            "",
            "headers = { authorization = \"x\" }",
            "`authentication`",
        ),
        (with("concurrency = 0"), "", "concurrency = 0", "expected 1 to 1024"),
        (with("timeout = \"1h\""), "", "timeout = \"1h\"", "at most 10s"),
        (
            with("client_certificate = \"file:a\""),
            "",
            "client_certificate = \"file:a\"",
            "needs `client_key`",
        ),
    ] {
        let (errors, toml) = errors("egress.networks.other = [\"10.0.0.0/8\"]", &upstreams, binding).await;
        let number = toml.lines().position(|found| found == line).unwrap() + 1;
        assert!(errors.contains(expected), "{expected}: {errors}");
        assert!(
            errors.contains(&format!("tenant.toml:{number}:")),
            "line {number}: {errors}"
        );
        assert!(!errors.contains("planted"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_could_call_loads_without_upstreams() {
    let platform = start("", "", "settings.calls = 0").await;
    assert_eq!(platform.callout().await.0, 200);
    let platform = start("", GOOD, "").await;
    let (status, answer) = platform.callout().await;
    assert_eq!((status, &answer["code"]), (500, &"plugin_internal".into()), "{answer}");
    let tells = |line: &Value| line.to_string().contains("is not among the binding's `upstreams`");
    platform.host.log_line("it is told what is missing", tells).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_is_one_tenants_alone() {
    let stage = Stage::new().await;
    let secret = "authentication.bearer.token = \"env:CLAIMSMITH__TEAM_A__KEY\"";
    let toml = tenant(&stage, &format!("{GOOD}\n{secret}"), "upstreams = [\"crm\"]");
    let stage = stage.tenant("team-a", &toml).tenant("team_a", &toml);
    for tenant in ["team-a", "team_a"] {
        let plugin = stage.file(&format!("tenants/{tenant}/plugins/http-caller.wasm"));
        fs::copy(http_caller(), plugin).unwrap();
    }
    let mut platform = stage.listen("json").await;
    let environment = [("CLAIMSMITH__TEAM_A__KEY", "sesame")];
    platform.host = Host::start_in_environment(platform.directory.path(), &environment).await;
    let loaded = |line: &Value| line["message"] == "binding loaded" && line["tenant"] == "team-a";
    platform.host.log_line("its own tenant has it", loaded).await;
    let refused = |line: &Value| {
        let message = line["message"].to_string();
        message.contains("tenants/team_a/tenant.toml") && message.contains("tenant `team_a` has no variables")
    };
    platform.host.log_line("another tenant has not", refused).await;
    let log = platform.host.log();
    assert!(
        !log.iter()
            .any(|line| line["message"] == "binding loaded" && line["tenant"] == "team_a")
    );
}
