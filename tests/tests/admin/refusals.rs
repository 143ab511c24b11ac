//! Refusals that somebody causes by the hundred: the admin log, of which nothing is ever deleted, must not grow with them.

use std::collections::BTreeMap;

use claimsmith_tests::{Platform, misbehaving};
use serde_json::{Value, json};

use crate::document::assert_is_described;
use crate::setup::{BY_API, admin_url, command, json_of, push, start, token_of};

const ACTIVATIONS: &str = "/tenants/{tenant}/activations";

/// Asks as the tenant's owner for the activation of a version of each of so many plugins that nobody has pushed.
async fn activate_unknown(platform: &Platform, tenant: &str, plugins: usize) -> (u16, Value) {
    let url = format!("{}/tenants/{tenant}/activations", admin_url(platform).await);
    let owner = token_of(platform, "Claimsmith.TenantOwner", &[tenant]);
    let versions = (0..plugins).map(|number| (format!("p{number}"), "1.0.0"));
    let request = json!({ "versions": versions.collect::<BTreeMap<_, _>>(), "reason": "r" });
    let answer = platform.http.post(url).bearer_auth(owner).json(&request).send().await;
    let answer = answer.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The lines of a tenant's refusals.
async fn refused(platform: &Platform, tenant: &str) -> Vec<Value> {
    let log = json_of(platform, &["admin-log", "--tenant", tenant, "--limit", "1000"]).await;
    let lines = log["lines"].as_array().unwrap().iter();
    lines.filter(|line| line["result"] == "refused").cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_has_no_more_versions_than_a_tenant_has_plugins() {
    let platform = start("", &[("contoso", BY_API, "")]).await;
    let (status, problem) = activate_unknown(&platform, "contoso", 64).await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown_version")));
    let (status, problem) = activate_unknown(&platform, "contoso", 65).await;
    assert_eq!(
        (status, &problem["code"], &problem["errors"]),
        (
            400,
            &json!("bad_request"),
            &json!(["versions: expected those of at most 64 plugins, as many as a tenant has; found 65"])
        )
    );
    assert_is_described("POST", ACTIVATIONS, 400, "application/problem+json", &problem);
    assert_eq!(refused(&platform, "contoso").await.len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_has_few_lines_and_the_others_are_counted() {
    let mut platform = start("", &[("contoso", BY_API, ""), ("other", BY_API, "")]).await;
    for _ in 0..5 {
        assert_eq!(activate_unknown(&platform, "contoso", 60).await.0, 404);
    }
    let lines = refused(&platform, "contoso").await;
    assert_eq!(lines.len(), 100, "{:?}", lines.first());
    let warned = |line: &&Value| line["message"] == "refused by the admin API";
    assert_eq!(platform.host.log().iter().filter(warned).count(), 100);

    // It hides nothing of another tenant, and nothing that is done.
    assert_eq!(activate_unknown(&platform, "other", 1).await.0, 404);
    assert_eq!(refused(&platform, "other").await.len(), 1);
    push(&platform, &misbehaving("a"), "1.0.0").await;

    // What is not told yet is told when the service ends.
    platform.host.terminate();
    assert!(platform.host.ended().await.success());
    let told =
        |line: &Value| line["message"] == "refused by the admin API without a line each" && line["refusals"] == 200;
    platform.host.log_line("the others", told).await;
    platform.restart(&[]).await;
    let log = json_of(&platform, &["admin-log", "--tenant", "contoso", "--limit", "2"]).await;
    let (counted, done) = (&log["lines"][0], &log["lines"][1]);
    assert_eq!((&done["action"], &done["result"]), (&json!("push"), &json!("done")));
    for (member, expected) in [
        ("action", "activate"),
        ("result", "refused"),
        ("plugin", ""),
        ("version", ""),
        ("reason", ""),
        (
            "detail",
            "200 more were refused (unknown_version), too many for a line each",
        ),
    ] {
        assert_eq!(counted[member], expected, "{counted}");
    }
    assert_eq!(counted["actor"], lines[0]["actor"]);
    assert_is_described("GET", "/tenants/{tenant}/log", 200, "application/json", &log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_activated_in_one_version() {
    let platform = start("", &[("contoso", BY_API, "")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    push(&platform, &misbehaving("b"), "2.0.0").await;
    let both = ["misbehaving@1.0.0", "misbehaving@2.0.0"];
    let ended = command(
        &platform,
        &[&["activate", "--tenant", "contoso", "--reason", "r"], &both[..]].concat(),
    )
    .await;
    let expected = "plugin `misbehaving` is named twice, with 1.0.0 and 2.0.0: only one version of it can be active";
    assert!(ended.code == 1 && ended.errors.contains(expected), "{ended:?}");
    let status = json_of(&platform, &["status", "--tenant", "contoso"]).await;
    assert_eq!(status["tenants"]["contoso"]["active"], json!([]));
}
