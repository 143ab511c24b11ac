//! What is wrong with caches and their Redis is found when the tenant is loaded, and told with its line.

use serde_json::Value;

use super::{stage, start_with, step};
use crate::get;

const REDIS: &str = "[upstreams.shared]\nkind = \"redis\"\nurl = \"rediss://cache.example\"";

/// A host with this tenant has an error at this line that says this.
async fn assert_told(upstreams: &str, binding: &str, line: &str, expected: &str) {
    let stage = stage(
        "runtime.max_binding_cache_bytes_per_tenant = 2000000",
        upstreams,
        binding,
    )
    .await;
    let toml = std::fs::read_to_string(stage.file("tenants/contoso/tenant.toml")).unwrap();
    let platform = stage.listen("json").await;
    let is_error = |line: &Value| line["level"] == "ERROR" && line["message"].to_string().contains("tenant.toml");
    let error = platform.host.log_line(line, is_error).await;
    let error = error["message"].as_str().unwrap();
    let number = toml.lines().position(|found| found == line).unwrap() + 1;
    assert!(error.contains(expected), "{expected}: {error}");
    assert!(
        error.contains(&format!("tenant.toml:{number}:")),
        "line {number}: {error}"
    );
    assert!(!error.contains("planted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_caches_are_told_with_their_line() {
    let none = String::new;
    for (upstreams, binding, line, expected) in [
        (
            none(),
            "cache = { max_entry = 1 }",
            "cache = { max_entry = 1 }",
            "max_entry",
        ),
        (
            none(),
            "cache.max_entries = 0",
            "cache.max_entries = 0",
            "expected 1 to 1000000",
        ),
        (
            none(),
            "cache.max_bytes = 9",
            "cache.max_bytes = 9",
            "expected 65536 to 1073741824",
        ),
        (
            none(),
            "cache.max_ttl = \"31d\"",
            "cache.max_ttl = \"31d\"",
            "at most 30d",
        ),
        (
            none(),
            "cache.max_value_bytes = 300000",
            "cache.max_value_bytes = 300000",
            "expected 1 to 262144",
        ),
        (
            none(),
            "cache = { max_bytes = 65536, max_value_bytes = 65536 }",
            "cache = { max_bytes = 65536, max_value_bytes = 65536 }",
            "at most half of `max_bytes`",
        ),
        (
            none(),
            "cache.max_bytes = 3000000",
            "cache.max_bytes = 3000000",
            "the operator allows 2000000",
        ),
        (
            none(),
            "cache = { max_bytes = 1000000, redis = \"shared\" }",
            "cache = { max_bytes = 1000000, redis = \"shared\" }",
            "declare it as [upstreams.shared]",
        ),
        (
            REDIS.to_owned(),
            "cache = { max_bytes = 1000000, redis = \"sharde\" }",
            "cache = { max_bytes = 1000000, redis = \"sharde\" }",
            "there is: shared",
        ),
        (
            REDIS.to_owned(),
            "upstreams = [\"shared\"]",
            "upstreams = [\"shared\"]",
            "use `cache.redis = \"shared\"`",
        ),
    ] {
        assert_told(&upstreams, binding, line, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_a_redis_are_told_with_their_line() {
    let with = |more: &str| format!("{REDIS}\n{more}");
    for (upstreams, binding, line, expected) in [
        (
            REDIS.replace("rediss", "redis"),
            "",
            "url = \"redis://cache.example\"",
            "plain_tcp = true",
        ),
        (
            REDIS.replace("rediss", "https"),
            "",
            "url = \"https://cache.example\"",
            "expected rediss://",
        ),
        (
            REDIS.replace("cache.example", "ada:secret@cache.example"),
            "",
            "url = \"rediss://ada:secret@cache.example\"",
            "`username` and `password`",
        ),
        (
            REDIS.replace("cache.example", "127.0.0.1:6380"),
            "",
            "url = \"rediss://127.0.0.1:6380\"",
            "name its network in `networks`",
        ),
        (
            REDIS.replace("cache.example", "[::ffff:169.254.169.254]"),
            "",
            "url = \"rediss://[::ffff:169.254.169.254]\"",
            "does not connect",
        ),
        (
            with("networks = [\"127.0.0.0/8\"]"),
            "",
            "networks = [\"127.0.0.0/8\"]",
            "the operator does not allow",
        ),
        (
            with("password = \"file:missing\""),
            "",
            "password = \"file:missing\"",
            "file:missing cannot be read",
        ),
        (
            with("password = \"planted\""),
            "",
            "password = \"planted\"",
            "a reference to a secret",
        ),
        (with("username = \"ada\""), "", "username = \"ada\"", "needs `password`"),
        (with("timeout = \"1s\""), "", "timeout = \"1s\"", "at most 500ms"),
        (
            with("ca = \"file:missing\""),
            "",
            "ca = \"file:missing\"",
            "file:missing cannot be read",
        ),
        (
            with("timeot = \"1s\""),
            "",
            "timeot = \"1s\"",
            "did you mean `timeout`?",
        ),
    ] {
        assert_told(&upstreams, binding, line, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_caches_are_bounded_together() {
    let host = "runtime.max_binding_cache_bytes_per_tenant = 2000000";
    let other = claimsmith_tests::world::extension_toml("other", "", "cache-caller", "cache.max_bytes = 1000001");
    let stage = stage(host, "", &format!("cache.max_bytes = 1000000\n{other}")).await;
    let platform = stage.listen("json").await;
    let told = |line: &Value| {
        line["message"]
            .to_string()
            .contains("would have 2000001 bytes together")
    };
    platform.host.log_line("both are too much", told).await;

    let platform = start_with(host, "", "cache.max_bytes = 2000000").await;
    assert_eq!(step(&platform, &get("a")).await, "none");
}
