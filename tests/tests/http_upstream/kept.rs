//! What bindings keep of the time before a reload, and upstreams that have changed since.

use std::fs;

use claimsmith_tests::{LogLine, Platform, Upstream, http_caller, world};
use serde_json::{Value, json};

use super::{LOOPBACK, crm, start, upstream};

const ASKED: &str = r#"{ "path": "/members/7" }"#;
/// What the plugin cannot read: it fails.
const NO_REQUEST: &str = "no request";

/// A callout whose user's name says what to request: the status, and the answer.
async fn send(platform: &Platform, name: &str) -> (u16, Value) {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(name);
    let response = platform.call(&platform.token(), &body).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Puts another `tenant.toml` in the place of the one that serves, and waits until it does.
pub(crate) async fn reload(platform: &Platform, upstreams: &str, binding: &str) {
    let mark = platform.host.log_mark();
    let extension = world::extension_toml("claims", "", "http-caller", binding);
    let directories = world::directories_toml(&platform.entra);
    let toml = format!("{directories}\n{upstreams}\n{extension}");
    fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
    let published = |line: &LogLine| line["message"] == "catalog published";
    platform.host.log_line_after(mark, "a reload", published).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_before_has_the_upstreams_of_now() {
    const BINDING: &str = "settings.probe = true\nfallback_to_previous = true\n";
    let granted = format!("{BINDING}upstreams = [\"crm\"]");
    let host = format!("{LOOPBACK}\nruntime.breaker.consecutive_failures = 3\nruntime.breaker.open_for = \"1m\"");
    let (server, other) = (Upstream::start().await, Upstream::start().await);
    let platform = start(&host, &crm(&server, ""), &granted).await;
    assert_eq!(send(&platform, ASKED).await.0, 200);

    // Another version: the same, with a custom section that says nothing.
    let mark = platform.host.log_mark();
    let mut next = fs::read(http_caller()).unwrap();
    next.extend([0, 2, 1, b'x']);
    fs::write(platform.tenant_file("plugins/http-caller.wasm"), next).unwrap();
    let published = |line: &LogLine| line["message"] == "catalog published";
    platform.host.log_line_after(mark, "the next version", published).await;
    for _ in 0..3 {
        assert_eq!(send(&platform, NO_REQUEST).await.0, 500);
    }
    let requests = |server: &Upstream| server.requests("/members/7").len();
    let result = async || {
        let (status, answer) = send(&platform, ASKED).await;
        assert_eq!(status, 200, "{answer}");
        Platform::claims(&answer)["results"][0].clone()
    };
    let before = requests(&server);
    assert_eq!(result().await, "200", "the version before answers");
    assert_eq!(requests(&server), before + 1);

    reload(&platform, &crm(&other, ""), &granted).await;
    assert_eq!(result().await, "200");
    assert_eq!((requests(&server), requests(&other)), (before + 1, 1));

    reload(&platform, &crm(&server, ""), BINDING).await;
    assert_eq!(result().await, "not-granted");
    assert_eq!((requests(&server), requests(&other)), (before + 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn last_known_good_claims_end_with_the_upstreams_that_they_came_from() {
    const BINDING: &str = "settings.probe = true\nupstreams = [\"crm\"]\non_failure = \"last_known_good\"\n";
    let host =
        format!("{LOOPBACK}\nruntime.breaker.consecutive_failures = 1000\nruntime.breaker.min_invocations = 1000");
    let (server, other) = (Upstream::start().await, Upstream::start().await);
    let platform = start(&host, &crm(&server, ""), BINDING).await;
    let failing = async || send(&platform, NO_REQUEST).await.0;
    assert_eq!(send(&platform, ASKED).await.0, 200);
    assert_eq!(failing().await, 200);

    // One that the binding does not use makes no difference.
    let with_another = [crm(&server, ""), upstream("another", &other.url(""), "")].concat();
    reload(&platform, &with_another, BINDING).await;
    assert_eq!(failing().await, 200);
    reload(&platform, &crm(&other, ""), BINDING).await;
    assert_eq!(failing().await, 500);

    assert_eq!(send(&platform, ASKED).await.0, 200);
    assert_eq!(failing().await, 200);
    let both = BINDING.replace("[\"crm\"]", "[\"another\", \"crm\"]");
    let with_another = [crm(&other, ""), upstream("another", &other.url(""), "")].concat();
    reload(&platform, &with_another, &both).await;
    assert_eq!(failing().await, 500);
}
