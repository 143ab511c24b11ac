//! Activations beside what else happens to a tenant: other plugins that fail, files that change, a tenant that goes.

use claimsmith_tests::{Platform, misbehaving};
use serde_json::Value;

use crate::setup::{BY_API, ROLLBACK, activate, json_of, push, start, status};

/// A plugin that fails all the time keeps no other one of its tenant from going back or forward.
#[tokio::test(flavor = "multi_thread")]
async fn how_another_plugin_fares_stops_no_activation() {
    let config = "runtime.breaker.consecutive_failures = 3\nruntime.breaker.open_for = \"1m\"";
    let second = "settings = { marker = \"m\" }
[[extensions.claims.bindings]]
plugin = \"second\"
on_failure = \"omit\"
settings = { mode = \"panic\" }";
    let platform = start(config, &[("contoso", BY_API, second)]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    push(&platform, &misbehaving("b"), "1.1.0").await;
    let file = misbehaving("default");
    let arguments = [
        "push",
        file.to_str().unwrap(),
        "--tenant",
        "contoso",
        "--plugin",
        "second",
    ];
    let version = ["--version", "1.0.0", "--reason", "r"];
    json_of(&platform, &[&arguments[..], &version].concat()).await;
    let both = ["misbehaving@1.0.0", "second@1.0.0", "--reason", "r"];
    json_of(&platform, &[&["activate", "--tenant", "contoso"][..], &both].concat()).await;
    activate(&platform, "1.1.0").await;
    for _ in 0..3 {
        assert_eq!(platform.callout().await.0, 200);
    }
    assert_eq!(breakers(&platform).await, ["closed", "open"]);

    json_of(&platform, &ROLLBACK).await;
    let watched = ["misbehaving@1.1.0", "--verify-for", "500ms", "--reason", "r"];
    json_of(
        &platform,
        &[&["activate", "--tenant", "contoso"][..], &watched].concat(),
    )
    .await;
    assert_eq!(breakers(&platform).await, ["closed", "open"]);
    let log = json_of(&platform, &["admin-log", "--tenant", "contoso"]).await;
    let lines = log["lines"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["result"] == "done"), "{log}");
}

async fn breakers(platform: &Platform) -> Vec<Value> {
    let status = status(platform).await;
    let bindings = status["extensions"]["claims"]["bindings"].as_array().unwrap().iter();
    bindings.map(|binding| binding["breaker"].clone()).collect()
}
