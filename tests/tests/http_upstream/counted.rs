//! What metrics tell of upstreams: of those that serve, by a bounded number of names.

use std::fs;

use claimsmith_tests::{LogLine, Platform, Upstream};
use serde_json::{Value, json};

use super::kept::reload;
use super::{LOOPBACK, crm, probing, result, upstream};

/// The series of upstreams' circuit breakers.
async fn breakers(platform: &Platform) -> Vec<String> {
    let text = platform.metrics().await;
    let series = text
        .lines()
        .filter_map(|line| line.strip_prefix("claimsmith_upstream_breaker_open{tenant=\"contoso\","));
    series.map(str::to_owned).collect()
}

/// A refused load makes breakers too, and none of them is ever asked.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_the_circuit_breakers_that_serve() {
    let server = Upstream::start().await;
    let platform = probing(LOOPBACK, &crm(&server, ""), "[\"crm\"]").await;
    assert_eq!(breakers(&platform).await, ["upstream=\"crm\"} 0"]);
    for _ in 0..10 {
        assert_eq!(result(&platform, &json!({ "path": "/close" })).await, "unavailable");
    }
    let opened = |line: &Value| line["message"] == "circuit breaker of an upstream changed" && line["state"] == "open";
    platform.host.log_line("open", opened).await;
    assert_eq!(breakers(&platform).await, ["upstream=\"crm\"} 1"]);

    let toml = fs::read_to_string(platform.tenant_file("tenant.toml")).unwrap();
    let mark = platform.host.log_mark();
    let wrong = toml.replace("plugin = ", "unknown = 1\nplugin = ").replace(
        "[upstreams.crm]",
        &(upstream("more", &server.url(""), "") + "[upstreams.crm]"),
    );
    fs::write(platform.tenant_file("tenant.toml"), wrong).unwrap();
    let refused = |line: &LogLine| line["level"] == "ERROR" && line["keeps_serving"] == true;
    platform.host.log_line_after(mark, "the mistake", refused).await;
    assert_eq!(
        breakers(&platform).await,
        ["upstream=\"crm\"} 1"],
        "it serves as before"
    );

    let binding = "settings.probe = true\nupstreams = [\"renamed\"]";
    reload(&platform, &upstream("renamed", &server.url(""), ""), binding).await;
    assert_eq!(breakers(&platform).await, ["upstream=\"renamed\"} 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_renames_upstreams_for_ever_has_a_bounded_number_of_series() {
    let server = Upstream::start().await;
    let platform = probing(LOOPBACK, &crm(&server, ""), "[\"crm\"]").await;
    let url = server.url("");
    for round in 0..64 {
        let names: Vec<_> = (0..64).map(|number| format!("u{round}-{number}")).collect();
        let upstreams: String = names.iter().map(|name| upstream(name, &url, "")).collect();
        let binding = format!("settings.probe = true\nupstreams = {names:?}");
        reload(&platform, &upstreams, &binding).await;
    }
    let names = ["crm", "last"];
    let upstreams: String = names.iter().map(|name| upstream(name, &url, "")).collect();
    reload(
        &platform,
        &upstreams,
        &format!("settings.probe = true\nupstreams = {names:?}"),
    )
    .await;
    for name in names {
        assert_eq!(
            result(&platform, &json!({ "path": "/x", "upstream": name })).await,
            "200"
        );
    }
    let calls = async |name: &str| {
        let label = format!("upstream=\"{name}\"");
        platform.metric("claimsmith_capability_calls_total", &[&label]).await
    };
    assert_eq!(
        (calls("crm").await, calls("(other)").await, calls("last").await),
        (1.0, 1.0, 0.0)
    );
    assert_eq!(breakers(&platform).await.len(), 2);
}
