//! Activations beside what else happens to a tenant: other plugins that fail, files that change, a tenant that goes.

use std::fs;

use claimsmith_tests::world::extension_toml;
use claimsmith_tests::{Platform, eventually, misbehaving};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::setup::{BY_API, ROLLBACK, activate, admin_url, build, json_of, push, start, status, tenant_toml, token_of};

const BREAKER: &str = "runtime.breaker.consecutive_failures = 3\nruntime.breaker.open_for = \"1m\"";

/// A plugin that fails all the time keeps no other one of its tenant from going back or forward.
#[tokio::test(flavor = "multi_thread")]
async fn how_another_plugin_fares_stops_no_activation() {
    let second = "settings = { marker = \"m\" }
[[extensions.claims.bindings]]
plugin = \"second\"
on_failure = \"omit\"
settings = { mode = \"panic\" }";
    let platform = start(BREAKER, &[("contoso", BY_API, second)]).await;
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

/// A platform whose contoso serves 1.0.0 of a plugin that panics.
async fn failing() -> Platform {
    let platform = start(BREAKER, &[("contoso", BY_API, "settings = { mode = \"panic\" }")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    push(&platform, &misbehaving("b"), "1.1.0").await;
    activate(&platform, "1.0.0").await;
    platform
}

/// Activates 1.1.0, watched, and comes back when it serves: the answer is to come.
async fn watched(platform: &Platform) -> JoinHandle<(u16, Value)> {
    let url = admin_url(platform).await;
    let token = token_of(platform, "Claimsmith.TenantOwner", &["contoso"]);
    let body = json!({ "versions": { "misbehaving": "1.1.0" }, "reason": "watched", "verify_for": "30s" });
    let request = platform.http.post(format!("{url}/tenants/contoso/activations"));
    let request = request.bearer_auth(token).json(&body);
    let answer = tokio::spawn(async move {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    });
    let active = async || status(platform).await["active"][0]["version"] == "1.1.0";
    eventually("it is active while it is watched", active).await;
    answer
}

/// Taking an activation back does not bring back a tenant that was deleted while it was watched.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_was_deleted_meanwhile_stays_deleted() {
    let platform = failing().await;
    let answer = watched(&platform).await;
    let aside = platform.directory.path().join("contoso");
    fs::rename(platform.tenant_file(""), &aside).unwrap();
    let (status_code, problem) = answer.await.unwrap();
    assert_eq!(
        (status_code, &problem["code"]),
        (409, &json!("rolled_back")),
        "{problem}"
    );
    let (status_code, answer) = platform.callout().await;
    assert_eq!(
        (status_code, &answer["code"]),
        (404, &json!("unknown_tenant")),
        "{answer}"
    );

    // Its directory is back, and so are the versions from before the activation.
    fs::rename(&aside, platform.tenant_file("")).unwrap();
    eventually("it serves again", async || platform.callout().await.0 == 500).await;
    assert_eq!(status(&platform).await["active"][0]["version"], "1.0.0");
}

/// What was taken out of the files while an activation was watched does not come back with the versions before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_withdrawn_meanwhile_stays_withdrawn() {
    let platform = failing().await;
    let alone = fs::read_to_string(platform.tenant_file("tenant.toml")).unwrap();
    let two = extension_toml("two", "", "misbehaving", "settings = { marker = \"m\" }");
    fs::write(platform.tenant_file("tenant.toml"), format!("{alone}\n{two}")).unwrap();
    let url = platform.url_of("contoso", "two");
    eventually("both serve", async || platform.callout_to(&url).await.0 == 200).await;

    let answer = watched(&platform).await;
    fs::write(platform.tenant_file("tenant.toml"), &alone).unwrap();
    eventually("one is withdrawn", async || platform.callout_to(&url).await.0 == 404).await;
    for _ in 0..3 {
        assert_eq!(platform.callout().await.0, 500);
    }
    let (status_code, problem) = answer.await.unwrap();
    assert_eq!(
        (status_code, &problem["code"]),
        (409, &json!("rolled_back")),
        "{problem}"
    );
    assert_eq!(platform.callout_to(&url).await.0, 404);
    let status = status(&platform).await;
    assert_eq!(status["active"][0]["version"], "1.0.0");
    assert_eq!(
        status["extensions"]["claims"]["bindings"][0]["breaker"], "closed",
        "{status}"
    );
    assert_eq!(status["mistakes"], json!([]));
}

/// What the files say goes before what an activation would go back to.
#[tokio::test(flavor = "multi_thread")]
async fn files_with_which_the_versions_before_cannot_serve_keep_an_activation() {
    let platform = failing().await;
    let answer = watched(&platform).await;
    // Its owner takes the tenant over meanwhile: its plugins are files from now on.
    let by_files = tenant_toml(&platform.entra, "", "settings = { marker = \"m\" }");
    fs::write(platform.tenant_file("tenant.toml"), by_files).unwrap();
    let (status_code, problem) = answer.await.unwrap();
    assert_eq!((status_code, &problem["code"]), (422, &json!("invalid")), "{problem}");
    let error = problem["errors"][0].as_str().unwrap();
    assert!(error.contains("cannot be taken back"), "{error}");
    assert_eq!(build(&platform).await, "default");
}
